#include "edit/params.h"

#include "base/error.h"

namespace graft {

using at::Tensor;

const Tensor* Params::find(ParamId id) const {
  if (id.number < 0) return nullptr;
  const int32_t number = first_ + (renumbered_ ? (*renumbered_)(inner_ + id.number) : id.number);
  if (number < 0 || static_cast<size_t>(number) >= tensors_->size()) return nullptr;
  const Tensor& found = (*tensors_)[{number}];
  return found.defined() ? &found : nullptr;
}

Tensor Params::operator[](ParamId id) const {
  const Tensor* found = find(id);
  ensure(found != nullptr, "an edit reads a tensor that is there");
  return expert_ < 0 ? *found : found->select(0, expert_);
}

bool Params::has(ParamId id) const { return find(id) != nullptr; }

Params Params::from(size_t first) const {
  Params out = *this;
  (renumbered_ ? out.inner_ : out.first_) += static_cast<int32_t>(first);
  return out;
}

Params Params::through(Renumber renumbered) const {
  ensure(!renumbered_, "tensors have other numbers once");
  Params out = *this;
  out.renumbered_ = std::make_shared<const Renumber>(std::move(renumbered));
  return out;
}

Params Params::expert(int64_t index) const {
  Params out = *this;
  out.expert_ = index;
  return out;
}

}  // namespace graft
