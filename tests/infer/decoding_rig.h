// A model with an adapter that writes: what the tests of decoding and generation share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "infer/decoding.h"
#include "tests/support/models.h"

namespace graft::testing {

struct DecodingRig {
  Rig rig;
  std::unique_ptr<BoundAdapter> bound;

  DecodingRig(std::shared_ptr<const Model> model, const std::string& edits, uint64_t seed = 7)
      : rig(std::move(model), "{edits: [" + edits + "]}", std::nullopt, seed) {
    rig.shake(0.3, seed + 1);
    if (rig.model->weights.dtype() == at::kDouble) rig.widen();
    bound = std::make_unique<BoundAdapter>(*rig.model, *rig.adapter, rig.tensors);
  }

  PromptLane lane(const std::vector<Sequence>& prompts) const {
    PromptLane out;
    out.lane.bound = bound.get();
    out.prompts = lane_of(prompts).sequences;
    return out;
  }
};

// Prompts of 3, 1, 2 and 3 tokens, no two alike.
inline std::vector<Sequence> short_prompts(int64_t first_example = 0) {
  std::vector<Sequence> out = {{0, {5, 3, 9}}, {1, {7}}, {2, {4, 11}}, {3, {5, 3, 6}}};
  for (Sequence& sequence : out) sequence.example += first_example;
  return out;
}

}  // namespace graft::testing
