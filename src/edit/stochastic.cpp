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

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "base/error.h"
#include "base/spelling.h"
#include "edit/combinator.h"
#include "edit/expert_banks.h"
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

class Stochastic final : public Combinator {
 public:
  Stochastic(Options& options, EditList children)
      : Combinator(std::move(children)), inner_(child().spec()) {
    StochasticOptions defaults;
    if (banks_of(inner_).contains("up")) defaults.share = {"up"};
    options_ = read_options(options, defaults);
    for (const ParamSpec& param : inner_.params) {
      if (param.role != Role::kTrained || param.site) continue;
      options.fault("", "an expert belongs to a site, but '" + param.name + "' of " +
                            child().method() + " serves all of its sites");
      return;
    }
    banks_.emplace(child(), options_);
    check_share(options);
    check_second_pass(options);
    spec_.sites = inner_.sites;
    spec_.claims = inner_.claims;
    spec_.traits = inner_.traits;
    spec_.traits.is_stochastic = !is_learned();
    banks_->declare([this](ParamSpec param) { return declare(std::move(param)); });
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
      for (size_t i = 0; i < banks_->size(); ++i) {
        if (banks_->is_shared(i) == (expert < 0))
          out[banks_->stored_as(i, expert)] = values[param_at(i)];
      }
    }
    for (size_t i = banks_->first_score(); i < spec().params.size(); ++i)
      out[param_at(i)] = spec().params[i].initial_value(weights, key);
    return out;
  }

  // The mean as the child derives it, or as much for every expert.
  TensorList derive(const Params& stored, const Weights& weights, Experts experts) const override {
    TensorList out(num_derived());
    if (experts == Experts::kMerged || is_learned()) {
      const TensorList mean = banks_->mean(stored),
                       derived = child().derive(Params(mean), weights, experts);
      for (size_t i = 0; i < derived.size(); ++i) out[param_at(i)] = derived[param_at(i)];
      return out;
    }
    ensure(child().num_derived() == banks_->size() || banks_->has_unnamed(),
           "what an expert derives from several banks cannot be drawn bank by bank");
    for (int64_t expert = 0; expert < options_.experts; ++expert) {
      const Params own = stored.through([this, expert](int32_t number) {
        return banks_->stored_as(static_cast<size_t>(number), expert).number;
      });
      const TensorList derived = child().derive(own, weights, experts);
      for (size_t i = 0; i < derived.size(); ++i) {
        if (expert == 0 || !banks_->is_shared(i))
          out[banks_->derived_as(i, expert)] = derived[param_at(i)];  // what is shared: once
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
    const TensorList mean = banks_->mean(stored);
    return child().averaged(Params(mean));
  }

 private:
  bool is_learned() const { return options_.scores == Scores::kLearned; }

  void check_is_mean(const Params& derived) const {
    bool has_mean = false;
    for (size_t i = 0; i < banks_->size(); ++i) has_mean |= derived.has(param_at(i));
    ensure(has_mean, "only the mean of the experts can be folded");
  }

  void check_share(Options& options) const {
    std::vector<std::string> known;
    for (const std::string& bank : banks_of(inner_)) {
      if (!bank.empty()) known.push_back(bank);
    }
    for (const std::string& bank : options_.share) {
      if (std::find(known.begin(), known.end(), bank) != known.end()) continue;
      options.fault("share", child().method() + " has no bank " + quote(bank) +
                                 (known.empty() ? ": all of its tensors are exchanged together"
                                                : ": expected " + joined(known, "or")));
    }
    if (!banks_->has_choice())
      options.fault("share",
                    "every bank of " + child().method() + " is shared: nothing is left to choose");
  }

  void check_second_pass(Options& options) const {
    if (options_.second_pass != SecondPass::kOther) return;
    if (options_.experts < 2) options.fault("second_pass", "other needs at least two experts");
    if (is_learned())
      options.fault("second_pass", "with learned scores nothing is drawn: leave it out");
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

  // The derived tensors of one edit: the mean, or the members that the context's route draws.
  Params one_edit(const Params& derived, const Site& site, const Context& context) const {
    if (context.experts == Experts::kMerged || is_learned()) return derived;
    ensure(context.fixed_expert.value_or(0) < options_.experts, "an expert that the mixture has");
    return derived.through([this, place = banks_->place_of(site), &context](int32_t number) {
      const auto index = static_cast<size_t>(number);
      int64_t expert = 0;
      if (!banks_->is_shared(index))
        expert = context.fixed_expert ? *context.fixed_expert
                                      : drawn(context, place, banks_->bank_of(index));
      return banks_->derived_as(index, expert).number;
    });
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
    const std::string place = banks_->place_of(site);
    for (const std::string& bank : banks_->drawn_at(site)) {
      const int64_t expert = context.fixed_expert.value_or(drawn(context, place, bank));
      out.drawn.push_back({place + (bank.empty() ? "" : " " + bank), expert});
    }
    return out;
  }

  bool draws_by_row(const Context& context) const {
    return context.route_unit != RouteUnit::kPass && context.experts == Experts::kApart &&
           !is_learned() && !context.fixed_expert;
  }

  // Every text or token draws for itself, by its example and position. All experts that somebody
  // drew answer all rows, as in released code, and each row takes the y' of its own.
  Change change_by_row(const Params& derived, const SiteView& view, const Tensor& input,
                       const Weight& weight, const Context& context) const {
    ensure(!context.is_training, "a run draws once a pass");
    const std::vector<std::string> banks = banks_->drawn_at(view.site);
    std::map<std::vector<int64_t>, std::vector<int64_t>> rows_of;  // the drawn, by bank
    const std::string place = banks_->place_of(view.site);
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
        if (banks_->is_shared(index)) return banks_->derived_as(index, 0).number;
        const auto bank = std::find(banks.begin(), banks.end(), banks_->bank_of(index));
        return banks_->derived_as(index, members.at(static_cast<size_t>(bank - banks.begin())))
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
  const EditSpec& inner_;             // of one expert
  std::optional<ExpertBanks> banks_;  // none where the options are at fault
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
