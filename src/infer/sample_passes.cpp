#include "infer/sample_passes.h"

#include <utility>

namespace graft {

std::vector<SamplePass> sample_passes(const std::vector<Sample>& samples, const Dataset& data,
                                      const std::vector<int64_t>& group, KeptRows* kept) {
  std::vector<const Sequence*> sequences;
  for (const int64_t row : group) sequences.push_back(&data.sequences[static_cast<size_t>(row)]);
  std::vector<SamplePass> passes;
  for (const auto& [begin, end] : shared_passes(samples)) {
    SamplePass& pass = passes.emplace_back();
    pass.begin = begin;
    pass.end = end;
    if (kept != nullptr) pass.known.emplace();
    for (size_t i = begin; i < end; ++i) {
      pass.inputs.push_back(samples[i].rows());
      pass.inputs.back().sequences = sequences;
      pass.lanes.push_back(samples[i].adapter);
      if (kept != nullptr) kept->add(group, *pass.known);
    }
  }
  return passes;
}

}  // namespace graft
