#include "edit/edit.h"

#include "base/error.h"
#include "edit/weighting.h"
#include "tensor/linear.h"
#include "tensor/scaled.h"

namespace graft {

ForcedGates below(const ForcedGates& gates, std::string_view path) {
  if (gates == nullptr) return nullptr;
  std::vector<ForcedGate> out;
  for (const ForcedGate& gate : *gates) {
    if (gate.name.starts_with(path)) out.push_back({gate.name.substr(path.size()), gate.value});
    else if (path.starts_with(gate.name)) out.push_back({"", gate.value});
  }
  return out.empty() ? nullptr : std::make_shared<const std::vector<ForcedGate>>(std::move(out));
}

using at::Tensor;

ParamId Edit::declare(const Site& site, const std::string& tensor, ParamSpec param) {
  param.name = site.name + "." + tensor;
  param.site = site;
  return declare(std::move(param));
}

ParamId Edit::declare(ParamSpec param) {
  ensure(num_made_ == 0, "tensors that are stored are declared first");
  spec_.params.push_back(std::move(param));
  return {static_cast<int32_t>(spec_.params.size() - 1)};
}

ParamId Edit::declare_derived() {
  return {static_cast<int32_t>(spec_.params.size() + num_made_++)};
}

TensorList Edit::init_first(size_t count, const Weights& weights, RandomKey key) const {
  TensorList out;
  for (size_t i = 0; i < count; ++i) out.append(spec_.params[i].initial_value(weights, key));
  return out;
}

TensorList Edit::derive_first(size_t count, const Params& stored, const Weights& weights) const {
  TensorList out;
  for (size_t i = 0; i < count; ++i) {
    const bool is_wide = spec_.params[i].is_wide;
    out.append(stored[param_at(i)].to(is_wide ? weights.wide_dtype() : weights.dtype()));
  }
  return out;
}

TensorList Edit::first_of(const Params& stored, size_t count) {
  TensorList out;
  for (size_t i = 0; i < count; ++i) out.append(stored[param_at(i)]);
  return out;
}

TensorList Edit::init(const Weights& weights, RandomKey key) const {
  return init_first(spec_.params.size(), weights, key);
}

TensorList Edit::derive(const Params& stored, const Weights& weights, Experts) const {
  TensorList out = derive_first(spec_.params.size(), stored, weights);
  out.append(TensorList(num_made_));
  return out;
}

Tensor Edit::input(const SiteView& view) const { return view.x; }

double Edit::scale(const Site&) const { return 1.0; }

Change Edit::change(const Params&, const SiteView& view, const Tensor&, const Weight&,
                    const Context&) const {
  throw InternalError("an edit without change() was asked at " + view.site.name);
}

Change Edit::blend(const Params& stacked, int64_t experts, const SiteView& view,
                   const Tensor& input, const Weight& weight, const Context& context) const {
  const Tensor by_expert = weight.rows.unflatten(1, {-1, experts});  // [T, G, E]
  Change out;
  for (int64_t e = 0; e < experts; ++e) {
    Context inner = context;
    inner.expert = e;
    Change one =
        change(stacked.expert(e), view, input, {weight.scale, by_expert.select(2, e)}, inner);
    ensure(!one.rows.defined(), "experts that act on some rows only have no default blend");
    // mul and add act on the same y for every expert, so the changes (not the results) are summed.
    const Tensor delta = delta_of(view.y, one);
    out.add = out.add.defined() ? out.add + delta : delta;
    out.side.append(std::move(one.side));
  }
  return out;
}

std::optional<PrefixRows> Edit::prefix(const Params&, const SiteView&, const Weight&,
                                       const Context&) const {
  return std::nullopt;
}

TrunkTensors Edit::rewrite(const Params&, const Weights&) const { return {}; }
TrunkTensors Edit::rewrite_readers(const Params&, const Weights&) const { return {}; }

std::optional<Flattened> Edit::flattened(const Params&) const { return std::nullopt; }

TensorList Edit::averaged(const Params& stored) const {
  return first_of(stored, spec_.params.size());
}

Tensor apply_change(const Tensor& y, const Change& change) {
  if (change.rows.defined()) {
    Change dense = change;
    dense.rows = Tensor();
    return y.index_copy(0, change.rows, apply_change(y.index_select(0, change.rows), dense));
  }
  Tensor out = scale_and_shift(y, change.mul, change.add);
  if (change.code.defined())
    out = add_low_rank(out, change.code.to(out.scalar_type()), change.basis);
  return out;
}

}  // namespace graft
