// A stochastic mixture: M experts of one edit, one of them drawn for each pass; at the end their
// mean.
//
// Wang et al. 2022, "AdaMix" (arXiv:2205.12410), sec. 3, as in the released code. The tensors of a
// site lie in banks (the two projections of an adapter or of LoRA). A bank is shared (one member)
// or kept apart (M members). A pass draws one member of each bank, uniformly and independently;
// merged, every bank is the arithmetic mean of its members:
//   drawn:   y' = edit(y; down_i, up_j),  i, j ~ Uniform{0..M-1}
//   merged:  y' = edit(y; mean_i down_i, mean_j up_j)
// The mean is that of the stored tensors; what the edit derives from them is derived once, from the
// mean.
#include "edit/stochastic.h"

#include <ATen/ops/stack.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "edit/registry.h"

namespace graft {

int64_t drawn_expert(RandomKey route, std::string_view site, std::string_view bank,
                     int64_t experts) {
  return static_cast<int64_t>(
      Random(route.with(site).with(bank)).below(static_cast<uint64_t>(experts)));
}

namespace {

using at::Tensor;

constexpr const char* kShared =
    "shared";  // the parts of a mixture's names: shared/<param>, expert.2/<param>
constexpr const char* kExpert = "expert.";

std::string part_of(int64_t expert) { return kExpert + std::to_string(expert); }

enum class ExpertsInit { kIndependent, kCopies };
constexpr Name<ExpertsInit> kExpertsInits[] = {{ExpertsInit::kIndependent, "independent"},
                                               {ExpertsInit::kCopies, "copies"}};

struct StochasticOptions {
  int64_t experts = 4;
  std::vector<std::string> share = {};
  ExpertsInit init = ExpertsInit::kIndependent;

  void visit(OptionVisitor& v) {
    v.integer("experts", experts, {1, 1024}, "number M of experts");
    v.texts("share", share,
            {"banks of tensors that all experts share, such as up, the second projection",
             "[up], where the edit has it"});
    v.choice("init", init, kExpertsInits, "every expert drawn anew, or all equal to the first");
  }
};

class Stochastic final : public Combinator {
 public:
  Stochastic(Options& options, std::vector<Child> children)
      : Combinator("stochastic", std::move(children)), inner_(child().edit->spec()) {
    std::set<std::string> banks;
    const ParamSpec* of_all_sites = nullptr;
    for (const ParamSpec& param : inner_.params) {
      if (param.role != Role::kTrained) continue;
      if (!param.site && of_all_sites == nullptr) of_all_sites = &param;
      if (param.bank.empty()) has_unnamed_bank_ = true;
      else banks.insert(param.bank);
    }
    StochasticOptions defaults;
    if (banks.contains("up")) defaults.share = {"up"};
    options_ = read_options(options, defaults);
    if (of_all_sites != nullptr) {
      options.fault("", "an expert belongs to a site, but '" + of_all_sites->name + "' of " +
                            child().kind + " serves all of its sites");
      return;
    }
    check_share(options, banks);
    // What is not trained is what the trained tensors are relative to: their mean has a meaning
    // only if all have the same.
    for (const ParamSpec& param : inner_.params)
      members_.push_back({param.site ? to_name(*param.site) : "", param.bank,
                          param.role != Role::kTrained || is_shared(param.bank)});
    declare_experts();
  }

  // independent: every expert drawn anew (released code for classification); copies: all equal the
  // first (released code for LoRA, where different routes are all that tells them apart).
  TensorList init(const Weights& weights, RandomKey key) const override {
    TensorList out(spec().params.size());
    for (int64_t expert = -1; expert < options_.experts; ++expert) {
      const RandomKey own = options_.init == ExpertsInit::kCopies
                                ? key.with("copies")
                                : key.with(static_cast<uint64_t>(expert + 1));
      const TensorList values = child().edit->init(weights, own);
      for (size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].is_shared == (expert < 0)) out[stored_as(i, expert)] = values[param_at(i)];
      }
    }
    return out;
  }

  // The mean as the child derives it, or as much for every expert.
  TensorList derive(const Params& stored, const Weights& weights, Experts experts) const override {
    TensorList out(num_derived());
    if (experts == Experts::kMerged) {
      const TensorList mean = merged(stored),
                       derived = child().edit->derive(Params(mean), weights, experts);
      for (size_t i = 0; i < derived.size(); ++i) out[param_at(i)] = derived[param_at(i)];
      return out;
    }
    ensure(child().edit->num_derived() == members_.size() || has_unnamed_bank_,
           "what an expert derives from several banks cannot be drawn bank by bank");
    for (int64_t expert = 0; expert < options_.experts; ++expert) {
      const Params own = stored.through([this, expert](int32_t number) {
        return stored_as(static_cast<size_t>(number), expert).number;
      });
      const TensorList derived = child().edit->derive(own, weights, experts);
      for (size_t i = 0; i < derived.size(); ++i) {
        if (expert == 0 || !is_shared_member(i))
          out[derived_as(i, expert)] = derived[param_at(i)];  // what is shared: once
      }
    }
    return out;
  }
  size_t num_derived() const override {
    return child().edit->num_derived() * static_cast<size_t>(1 + options_.experts);
  }

  Change change(const Params& derived, const SiteView& view, const Tensor& input,
                const Weight& weight, Context& context) const override {
    Context inner = context_of(0, context);
    return child().edit->change(one_edit(derived, view.site, context), view, input, weight, inner);
  }

  std::optional<LanePrefix> prefix(const Params& derived, const SiteView& view,
                                   const Weight& weight, Context& context) const override {
    Context inner = context_of(0, context);
    return child().edit->prefix(one_edit(derived, view.site, context), view, weight, inner);
  }

  TrunkTensors rewrite(const Params& derived, const Weights& weights) const override {
    bool has_mean = false;
    for (size_t i = 0; i < members_.size(); ++i) has_mean |= derived.has(param_at(i));
    ensure(has_mean, "only the mean of the experts can be folded");
    return child().edit->rewrite(derived, weights);
  }

  std::optional<Flattened> flattened(const Params&) const override { return std::nullopt; }

 protected:
  Node describe_options() const override { return options_node(options_); }

 private:
  struct Member {
    std::string site, bank;  // its site's name: a draw is a function of it
    bool is_shared = false;
    int32_t first = 0;  // its number among the mixture's params, of the first expert
  };

  void check_share(Options& options, const std::set<std::string>& banks) const {
    for (const std::string& bank : options_.share) {
      if (banks.contains(bank)) continue;
      const std::vector<std::string> known(banks.begin(), banks.end());
      options.fault("share", child().kind + " has no bank " + quote(bank) +
                                 (banks.empty() ? ": all of its tensors are exchanged together"
                                                : ": expected " + joined(known, "or")));
    }
    const bool is_choice =
        std::any_of(inner_.params.begin(), inner_.params.end(), [&](const ParamSpec& param) {
          return param.role == Role::kTrained && !is_shared(param.bank);
        });
    if (!is_choice)
      options.fault("share",
                    "every bank of " + child().kind + " is shared: nothing is left to choose");
  }

  // The shared members first, then those of every expert.
  void declare_experts() {
    spec_.sites = inner_.sites;
    spec_.traits = inner_.traits;
    spec_.traits.is_stochastic = true;
    for (int64_t expert = -1; expert < options_.experts; ++expert) {
      for (size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].is_shared != (expert < 0)) continue;
        ParamSpec param = inner_.params[i];
        param.name = (expert < 0 ? kShared : part_of(expert)) + "/" + param.name;
        if (expert >= 0) param.expert = expert;
        if (param.use == ParamUse::kOther) param.use = ParamUse::kExpert;
        const ParamId id = declare(std::move(param));
        if (expert <= 0) members_[i].first = id.number;
      }
    }
    own_members_ = std::count_if(members_.begin(), members_.end(),
                                 [](const Member& member) { return !member.is_shared; });
  }

  bool is_shared(const std::string& bank) const {
    return std::find(options_.share.begin(), options_.share.end(), bank) != options_.share.end();
  }

  // What the child only derives is made of the one bank that has no name.
  bool is_shared_member(size_t index) const {
    return index < members_.size() && members_[index].is_shared;
  }

  // Where expert `expert` keeps the tensor that has the number `index` in the child: in files,
  ParamId stored_as(size_t index, int64_t expert) const {
    const Member& own = members_[index];
    return {own.first + (own.is_shared ? 0 : static_cast<int32_t>(expert * own_members_))};
  }
  // and derived, behind the mean.
  ParamId derived_as(size_t index, int64_t expert) const {
    const int64_t block = is_shared_member(index) ? 1 : 1 + expert;
    return {static_cast<int32_t>(block * static_cast<int64_t>(child().edit->num_derived())) +
            static_cast<int32_t>(index)};
  }

  // The mean of every bank, as the params of one edit.
  TensorList merged(const Params& stored) const {
    TensorList out(members_.size());
    for (size_t i = 0; i < members_.size(); ++i) {
      if (members_[i].is_shared) {
        out[param_at(i)] = stored[stored_as(i, 0)];
        continue;
      }
      std::vector<Tensor> experts;
      for (int64_t expert = 0; expert < options_.experts; ++expert)
        experts.push_back(stored[stored_as(i, expert)]);
      out[param_at(i)] = at::stack(experts).mean(0);
    }
    return out;
  }

  // The derived tensors of one edit: the mean, or the members that the context's route draws.
  Params one_edit(const Params& derived, const Site& site, const Context& context) const {
    if (context.experts == Experts::kMerged) return derived;
    ensure(context.fixed_expert.value_or(0) < options_.experts, "an expert that the mixture has");
    return derived.through(
        [this, &site, route = context.route, fixed = context.fixed_expert](int32_t number) {
          const auto index = static_cast<size_t>(number);
          return derived_as(index, is_shared_member(index) ? 0
                                   : fixed                 ? *fixed
                                                           : drawn_for(index, site, route))
              .number;
        });
  }

  // What the child only derives is drawn by its site alone.
  int64_t drawn_for(size_t index, const Site& site, RandomKey route) const {
    if (index >= members_.size()) return drawn_expert(route, site.name, "", options_.experts);
    const Member& own = members_[index];
    return drawn_expert(route, own.site, own.bank, options_.experts);
  }

  StochasticOptions options_;
  const EditSpec& inner_;          // of one expert
  std::vector<Member> members_;    // by the child's numbers
  int64_t own_members_ = 0;        // of every expert
  bool has_unnamed_bank_ = false;  // what the child derives under new names is made of its tensors
};

}  // namespace

std::string name_without_members(const std::string& name) {
  std::string out;
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string step = name.substr(begin, end - begin);
    const bool is_member = end < name.size() && (step == kShared || step.starts_with(kExpert));
    if (!is_member) out += name.substr(begin, end - begin + 1);
    begin = end + 1;
  }
  return out;
}

const Method kStochastic = {
    .name = "stochastic",
    .about = "experts of one edit, one of them drawn for each pass; afterwards their mean",
    .options = [] { return option_rows(StochasticOptions{}); },
    .nesting = {nullptr, kChoosesExperts, kChoosesExperts},
    .make_around = [](Options& options, const EditTarget&,
                      std::vector<Child> children) -> std::unique_ptr<Edit> {
      return std::make_unique<Stochastic>(options, std::move(children));
    },
    .refusal = &Nesting::no_stochastic};

}  // namespace graft
