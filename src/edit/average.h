// Averages: several adapters of one shape into one, and the experts of stochastic mixtures into the
// plain edits they are made of.
#pragma once

#include <vector>

#include "edit/adapter_file.h"

namespace graft {

// The weighted mean of the tensors of `adapters`, which must have one definition and one task;
// weights are divided by their sum. Buffers (the frame of a rotation) must be equal, or the mean
// would be of coordinates in different frames. Throws InputError naming what differs. `names` are
// the adapters' in messages.
NamedTensors average_adapters(const std::vector<LoadedAdapter>& adapters,
                              const std::vector<double>& weights,
                              const std::vector<std::string>& names);

// {edits, head} with every stochastic mixture replaced by what it is made of.
Node without_mixtures(const Node& definition);

struct PlainAdapter {
  Adapter adapter;
  NamedTensors tensors;
};

// The adapter whose every bank is the mean of its experts (Wang et al. 2022, arXiv:2205.12410,
// sec. 3.3): it gives the logits that the mixture gives merged. Throws InputError when there is no
// mixture in it.
PlainAdapter average_experts(const LoadedAdapter& loaded, const std::string& name,
                             const EditTarget& target);

}  // namespace graft
