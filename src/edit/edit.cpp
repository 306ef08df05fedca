#include "edit/edit.h"

#include "base/error.h"
#include "edit/weighting.h"
#include "tensor/linear.h"
#include "tensor/scaled.h"

namespace graft {

using at::Tensor;

const Tensor& Params::at(const std::string& name) const {
  const std::string key = key_of(name);
  const auto found = tensors_->find(key);
  if (found == tensors_->end()) throw InternalError("no tensor '" + key + "'");
  return found->second;
}

Params Params::below(const std::string& step) const {
  Params out = *this;
  (place_ ? out.inner_ : out.path_) += step + "/";
  return out;
}

bool Params::has_below(const std::string& step) const {
  ensure(!place_, "parts are looked for under their own names");
  const std::string prefix = path_ + step + "/";
  const auto found = tensors_->lower_bound(prefix);
  return found != tensors_->end() && found->first.starts_with(prefix);
}

Params Params::through(Place place) const {
  ensure(!place_, "one place a name");
  Params out = *this;
  out.place_ = std::make_shared<const Place>(std::move(place));
  return out;
}

NamedTensors Edit::derive(const Params& stored, const Weights& weights, Experts) const {
  NamedTensors out;
  for (const ParamSpec& param : spec().params) out[param.name] = stored.at(param.name).to(weights.dtype());
  return out;
}

Tensor Edit::input(const SiteView& view) const { return view.x; }

double Edit::scale(const Site&) const { return 1.0; }

Change Edit::change(const Params&, const SiteView& view, const Tensor&, const Weight&, Context&) const {
  throw InternalError("an edit without change() was asked at " + view.site.name);
}

Change Edit::blend(const Params& stacked, int64_t experts, const SiteView& view, const Tensor& input, const Weight& weight,
                   Context& context) const {
  const Tensor by_expert = weight.rows.unflatten(1, {-1, experts});  // [T, G, E]
  Tensor sum;
  for (int64_t e = 0; e < experts; ++e) {
    NamedTensors own;
    for (const ParamSpec& param : spec().params) own[param.name] = stacked.at(param.name).select(0, e);
    Context inner = context;  // experts remember under names of their own
    inner.path += std::to_string(e) + "/";
    const Change one = change(Params(own, ""), view, input, {weight.scale, by_expert.select(2, e)}, inner);
    ensure(!one.rows.defined(), "experts that act on some rows only have no default blend");
    // mul and add act on the same y for every expert, so the changes (not the results) are summed.
    const Tensor delta = delta_of(view.y, one);
    sum = sum.defined() ? sum + delta : delta;
  }
  return {.add = sum};
}

std::optional<LanePrefix> Edit::prefix(const Params&, const SiteView&, const Weight&, Context&) const { return std::nullopt; }

TrunkTensors Edit::rewrite(const Params&, const Weights&) const { return {}; }

std::optional<Flattened> Edit::flattened(const Params&) const { return std::nullopt; }

Tensor apply_change(const Tensor& y, const Change& change) {
  if (change.rows.defined()) {
    Change dense = change;
    dense.rows = Tensor();
    return y.index_copy(0, change.rows, apply_change(y.index_select(0, change.rows), dense));
  }
  Tensor out = scale_and_shift(y, change.mul, change.add);
  if (change.code.defined()) out = add_low_rank(out, change.code.to(out.scalar_type()), change.basis);
  return out;
}

}  // namespace graft
