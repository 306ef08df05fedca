// An adapter whose tensors are bound to a model's.
#pragma once

#include "edit/adapter.h"
#include "model/trunk.h"

namespace graft {

// An adapter's tensors bound to a model for one step: derived tensors, cut from the graph of the
// stored ones, and live weights.
//
// Several micro-batches may run on one BoundAdapter. Their gradients are summed in the derived
// leaves; add_gradients_to_stored carries the sums to the stored tensors, so that `derive` is
// differentiated once a step.
class BoundAdapter {
 public:
  // `experts`: apart in training and where routes are followed, else merged.
  BoundAdapter(const Model& model, const Adapter& adapter, const NamedTensors& stored,
               Experts experts = Experts::kMerged);

  const Adapter& adapter() const { return adapter_; }
  const AdapterTensors& derived() const { return leaves_; }
  const Weights& weights() const { return weights_; }
  Experts experts() const { return experts_; }
  void add_gradients_to_stored();  // stored.grad() += ...; at most once

 private:
  const Adapter& adapter_;
  AdapterTensors derived_, leaves_;  // with the graph to the stored tensors; cut from it
  Weights weights_;
  Experts experts_;
};

// Whether the two may be lanes of one pass, because they read the same weights of the trunk.
bool can_share_pass(const BoundAdapter& one, const BoundAdapter& other);

}  // namespace graft
