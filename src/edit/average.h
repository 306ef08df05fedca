// Averages of several adapters of one shape, and of the experts of stochastic mixtures.
#pragma once

#include <vector>

#include "edit/adapter_file.h"

namespace graft {

// The weighted mean of the tensors of `adapters`, which must have the same definition and task.
// Weights are divided by their sum. Buffers (the frame of a rotation) must be equal: otherwise the
// mean would mix coordinates of different frames. Throws InputError that names what differs;
// `names` are those of the adapters in messages.
NamedTensors average_adapters(const std::vector<LoadedAdapter>& adapters,
                              const std::vector<double>& weights,
                              const std::vector<std::string>& names);

// {edits, head}, with every stochastic mixture replaced by the edit inside it.
Node without_mixtures(const Node& definition);

struct PlainAdapter {
  Adapter adapter;
  NamedTensors tensors;
};

// The adapter in which every bank is the mean of its experts (Wang et al. 2022, arXiv:2205.12410,
// sec. 3.3). It gives the same logits as the merged mixture. Throws InputError if the adapter has
// no mixture.
PlainAdapter average_experts(const LoadedAdapter& loaded, const std::string& name,
                             const EditTarget& target);

}  // namespace graft
