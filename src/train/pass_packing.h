// Which runs share a pass: what run_passes does (step_work.h) and what the forecast of its memory
// counts on (footprint.h). Internal to src/train.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace graft {

// The first pass that `may_join` and that stays within `most_tokens` with `tokens` more, else a new
// one behind the others; with these tokens. `Pass` has `int64_t tokens`.
template <class Pass, class MayJoin>
Pass& pass_for(std::vector<Pass>& passes, int64_t tokens, int64_t most_tokens,
               const MayJoin& may_join) {
  const auto has_room = [&](const Pass& pass) {
    return pass.tokens + tokens <= most_tokens && may_join(pass);
  };
  const auto found = std::find_if(passes.begin(), passes.end(), has_room);
  Pass& taken = found == passes.end() ? passes.emplace_back() : *found;
  taken.tokens += tokens;
  return taken;
}

}  // namespace graft
