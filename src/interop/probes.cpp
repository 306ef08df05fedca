#include "interop/probes.h"

#include <algorithm>

#include "base/random.h"

namespace graft {

std::vector<Sequence> made_up_probes(const ModelConfig& config, int64_t count, int64_t reserved) {
  constexpr int64_t kShortest = 4, kLongest = 64;
  const int64_t longest = std::max<int64_t>(1, std::min(kLongest, config.max_positions - reserved)), shortest = std::min(kShortest, longest);
  Random random(RandomKey{}.with("probes"));
  std::vector<Sequence> probes(static_cast<size_t>(count));
  for (Sequence& probe : probes) {
    probe.example = &probe - probes.data();
    const int64_t length = shortest + static_cast<int64_t>(random.below(static_cast<uint64_t>(longest - shortest + 1)));
    for (int64_t i = 0; i < length; ++i) probe.ids.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(config.vocabulary))));
    probe.type_ids.assign(probe.ids.size(), 0);
  }
  return probes;
}

}  // namespace graft
