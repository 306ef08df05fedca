// Choosing rows: a held-out fraction, a random order, few of every label. Pure functions of counts
// and a seed. `about` opens messages: "data.held_out: 'rows.tsv': ".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace graft {

// Row indices of the two sides, each ascending; together every index exactly once.
struct Split {
  std::vector<int64_t> kept, held_out;
};

// Holds out round(fraction * count) rows, at least one, and keeps at least one; the rows depend on
// (count, fraction, seed) only. Throws InputError unless 0 < fraction < 1 and count >= 2.
Split hold_out(int64_t count, double fraction, uint64_t seed, const std::string& about = "");

// The protocol of ReFT's GLUE runs (Wu et al. 2024): the published validation set chooses the epoch
// and tests it, on different rows. Of `count` rows drawn by `seed`, 1,000 choose (held_out) when
// there are more than 5,000, else half of them, the smaller half of an odd number; the rest is the
// test (kept). Throws InputError unless count >= 2.
Split choose_and_test(int64_t count, uint64_t seed, const std::string& about = "");

// All rows 0..count-1 in an order drawn by `seed`.
std::vector<int64_t> random_order(int64_t count, uint64_t seed);

// `per_label` rows of each label, ascending, drawn by `seed` (few-shot training sets). `labels`: of
// each row the index of its label in `names`. Throws InputError naming the label that has too few
// rows.
std::vector<int64_t> random_rows_per_label(const std::vector<int64_t>& labels,
                                           const std::vector<std::string>& names, int64_t per_label,
                                           uint64_t seed, const std::string& about = "");
// The same, where the first rows of each label in `order` are taken. `order`: different rows.
std::vector<int64_t> first_rows_per_label(const std::vector<int64_t>& order,
                                          const std::vector<int64_t>& labels,
                                          const std::vector<std::string>& names, int64_t per_label,
                                          const std::string& about = "");

// The chosen elements, in the order of `rows`.
template <typename T>
std::vector<T> pick(const std::vector<T>& all, const std::vector<int64_t>& rows) {
  std::vector<T> out;
  out.reserve(rows.size());
  for (const int64_t row : rows) out.push_back(all.at(static_cast<size_t>(row)));
  return out;
}

}  // namespace graft
