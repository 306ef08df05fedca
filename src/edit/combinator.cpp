#include "edit/combinator.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>

#include "base/error.h"

namespace graft {

using at::Tensor;

Combinator::Combinator(std::string kind, std::vector<Child> children, bool is_list)
    : kind_(std::move(kind)), children_(std::move(children)), is_list_(is_list) {
  ensure(!children_.empty(), "a combinator stands around an edit");
}

std::string Combinator::step(size_t index) const { return is_list_ ? "of." + std::to_string(index) : "of"; }

EditSpec Combinator::children_spec() const {
  EditSpec out;
  std::map<int64_t, Site> sites;  // in order of execution
  for (size_t k = 0; k < children_.size(); ++k) {
    const EditSpec& own = children_[k].edit->spec();
    for (ParamSpec& param : params_below(step(k), own.params)) out.params.push_back(std::move(param));
    for (const Site& site : own.sites) sites.emplace(site.index, site);
    out.traits = k == 0 ? own.traits : join(out.traits, own.traits);
  }
  for (auto& [index, site] : sites) out.sites.push_back(std::move(site));
  // Whether the whole can be folded is for the combinator to say.
  out.traits.acts = Acts::kInForward;
  return out;
}

size_t Combinator::index_at(const Site& site) const {
  if (children_.size() == 1) return 0;
  for (size_t k = 0; k < children_.size(); ++k) {
    const std::vector<Site>& own = children_[k].edit->spec().sites;
    const auto is_site = [&](const Site& each) { return each.index == site.index; };
    if (std::any_of(own.begin(), own.end(), is_site)) return k;
  }
  throw InternalError("no edit of " + kind_ + " acts at " + site.name);
}

Node Combinator::describe() const {
  std::vector<Node> of;
  for (const Child& child : children_) of.push_back(child.edit->describe());
  return Node::map({{kind_, describe_options()}, {"of", is_list_ ? Node::list(std::move(of)) : std::move(of.front())}});
}

NamedTensors Combinator::init_own(const Weights&, RandomKey) const { return {}; }
NamedTensors Combinator::derive_own(const Params&, const Weights&) const { return {}; }

NamedTensors Combinator::init(const Weights& weights, RandomKey key) const {
  NamedTensors out = init_own(weights, key);
  for (size_t k = 0; k < children_.size(); ++k)
    out.merge(tensors_below(step(k), children_[k].edit->init(weights, key.with(step(k)))));
  return out;
}

NamedTensors Combinator::derive(const Params& stored, const Weights& weights, Experts experts) const {
  NamedTensors out = derive_own(stored, weights);
  for (size_t k = 0; k < children_.size(); ++k)
    out.merge(tensors_below(step(k), children_[k].edit->derive(stored.below(step(k)), weights, experts)));
  return out;
}

std::optional<Flattened> Combinator::flattened(const Params& stored) const {
  Flattened out{describe(), {}};
  Node& of = out.definition["of"];
  bool is_flat = true;
  for (const ParamSpec& param : spec().params) out.tensors[param.name] = stored.at(param.name);
  for (size_t k = 0; k < children_.size(); ++k) {
    std::optional<Flattened> inner = children_[k].edit->flattened(stored.below(step(k)));
    if (!inner) continue;
    is_flat = false;
    for (const ParamSpec& param : children_[k].edit->spec().params) out.tensors.erase(step(k) + "/" + param.name);
    out.tensors.merge(tensors_below(step(k), inner->tensors));
    (is_list_ ? of.items[k] : of) = std::move(inner->definition);
  }
  return is_flat ? std::nullopt : std::optional(std::move(out));
}

std::vector<ParamSpec> params_below(const std::string& step, std::vector<ParamSpec> params) {
  for (ParamSpec& param : params) param.name = step + "/" + param.name;
  return params;
}

NamedTensors tensors_below(const std::string& step, const NamedTensors& tensors) {
  NamedTensors out;
  for (const auto& [name, tensor] : tensors) out[step + "/" + name] = tensor;
  return out;
}

int64_t input_width(const Edit& edit, const Site& site) {
  // The edit is shown no rows of the site's widths.
  const Tensor x = at::zeros({0, site.input_width}), y = at::zeros({0, site.output_width});
  const Pack nothing;
  return edit.input({site, nothing, {}, x, y, y, [](const Tensor& own, const Tensor&) { return own; }}).size(1);
}

Context context_below(const std::string& step, const Context& context) {
  Context inner = context;
  inner.path += step + "/";
  return inner;
}

}  // namespace graft
