// ReFT: edits of hidden states in a learned low-rank subspace, at chosen token positions.
//
// Wu et al. 2024 (arXiv:2404.03592) sec. 3.2 and table 17. One function, three switches:
//   Phi(h) = h + P^T (s(h) - P h)
//   rotation   P has orthonormal rows (R, trained through a chart: edit/rotation.h), or is free
//   source     linear: s(h) = act(W h + b); constant: s(h) = b
//   subtract   with or without the term P h
//
//   LoReFT    rotation true,  source linear,   subtract true     eq. 2
//   NoReFT    rotation false, source linear,   subtract true
//   DiReFT    rotation false, source linear,   subtract false    eq. 3; "Nodireft" in pyreft, whose
//                                                                own "Direft" has rotation true
//   ConsReFT  rotation true,  source constant, subtract true
//   LobiReFT  rotation true,  source constant, subtract false
//
// Where texts name rows S of P, a text acts through these: h + P_S^T (s(h) - P h)_S (app. G.1).
//
// Where the source is affine in h all are h + B (A h + c) with B = P^T: A = W - P, -P, W or
// nothing, c = b. A and c are made once a step. Params per site and set of positions ("tied", or
// "prefix" and "suffix"): "<site>.<set>.chart" and ".base" [C,R], or ".projection" [R,C]; ".weight"
// [R,C]; ".bias" [R]. They compute in float32 whatever the trunk's dtype, and so does the change,
// which a bfloat16 trunk rounds once, where it is added.
// Departs: W and b are float32; released code trains them in bfloat16 without a master copy.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "edit/initial.h"
#include "edit/registry.h"
#include "edit/rotation.h"
#include "edit/sequences.h"
#include "edit/token_choice.h"
#include "tensor/fused.h"
#include "tensor/linear.h"

namespace graft {

namespace {

using at::Tensor;

using Activate = Tensor (*)(const Tensor&);

constexpr Name<Activate> kReftActivations[] = {
    {[](const Tensor& x) { return at::gelu(x); }, "gelu"},
    {[](const Tensor& x) { return at::gelu(x, "tanh"); }, "gelu_new"},
    {nullptr, "linear"},
    {[](const Tensor& x) { return at::relu(x); }, "relu"},
    {[](const Tensor& x) { return at::sigmoid(x); }, "sigmoid"},
    {[](const Tensor& x) { return at::silu(x); }, "silu"},
    {[](const Tensor& x) { return at::tanh(x); }, "tanh"},
};

enum class Source { kLinear, kConstant };
constexpr Name<Source> kSources[] = {{Source::kLinear, "linear"}, {Source::kConstant, "constant"}};

enum class DropoutOn { kChange, kOutput };
constexpr Name<DropoutOn> kDropoutPlaces[] = {{DropoutOn::kChange, "change"},
                                              {DropoutOn::kOutput, "output"}};

struct ReftOptions {
  SiteChoice where{{"enc.*.out|out"}};
  int64_t rank = 4;
  bool has_rotation = true;
  Source source = Source::kLinear;
  bool subtracts = true, has_projection_bias = false;
  Activate activation = nullptr;
  TokenChoice tokens = {};
  bool is_tied = true;
  bool decays = false;
  double dropout = 0;
  DropoutOn dropout_on = DropoutOn::kChange;
  std::vector<int64_t> subspace = {};

  void visit(OptionVisitor& v) {
    where.visit(v);
    v.integer("rank", rank, {1, 4096}, "rows R of the projection P");
    v.boolean("rotation", has_rotation, "whether P has orthonormal rows, or is free");
    v.choice("source", source, kSources, "s(h): act(W h + b), or b alone");
    v.boolean("subtract", subtracts, "whether the term P h is there");
    v.boolean("projection_bias", has_projection_bias, "a bias beside a free P: P h + c");
    v.choice("activation", activation, kReftActivations, "act of a linear source");
    tokens.visit(v);
    v.boolean("tied", is_tied, "whether first and last tokens share one set of tensors");
    v.boolean("decay", decays,
              "whether weight_decay acts on W and on a free P; pyreft decays neither");
    v.number("dropout", dropout, {0, 0.99}, "at the edited tokens");
    v.choice("dropout_on", dropout_on, kDropoutPlaces,
             "what dropout acts on: the change, or h and the change");
    v.integers("subspace", subspace, {0, 4095},
               "the rows of P that act, all or those that a text names (the task's subspace "
               "column); []: all");
  }
};

// Masks are drawn for the chosen rows of the lane.
RowDropout at_rows(RowDropout dropout, const Tensor& rows) {
  if (!rows.defined()) return dropout;
  auto ids = std::make_shared<RowIds>();
  for (int64_t i = 0; i < rows.numel(); ++i) {
    const auto row = static_cast<size_t>(rows.const_data_ptr<int64_t>()[i]);
    ids->example.push_back(dropout.rows->example[row]);
    ids->position.push_back(dropout.rows->position[row]);
  }
  dropout.rows = std::move(ids);
  return dropout;
}

class Reft final : public Edit {
 public:
  Reft(Options& options, const EditTarget& target)
      : options_(read_options_at(options, target, ReftOptions{})), config_(target.config) {
    check(options);
    declare_tensors();
    for (const Site& site : spec_.sites) spec_.claims.push_back(options_.tokens.claim(site));
  }

  std::string method() const override { return kReft.name; }
  Node describe_options() const override { return options_node(options_); }

  // Per site and set: A [R,C] and c [R] (the source, minus what is subtracted where the activation
  // lets them be one product), P and its bias where it does not, and B [C,R].
  TensorList derive(const Params& stored, const Weights& weights, Experts) const override {
    const at::ScalarType wide = weights.wide_dtype();
    TensorList out(num_derived());
    for (const Site& site : options_.where.sites) {
      for (const Set& set : sets_.at(site)) {
        const auto read = [&](ParamId id) { return chosen(stored[id].to(wide)); };
        const Tensor p =
            options_.has_rotation
                ? chosen(rotation_of(stored[set.chart].to(wide), stored[set.base].to(wide)).t())
                : read(set.projection);  // [R,C]
        Tensor a = has_linear_source() ? read(set.weight) : Tensor(), c = read(set.bias);
        const Tensor p_bias = options_.has_projection_bias ? read(set.projection_bias) : Tensor();
        if (options_.subtracts && has_one_product()) {
          a = a.defined() ? a - p : -p;
          if (p_bias.defined()) c = c - p_bias;
        } else if (options_.subtracts) {
          out[set.subtracted] = p.contiguous();
          if (p_bias.defined()) out[set.subtracted_bias] = p_bias;
        }
        if (a.defined()) out[set.a] = a.contiguous();
        out[set.c] = c;
        out[set.basis] = p.t();
      }
    }
    return out;
  }

  Tensor input(const SiteView& view) const override { return view.y; }

  // Two sets share one change: code [[prefix, 0], [0, suffix]], basis [B_prefix, B_suffix].
  Change change(const Params& derived, const SiteView& view, const Tensor& input,
                const Weight& weight, const Context& context) const override {
    const EditedRows found = options_.tokens.rows(view);
    const std::vector<Set>& sets = sets_.at(view.site);
    const Set& first = sets.front();
    if (found.is_every_row && options_.tokens.parsed.is_all)
      return finished(view, input, code_of(derived, first, input), derived[first.basis], {}, weight,
                      context);
    const Tensor rows = at::cat({found.prefix, found.suffix}),
                 h = input.index_select(0, rows);  // [P,C]
    if (sets.size() == 1)
      return finished(view, h, code_of(derived, first, h), derived[first.basis], rows, weight,
                      context);
    const std::vector<Tensor> parts =
        h.split_with_sizes({found.prefix.numel(), found.suffix.numel()}, 0);
    const Tensor code =
        at::block_diag({code_of(derived, sets[0], parts[0]), code_of(derived, sets[1], parts[1])});
    const Tensor basis = at::cat({derived[sets[0].basis], derived[sets[1].basis]}, 1);
    return finished(view, h, code, basis, rows, weight, context);
  }

 private:
  // The tensors of a site and a set of positions. Stored:
  struct Set {
    ParamId chart, base, projection, projection_bias, weight, bias;
    ParamId a, c, subtracted, subtracted_bias, basis;  // derived
  };

  // As released: P orthonormal, or uniform like W and b in [-1/sqrt(C), 1/sqrt(C)); a constant
  // source uniform in [0, 1). So no variant starts as the identity.
  void declare_tensors() {
    spec_.sites = options_.where.sites;
    spec_.traits.acts_on = options_.tokens.parsed.is_all ? ActsOn::kEveryRow : ActsOn::kPrompt;
    spec_.traits.subspace = acting_subspace();
    for (const Site& site : options_.where.sites) {
      for (const char* name : set_names()) {
        Set& set = sets_[site].emplace_back();
        const int64_t width = site.output_width;
        const auto add = [&](const char* part, std::vector<int64_t> shape, Initial initial,
                             bool decays = false) {
          // Rows that a subspace leaves out stand still.
          return declare(site, std::string(name) + "." + part,
                         {.shape = std::move(shape),
                          .decays = decays && options_.decays && options_.subspace.empty(),
                          .initial = std::move(initial)});
        };
        const Initial drawn = uniform(1.0 / std::sqrt(static_cast<double>(width)));
        if (options_.has_rotation) {
          set.chart = add("chart", {width, options_.rank}, initial_chart_of);
          set.base = add("base", {width, options_.rank}, initial_base_of);
          spec_.params.back().role = Role::kBuffer;
        } else {
          set.projection = add("projection", {options_.rank, width}, drawn, true);
          if (options_.has_projection_bias)
            set.projection_bias = add("projection_bias", {options_.rank}, drawn);
        }
        if (has_linear_source()) set.weight = add("weight", {options_.rank, width}, drawn, true);
        set.bias = add("bias", {options_.rank}, has_linear_source() ? drawn : initial_constant);
      }
    }
    for (const Site& site : options_.where.sites) {
      for (Set& set : sets_[site]) {
        for (ParamId* made : {&set.a, &set.c, &set.subtracted, &set.subtracted_bias, &set.basis})
          *made = declare_derived();
      }
    }
  }

  static Tensor initial_chart_of(const ParamSpec& param, const Weights&, RandomKey) {
    return initial_chart(param.shape[0], param.shape[1]);
  }
  static Tensor initial_base_of(const ParamSpec& param, const Weights&, RandomKey key) {
    return random_rotation(param.shape[0], param.shape[1], key);
  }
  static Tensor initial_constant(const ParamSpec& param, const Weights&, RandomKey key) {
    return uniform_tensor(param.shape, 0.5, key).add_(0.5);
  }

  void check(Options& options) {
    for (const Site& site : options_.where.sites) {
      if (site.kind == SiteKind::kAttention)
        options.fault("sites", "reft changes the values of a site; " + site.name + " has none");
      else if (options_.rank > site.output_width ||
               (options_.has_rotation && options_.rank == site.output_width)) {
        options.fault("rank", "a rank of " + std::to_string(options_.rank) + " does not fit " +
                                  site.name + " of width " + std::to_string(site.output_width) +
                                  (options_.has_rotation ? ": a rotation needs less" : ""));
        break;
      }
    }
    options_.tokens.match(options, options_.where.sites, config_);
    if (options_.has_projection_bias && options_.has_rotation)
      options.fault("projection_bias",
                    "a rotation has no bias: set rotation to false or leave this out");
    else if (options_.has_projection_bias && !options_.subtracts)
      options.fault("projection_bias", "nothing reads it unless the projection is subtracted");
    if (options_.activation != nullptr && !has_linear_source())
      options.fault("activation", "it acts on a linear source, and the source is constant");
    std::vector<int64_t> sorted = options_.subspace;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
      options.fault("subspace", "expected distinct rows");
    if (!sorted.empty() && sorted.back() >= options_.rank)
      options.fault("subspace", "expected rows below the rank " + std::to_string(options_.rank) +
                                    ", found " + std::to_string(sorted.back()));
  }

  std::vector<const char*> set_names() const {
    if (options_.is_tied || !options_.tokens.parsed.is_two_sided()) return {"tied"};
    return {"prefix", "suffix"};
  }

  bool has_linear_source() const { return options_.source == Source::kLinear; }
  bool has_one_product() const { return !has_linear_source() || options_.activation == nullptr; }

  // The rows of P that act at all, ascending.
  std::vector<int64_t> acting_subspace() const {
    std::vector<int64_t> rows = options_.subspace;
    if (rows.empty()) {
      rows.resize(static_cast<size_t>(options_.rank));
      std::iota(rows.begin(), rows.end(), int64_t{0});
    }
    std::sort(rows.begin(), rows.end());
    return rows;
  }

  // The rows of a tensor [R,...] that are in the subspace.
  Tensor chosen(const Tensor& rows) const {
    return options_.subspace.empty()
               ? rows
               : rows.index_select(0, at::tensor(options_.subspace, at::kLong));
  }

  // h: [P,C] -> s(h) - P h, [P,R] in float32.
  Tensor code_of(const Params& derived, const Set& set, const Tensor& h) const {
    const Tensor c = derived[set.c];
    if (!derived.has(set.a)) return c.expand({h.size(0), c.size(0)});
    const Tensor wide = h.to(c.scalar_type());
    const Tensor source = graft::linear(wide, derived[set.a], c);
    if (has_one_product()) return source;
    const Tensor active = options_.activation(source);
    if (!options_.subtracts) return active;
    return active - graft::linear(
                        wide, derived[set.subtracted],
                        derived.has(set.subtracted_bias) ? derived[set.subtracted_bias] : Tensor());
  }

  // The code at `rows` of the view, which is zero in those rows of P that its texts do not name.
  Tensor acting(const SiteView& view, const Tensor& code, const Tensor& rows) const {
    Tensor mask = acting_rows(view, options_.rank);  // [T,R]
    if (!mask.defined()) return code;
    mask = chosen(mask.t()).t();
    if (rows.defined()) mask = mask.index_select(0, rows);
    const auto sets = static_cast<int64_t>(sets_.at(view.site).size());
    return code * mask.to(code.scalar_type()).repeat({1, sets});
  }

  // The weight multiplies the code. Dropout needs the change itself: on it, or, as released code
  // has it, on the whole edited vector h + change, which also sets entries of h to zero.
  Change finished(const SiteView& view, const Tensor& h, Tensor code, const Tensor& basis,
                  const Tensor& rows, const Weight& weight, const Context& context) const {
    code = acting(view, code, rows);
    if (weight.scale != 1.0) code = code * weight.scale;
    if (weight.rows.defined()) {
      ensure(weight.rows.size(1) == 1, "reft takes one weight a row");
      code =
          code *
          (rows.defined() ? weight.rows.index_select(0, rows) : weight.rows).to(code.scalar_type());
    }
    const bool is_narrow = h.scalar_type() != basis.scalar_type();
    if (!context.is_training || options_.dropout == 0.0) {
      if (is_narrow) return {.add = graft::linear(code, basis, Tensor()), .rows = rows};
      return {.code = code, .basis = basis, .rows = rows};
    }
    const RowDropout mask =
        at_rows(rows_of_lane(view, options_.dropout, context.key.with("reft dropout")), rows);
    const Tensor delta = at::mm(code, basis.t());  // wide, as its mask: rounded once, with h
    if (options_.dropout_on == DropoutOn::kChange)
      return {.add = dropout(delta, mask), .rows = rows};
    const Tensor kept = dropout(at::ones_like(delta), mask);  // 0 or 1/(1-p)
    return {.mul = kept, .add = delta * kept, .rows = rows};
  }

  ReftOptions options_;
  BySite<std::vector<Set>> sets_;
  ModelConfig config_;
};

}  // namespace

const Method kReft = {
    .name = "reft",
    .about = "an edit of hidden states in a learned subspace, at chosen tokens",
    .options = [] { return option_rows(ReftOptions{}); },
    .nesting = {nullptr, nullptr,
                "it acts on some rows in a subspace of its own: experts have no common basis to be "
                "mixed in"},
    .make = make_of<Reft>,
    .no_fold = "it edits the residual stream, which no weight makes, at some positions only"};

}  // namespace graft
