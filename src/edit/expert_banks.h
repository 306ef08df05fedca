// Internal to src/edit.
//
// Where the tensors of a stochastic mixture's experts lie. The tensors of a site lie in banks (the
// two projections of an adapter or of LoRA). A bank is shared (one member) or kept apart (one for
// each expert), and a draw chooses a member of a bank at a place.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "edit/edit.h"
#include "edit/stochastic_options.h"

namespace graft {

// Tensors are meant by the number that they have in one expert alone.
class ExpertBanks {
 public:
  // expert: one alone; outlives the object.
  ExpertBanks(const Edit& expert, const StochasticOptions& options);

  // Adds the tensors of all experts to a mixture: "shared/NAME" first, then "expert.2/NAME"; with
  // learned scores those, one vector for each bank of each place.
  void declare(const std::function<ParamId(ParamSpec)>& add);

  size_t size() const { return tensors_.size(); }
  // How many tensors were declared before the scores.
  size_t first_score() const { return first_score_; }
  bool has_choice() const;  // whether some bank that is trained is kept apart
  // What is derived under new names is made of a bank without a name.
  bool has_unnamed() const { return names_.contains(""); }
  // Shared by all experts. What the child only derives is made of the one bank that has no name.
  bool is_shared(size_t index) const { return index < size() && tensors_[index].is_shared; }
  std::string bank_of(size_t index) const { return index < size() ? tensors_[index].bank : ""; }

  // Where a draw is made for what stands `at`: its site, or its layer under the name of what leaves
  // the block. What is in no layer is alone.
  std::string place_of(Place at) const;
  // The banks from which a draw at a site chooses.
  std::vector<std::string> drawn_at(const Site& site) const;

  // Where `expert` keeps a tensor: as stored,
  ParamId stored_as(size_t index, int64_t expert) const;
  // and as derived, behind what is derived from the mean.
  ParamId derived_as(size_t index, int64_t expert) const;

  // Of every bank the mean of its members, by learned scores where there are some: the tensors of
  // one expert.
  TensorList mean(const Params& stored) const;

 private:
  struct OneTensor {
    std::string place, bank;  // a draw is a function of them
    bool is_shared = false;
    int32_t first = 0;    // its number in the mixture, of the first expert
    ParamId scores = {};  // that weigh its experts, where they are learned
  };

  void declare_scores(const std::function<ParamId(ParamSpec)>& add);
  at::Tensor mean_of(size_t index, const Params& stored) const;

  const StochasticOptions options_;
  const EditSpec& inner_;
  const size_t num_derived_;        // of one expert
  std::set<std::string> names_;     // of trained banks
  std::vector<OneTensor> tensors_;  // of one expert
  int64_t apart_ = 0;               // how many are kept apart
  size_t first_score_ = 0;
};

// The names of the banks that an edit has; "" among them where a trained tensor is in none.
std::set<std::string> banks_of(const EditSpec& spec);

}  // namespace graft
