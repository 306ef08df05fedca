// A stochastic mixture: M experts of one edit, one of them drawn for each pass; at the end their mean.
//
// Wang et al. 2022, "AdaMix" (arXiv:2205.12410), sec. 3, as in the released code. The tensors of a site lie in banks (the two
// projections of an adapter or of LoRA). A bank is shared (one member) or kept apart (M members). A pass draws one member of each
// bank, uniformly and independently; merged, every bank is the arithmetic mean of its members:
//   drawn:  y' = edit(y; down_i, up_j),  i, j ~ Uniform{0..M-1}        merged:  y' = edit(y; mean_i down_i, mean_j up_j)
// The mean is that of the stored tensors; what the edit derives from them is derived once, from the mean.
#include "edit/stochastic.h"

#include <ATen/ops/stack.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "edit/registry.h"

namespace graft {

int64_t drawn_expert(RandomKey route, const std::string& site, const std::string& bank, int64_t experts) {
  return static_cast<int64_t>(Random(route.with(site).with(bank)).below(static_cast<uint64_t>(experts)));
}

namespace {

using at::Tensor;

constexpr const char* kShared = "shared";  // the parts of a mixture's names: shared/<param>, expert.2/<param>; merged: of/<param>
constexpr const char* kMean = "of";

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
    experts_ = options_.experts;
    share_ = options_.share;
    initial_ = options_.init;
    if (of_all_sites != nullptr) {
      options.fault("", "an expert belongs to a site, but '" + of_all_sites->name + "' of " +
                            child().kind + " serves all of its sites");
      return;
    }
    check_share(options, banks);
    // A buffer is what the trained tensors are relative to: their mean has a meaning only if all have the same.
    for (const ParamSpec& param : inner_.params)
      members_[param.name] = {param.site ? to_name(*param.site) : "", param.bank, param.role == Role::kBuffer || is_shared(param.bank)};
    declare(made_spec());
  }

  // independent: every expert drawn anew (released code for classification); copies: all equal the first (released code for LoRA,
  // where different routes are all that tells them apart).
  NamedTensors init(const Weights& weights, RandomKey key) const override {
    NamedTensors out;
    for (int64_t expert = -1; expert < experts_; ++expert) {
      const RandomKey own = initial_ == ExpertsInit::kCopies
                                ? key.with("copies")
                                : key.with(static_cast<uint64_t>(expert + 1));
      for (const auto& [name, tensor] : child().edit->init(weights, own)) {
        if (members_.at(name).is_shared == (expert < 0)) out[(expert < 0 ? kShared : part_of(expert)) + "/" + name] = tensor;
      }
    }
    return out;
  }

  NamedTensors derive(const Params& stored, const Weights& weights, Experts experts) const override {
    if (experts == Experts::kMerged) {
      const NamedTensors mean = merged(stored);
      return tensors_below(kMean, child().edit->derive(Params(mean, ""), weights, experts));
    }
    NamedTensors out;
    for (int64_t expert = 0; expert < experts_; ++expert) {
      const Params own = stored.through([this, expert](const std::string& name) { return member(name, expert); });
      for (const auto& [name, tensor] : child().edit->derive(own, weights, experts)) {
        ensure(members_.contains(name) || has_unnamed_bank_,
               "what an expert derives from several banks cannot be drawn bank by bank");
        out.emplace(member(name, expert), tensor);  // what is made of a shared bank: once
      }
    }
    return out;
  }

  Change change(const Params& derived, const SiteView& view, const Tensor& input, const Weight& weight,
                Context& context) const override {
    Context inner = context_below(kMean, context);
    return child().edit->change(one_edit(derived, view.site, context), view, input, weight, inner);
  }

  std::optional<LanePrefix> prefix(const Params& derived, const SiteView& view, const Weight& weight,
                                   Context& context) const override {
    Context inner = context_below(kMean, context);
    return child().edit->prefix(one_edit(derived, view.site, context), view, weight, inner);
  }

  TrunkTensors rewrite(const Params& derived, const Weights& weights) const override {
    ensure(derived.has_below(kMean), "only the mean of the experts can be folded");
    return child().edit->rewrite(derived.below(kMean), weights);
  }

  std::optional<Flattened> flattened(const Params&) const override { return std::nullopt; }

 protected:
  Node describe_options() const override { return options_node(options_); }

 private:
  struct Member {
    std::string site, bank;
    bool is_shared = false;
  };

  void check_share(Options& options, const std::set<std::string>& banks) const {
    for (const std::string& bank : share_) {
      if (banks.contains(bank)) continue;
      const std::vector<std::string> known(banks.begin(), banks.end());
      options.fault("share",
                    child().kind + " has no bank " + quote(bank) +
                        (banks.empty() ? ": all of its tensors are exchanged together" : ": expected " + joined(known, "or")));
    }
    const bool is_choice = std::any_of(inner_.params.begin(), inner_.params.end(), [&](const ParamSpec& param) {
      return param.role == Role::kTrained && !is_shared(param.bank);
    });
    if (!is_choice) options.fault("share", "every bank of " + child().kind + " is shared: nothing is left to choose");
  }

  EditSpec made_spec() const {
    EditSpec spec = inner_;
    spec.params.clear();
    spec.traits.is_stochastic = true;
    for (int64_t expert = -1; expert < experts_; ++expert) {  // the shared members first
      for (ParamSpec param : inner_.params) {
        if (members_.at(param.name).is_shared != (expert < 0)) continue;
        param.name = (expert < 0 ? kShared : part_of(expert)) + "/" + param.name;
        if (expert >= 0) param.expert = expert;
        if (param.use == ParamUse::kOther) param.use = ParamUse::kExpert;
        spec.params.push_back(std::move(param));
      }
    }
    return spec;
  }

  bool is_shared(const std::string& bank) const { return std::find(share_.begin(), share_.end(), bank) != share_.end(); }

  // Where expert `expert` keeps what the child calls `name`. A name that no param has is made of the one bank that has no name.
  std::string member(const std::string& name, int64_t expert) const {
    const auto found = members_.find(name);
    return (found != members_.end() && found->second.is_shared ? kShared : part_of(expert)) + "/" + name;
  }

  // The mean of every bank, as the params of one edit.
  NamedTensors merged(const Params& stored) const {
    NamedTensors out;
    for (const auto& [name, own] : members_) {
      if (own.is_shared) {
        out[name] = stored.below(kShared).at(name);
        continue;
      }
      std::vector<Tensor> experts;
      for (int64_t expert = 0; expert < experts_; ++expert) experts.push_back(stored.below(part_of(expert)).at(name));
      out[name] = at::stack(experts).mean(0);
    }
    return out;
  }

  // The derived tensors of one edit: the mean, or the members that the context's route draws.
  Params one_edit(const Params& derived, const Site& site, const Context& context) const {
    if (derived.has_below(kMean)) return derived.below(kMean);
    ensure(context.fixed_expert.value_or(0) < experts_, "an expert that the mixture has");
    return derived.through(
        [this, site = site.name, route = context.route, fixed = context.fixed_expert](const std::string& name) {
          const auto found = members_.find(name);
          const Member own = found != members_.end() ? found->second : Member{site, ""};
          return member(name, own.is_shared ? 0 : fixed ? *fixed : drawn_expert(route, own.site, own.bank, experts_));
        });
  }

  StochasticOptions options_;
  int64_t experts_ = 0;
  std::vector<std::string> share_;
  ExpertsInit initial_ = ExpertsInit::kIndependent;
  const EditSpec& inner_;                  // of one expert
  std::map<std::string, Member> members_;  // by the child's name
  bool has_unnamed_bank_ = false;          // what the child derives under new names is made of its tensors
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
