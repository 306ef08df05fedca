// Many methods over many cells (a task and a seed each): ranks, and whether they differ at all.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "stats/bootstrap.h"

namespace graft {

// scores[cell][method]
using ScoreTable = std::vector<std::vector<double>>;

struct AverageRank {
  double mean = 0;                   // 1: the best in every cell
  std::optional<Interval> interval;  // BCa bootstrap over the cells; none with one cell
};

// The rank of each method in each cell, 1 the highest score; equal scores share their mean rank.
// Throws InputError for an empty or ragged table, or a score that is not finite.
ScoreTable ranks_in_cells(const ScoreTable& scores);

std::vector<AverageRank> average_ranks(const ScoreTable& scores,
                                       const BootstrapOptions& options = {});

struct Friedman {
  double chi_square = 0;  // corrected for ties
  double p = 1;           // approximate; a chi-square of (methods - 1) degrees
};

// Friedman 1937: could the methods be alike? Two methods at least. All ties: chi-square 0.
Friedman friedman_test(const ScoreTable& scores);

}  // namespace graft
