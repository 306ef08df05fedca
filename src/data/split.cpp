#include "data/split.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/document.h"
#include "base/error.h"
#include "base/random.h"
#include "base/wording.h"

namespace graft {

namespace {

RandomKey key_of(uint64_t seed, std::string_view use) {
  return RandomKey{}.with(seed).with("data").with(use);
}

// The first `held` of `order` and the others.
Split divide(const std::vector<int64_t>& order, std::ptrdiff_t held) {
  Split split;
  split.held_out.assign(order.begin(), order.begin() + held);
  split.kept.assign(order.begin() + held, order.end());
  std::sort(split.held_out.begin(), split.held_out.end());
  std::sort(split.kept.begin(), split.kept.end());
  return split;
}

void check_divisible(int64_t count, const std::string& about) {
  if (count < 2)
    throw InputError(about + "expected at least two rows to divide, found " +
                     std::to_string(count));
}

}  // namespace

Split hold_out(int64_t count, double fraction, uint64_t seed, const std::string& about) {
  if (!(fraction > 0 && fraction < 1)) {
    throw InputError(about + "expected a fraction between 0 and 1, both excluded, found " +
                     Node::number(fraction).scalar);
  }
  check_divisible(count, about);
  const int64_t wanted = std::llround(fraction * static_cast<double>(count));
  const auto held = static_cast<std::ptrdiff_t>(std::clamp<int64_t>(wanted, 1, count - 1));
  return divide(permutation(count, key_of(seed, "hold out")), held);
}

Split choose_and_test(int64_t count, uint64_t seed, const std::string& about) {
  constexpr int64_t kMany = 5000, kChoosing = 1000;
  check_divisible(count, about);
  return divide(permutation(count, key_of(seed, "choose and test")),
                static_cast<std::ptrdiff_t>(count > kMany ? kChoosing : count / 2));
}

std::vector<int64_t> random_order(int64_t count, uint64_t seed) {
  return permutation(count, key_of(seed, "random rows"));
}

std::vector<int64_t> first_rows_per_label(const std::vector<int64_t>& order,
                                          const std::vector<int64_t>& labels,
                                          const std::vector<std::string>& names, int64_t per_label,
                                          const std::string& about) {
  if (per_label < 1)
    throw InputError(about + "expected at least one row of each label, found " +
                     std::to_string(per_label));
  std::vector<int64_t> taken(names.size()), rows;
  for (const int64_t row : order) {
    const int64_t label = labels[static_cast<size_t>(row)];
    ensure(label >= 0 && label < std::ssize(names),
           "first_rows_per_label: a label is out of range");
    if (taken[static_cast<size_t>(label)] == per_label) continue;
    ++taken[static_cast<size_t>(label)];
    rows.push_back(row);
  }
  for (size_t label = 0; label < taken.size(); ++label) {
    if (taken[label] == per_label) continue;
    throw InputError(about + "expected " + counted(per_label, "row") + " of the label " +
                     quote(names[label]) + ", found " + count_text(taken[label]) +
                     "; ask for fewer, or give more of it");
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

std::vector<int64_t> random_rows_per_label(const std::vector<int64_t>& labels,
                                           const std::vector<std::string>& names, int64_t per_label,
                                           uint64_t seed, const std::string& about) {
  return first_rows_per_label(
      permutation(static_cast<int64_t>(labels.size()), key_of(seed, "rows per label")), labels,
      names, per_label, about);
}

}  // namespace graft
