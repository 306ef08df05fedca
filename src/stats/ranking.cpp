#include "stats/ranking.h"

#include <algorithm>
#include <boost/math/distributions/chi_squared.hpp>
#include <numeric>

#include "base/error.h"

namespace graft {

namespace {

std::vector<double> ranks_of(const std::vector<double>& scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  std::vector<double> out(scores.size());
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && scores[order[end]] == scores[order[begin]]) ++end;
    const double shared = static_cast<double>(begin + 1 + end) / 2;
    for (size_t i = begin; i < end; ++i) out[order[i]] = shared;
  }
  return out;
}

// sum of t^3 - t over the groups of t equal ranks.
double tie_sum(std::vector<double> ranks) {
  std::sort(ranks.begin(), ranks.end());
  double sum = 0;
  for (size_t begin = 0, end = 0; begin < ranks.size(); begin = end) {
    while (end < ranks.size() && ranks[end] == ranks[begin]) ++end;
    const auto tied = static_cast<double>(end - begin);
    sum += tied * (tied * tied - 1);
  }
  return sum;
}

}  // namespace

ScoreTable ranks_in_cells(const ScoreTable& scores) {
  if (scores.empty()) throw InputError("ranks: expected scores of at least one cell, found none");
  ScoreTable out;
  for (const std::vector<double>& cell : scores) {
    check_values(cell, "ranks");
    if (cell.size() != scores.front().size())
      throw InputError("ranks: expected a score of each of " +
                       std::to_string(scores.front().size()) + " methods in every cell, found " +
                       std::to_string(cell.size()));
    out.push_back(ranks_of(cell));
  }
  return out;
}

std::vector<AverageRank> average_ranks(const ScoreTable& scores, const BootstrapOptions& options) {
  const ScoreTable ranks = ranks_in_cells(scores);
  std::vector<AverageRank> out;
  for (size_t method = 0; method < ranks.front().size(); ++method) {
    std::vector<double> own;
    for (const std::vector<double>& cell : ranks) own.push_back(cell[method]);
    out.push_back({summarise(own).mean, bca_interval(own, options)});
  }
  return out;
}

Friedman friedman_test(const ScoreTable& scores) {
  const ScoreTable ranks = ranks_in_cells(scores);
  const auto cells = static_cast<double>(ranks.size()),
             methods = static_cast<double>(ranks.front().size());
  if (methods < 2) throw InputError("Friedman's test: expected two methods or more, found one");
  std::vector<double> sums(ranks.front().size());
  double ties = 0;
  for (const std::vector<double>& cell : ranks) {
    for (size_t k = 0; k < cell.size(); ++k) sums[k] += cell[k];
    ties += tie_sum(cell);
  }
  const double correction = 1 - ties / (cells * methods * (methods * methods - 1));
  Friedman out;
  if (correction <= 0) return out;  // no cell tells any two apart
  double squares = 0;
  for (const double sum : sums) squares += sum * sum;
  out.chi_square =
      (12 / (cells * methods * (methods + 1)) * squares - 3 * cells * (methods + 1)) / correction;
  out.chi_square = std::max(0.0, out.chi_square);
  out.p = cdf(complement(boost::math::chi_squared(methods - 1), out.chi_square));
  return out;
}

}  // namespace graft
