// Made-up rows on which two forms of an adapter are compared when there is no data.
#pragma once

#include <vector>

#include "edit/bound_adapter.h"
#include "model/pack.h"

namespace graft {

// `count` sequences of random ids, 4 to 64 tokens or as many as the model serves beside `reserved`
// positions; the same at every call.
std::vector<Sequence> made_up_probes(const ModelConfig& config, int64_t count,
                                     int64_t reserved = 0);

// What a model that answers in words computes for `read`: logits [T, V] float32 of all its tokens;
// in an encoder-decoder those of `written`, which its decoder reads. Without rows of a prompt.
// Nothing is differentiated.
at::Tensor token_logits(const Model& model, const BoundAdapter& bound, const Sequence& read,
                        const std::vector<int64_t>& written);

// The same for a made-up row, whose written part is its own.
at::Tensor token_logits(const Model& model, const BoundAdapter& bound, const Sequence& probe);

}  // namespace graft
