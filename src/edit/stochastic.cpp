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
// mean. With learned scores s of a bank nothing is drawn: the edit is always that of
// sum_i softmax(s)_i down_i (the released code's `expert_weight_tune`). Departs: each bank has
// scores of its own; released LoRA has one vector a layer for both of its banks.
#include "edit/stochastic.h"
#include "edit/combinator.h"

#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/error.h"
#include "base/spelling.h"
#include "edit/initial.h"
#include "edit/registry.h"
#include "edit/stochastic_options.h"

namespace graft {

int64_t drawn_expert(RandomKey route, std::string_view place, std::string_view bank,
                     int64_t experts) {
  return static_cast<int64_t>(
      Random(route.with(place).with(bank)).below(static_cast<uint64_t>(experts)));
}

int64_t drawn_other_expert(RandomKey route, RandomKey first, std::string_view place,
                           std::string_view bank, int64_t experts) {
  const int64_t taken = drawn_expert(first, place, bank, experts),
                drawn = drawn_expert(route, place, bank, experts - 1);
  return drawn + (drawn < taken ? 0 : 1);
}

namespace {

using at::Tensor;

// The parts of a mixture's names: shared/<param>, expert.2/<param>.
constexpr const char* kShared = "shared";
constexpr const char* kExpert = "expert.";

std::string part_of(int64_t expert) { return kExpert + std::to_string(expert); }

class Stochastic final : public Combinator {
 public:
  Stochastic(Options& options, EditList children)
      : Combinator(std::move(children)), inner_(child().spec()) {
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
                            child().method() + " serves all of its sites");
      return;
    }
    check_share(options, banks);
    // What is not trained is what the trained tensors are relative to: their mean has a meaning
    // only if all have the same.
    for (const ParamSpec& param : inner_.params)
      members_.push_back({param.site ? drawing_place(*param.site) : "", param.bank,
                          param.role != Role::kTrained || is_shared(param.bank)});
    declare_experts();
    if (is_learned()) declare_scores();
  }

  std::string method() const override { return kStochastic.name; }
  Node describe_options() const override { return options_node(options_); }

  // independent: every expert drawn anew (released code for classification); copies: all equal the
  // first (released code for LoRA, where different routes are all that tells them apart);
  // layer_copies: so do those of all layers, since released code copies one block.
  TensorList init(const Weights& weights, RandomKey key) const override {
    TensorList out(spec().params.size());
    for (int64_t expert = -1; expert < options_.experts; ++expert) {
      const RandomKey own = options_.init == ExpertsInit::kIndependent
                                ? key.with(static_cast<uint64_t>(expert + 1))
                                : key.with("copies");
      TensorList values = child().init(weights, own);
      if (options_.init == ExpertsInit::kLayerCopies) copy_to_layers(values);
      for (size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].is_shared == (expert < 0)) out[stored_as(i, expert)] = values[param_at(i)];
      }
    }
    for (size_t i = first_score_; i < spec().params.size(); ++i)
      out[param_at(i)] = spec().params[i].initial_value(weights, key);
    return out;
  }

  // The mean as the child derives it, or as much for every expert.
  TensorList derive(const Params& stored, const Weights& weights, Experts experts) const override {
    TensorList out(num_derived());
    if (experts == Experts::kMerged || is_learned()) {
      const TensorList mean = merged(stored),
                       derived = child().derive(Params(mean), weights, experts);
      for (size_t i = 0; i < derived.size(); ++i) out[param_at(i)] = derived[param_at(i)];
      return out;
    }
    ensure(child().num_derived() == members_.size() || has_unnamed_bank_,
           "what an expert derives from several banks cannot be drawn bank by bank");
    for (int64_t expert = 0; expert < options_.experts; ++expert) {
      const Params own = stored.through([this, expert](int32_t number) {
        return stored_as(static_cast<size_t>(number), expert).number;
      });
      const TensorList derived = child().derive(own, weights, experts);
      for (size_t i = 0; i < derived.size(); ++i) {
        if (expert == 0 || !is_shared_member(i))
          out[derived_as(i, expert)] = derived[param_at(i)];  // what is shared: once
      }
    }
    return out;
  }
  size_t num_derived() const override {
    return child().num_derived() * static_cast<size_t>(1 + options_.experts);
  }

  Change change(const Params& derived, const SiteView& view, const Tensor& input,
                const Weight& weight, const Context& context) const override {
    if (draws_by_row(context)) return change_by_row(derived, view, input, weight, context);
    Change out = child().change(one_edit(derived, view.site, context), view, input, weight,
                                context_of(0, context));
    out.side = merged_side(noted(view.site, context), 0, std::move(out.side));
    return out;
  }

  std::optional<PrefixRows> prefix(const Params& derived, const SiteView& view,
                                   const Weight& weight, const Context& context) const override {
    if (draws_by_row(context))
      throw InputError(
          "routes of their own for texts or tokens cannot choose among prefixes, which stand "
          "before all texts of a pass alike: give " +
          option_name("route_unit") + " all");
    std::optional<PrefixRows> out =
        child().prefix(one_edit(derived, view.site, context), view, weight, context_of(0, context));
    if (out) out->side = merged_side(noted(view.site, context), 0, std::move(out->side));
    return out;
  }

  TrunkTensors rewrite(const Params& derived, const Weights& weights) const override {
    check_is_mean(derived);
    return child().rewrite(derived, weights);
  }
  TrunkTensors rewrite_readers(const Params& derived, const Weights& weights) const override {
    check_is_mean(derived);
    return child().rewrite_readers(derived, weights);
  }

  std::optional<Flattened> flattened(const Params&) const override { return std::nullopt; }
  TensorList averaged(const Params& stored) const override {
    const TensorList mean = merged(stored);
    return child().averaged(Params(mean));
  }

 private:
  struct Member {
    std::string place, bank;  // who draws: a draw is a function of it
    bool is_shared = false;
    int32_t first = 0;    // its number among the mixture's params, of the first expert
    ParamId scores = {};  // that weigh its experts, where they are learned
  };

  bool is_learned() const { return options_.scores == Scores::kLearned; }

  void check_is_mean(const Params& derived) const {
    bool has_mean = false;
    for (size_t i = 0; i < members_.size(); ++i) has_mean |= derived.has(param_at(i));
    ensure(has_mean, "only the mean of the experts can be folded");
  }

  // Its site, or its layer under the name of what leaves the block. What is in no layer is alone.
  std::string drawing_place(Place at) const {
    if (options_.couple == Couple::kLayer && at.layer >= 0) at.part = Part::kOut;
    return to_name(at);
  }

  void check_share(Options& options, const std::set<std::string>& banks) const {
    for (const std::string& bank : options_.share) {
      if (banks.contains(bank)) continue;
      const std::vector<std::string> known(banks.begin(), banks.end());
      options.fault("share", child().method() + " has no bank " + quote(bank) +
                                 (banks.empty() ? ": all of its tensors are exchanged together"
                                                : ": expected " + joined(known, "or")));
    }
    const bool is_choice =
        std::any_of(inner_.params.begin(), inner_.params.end(), [&](const ParamSpec& param) {
          return param.role == Role::kTrained && !is_shared(param.bank);
        });
    if (!is_choice)
      options.fault("share",
                    "every bank of " + child().method() + " is shared: nothing is left to choose");
    if (options_.second_pass == SecondPass::kOther && options_.experts < 2)
      options.fault("second_pass", "other needs at least two experts");
    if (options_.second_pass == SecondPass::kOther && is_learned())
      options.fault("second_pass", "with learned scores nothing is drawn: leave it out");
  }

  // The shared members first, then those of every expert.
  void declare_experts() {
    spec_.sites = inner_.sites;
    spec_.claims = inner_.claims;
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
    first_score_ = spec_.params.size();
  }

  // One vector for each bank of each place; they stand at its first site, and start equal.
  void declare_scores() {
    spec_.traits.is_stochastic = false;
    std::map<std::pair<std::string, std::string>, ParamId> scores;
    for (size_t i = 0; i < members_.size(); ++i) {
      Member& own = members_[i];
      if (own.is_shared) continue;
      ParamId& id = scores[{own.place, own.bank}];
      if (id.number < 0)
        id = declare({.name = to_name(*inner_.params[i].site) + ".scores" +
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

  // A tensor of a later layer starts as that of the first layer in which it has the same name, but
  // for those that are made of their own layer (DoRA's magnitudes).
  void copy_to_layers(TensorList& values) const {
    std::map<std::tuple<StackId, Part, std::string>, size_t> firsts;
    for (size_t i = 0; i < inner_.params.size(); ++i) {
      const ParamSpec& param = inner_.params[i];
      if (!param.site || param.site->layer < 0 || !param.initial) continue;
      std::string tensor = param.name;
      const std::string site = to_name(*param.site);
      tensor.erase(tensor.find(site), site.size());
      const size_t first =
          firsts.try_emplace({param.site->stack, param.site->part, tensor}, i).first->second;
      if (inner_.params[first].shape == param.shape)
        values[param_at(i)] = values[param_at(first)].clone();
    }
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
    return {static_cast<int32_t>(block * static_cast<int64_t>(child().num_derived())) +
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
      const Tensor all = at::stack(experts);
      if (!is_learned()) {
        out[param_at(i)] = all.mean(0);
        continue;
      }
      std::vector<int64_t> by_expert(static_cast<size_t>(all.dim()), 1);
      by_expert.front() = options_.experts;
      const Tensor shares = at::softmax(stored[members_[i].scores], 0).view(by_expert);
      out[param_at(i)] = (all * shares).sum(0);
    }
    return out;
  }

  // The derived tensors of one edit: the mean, or the members that the context's route draws.
  Params one_edit(const Params& derived, const Site& site, const Context& context) const {
    if (context.experts == Experts::kMerged || is_learned()) return derived;
    ensure(context.fixed_expert.value_or(0) < options_.experts, "an expert that the mixture has");
    return derived.through([this, place = drawing_place(site), &context](int32_t number) {
      const auto index = static_cast<size_t>(number);
      return derived_as(index, is_shared_member(index) ? 0
                               : context.fixed_expert  ? *context.fixed_expert
                                                       : drawn(context, place, bank_of(index)))
          .number;
    });
  }

  // What the child only derives has no bank.
  std::string bank_of(size_t index) const {
    return index < members_.size() ? members_[index].bank : "";
  }

  int64_t drawn(const Context& context, const std::string& place, const std::string& bank) const {
    return options_.second_pass == SecondPass::kOther && context.first_route
               ? drawn_other_expert(context.route, *context.first_route, place, bank,
                                    options_.experts)
               : drawn_expert(context.route, place, bank, options_.experts);
  }

  // The experts that are drawn at a site, if they are asked for.
  SideOutputs noted(const Site& site, const Context& context) const {
    SideOutputs out;
    if (!context.keeps_drawn || context.experts == Experts::kMerged || is_learned()) return out;
    const std::string place = drawing_place(site);
    for (const std::string& bank : banks_at(site)) {
      const int64_t expert = context.fixed_expert.value_or(drawn(context, place, bank));
      out.drawn.push_back({place + (bank.empty() ? "" : " " + bank), expert});
    }
    return out;
  }

  bool draws_by_row(const Context& context) const {
    return context.route_unit != RouteUnit::kPass && context.experts == Experts::kApart &&
           !is_learned() && !context.fixed_expert;
  }

  // Banks whose members act at a site.
  std::vector<std::string> banks_at(const Site& site) const {
    std::set<std::string> banks;
    if (has_unnamed_bank_) banks.insert("");
    for (size_t i = 0; i < members_.size(); ++i) {
      if (!members_[i].is_shared && inner_.params[i].site == std::optional<Place>(site))
        banks.insert(members_[i].bank);
    }
    return {banks.begin(), banks.end()};
  }

  // Every text or token draws for itself, by its example and position. All experts that somebody
  // drew answer all rows, as in released code, and each row takes the y' of its own.
  Change change_by_row(const Params& derived, const SiteView& view, const Tensor& input,
                       const Weight& weight, const Context& context) const {
    ensure(!context.is_training, "a run draws once a pass");
    const std::vector<std::string> banks = banks_at(view.site);
    std::map<std::vector<int64_t>, std::vector<int64_t>> rows_of;  // the drawn, by bank
    const std::string place = drawing_place(view.site);
    const RowIds& ids = *view.pack.rows;
    for (int64_t row = 0; row < view.y.size(0); ++row) {
      const auto at = static_cast<size_t>(view.lane.first_row + row);
      Context own = context;
      own.route = own.route.with(static_cast<uint64_t>(ids.example[at]));
      if (context.route_unit == RouteUnit::kToken)
        own.route = own.route.with(static_cast<uint64_t>(ids.position[at]));
      std::vector<int64_t> members;
      for (const std::string& bank : banks) members.push_back(drawn(own, place, bank));
      rows_of[members].push_back(row);
    }
    Tensor out = view.y.clone();
    SideOutputs side;
    for (const auto& [members, rows] : rows_of) {
      const Params own = derived.through([&, &members = members](int32_t number) {
        const auto index = static_cast<size_t>(number);
        const auto bank = std::find(banks.begin(), banks.end(), bank_of(index)) - banks.begin();
        return derived_as(index,
                          is_shared_member(index) ? 0 : members.at(static_cast<size_t>(bank)))
            .number;
      });
      Change change = child().change(own, view, input, weight, context_of(0, context));
      const Tensor changed = apply_change(view.y, change);
      // All experts record by the same names.
      if (&members == &rows_of.begin()->first) side = merged_side({}, 0, std::move(change.side));
      const Tensor index = at::tensor(rows, at::kLong);
      out.index_copy_(0, index, changed.index_select(0, index));
    }
    const Tensor none =
        at::zeros({1}, view.y.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    return {.mul = none, .add = out, .side = std::move(side)};  // y' as a whole
  }

  StochasticOptions options_;
  const EditSpec& inner_;          // of one expert
  std::vector<Member> members_;    // by the child's numbers
  int64_t own_members_ = 0;        // of every expert
  size_t first_score_ = 0;         // the number of its param; as many as there are without scores
  bool has_unnamed_bank_ = false;  // what the child derives under new names is made of its tensors
};

}  // namespace

const Method kStochastic = {
    .name = "stochastic",
    .about = "experts of one edit, one of them drawn for each pass; afterwards their mean",
    .options = [] { return option_rows(StochasticOptions{}); },
    .nesting = {nullptr, kChoosesExperts, kChoosesExperts},
    .make_around = [](Options& options, const EditTarget&,
                      EditList children) -> std::unique_ptr<Edit> {
      return std::make_unique<Stochastic>(options, std::move(children));
    },
    .refusal = &Nesting::no_stochastic};

}  // namespace graft
