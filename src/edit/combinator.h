// The base of gate, stochastic and router: an edit around others. What a combinator does not change goes on to the edits inside.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "edit/edit.h"

namespace graft {

// An edit inside a combinator.
struct Child {
  std::string kind;  // "lora"
  std::unique_ptr<Edit> edit;
};

class Combinator : public Edit {
 public:
  Node describe() const override;
  NamedTensors init(const Weights& weights, RandomKey key) const override;
  NamedTensors derive(const Params& stored, const Weights& weights, Experts experts) const override;
  at::Tensor input(const SiteView& view) const override { return child_at(view.site).edit->input(view); }
  double scale(const Site& site) const override { return child_at(site).edit->scale(site); }
  std::optional<Flattened> flattened(const Params& stored) const override;

 protected:
  // `kind`: its name in YAML. One child stands below "of/", those of a list below "of.0/", "of.1/", ...
  Combinator(std::string kind, std::vector<Child> children, bool is_list = false);

  // The sites and traits of all children together and their params below their steps, without any of its own.
  EditSpec children_spec() const;

  // What a combinator adds: its options as they stand in YAML, and tensors of its own.
  virtual Node describe_options() const = 0;
  virtual NamedTensors init_own(const Weights& weights, RandomKey key) const;
  virtual NamedTensors derive_own(const Params& stored, const Weights& weights) const;

  const std::vector<Child>& children() const { return children_; }
  const Child& child() const { return children_.front(); }
  // The child that acts at a site of `spec`.
  size_t index_at(const Site& site) const;
  const Child& child_at(const Site& site) const { return children_[index_at(site)]; }
  std::string step(size_t index) const;

 private:
  std::string kind_;
  std::vector<Child> children_;
  bool is_list_;
};

// The same params, or tensors, under "<step>/".
std::vector<ParamSpec> params_below(const std::string& step, std::vector<ParamSpec> params);
NamedTensors tensors_below(const std::string& step, const NamedTensors& tensors);
// The context that the edit below `step` sees: what it records and remembers carries the step in its name.
Context context_below(const std::string& step, const Context& context);

// Width of what the edit reads at one of its sites (Edit::input), known without a forward pass.
int64_t input_width(const Edit& edit, const Site& site);

}  // namespace graft
