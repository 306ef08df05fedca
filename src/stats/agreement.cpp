#include "stats/agreement.h"

#include <map>

#include "base/error.h"

namespace graft {

namespace {

void check_answers(const AnswerTable& answers) {
  if (answers.size() < 2)
    throw InputError("agreement: expected the answers of two runs or more, found " +
                     std::to_string(answers.size()));
  if (answers.front().empty()) throw InputError("agreement: expected rows, found none");
  for (const std::vector<int64_t>& run : answers) {
    if (run.size() == answers.front().size()) continue;
    throw InputError("agreement: expected the same rows of every run, found " +
                     std::to_string(answers.front().size()) + " and " + std::to_string(run.size()));
  }
}

// How many runs give each answer to a row.
std::map<int64_t, double> counts_at(const AnswerTable& answers, size_t row) {
  std::map<int64_t, double> counts;
  for (const std::vector<int64_t>& run : answers) counts[run[row]] += 1;
  return counts;
}

}  // namespace

double pairwise_agreement(const AnswerTable& answers) {
  check_answers(answers);
  const auto runs = static_cast<double>(answers.size()),
             rows = static_cast<double>(answers.front().size());
  double alike = 0;  // ordered pairs of runs, over all rows
  for (size_t row = 0; row < answers.front().size(); ++row) {
    for (const auto& [answer, count] : counts_at(answers, row)) alike += count * (count - 1);
  }
  return alike / (rows * runs * (runs - 1));
}

std::optional<double> fleiss_kappa(const AnswerTable& answers) {
  check_answers(answers);
  std::map<int64_t, double> totals;
  for (const std::vector<int64_t>& run : answers) {
    for (const int64_t answer : run) totals[answer] += 1;
  }
  if (totals.size() == 1) return std::nullopt;
  const auto all = static_cast<double>(answers.size() * answers.front().size());
  double chance = 0;
  for (const auto& [answer, count] : totals) chance += (count / all) * (count / all);
  if (chance >= 1) return std::nullopt;
  return (pairwise_agreement(answers) - chance) / (1 - chance);
}

}  // namespace graft
