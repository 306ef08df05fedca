// Two methods compared pair by pair: the same seeds, splits and orders (differences of scores), or
// the same rows (answers that are right or wrong).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/random.h"

namespace graft {

struct SignFlips {
  double p = 1;  // two-sided
  bool is_exact = true;
};

// So many differences have every choice of signs counted; more have `flips` of them drawn.
constexpr int64_t kMostFlipped = 20;

// Were the methods alike, each difference would be as likely with its sign turned. p is the share
// of all choices of signs whose mean is at least as far from 0 as the one found (Fisher 1935); of
// drawn ones (hits + 1) / (flips + 1).
SignFlips sign_flip_test(std::span<const double> differences, RandomKey key, int64_t flips = 99999);

// p values as large as a reader of all of them has to take them: the family-wise error of
// rejecting those below alpha is at most alpha (Holm 1979). In the order given.
std::vector<double> holm(std::span<const double> p_values);

struct McNemar {
  int64_t only_first = 0, only_second = 0;  // rows that only one method answers rightly
  double exact_p = 1;                       // two-sided binomial
  double chi_square = 0, chi_square_p = 1;  // (|b - c| - 1)^2 / (b + c), 0 where b = c
};

// McNemar 1947. Without a row on which the two differ both p are 1.
McNemar mcnemar(int64_t only_first, int64_t only_second);

// The fewest pairs with which the sign-flip test can come below `alpha` at all: 2 / 2^n < alpha.
int64_t fewest_pairs(double alpha);

// How many pairs would decide that a mean difference is not 0, in `power` of all studies, were mean
// and deviation the true ones: the least n at which Student's paired test has that power at the
// largest p below alpha that n signs can give. Few pairs have few such p, and for many both tests
// have the same power. None where the mean is 0, or above a million.
std::optional<int64_t> pairs_to_decide(double mean, double deviation, double alpha = 0.05,
                                       double power = 0.8);

}  // namespace graft
