#include "edit/traits.h"

#include <algorithm>
#include <iterator>

namespace graft {

namespace {

using SubspaceRows = std::optional<std::vector<int64_t>>;

SubspaceRows common_rows(const SubspaceRows& a, const SubspaceRows& b) {
  if (!a || !b) return a ? a : b;
  std::vector<int64_t> out;
  std::set_intersection(a->begin(), a->end(), b->begin(), b->end(), std::back_inserter(out));
  return out;
}

}  // namespace

RowLayout join(const RowLayout& a, const RowLayout& b) {
  return {.virtual_rows = a.virtual_rows + b.virtual_rows,
          .virtual_rows_follow_first = a.virtual_rows_follow_first || b.virtual_rows_follow_first,
          .first_position = std::max(a.first_position, b.first_position),
          .padded_length = std::max(a.padded_length, b.padded_length)};
}

Traits join(const Traits& a, const Traits& b) {
  return {.reads = std::max(a.reads, b.reads),
          .acts_on = std::max(a.acts_on, b.acts_on),
          .acts = std::max(a.acts, b.acts),
          .identity_at_init = a.identity_at_init && b.identity_at_init,
          .is_stochastic = a.is_stochastic || b.is_stochastic,
          .mixes_by_shares = a.mixes_by_shares || b.mixes_by_shares,
          .gives_records = a.gives_records || b.gives_records,
          .layout = join(a.layout, b.layout),
          .embedding = std::max(a.embedding, b.embedding),
          .subspace = common_rows(a.subspace, b.subspace)};
}

}  // namespace graft
