#include "edit/combinator.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>

#include "base/error.h"

namespace graft {

using at::Tensor;

Combinator::Combinator(EditList children, bool is_list)
    : children_(std::move(children)), is_list_(is_list) {
  ensure(!children_.empty(), "a combinator stands around an edit");
  for (size_t k = 0; k < children_.size(); ++k)
    steps_.push_back(is_list_ ? "of." + std::to_string(k) : "of");
}

std::vector<Site> Combinator::children_sites() const {
  std::map<int64_t, Site> by_index;
  for (const auto& child : children_) {
    for (const Site& site : child->spec().sites) by_index.emplace(site.index, site);
  }
  std::vector<Site> sites;
  for (auto& [index, site] : by_index) sites.push_back(std::move(site));
  return sites;
}

void Combinator::declare_children() {
  size_t next_derived = spec_.params.size();
  for (size_t k = 0; k < children_.size(); ++k) {
    const Edit& child = *children_[k];
    stored_from_.push_back(spec_.params.size());
    derived_from_.push_back(next_derived);
    next_derived += child.num_derived();
    for (ParamSpec param : child.spec().params) {
      param.name = steps_[k] + "/" + param.name;
      declare(std::move(param));
    }
    for (const Site& site : child.spec().sites) child_at_[site] = k;
    spec_.claims.insert(spec_.claims.end(), child.spec().claims.begin(), child.spec().claims.end());
    spec_.traits = k == 0 ? child.spec().traits : join(spec_.traits, child.spec().traits);
  }
  spec_.sites = children_sites();
  // Whether the whole can be folded is for the combinator to say.
  spec_.traits.acts = Acts::kInForward;
}

size_t Combinator::num_derived() const {
  return derived_from_.back() + children_.back()->num_derived();
}

SideOutputs Combinator::merged_side(SideOutputs own, size_t index, SideOutputs of_child) const {
  of_child.put_below(steps_[index] + "/");
  own.append(std::move(of_child));
  return own;
}

Context Combinator::context_of(size_t index, const Context& context) const {
  Context inner = context;
  inner.forced_gates = below(context.forced_gates, steps_[index] + "/");
  return inner;
}

std::vector<std::string> Combinator::methods() const {
  std::vector<std::string> out = {method()};
  for (const auto& child : children_) {
    for (std::string& inner : child->methods()) out.push_back(std::move(inner));
  }
  return out;
}

Node Combinator::describe() const {
  std::vector<Node> of;
  for (const auto& child : children_) of.push_back(child->describe());
  Node out = Edit::describe();
  out["of"] = is_list_ ? Node::list(std::move(of)) : std::move(of.front());
  return out;
}

TensorList Combinator::derive_own(const Params& stored, const Weights& weights) const {
  return derive_first(num_own(), stored, weights);
}

TensorList Combinator::init_own(const Weights& weights, RandomKey key) const {
  return init_first(num_own(), weights, key);
}

TensorList Combinator::init(const Weights& weights, RandomKey key) const {
  TensorList out = init_own(weights, key);
  for (size_t k = 0; k < children_.size(); ++k)
    out.append(children_[k]->init(weights, key.with(step(k))));
  return out;
}

TensorList Combinator::derive(const Params& stored, const Weights& weights, Experts experts) const {
  TensorList out = derive_own(stored, weights);
  for (size_t k = 0; k < children_.size(); ++k)
    out.append(children_[k]->derive(stored_of(k, stored), weights, experts));
  return out;
}

std::optional<Flattened> Combinator::flattened(const Params& stored) const {
  Flattened out{describe(), {}};
  Node& of = out.definition["of"];
  bool is_flat = true;
  out.tensors.append(first_of(stored, num_own()));
  for (size_t k = 0; k < children_.size(); ++k) {
    const Edit& child = *children_[k];
    std::optional<Flattened> inner = child.flattened(stored_of(k, stored));
    if (!inner) {
      out.tensors.append(first_of(stored_of(k, stored), child.spec().params.size()));
      continue;
    }
    is_flat = false;
    out.tensors.append(inner->tensors);
    (is_list_ ? of.items[k] : of) = std::move(inner->definition);
  }
  return is_flat ? std::nullopt : std::optional(std::move(out));
}

TensorList Combinator::averaged(const Params& stored) const {
  TensorList out = first_of(stored, num_own());
  for (size_t k = 0; k < children_.size(); ++k)
    out.append(children_[k]->averaged(stored_of(k, stored)));
  return out;
}

std::vector<std::string> Combinator::gates() const {
  std::vector<std::string> out;
  for (size_t k = 0; k < children_.size(); ++k) {
    for (const std::string& name : children_[k]->gates()) out.push_back(steps_[k] + "/" + name);
  }
  return out;
}

namespace {

// What the edit reads of no rows, x and y of these widths.
Tensor shown_input(const Edit& edit, const Site& site, int64_t x_width, int64_t y_width) {
  const Tensor x = at::zeros({0, x_width}), y = at::zeros({0, y_width});
  const Pack nothing;
  return edit.input(
      {site, nothing, {}, x, y, y, [](const Tensor& own, const Tensor&) { return own; }});
}

}  // namespace

int64_t input_width(const Edit& edit, const Site& site) {
  return shown_input(edit, site, site.input_width, site.output_width).size(1);
}

bool reads_layer_input(const Edit& edit, const Site& site) {
  return shown_input(edit, site, 1, 2).size(1) == 1;  // told apart by their widths
}

}  // namespace graft
