#include "edit/expert_banks.h"

#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <map>
#include <utility>

#include "edit/initial.h"

namespace graft {

namespace {

using at::Tensor;

// The parts of a mixture's names: shared/<param>, expert.2/<param>.
constexpr const char* kShared = "shared";
constexpr const char* kExpert = "expert.";

std::string part_of(int64_t expert) { return kExpert + std::to_string(expert); }

}  // namespace

std::set<std::string> banks_of(const EditSpec& spec) {
  std::set<std::string> names;
  for (const ParamSpec& param : spec.params) {
    if (param.role == Role::kTrained) names.insert(param.bank);
  }
  return names;
}

// What is not trained is what the trained tensors are relative to: their mean has a meaning only if
// all experts have the same.
ExpertBanks::ExpertBanks(const Edit& expert, const StochasticOptions& options)
    : options_(options),
      inner_(expert.spec()),
      num_derived_(expert.num_derived()),
      names_(banks_of(inner_)) {
  const auto is_listed = [&](const std::string& bank) {
    return std::find(options_.share.begin(), options_.share.end(), bank) != options_.share.end();
  };
  for (const ParamSpec& param : inner_.params)
    tensors_.push_back({param.site ? place_of(*param.site) : "", param.bank,
                        param.role != Role::kTrained || is_listed(param.bank)});
  apart_ = std::count_if(tensors_.begin(), tensors_.end(),
                         [](const OneTensor& tensor) { return !tensor.is_shared; });
}

void ExpertBanks::declare(const std::function<ParamId(ParamSpec)>& add) {
  size_t count = 0;
  for (int64_t expert = -1; expert < options_.experts; ++expert) {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].is_shared != (expert < 0)) continue;
      ParamSpec param = inner_.params[i];
      param.name = (expert < 0 ? kShared : part_of(expert)) + "/" + param.name;
      if (expert >= 0) param.expert = expert;
      if (param.use == ParamUse::kOther) param.use = ParamUse::kExpert;
      const ParamId id = add(std::move(param));
      if (expert <= 0) tensors_[i].first = id.number;
      ++count;
    }
  }
  first_score_ = count;
  if (options_.scores == Scores::kLearned) declare_scores(add);
}

// A vector of scores stands at the first site of its place, and its values start equal.
void ExpertBanks::declare_scores(const std::function<ParamId(ParamSpec)>& add) {
  std::map<std::pair<std::string, std::string>, ParamId> scores;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    OneTensor& own = tensors_[i];
    if (own.is_shared) continue;
    ParamId& id = scores[{own.place, own.bank}];
    if (id.number < 0)
      id = add({.name = to_name(*inner_.params[i].site) + ".scores" +
                        (own.bank.empty() ? "" : "." + own.bank),
                .shape = {options_.experts},
                .site = inner_.params[i].site,
                .is_wide = true,
                .use = ParamUse::kRouter,
                .cost = Cost{},
                .initial = zeros()});
    own.scores = id;
  }
}

bool ExpertBanks::has_choice() const { return apart_ > 0; }

std::string ExpertBanks::place_of(Place at) const {
  if (options_.couple == Couple::kLayer && at.layer >= 0) at.part = Part::kOut;
  return to_name(at);
}

std::vector<std::string> ExpertBanks::drawn_at(const Site& site) const {
  std::set<std::string> banks;
  if (has_unnamed()) banks.insert("");
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!tensors_[i].is_shared && inner_.params[i].site == std::optional<Place>(site))
      banks.insert(tensors_[i].bank);
  }
  return {banks.begin(), banks.end()};
}

ParamId ExpertBanks::stored_as(size_t index, int64_t expert) const {
  const OneTensor& own = tensors_[index];
  return {own.first + (own.is_shared ? 0 : static_cast<int32_t>(expert * apart_))};
}

ParamId ExpertBanks::derived_as(size_t index, int64_t expert) const {
  const int64_t block = is_shared(index) ? 1 : 1 + expert;
  return {static_cast<int32_t>(block * static_cast<int64_t>(num_derived_)) +
          static_cast<int32_t>(index)};
}

Tensor ExpertBanks::mean_of(size_t index, const Params& stored) const {
  if (tensors_[index].is_shared) return stored[stored_as(index, 0)];
  std::vector<Tensor> experts;
  for (int64_t expert = 0; expert < options_.experts; ++expert)
    experts.push_back(stored[stored_as(index, expert)]);
  const Tensor all = at::stack(experts);
  if (options_.scores == Scores::kEven) return all.mean(0);
  std::vector<int64_t> by_expert(static_cast<size_t>(all.dim()), 1);
  by_expert.front() = options_.experts;
  return (all * at::softmax(stored[tensors_[index].scores], 0).view(by_expert)).sum(0);
}

TensorList ExpertBanks::mean(const Params& stored) const {
  TensorList out(size());
  for (size_t i = 0; i < size(); ++i) out[param_at(i)] = mean_of(i, stored);
  return out;
}

}  // namespace graft
