// The base of gate, stochastic and router: an edit around other edits. By default every question
// goes to the edits inside; a combinator overrides what it changes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "edit/edit.h"

namespace graft {

class Combinator : public Edit {
 public:
  std::vector<std::string> methods() const override;
  Node describe() const override;
  TensorList init(const Weights& weights, RandomKey key) const override;
  TensorList derive(const Params& stored, const Weights& weights, Experts experts) const override;
  size_t num_derived() const override;
  at::Tensor input(const SiteView& view) const override { return child_at(view.site).input(view); }
  double scale(const Site& site) const override { return child_at(site).scale(site); }
  std::optional<Flattened> flattened(const Params& stored) const override;
  TensorList averaged(const Params& stored) const override;
  std::vector<std::string> gates() const override;

 protected:
  // The tensors of a single child have names below "of/", those of a list below "of.0/", "of.1/",
  // ...
  explicit Combinator(EditList children, bool is_list = false);

  // The sites at which some child acts, in order of execution.
  std::vector<Site> children_sites() const;
  // Declares the tensors of the children, and the sites and traits of all together. Called after
  // the combinator has declared its own tensors.
  void declare_children();
  // The tensors of one child among those of the whole.
  Params stored_of(size_t index, const Params& stored) const {
    return stored.from(stored_from_[index]);
  }
  Params derived_of(size_t index, const Params& derived) const {
    return derived.from(derived_from_[index]);
  }
  size_t num_own() const { return stored_from_.front(); }

  // What a combinator adds: the tensors of its own, and what it derives from them.
  TensorList init_own(const Weights& weights, RandomKey key) const;
  virtual TensorList derive_own(const Params& stored, const Weights& weights) const;

  const EditList& children() const { return children_; }
  const Edit& child() const { return *children_.front(); }
  // The child that acts at a site of `spec`.
  size_t index_at(const Site& site) const { return children_.size() == 1 ? 0 : child_at_.at(site); }
  const Edit& child_at(const Site& site) const { return *children_[index_at(site)]; }
  // The child's step in names, "of" or "of.1".
  const std::string& step(size_t index) const { return steps_[index]; }
  // Losses and records of the combinator, then those of a child with its step before their names.
  SideOutputs merged_side(SideOutputs own, size_t index, SideOutputs of_child) const;
  // The context of a child: forced gates are named from there.
  Context context_of(size_t index, const Context& context) const;

 private:
  EditList children_;
  bool is_list_;
  std::vector<std::string> steps_;
  BySite<size_t> child_at_;                         // of each site of `spec`
  std::vector<size_t> stored_from_, derived_from_;  // [child]: the first of its tensors
};

// The width of what the edit reads at one of its sites (Edit::input). Needs no forward pass.
int64_t input_width(const Edit& edit, const Site& site);
// Whether it reads what enters the layer of a linear site, and not what leaves it.
bool reads_layer_input(const Edit& edit, const Site& site);

}  // namespace graft
