// What a search of n tries may expect of its best one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace graft {

// The expected highest score of 1, 2, ... tries, as many as there are scores: Dodge et al. 2019,
// "Show Your Work" (arXiv:1909.03004) eq. 7 and 8, where a try is a draw from the scores found,
// with replacement: E_n = sum over the scores v, ascending, of v (F(v)^n - F(below v)^n). The best
// one found is never passed, so the end of the curve is too low a guess of what more tries bring
// (Tang et al. 2020).
std::vector<double> expected_best(std::span<const double> scores);

}  // namespace graft
