// Interchange: at chosen tokens, what leaves a site is exchanged for that of another text, its
// source, or for a fixed value; whole, or in a subspace.
//
//   exchange   y' = y + P^T (P s - P y)
//   add        y' = y + P^T P s         subtract: y - P^T P s
//
// P [R,C] has orthonormal rows; s [C] is one vector for every token of a text.
//   space      own       P is the first R coordinates, or all of them: the vanilla interchange
//                        intervention (Geiger et al. 2021, arXiv:2106.02997)
//              low_rank  P is trained: distributed interchange (Geiger et al. 2024,
//                        arXiv:2303.02536, def. 3), the DII of Wu et al. 2024 (arXiv:2404.03592)
//                        eq. 1. The chart is ReFT's (edit/rotation.h)
//              rotated   P is the first R rows of a trained rotation of all C coordinates, as the
//                        first of these papers searches for an alignment (DAS)
//   source     data      a column of the data: for every site one vector, side by side in the order
//                        in which the trunk executes them (`graft collect` writes it). What a
//                        frozen trunk computes of the source text is a constant, so it is not
//                        computed again
//              zero      s = 0: exchange takes the subspace out
//              noise     N(0, deviation^2), drawn once from noise_seed, as causal tracing adds it
//                        (Meng et al. 2022, arXiv:2202.05262)
//
// Params per site: "<site>.chart" and ".base", [C,R] or, rotated, [C,C]; ".noise" [C], in no file.
// They compute in float32 whatever the trunk's dtype.
// Departs: in other software a source has as many tokens as are exchanged, one for each.
#include <ATen/ATen.h>

#include "base/error.h"
#include "edit/initial.h"
#include "edit/registry.h"
#include "edit/rotation.h"
#include "edit/sequences.h"
#include "edit/token_choice.h"
#include "tensor/linear.h"

namespace graft {

namespace {

using at::Tensor;

enum class Space { kOwn, kLowRank, kRotated };
constexpr Name<Space> kSpaces[] = {
    {Space::kOwn, "own"}, {Space::kLowRank, "low_rank"}, {Space::kRotated, "rotated"}};

enum class SourceOf { kData, kZero, kNoise };
constexpr Name<SourceOf> kSourcesOf[] = {
    {SourceOf::kData, "data"}, {SourceOf::kZero, "zero"}, {SourceOf::kNoise, "noise"}};

enum class Operation { kExchange, kAdd, kSubtract };
constexpr Name<Operation> kOperations[] = {{Operation::kExchange, "exchange"},
                                           {Operation::kAdd, "add"},
                                           {Operation::kSubtract, "subtract"}};

constexpr double kUsualDeviation = 0.13462981581687927;  // pyvene's

struct InterchangeOptions {
  SiteChoice where{{"enc.*.out|out"}};
  Space space = Space::kOwn;
  int64_t rank = 0;
  SourceOf source = SourceOf::kData;
  Operation operation = Operation::kExchange;
  TokenChoice tokens{.positions = "last", .clamp = Clamp::kLength};
  double deviation = kUsualDeviation;
  int64_t noise_seed = 0;

  void visit(OptionVisitor& v) {
    where.visit(v);
    v.choice("space", space, kSpaces,
             "the site's own coordinates, a trained subspace, or the first coordinates of a "
             "trained rotation");
    v.integer("rank", rank, {0, 1 << 20},
              "coordinates R that are exchanged; 0: all of the site's own");
    v.choice("source", source, kSourcesOf,
             "where s comes from: the embedding column of the data, nothing, or a fixed draw");
    v.choice("operation", operation, kOperations, "what happens with s");
    tokens.visit(v);
    v.number("deviation", deviation, {1e-6, 1e6}, "of the entries of the noise");
    v.integer("noise_seed", noise_seed, {0, int64_t{1} << 32}, "what the noise is drawn from");
  }
};

class Interchange final : public Edit {
 public:
  Interchange(Options& options, const EditTarget& target)
      : options_(read_options_at(options, target, InterchangeOptions{})) {
    options_.tokens.match(options, options_.where.sites, target.config);
    check(options);
    spec_.sites = options_.where.sites;
    spec_.traits.acts_on = options_.tokens.parsed.is_all ? ActsOn::kEveryRow : ActsOn::kPrompt;
    for (const Site& site : spec_.sites) {
      declare_tensors(site);
      spec_.claims.push_back(options_.tokens.claim(site));
      if (options_.source == SourceOf::kData) spec_.traits.embedding += site.output_width;
    }
    for (const Site& site : spec_.sites) tensors_[site].basis = declare_derived();
  }

  std::string method() const override { return kInterchange.name; }
  Node describe_options() const override { return options_node(options_); }

  // P^T [C,R] by site.
  TensorList derive(const Params& stored, const Weights& weights, Experts) const override {
    const at::ScalarType wide = weights.wide_dtype();
    TensorList out(num_derived());
    for (const Site& site : spec_.sites) {
      const Tensors& own = tensors_.at(site);
      if (options_.source == SourceOf::kNoise) out[own.noise] = stored[own.noise].to(wide);
      if (!is_trained()) continue;
      const Tensor chart = stored[own.chart].to(wide), base = stored[own.base].to(wide);
      out[own.basis] = options_.space == Space::kLowRank
                           ? rotation_of(chart, base)
                           : full_rotation_of(chart, base).slice(1, 0, options_.rank);
    }
    return out;
  }

  Tensor input(const SiteView& view) const override { return view.y; }

  Change change(const Params& derived, const SiteView& view, const Tensor& input, const Weight&,
                const Context&) const override {
    const EditedRows found = options_.tokens.rows(view);
    const Tensor rows = at::cat({found.prefix, found.suffix});
    const Tensor source = source_of(derived, view, rows);  // [P,C] or [C]; undefined: zero
    return is_trained() ? in_subspace(derived[tensors_.at(view.site).basis], input, source, rows)
                        : in_own(view.site, source, rows);
  }

 private:
  struct Tensors {
    ParamId chart, base, noise;
    ParamId basis;  // derived
  };

  bool is_trained() const { return options_.space != Space::kOwn; }

  void check(Options& options) const {
    for (const Site& site : options_.where.sites) {
      const int64_t most = site.output_width - (is_trained() ? 1 : 0);
      if (site.kind == SiteKind::kAttention) {
        options.fault("sites", "interchange acts on what leaves a site; " + site.name +
                                   " is an attention site");
      } else if (options_.rank > most || (is_trained() && options_.rank == 0)) {
        options.fault("rank", "expected 1.." + std::to_string(most) + " of the " +
                                  std::to_string(site.output_width) + " coordinates of " +
                                  site.name + ", found " + std::to_string(options_.rank));
        break;
      }
    }
    const bool is_noise = options_.source == SourceOf::kNoise;
    if (!is_noise && options_.deviation != kUsualDeviation)
      options.fault("deviation", "only noise has one: set source: noise or leave it out");
    if (!is_noise && options_.noise_seed != 0)
      options.fault("noise_seed", "only noise is drawn: set source: noise or leave it out");
    if (options_.source == SourceOf::kZero && options_.operation != Operation::kExchange)
      options.fault("operation", "nothing is added: expected exchange with source: zero");
  }

  void declare_tensors(const Site& site) {
    Tensors& own = tensors_[site];
    const int64_t width = site.output_width;
    if (is_trained()) {
      const bool is_low = options_.space == Space::kLowRank;
      const int64_t columns = is_low ? options_.rank : width;
      const auto wide = static_cast<double>(width), narrow = static_cast<double>(options_.rank);
      const auto add = [&](const char* name, Role role, Cost cost, Initial initial) {
        return declare(site, name,
                       {.shape = {width, columns},
                        .role = role,
                        .decays = false,
                        .cost = cost,
                        .initial = std::move(initial)});
      };
      own.chart = add("chart", Role::kTrained, {.flops = 4 * wide * narrow, .kept = narrow},
                      [](const ParamSpec& param, const Weights&, RandomKey) {
                        return initial_chart(param.shape[0], param.shape[1]);
                      });
      own.base =
          add("base", Role::kBuffer, {}, [](const ParamSpec& param, const Weights&, RandomKey key) {
            return random_rotation(param.shape[0], param.shape[1], key);
          });
    }
    if (options_.source != SourceOf::kNoise) return;
    // Of the site, and not of the tensor's whole name, which an adapter makes longer.
    const RandomKey key = RandomKey{static_cast<uint64_t>(options_.noise_seed)}
                              .with("interchange noise")
                              .with(site.name);
    own.noise = declare(site, "noise",
                        {.shape = {width},
                         .role = Role::kDrawn,
                         .decays = false,
                         .cost = Cost{},
                         .initial = [key, deviation = options_.deviation](
                                        const ParamSpec& param, const Weights&, RandomKey) {
                           return normal_tensor(param.shape, deviation, key);
                         }});
  }

  // s of the rows in float32.
  Tensor source_of(const Params& derived, const SiteView& view, const Tensor& rows) const {
    if (options_.source == SourceOf::kZero) return {};
    if (options_.source == SourceOf::kNoise) return derived[tensors_.at(view.site).noise];
    int64_t begin = 0, all = 0;
    for (const Site& site : spec_.sites) {
      if (site.index < view.site.index) begin += site.output_width;
      all += site.output_width;
    }
    const Tensor& given = view.pack.embedding;
    if (!given.defined() || given.size(1) != all) {
      throw InputError(
          "interchange reads " + std::to_string(all) +
          " numbers of each row, what leaves its sites for the row's source (the task's embedding "
          "column, which graft collect writes); the data's have " +
          (given.defined() ? std::to_string(given.size(1)) : std::string("none")));
    }
    const Tensor own =
        given.slice(0, view.lane.first_sequence, view.lane.first_sequence + view.lane.num_sequences)
            .slice(1, begin, begin + view.site.output_width);  // [N,C]
    return spread_to_rows(view, own).index_select(0, rows);
  }

  Change in_own(const Site& site, Tensor source, const Tensor& rows) const {
    const int64_t width = site.output_width, rank = options_.rank == 0 ? width : options_.rank;
    Tensor chosen = at::zeros({width}, at::kFloat);
    chosen.slice(0, 0, rank).fill_(1.0);
    if (source.defined()) source = source * chosen.to(source.scalar_type());
    if (options_.operation == Operation::kSubtract) source = -source;
    Change change{.add = source, .rows = rows};
    if (options_.operation == Operation::kExchange) change.mul = 1.0 - chosen;
    return change;
  }

  Change in_subspace(const Tensor& basis, const Tensor& y, const Tensor& source,
                     const Tensor& rows) const {
    const Tensor columns = basis.t();  // P [R,C]
    const auto code_of = [&](const Tensor& h) {
      return graft::linear(h.to(basis.scalar_type()), columns.contiguous(), Tensor());
    };
    Tensor code =
        source.defined() ? code_of(source.dim() == 1 ? source.unsqueeze(0) : source) : Tensor();
    if (options_.operation == Operation::kExchange) {
      const Tensor own = code_of(y.index_select(0, rows));
      code = code.defined() ? code - own : -own;
    }
    if (options_.operation == Operation::kSubtract) code = -code;
    if (code.size(0) != rows.numel()) code = code.expand({rows.numel(), code.size(1)});
    if (y.scalar_type() != basis.scalar_type())
      return {.add = graft::linear(code.contiguous(), basis, Tensor()), .rows = rows};
    return {.code = code, .basis = basis, .rows = rows};
  }

  InterchangeOptions options_;
  BySite<Tensors> tensors_;
};

}  // namespace

const Method kInterchange = {
    .name = "interchange",
    .about = "what leaves a site, exchanged for that of another text, whole or in a subspace",
    .options = [] { return option_rows(InterchangeOptions{}); },
    .nesting = {"it puts another text's values in: a share of them is no intervention",
                "it has no copies that differ but in their rotation, whose mean is none",
                "it acts on some rows in a subspace of its own: experts have no common basis to be "
                "mixed in"},
    .make = make_of<Interchange>,
    .no_fold = "it edits activations by a source, which no weight makes"};

}  // namespace graft
