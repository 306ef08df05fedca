#include "edit/bound_adapter.h"

#include "base/error.h"

namespace graft {

using at::Tensor;

BoundAdapter::BoundAdapter(const Model& model, const Adapter& adapter, const NamedTensors& stored,
                           Experts experts)
    : adapter_(adapter),
      derived_(adapter.derive(stored, model.weights, experts)),
      weights_(model.weights),
      experts_(experts) {
  leaves_ = derived_;
  const auto cut = [](TensorList& tensors) {
    for (Tensor& tensor : tensors) {
      if (tensor.defined() && tensor.requires_grad()) tensor = tensor.detach().requires_grad_(true);
    }
  };
  for (TensorList& part : leaves_.parts) cut(part);
  cut(leaves_.head);
  weights_ = adapter.rewritten(leaves_, model.weights);
  const Site& layer = model.sites.pooler();
  if (layer.index >= 0 && adapter.changes(layer) && !weights_.has(weight_of(layer)))
    throw InputError("the adapter changes the " + layer_under_head(model.config) +
                     ", which the model '" + model.source + "' has not");
}

void BoundAdapter::add_gradients_to_stored() {
  std::vector<Tensor> roots, gradients;
  const auto carry = [&](const TensorList& derived, TensorList& leaves) {
    auto cut_off = leaves.begin();
    for (const Tensor& tensor : derived) {
      Tensor& leaf = *cut_off++;
      if (!tensor.defined() || !tensor.requires_grad() || !leaf.grad().defined()) continue;
      if (tensor.is_leaf()) {  // nothing was derived: hand the gradient over without a copy
        Tensor& gathered = tensor.mutable_grad();
        gathered = gathered.defined() ? gathered + leaf.grad() : leaf.grad();
        leaf.mutable_grad().reset();
        continue;
      }
      roots.push_back(tensor);
      gradients.push_back(leaf.grad());
    }
  };
  for (size_t i = 0; i < derived_.parts.size(); ++i) carry(derived_.parts[i], leaves_.parts[i]);
  carry(derived_.head, leaves_.head);
  if (!roots.empty()) torch::autograd::backward(roots, gradients);
}

bool can_share_pass(const BoundAdapter& one, const BoundAdapter& other) {
  return &one == &other || !(one.adapter().rewrites_trunk() || other.adapter().rewrites_trunk());
}

}  // namespace graft
