// ReFT against its formulas: the rotation's chart, positions, the six functions by hand, published
// counts, and what is refused.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "edit/adapter_file.h"
#include "edit/initial.h"
#include "edit/positions.h"
#include "edit/rotation.h"
#include "edit/weighting.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/plan.h"

namespace graft::testing::test_reft {
namespace {

using at::Tensor;

// R R^T - I, the largest entry.
double skewness(const Tensor& rotation) {
  return (at::mm(rotation.t(), rotation) - at::eye(rotation.size(1), rotation.options()))
      .abs()
      .max()
      .item<double>();
}

Tensor rotation_in(const Rig& rig, const std::string& set) {
  return rotation_of(rig.tensors.at(set + ".chart"), rig.tensors.at(set + ".base"));
}

void train(Rig& rig, int64_t steps) {
  const std::vector<Sequence> rows = random_sequences(rig.model->config, 8, 17, 3);
  AdamW optimizer(rig.adapter->params(), {.weight_decay = 0.1});
  for (int64_t step = 0; step < steps; ++step) {
    BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
    const LaneResult result =
        run_lanes(*rig.model, pack_of(*rig.model, {lane_of(rig, rows)}), {&bound}, {}).front();
    torch::autograd::backward(
        {summed_loss(TaskKind::kClassification, result.logits, class_labels(8, 3)) / 8.0}, {});
    bound.add_gradients_to_stored();
    optimizer.step(rig.tensors, 3e-2);
  }
}

// Checklist 1: R R^T = I to 1e-6 after training and after save, load and more training; nothing
// decays the chart.
TEST(Rotation, StaysOrthonormalThroughTrainingSavingAndMoreTraining) {
  const auto model = golden_model("roberta-tiny");
  Rig rig(model, "{edits: [{reft: {rank: 5, positions: f3+l2, tied: false}}]}");
  const std::string set = "0.reft/enc.0.out.prefix";
  const at::NoGradGuard no_grad;
  const Tensor start = rotation_in(rig, set);
  EXPECT_LT(skewness(start), 1e-6);
  {
    const at::AutoGradMode enabled(true);
    train(rig, 30);
  }
  EXPECT_GT(difference_of(rotation_in(rig, set), start).absolute, 0.05) << "it was to be trained";
  EXPECT_LT(skewness(rotation_in(rig, set)), 1e-6);

  const TempFolder folder;
  save_adapter(folder / "a", *rig.adapter, rig.tensors, *model, {});
  LoadedAdapter loaded = load_adapter(folder / "a", *model);
  Rig again(model, std::move(loaded.adapter));
  again.tensors = loaded.tensors;
  const Tensor reloaded = rotation_in(again, set);
  expect_bits(reloaded, rotation_in(rig, set), "after loading");
  {
    const at::AutoGradMode enabled(true);
    train(again, 30);
  }
  EXPECT_GT(difference_of(rotation_in(again, set), reloaded).absolute, 0.05);
  EXPECT_LT(skewness(rotation_in(again, set)), 1e-6);
  for (const ParamSpec& param : rig.adapter->params()) {
    EXPECT_FALSE(param.decays && param.name.ends_with(".chart")) << param.name;
    EXPECT_EQ(param.role == Role::kBuffer, param.name.ends_with(".base")) << param.name;
  }
}

TEST(Rotation, StartsAtItsBaseAndAnyOrthonormalMatrixCanBeOne) {
  for (const int64_t rank : {1, 2, 7, 15}) {
    const Tensor base = random_rotation(16, rank, RandomKey{static_cast<uint64_t>(rank)});
    EXPECT_LT(skewness(base), 1e-6);
    expect_near(rotation_of(initial_chart(16, rank), base), base, {1e-6, 0},
                "rank " + std::to_string(rank));
  }
}

// Against the reflectors multiplied out, in float64, for a base that itself is [C,C] there.
TEST(Rotation, IsTheProductOfItsReflectors) {
  const int64_t width = 6, rank = 3;
  const Tensor base = random_rotation(width, rank, RandomKey{4}).to(at::kDouble);
  const Tensor chart = normal_tensor({width, rank}, 1.0, RandomKey{5}).to(at::kDouble);
  const auto product_of =
      [&](const Tensor& columns) {  // of I - 2 v v^T / |v|^2, v_j = e_j + below the diagonal
        Tensor product = at::eye(width, at::kDouble);
        for (int64_t j = 0; j < rank; ++j) {
          Tensor v = columns.select(1, j).clone();
          v.slice(0, 0, j).zero_();
          v[j] = 1.0;
          product = product.mm(at::eye(width, at::kDouble) - 2 * at::outer(v, v) / v.dot(v));
        }
        return product;
      };
  const Tensor around_zero = -product_of(chart).slice(1, 0, rank);
  const auto [reflectors, triangle] = at::geqrf(base);
  Tensor full = product_of(reflectors);
  for (int64_t j = 0; j < rank; ++j)
    full.select(1, j).mul_(full.select(1, j).dot(base.select(1, j)).item<double>() < 0 ? -1.0
                                                                                       : 1.0);
  expect_near(full.slice(1, 0, rank), base, {1e-6, 0}, "the completed base begins with the base");
  expect_near(rotation_of(chart, base), full.mm(around_zero), {1e-12, 0}, "Q");
}

TEST(Rotation, PassesNoGradientOnAndAboveTheDiagonal) {
  Tensor chart = normal_tensor({8, 3}, 0.5, RandomKey{6}).to(at::kDouble).requires_grad_(true);
  const Tensor base = random_rotation(8, 3, RandomKey{7}).to(at::kDouble);
  torch::autograd::backward(
      {(rotation_of(chart, base) * normal_tensor({8, 3}, 1.0, RandomKey{8})).sum()}, {});
  EXPECT_EQ(at::triu(chart.grad()).abs().max().item<double>(), 0);
  EXPECT_EQ(at::tril(chart.grad(), -1).count_nonzero().item<int64_t>(), 7 + 6 + 5);
}

// One site called by hand, float64.
struct ByHand {
  std::shared_ptr<const Model> model = tiny_model("bert", Precision::kFloat64);
  std::vector<Sequence> rows = random_sequences(model->config, 3, 7, 5);
  Pack pack = pack_of(*model, {lane_of(rows)}, 4);
  const Site& site = model->sites.at("enc.0.out");
  Tensor h = at::cos(at::arange(pack.num_rows * 8, at::kDouble)).view({-1, 8});
  Context context;
  Rig rig;

  explicit ByHand(const std::string& options) : rig(model, "{edits: [{reft: " + options + "}]}") {
    rig.shake(0.3);
    rig.widen();
  }
  SiteView view() const { return {site, pack, pack.whole(), {}, h, {}, {}}; }
  const Edit& edit() const { return *rig.adapter->parts().front().edit; }
  Tensor stored(const std::string& name) const {
    return rig.tensors.at("0.reft/enc.0.out." + name).detach();
  }
  Tensor r(const std::string& set = "tied") const {
    return rotation_of(stored(set + ".chart"), stored(set + ".base")).t();
  }  // [R,C]
  Change change(const Weight& weight = {}) {
    const at::NoGradGuard no_grad;
    const AdapterTensors derived = rig.adapter->derive(rig.tensors, model->weights);
    return edit().change(Params(derived.parts[0]), view(), edit().input(view()), weight, context);
  }
  Tensor changed(const Weight& weight = {}) { return apply_change(h, change(weight)); }
};

// Checklist 2: R Phi(h) = W h + b, and the edit lies in the span of R.
TEST(Function, LoreftPutsItsSourceIntoTheSubspaceAndTouchesNothingElse) {
  ByHand hand("{rank: 3, positions: all}");
  const Tensor found = hand.changed(), r = hand.r();
  expect_near(found.mm(r.t()), hand.h.mm(hand.stored("tied.weight").t()) + hand.stored("tied.bias"),
              {1e-12, 0}, "R Phi(h)");
  const Tensor delta = found - hand.h;
  expect_near(delta - delta.mm(r.t()).mm(r), at::zeros_like(delta), {1e-12, 0},
              "outside the subspace");
  EXPECT_GT(delta.abs().max().item<double>(), 0.1);
}

// Section 1.6: with a linear source each function is h + B (A h + c).
TEST(Function, EachHasItsNormalForm) {
  const struct {
    const char *name, *options;
    bool rotation, weight, subtract;
  } rows[] = {
      {"LoReFT", "{rank: 3, positions: all}", true, true, true},
      {"NoReFT", "{rank: 3, positions: all, rotation: false, projection_bias: true}", false, true,
       true},
      {"ConsReFT", "{rank: 3, positions: all, source: constant}", true, false, true},
      {"LobiReFT", "{rank: 3, positions: all, source: constant, subtract: false}", true, false,
       false},
      {"rotated DiReFT", "{rank: 3, positions: all, subtract: false}", true, true, false},
      {"DiReFT", "{rank: 3, positions: all, rotation: false, subtract: false}", false, true, false},
  };
  for (const auto& row : rows) {
    ByHand hand(row.options);
    const Tensor p = row.rotation ? hand.r() : hand.stored("tied.projection");
    Tensor a = row.weight ? hand.stored("tied.weight") : at::zeros({3, 8}, at::kDouble),
           c = hand.stored("tied.bias");
    if (row.subtract) a = a - p;
    if (std::string(row.name) == "NoReFT") c = c - hand.stored("tied.projection_bias");
    expect_near(hand.changed(), hand.h + (hand.h.mm(a.t()) + c).mm(p), {1e-12, 0}, row.name);
    // A weight replaces nothing but multiplies the change.
    const Tensor gate = at::sin(at::arange(hand.pack.num_rows, at::kDouble)).unsqueeze(1);
    expect_near(hand.changed({2.0, gate}), hand.h + 2.0 * gate * (hand.h.mm(a.t()) + c).mm(p),
                {1e-12, 0}, std::string(row.name) + " weighed");
  }
}

TEST(Function, AnActivationActsOnTheSourceAlone) {
  ByHand hand("{rank: 3, positions: all, activation: tanh}");
  const Tensor r = hand.r(), source = at::tanh(hand.h.mm(hand.stored("tied.weight").t()) +
                                               hand.stored("tied.bias"));
  expect_near(hand.changed(), hand.h + (source - hand.h.mm(r.t())).mm(r), {1e-12, 0}, "Phi(h)");
}

TEST(Function, ASubspaceIsSomeRowsOfTheRotation) {
  ByHand hand("{rank: 4, positions: all, subspace: [2, 0]}");
  const Tensor index = at::tensor({0, 2}, at::kLong), r = hand.r().index_select(0, index);
  const Tensor source = hand.h.mm(hand.stored("tied.weight").index_select(0, index).t()) +
                        hand.stored("tied.bias").index_select(0, index);
  expect_near(hand.changed(), hand.h + (source - hand.h.mm(r.t())).mm(r), {1e-12, 0}, "Phi_S(h)");
  for (const ParamSpec& param : hand.rig.adapter->parts().front().spec().params)
    EXPECT_FALSE(param.decays) << param.name << ": rows outside stand still";
}

// Checklist 3, the rows of a pack: sequences of 7, 1 and some tokens, with padding, a prompt or
// fillers around them.
TEST(Function, UntiedSetsActOnTheirOwnTokensWhateverOtherRowsThereAre) {
  ByHand hand("{rank: 2, positions: f2+l3, tied: false}");
  for (const bool has_more_rows : {false, true}) {
    if (has_more_rows) {
      LaneInput lane = lane_of(hand.rows);
      lane.layout = {.virtual_rows = 2, .virtual_rows_follow_first = true, .padded_length = 10};
      hand.pack = pack_of(*hand.model, {lane}, 4);
      hand.h = at::cos(at::arange(hand.pack.num_rows * 8, at::kDouble)).view({-1, 8});
    }
    Tensor expected = hand.h.clone();
    for (int64_t n = 0; n < hand.pack.num_sequences(); ++n) {
      const int64_t tokens = hand.pack.prompts[static_cast<size_t>(n)];
      for (int64_t row = hand.pack.sequences[static_cast<size_t>(n)].begin;
           row < hand.pack.sequences[static_cast<size_t>(n)].end; ++row) {
        const int64_t token = hand.pack.token[static_cast<size_t>(row)];
        const bool is_prefix = token >= 0 && token < std::min<int64_t>(2, tokens / 2),
                   is_suffix = token >= tokens - std::min<int64_t>(3, tokens / 2);
        if (!is_prefix && !is_suffix) continue;
        const std::string set = is_prefix ? "prefix" : "suffix";
        const Tensor one = hand.h.slice(0, row, row + 1), r = hand.r(set);
        expected.slice(0, row, row + 1)
            .add_((one.mm(hand.stored(set + ".weight").t()) + hand.stored(set + ".bias") -
                   one.mm(r.t()))
                      .mm(r));
      }
    }
    expect_near(hand.changed(), expected, {1e-12, 0},
                has_more_rows ? "with a prompt and padding" : "tokens only");
  }
}

// Checklist 6: dropout on the whole edited vector (released code) or on the change; off outside
// training.
TEST(Function, DropoutActsWhereItIsAskedTo) {
  const std::string options = "{rank: 3, positions: f2, dropout: 0.5, dropout_on: ";
  for (const bool on_output : {false, true}) {
    ByHand hand(options + (on_output ? "output}" : "change}"));
    const Tensor plain = hand.changed();
    hand.context.is_training = true;
    hand.context.key = RandomKey{3};
    const Change change = hand.change();
    const Tensor found = apply_change(hand.h, change).index_select(0, change.rows),
                 full = plain.index_select(0, change.rows), h = hand.h.index_select(0, change.rows);
    const Tensor kept = on_output ? 2 * full : h + 2 * (full - h),
                 dropped = on_output ? at::zeros_like(h) : h;
    const Tensor is_kept = (found - kept).abs().lt(1e-12),
                 is_dropped = (found - dropped).abs().lt(1e-12);
    EXPECT_TRUE((is_kept | is_dropped).all().item<bool>());
    EXPECT_TRUE(is_kept.any().item<bool>() && is_dropped.any().item<bool>());
  }
}

std::vector<int64_t> integers(const Tensor& tensor) {
  const Tensor own = tensor.contiguous();
  return {own.const_data_ptr<int64_t>(), own.const_data_ptr<int64_t>() + own.numel()};
}

struct ExpectedTokens {
  int64_t tokens, prefix, suffix;
};

void expect_tokens(const std::string& text, Clamp clamp, const std::vector<ExpectedTokens>& rows) {
  const PositionChoice positions = parse_positions(text);
  for (const ExpectedTokens& row : rows) {
    const EditedTokens found = edited_tokens(positions, row.tokens, clamp);
    EXPECT_EQ(found.prefix, row.prefix) << text << " of " << row.tokens;
    EXPECT_EQ(found.suffix, row.suffix) << text << " of " << row.tokens;
  }
}

// Checklist 3: both rules of section 2.1. (The released rule is compared with pyreft itself in
// tests/golden.)
TEST(PositionRules, ClampAsReleasedOrAsPublished) {
  expect_tokens("f7+l7", Clamp::kCode,
                {{0, 0, 0}, {1, 0, 0}, {10, 5, 5}, {11, 5, 5}, {13, 6, 6}, {14, 7, 7}, {20, 7, 7}});
  expect_tokens("f7+l7", Clamp::kPaper,
                {{0, 0, 0}, {1, 0, 1}, {10, 5, 5}, {11, 5, 6}, {13, 6, 7}, {14, 7, 7}, {20, 7, 7}});
  expect_tokens("f3", Clamp::kCode, {{5, 2, 0}, {6, 3, 0}});
  expect_tokens("l3", Clamp::kPaper, {{5, 0, 3}, {6, 0, 3}});
  expect_tokens("f3+l2", Clamp::kLength,
                {{0, 0, 0}, {1, 0, 1}, {3, 1, 2}, {4, 2, 2}, {5, 3, 2}, {9, 3, 2}});
  expect_tokens("f3", Clamp::kLength, {{2, 2, 0}, {4, 3, 0}});
  expect_tokens("last", Clamp::kCode, {{1, 0, 0}, {2, 0, 1}, {9, 0, 1}});
  expect_tokens("all", Clamp::kCode, {{1, 1, 0}, {9, 9, 0}});
}

int64_t count_of(int64_t width, int64_t layers, const std::string& edit) {
  const Node json = parse_json(
      R"({"model_type": "roberta", "hidden_size": )" + std::to_string(width) +
          R"(, "num_hidden_layers": )" + std::to_string(layers) +
          R"(, "num_attention_heads": 16, "intermediate_size": 64, "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1})",
      "roberta");
  const ModelConfig config = parse_config(json, "roberta");
  const Sites sites(config);
  return make_plan(Adapter(Node::map({{"edits", Node::list({yaml(edit)})}}), "test",
                           {config, sites}, class_task(2)),
                   config, {})
      .edit_parameters;
}

// Checklist 5: table of GLUE counts, r 1 on all layers, prefix only.
TEST(Counts, ArePublishedOnes) {
  for (const char* f : {"f1", "f3", "f11"}) {
    EXPECT_EQ(count_of(768, 12, std::string("{reft: {rank: 1, positions: ") + f + "}}"), 18'444);
    EXPECT_EQ(
        count_of(1024, 24, std::string("{reft: {rank: 1, tied: false, positions: ") + f + "}}"),
        49'176);
  }
  EXPECT_EQ(count_of(4096, 32, "{reft: {rank: 8, positions: f7+l7}}"), 2'097'408);
  EXPECT_EQ(count_of(4096, 32, "{reft: {rank: 4, positions: f7+l7, tied: false}}"), 2'097'408);
  EXPECT_EQ(count_of(4096, 32,
                     "{reft: {rank: 4, positions: f5+l5, tied: false, layers: [3, 9, 18, 24]}}"),
            262'176);
  EXPECT_EQ(
      count_of(4096, 32, "{reft: {rank: 1, positions: last, source: constant, layers: [15]}}"),
      4'097);
}

// Without the last token of a prompt, the others count as a prompt of their own.
TEST(PositionRules, MayLeaveTheLastTokenOut) {
  ByHand hand("{rank: 2, positions: f1+l2, skip_last: true}");
  std::vector<int64_t> prefix, suffix;
  for (int64_t n = 0; n < hand.pack.num_sequences(); ++n) {
    const auto at = static_cast<size_t>(n);
    const int64_t begin = hand.pack.sequences[at].begin, counted = hand.pack.prompts[at] - 1;
    const int64_t half = counted / 2;
    for (int64_t t = 0; t < std::min<int64_t>(half, 1); ++t) prefix.push_back(begin + t);
    for (int64_t t = counted - std::min<int64_t>(half, 2); t < counted; ++t)
      suffix.push_back(begin + t);
  }
  prefix.insert(prefix.end(), suffix.begin(), suffix.end());
  EXPECT_EQ(integers(hand.change().rows), prefix);
  ByHand whole("{rank: 2, positions: f1+l2}");
  EXPECT_NE(integers(whole.change().rows), prefix);
}

// On a bfloat16 trunk the change itself is float32: as that of a float32 trunk for the same rows.
TEST(Precisions, TheChangeIsMadeInFloat32) {
  const char* definition = "{edits: [{reft: {rank: 3, positions: all, layers: [0]}}]}";
  const auto change_of = [&](Precision precision, const Tensor& rows) {
    Rig rig(golden_model("bert-tiny", precision), definition);
    rig.shake(0.3);
    const Pack pack = pack_of(*rig.model, {lane_of(random_sequences(rig.model->config, 2, 6, 4))});
    const Adapter::Part& part = rig.adapter->parts().front();
    const Tensor y = rows.slice(0, 0, pack.num_rows);
    const SiteView view{part.spec().sites.front(), pack, pack.whole(), {}, y, {}, {}};
    const at::NoGradGuard no_grad;
    const AdapterTensors derived = rig.adapter->derive(rig.tensors, rig.model->weights);
    Context context;
    return delta_of(y, part.edit->change(Params(derived.parts[0]), view, y, {}, context));
  };
  const Tensor rows =
      at::sin(at::arange(64 * 32, at::kFloat) * 0.7).view({64, 32}).to(at::kBFloat16);
  expect_near(change_of(Precision::kBFloat16, rows),
              change_of(Precision::kFloat32, rows.to(at::kFloat)), {1e-6, 1e-6}, "change");
}

// As released: W, b and a free P uniform within 1/sqrt(C), as torch's Linear; a constant source
// uniform in [0, 1), as torch.rand.
TEST(InitialValues, HaveThePublishedSpread) {
  const auto numbers = [](const std::string& options, const std::string& tensor) {
    const Rig rig(golden_model("bert-tiny"), "{edits: [{reft: " + options + "}]}");
    std::vector<Tensor> out;
    for (const auto& [name, value] : rig.tensors) {
      if (name.ends_with(tensor)) out.push_back(value.detach().flatten());
    }
    return at::cat(out).to(at::kDouble);
  };
  // A thousand numbers: the largest is within 1 % of the bound, the variance within 10 %.
  const double bound = 1 / std::sqrt(32.0);
  const char* free = "{rank: 16, rotation: false, positions: f1+l1, tied: false}";
  for (const char* tensor : {".weight", ".projection", ".bias"}) {
    const Tensor drawn = numbers(free, tensor);
    const bool is_bias = std::string(tensor) == ".bias";  // 64 numbers
    EXPECT_LE(drawn.abs().max().item<double>(), bound) << tensor;
    EXPECT_GT(drawn.abs().max().item<double>(), bound * (is_bias ? 0.9 : 0.99)) << tensor;
    EXPECT_NEAR(drawn.square().mean().item<double>() / (bound * bound / 3), 1, is_bias ? 0.4 : 0.1)
        << tensor;
  }
  const Tensor constant =
      numbers("{rank: 31, source: constant, positions: f1+l1, tied: false}", ".bias");
  EXPECT_GE(constant.min().item<double>(), 0);
  EXPECT_LT(constant.max().item<double>(), 1);
  EXPECT_NEAR(constant.mean().item<double>(), 0.5, 0.1);  // 124 numbers: 0.5 +- 0.026
  EXPECT_NEAR(constant.var().item<double>() * 12, 1, 0.4);
}

// pyreft decays none of its tensors.
TEST(Decay, IsOffUnlessAskedFor) {
  for (const bool decays : {false, true}) {
    const std::string options =
        std::string("{rank: 2, rotation: false") + (decays ? ", decay: true}" : "}");
    const Rig rig(golden_model("bert-tiny"), "{edits: [{reft: " + options + "}]}");
    for (const ParamSpec& param : rig.adapter->parts().front().spec().params)
      EXPECT_EQ(param.decays, decays && !param.name.ends_with("bias")) << param.name;
  }
}

// Two edits of a site have tokens of their own, at every length of prompt.
TEST(Overlaps, AreRefused) {
  const auto model = golden_model("bert-tiny");
  const auto reft = [](const std::string& options) { return "{reft: {rank: 1, " + options + "}}"; };
  const struct {
    const char *one, *other;
    bool is_refused;
  } rows[] = {
      {"positions: f2", "positions: f1", true},
      {"positions: f2", "positions: l2", false},
      {"positions: f2", "positions: all", true},
      {"positions: f2", "positions: f2, layers: [1]", true},
      {"positions: f2, layers: [0]", "positions: f2, layers: [1]", false},
      {"positions: f2", "positions: f2, sites: [ffn.out]", false},
      {"positions: f2, clamp: paper", "positions: l2, clamp: paper", false},
      {"positions: f2, clamp: paper", "positions: l2, clamp: paper, skip_last: true", true},
      {"positions: f2, clamp: length", "positions: l2, clamp: length", true},
      {"positions: f2", "positions: l2, clamp: length", true},
      {"positions: f3+l3", "positions: last", true},
  };
  for (const auto& row : rows) {
    for (const bool is_gated : {false, true}) {
      const std::string second = reft(row.other),
                        definition = "{edits: [" + reft(row.one) + ", " +
                                     (is_gated ? "{gate: {}, of: " + second + "}" : second) + "]}";
      SCOPED_TRACE(definition);
      if (row.is_refused) {
        expect_message<InputError>([&] { Rig(model, definition); },
                                   "two edits change the same tokens at enc.");
      } else {
        EXPECT_NO_THROW(Rig(model, definition));
      }
    }
  }
  expect_message<InputError>(
      [&] { Rig(model, "{edits: [" + reft("positions: all, skip_last: true") + "]}"); },
      "/edits/0/reft/skip_last: positions: all counts nothing");
}

// The presets are the published settings: the GLUE rows of the table above.
TEST(Counts, OfThePresetsArePublishedOnes) {
  for (const char* name : {"loreft", "noreft", "direft"}) {
    const Path file = Path(GRAFT_SOURCE_DIR) / "presets" / (std::string(name) + ".yaml");
    const std::string edit =
        to_yaml(parse_yaml(read_file(file), file.string()).find("edits")->items.front());
    EXPECT_EQ(count_of(768, 12, edit), 18'444) << name;
  }
}

// Checklist 9: a row that is not edited, and a sequence too short to be, keep every bit of the
// trunk's result.
TEST(Untouched, RowsKeepTheirBits) {
  const auto model = golden_model("bert-tiny");
  const Rig rig(model, "{edits: [{reft: {positions: f2, layers: [-1]}}]}");
  Rig bare(model, "{}");
  const std::vector<Sequence> rows =
      random_sequences(model->config, 4, 9, 3);  // the second has one token
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*model, *rig.adapter, rig.tensors),
      none(*model, *bare.adapter, bare.tensors);
  const Tensor found =
      run_lanes(*model, pack_of(*model, {lane_of(rows)}), {&bound}, {.keep_hidden = true})
          .front()
          .hidden.back();
  const Tensor expected =
      run_lanes(*model, pack_of(*model, {lane_of(rows)}), {&none}, {.keep_hidden = true})
          .front()
          .hidden.back();
  expect_bits(found.slice(0, 2, 10), expected.slice(0, 2, 10),
              "rows after the prefix, and the sequence of one token");
  EXPECT_GT(difference_of(found.slice(0, 0, 2), expected.slice(0, 0, 2)).absolute, 1e-3);
}

// A bfloat16 trunk: codes are made in float32 from rounded rows,
// so an edited trunk is as far from its float32 self as the bare one is.
TEST(Precisions, ABfloat16TrunkIsFollowedAsWellAsItCanBe) {
  const auto narrow = golden_model("bert-tiny", Precision::kBFloat16),
             wide = golden_model("bert-tiny");
  const std::vector<Sequence> rows = random_sequences(wide->config, 6, 15, 2);
  const auto deviation = [&](const std::string& edits) {
    Rig exact(wide, "{edits: [" + edits + "]}"), rounded(narrow, "{edits: [" + edits + "]}");
    exact.shake(0.05);
    for (auto& [name, tensor] : rounded.tensors) tensor = exact.tensors.at(name);
    return difference_of(logits_of(rounded, rows), logits_of(exact, rows)).absolute;
  };
  const double bare = deviation("");
  for (const char* edit :
       {"{reft: {rank: 3, positions: f2+l3, tied: false}}", "{reft: {rank: 3, positions: all}}",
        "{reft: {rank: 3, activation: gelu}}", "{dora: {rank: 3}}"}) {
    const double own = deviation(edit);
    measured(std::string("bfloat16 ") + edit, own);
    EXPECT_LT(own, 4 * bare) << edit << ": the bare trunk differs by " << bare;
  }
  measured("bfloat16 bare", bare);
}

TEST(Refusals, NameTheFault) {
  const auto model = golden_model("bert-tiny");
  const struct {
    const char *options, *message;
  } rows[] = {
      {"{positions: 3}",
       R"(/reft/positions: expected fN, lN, fN+lM, last or all, found "3": say which side, f3 or l3)"},
      {"{positions: l7+f5}", "the first tokens stand first, write f5+l7"},
      {"{positions: f0}", "found \"f0\": a count is in 1..4096"},
      {"{positions: f3+l9999}", "a count is in 1..4096"},
      {"{positions: f3+}", "expected fN, lN, fN+lM, last or all, found \"f3+\""},
      {"{positions: f3l2}", "found \"f3l2\""},
      {"{positions: ''}", "found \"\""},
      {"{clamp: none}", R"(/reft/clamp: expected code, paper or length, found "none")"},
      {"{source: learned}", R"(/reft/source: expected linear or constant, found "learned")"},
      {"{dropout_on: input}", "expected change or output"},
      {"{activation: relu6}", "/reft/activation: expected"},
      {"{activation: relu, source: constant}",
       "it acts on a linear source, and the source is constant"},
      {"{projection_bias: true}",
       "a rotation has no bias: set rotation to false or leave this out"},
      {"{projection_bias: true, rotation: false, subtract: false}",
       "nothing reads it unless the projection is subtracted"},
      {"{rank: 32}", "a rank of 32 does not fit enc.0.out of width 32: a rotation needs less"},
      {"{rank: 33, rotation: false}", "a rank of 33 does not fit enc.0.out of width 32"},
      {"{sites: attn}", "reft changes the values of a site; enc.0.attn has none"},
      {"{rank: 4, subspace: [4]}", "expected rows below the rank 4, found 4"},
      {"{rank: 4, subspace: [1, 1]}", "/reft/subspace: expected distinct rows"},
      {"{subspace: x}", "/reft/subspace: expected a list of integers"},
  };
  for (const auto& row : rows) {
    expect_message<InputError>(
        [&] { Rig(model, std::string("{edits: [{reft: ") + row.options + "}]}"); }, row.message);
  }
}

}  // namespace
}  // namespace graft::testing::test_reft
