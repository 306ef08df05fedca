// Merging: an adapter folded into the weights of its base, as a complete model folder of the
// Hugging Face format.
#pragma once

#include <string>
#include <vector>

#include "edit/adapter_file.h"

namespace graft {

// One line per part that cannot be folded, with the reason; empty when all can.
std::vector<std::string> merge_faults(const Adapter& adapter);

// The base's tensors with every part folded in, float32, canonical names. Parts that replace
// tensors come first, then the others in the order in which they act. Throws InputError with
// merge_faults.
NamedTensors merged_tensors(const LoadedAdapter& loaded, const Model& model);

struct MergeOptions {
  Precision precision =
      Precision::kFloat32;  // of the weights on disk, and of the trunk that the check runs
  double max_drift = 1e-3;  // largest difference of a logit that is let through, as a part of the
                            // largest logit where that is above 1
};

// How far the merged model's answers are from the adapter's, over probe rows:
// logits, or last hidden states of an encoder without a head.
struct MergeReport {
  std::string what;              // "logit" or "hidden value"
  double largest = 0, mean = 0;  // absolute differences
  double largest_value = 0;      // for comparison
  int64_t probes = 0;
};

// Writes `out` (which must not exist): config.json, model.safetensors under the checkpoint's names
// with the head, the tokenizer's files, merge.json. `base` is what `model` was loaded from. The
// folder is read back, run over `probes` and compared with the adapter on its float32 base before
// it takes its name. Throws InputError, and leaves nothing, when the drift is above
// options.max_drift.
MergeReport merge_adapter(const LoadedAdapter& loaded, const Model& model, const Path& base,
                          const std::vector<Sequence>& probes, const Path& out,
                          const MergeOptions& options);

}  // namespace graft
