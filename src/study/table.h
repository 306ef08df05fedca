// What came out of a study: every method with its mean and interval, every two methods compared
// pair by pair, and ranks.
//
// A cell is what members share that differ in seeds alone: factors called `seed`, `seeds.initial`
// and the like. Two methods are compared where all other factors are the same, over the seeds that
// both have.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "stats/paired.h"
#include "stats/ranking.h"
#include "stats/summary.h"
#include "study/store.h"

namespace graft {

struct StudyTableOptions {
  std::string side = {};            // empty: test where all members have it, else eval
  std::string metric = {};          // empty: the first that a member has
  std::string compared = "method";  // the factor whose values are compared
  std::string baseline = {};        // compare with this value only; empty: every two
  double alpha = 0.05, level = 0.95;
};

using Factors = std::vector<std::pair<std::string, std::string>>;

struct ResultCell {
  Factors factors;  // but for the seeds
  std::string metric = {};
  std::map<std::string, double> by_seed = {};  // score by seeds, as "1" or "1, 7"
  std::vector<size_t> members = {};            // in the order of the study
  Summary summary = {};
  std::optional<Interval> interval = {};  // Student's; of one member none
  // Of 1, 2, .. members the best one that is to be expected (stats/best_of.h).
  std::vector<double> best_of = {};
  std::optional<double> agreement = {}, kappa = {};  // of the answers of its members; none of one
  std::optional<double> parameters = {}, seconds = {};  // of edits, the mean of training
  std::optional<double> bytes = {}, memory = {};  // of the adapter's file, the most of a process
  int64_t waiting = 0, failed = 0;
};

struct Comparison {
  Factors group;              // but for the compared factor and the seeds
  std::string first, second;  // values of the compared factor
  std::string metric;
  std::vector<double> differences;  // first - second, turned round where less is better
  Summary summary;
  std::optional<Interval> student, bca;
  SignFlips flips;
  double holm_p = 1;
  // A row is a method's where more than half of its seeds are right; none where answers are not
  // labels.
  std::optional<McNemar> rows;
  bool is_decided = false;        // Holm's p below alpha, and 0 outside both intervals
  std::optional<int64_t> needed;  // pairs that would decide; none where no number would
};

struct RankRow {
  std::string value;  // of the compared factor
  AverageRank rank;
};

struct StudyTable {
  std::string study, side, compared;
  double alpha = 0.05, level = 0.95;
  std::vector<ResultCell> cells;  // in the order of the study
  std::vector<Comparison> comparisons;
  std::vector<RankRow> ranks;        // over groups and seeds that every value has
  std::optional<Friedman> friedman;  // none with fewer than two values or no such cell
  int64_t ranked_cells = 0;
};

// "1", or "1, 7": the values of a member's seeds; empty where it has none.
std::string seeds_of(const PlannedMember& member);

// Throws InputError where no member is done, or nobody has the side, metric, factor or baseline
// that is asked for; the message says which there are.
StudyTable make_table(const StudyStore& store, const StudyTableOptions& options = {});

}  // namespace graft
