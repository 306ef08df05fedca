// Whether runs that differ in their seeds answer the same rows alike.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace graft {

// answers[run][row]: classes, by any numbers.
using AnswerTable = std::vector<std::vector<int64_t>>;

// The share of rows that two runs answer alike, as a mean over all pairs of runs. Throws InputError
// for fewer than two runs, no rows, or runs of different rows; so does the other.
double pairwise_agreement(const AnswerTable& answers);

// Agreement beyond what runs with the same shares of answers would have by chance, 1 = full:
// (P - Pe) / (1 - Pe). None where every answer is the same, so that chance alone agrees fully.
// Fleiss 1971: of any number of runs, which are taken as alike.
std::optional<double> fleiss_kappa(const AnswerTable& answers);

}  // namespace graft
