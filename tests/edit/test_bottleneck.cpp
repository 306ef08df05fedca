// Bottleneck: what each placement reads and adds, weights and mixtures, initial values, published
// counts, messages. That it trains as AdapterHub's do is shown by tests/golden/test_training.cpp.
#include <gtest/gtest.h>

#include "base/error.h"
#include "edit/adapter.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_bottleneck {
namespace {

using at::Tensor;

constexpr Tolerance kExact{1e-12, 0};  // float64

Adapter built(const std::string& options, const ModelConfig& config) {
  return Adapter(yaml("{edits: [{bottleneck: " + options + "}]}"), "run.yaml",
                 {config, Sites(config)}, std::nullopt);
}

Adapter built(const std::string& options, const std::string& config) {
  return built(options, read_config(golden_dir("configs") / (config + ".json")));
}

int64_t count(const Adapter& adapter) {
  int64_t sum = 0;
  for (const ParamSpec& param : adapter.params()) sum += c10::multiply_integers(param.shape);
  return sum;
}

Tensor drawn(const std::vector<int64_t>& shape, double phase) {
  return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 0.7 + phase).view(shape) +
         0.05;
}

// enc.0.ffn.out of a tiny model in float64, called by hand. The norm is any function that is not
// the identity; its calls are counted.
struct Sublayer {
  std::shared_ptr<const Model> model = tiny_model("bert", Precision::kFloat64);
  std::vector<Sequence> sequences = random_sequences(model->config, 2, 4, 5);
  Pack pack = pack_of(*model, {lane_of(sequences)});
  int64_t rows = pack.num_rows, normed = 0;
  Tensor x = drawn({rows, 8}, 0.1), y = drawn({rows, 8}, 0.2), residual = drawn({rows, 8}, 0.3);
  SiteView view{
      model->sites.at("enc.0.ffn.out"),
      pack,
      pack.whole(),
      x,
      y,
      residual,
      [this](const Tensor& own, const Tensor& beside) { return ++normed, norm(own + beside); }};
  Context context;

  static Tensor norm(const Tensor& u) { return at::layer_norm(u, {8}) * 1.5 + 0.25; }

  // E stacked tensors, or one set of them for E = 0.
  static NamedTensors params(int64_t experts, bool has_scaling = false) {
    const auto shaped = [&](std::vector<int64_t> shape, double phase) {
      if (experts > 0) shape.insert(shape.begin(), experts);
      return drawn(shape, phase);
    };
    NamedTensors out{{"enc.0.ffn.out.down.weight", shaped({3, 8}, 0.4)},
                     {"enc.0.ffn.out.down.bias", shaped({3}, 0.5)},
                     {"enc.0.ffn.out.up.weight", shaped({8, 3}, 0.6)},
                     {"enc.0.ffn.out.up.bias", shaped({8}, 0.7)}};
    if (has_scaling) out["enc.0.ffn.out.scaling"] = shaped({8}, 0.8);
    return out;
  }

  // A(u) = U relu(D u + b) + c, of expert e where the tensors are stacked.
  static Tensor formula(const NamedTensors& params, const Tensor& u, int64_t e = -1) {
    const auto of = [&](const char* part) {
      const Tensor tensor = params.at(std::string("enc.0.ffn.out.") + part);
      return e < 0 ? tensor : tensor[e];
    };
    const Tensor a = at::matmul(at::relu(at::matmul(u, of("down.weight").t()) + of("down.bias")),
                                of("up.weight").t()) +
                     of("up.bias");
    return params.contains("enc.0.ffn.out.scaling") ? a * of("scaling") : a;
  }

  Tensor changed(const std::string& options, const Weight& weight,
                 const NamedTensors& tensors = params(0)) {
    const Adapter adapter = built(options, model->config);
    const Edit& edit = *adapter.parts().front().edit;
    const TensorList own = listed(edit, tensors);
    return apply_change(y, edit.change(Params(own), view, edit.input(view), weight, context));
  }
};

TEST(BottleneckTest, SequentialReadsWhatLeavesTheSite) {
  Sublayer s;
  expect_near(s.changed("{placement: sequential, width: 3}", {1.0, {}}),
              s.y + Sublayer::formula(Sublayer::params(0), s.y), kExact, "y'");
  EXPECT_EQ(s.normed, 0);
}

// UniPELT, one layer's steps 6 to 8: f = y, u = LN(f + a), y' = f + A(u),
// and the trunk goes on with LN(y' + a), the same norm again.
TEST(BottleneckTest, PfeifferAppliesTheBlocksOwnNormBeforeAndAfter) {
  Sublayer s;
  const Tensor u = Sublayer::norm(s.y + s.residual);
  expect_near(s.changed("{width: 3}", {1.0, {}}), s.y + Sublayer::formula(Sublayer::params(0), u),
              kExact, "y'");
  EXPECT_EQ(s.normed, 1);
}

// The same through the trunk: of a block whose last sublayer is all that is left, recomputed from
// its hidden states.
TEST(BottleneckTest, PfeifferInTheTrunkEqualsTheEquationOfTheBlock) {
  const auto model = tiny_model("bert", Precision::kFloat64);
  Rig rig(model, "{edits: [{bottleneck: {layers: [1], width: 3}}]}");
  rig.shake(0.5);
  rig.widen();
  const Rig bare(model, "{}");
  const std::vector<Sequence> sequences = random_sequences(model->config, 3, 7, 4);
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*model, *rig.adapter, rig.tensors),
      nothing(*model, *bare.adapter, bare.tensors);
  const Pack pack = pack_of(*model, {lane_of(sequences)});
  const std::vector<Tensor> hidden =
      run_lanes(*model, pack, {&bound}, {.keep_hidden = true}).front().hidden;

  // Lifts a = the residual and f = the feed-forward output out of a bare pass, at the site itself.
  struct Reader final : Hooks {
    mutable Tensor f, a;
    bool wants(const Site& site) const override { return site.name == "enc.1.ffn.out"; }
    SiteResult apply(const SiteView& view) const override {
      a = view.residual, f = view.y;
      return {view.y};
    }
    PrefixResult prefix(const SiteView&) const override { return {}; }
  } reader;
  forward(*model, model->weights, input_of(model->config, pack), reader, {.keep_hidden = true});
  const auto norm = [&](const Tensor& u) {
    return at::layer_norm(u, {8}, model->weights.at(tensor_id("enc.1.ffn.norm.weight")),
                          model->weights.at(tensor_id("enc.1.ffn.norm.bias")),
                          model->config.encoder->norm.epsilon);
  };
  const auto tensor = [&](const char* part) {
    return rig.tensors.at(std::string("0.bottleneck/enc.1.ffn.out.") + part).detach();
  };
  const Tensor u = norm(reader.f + reader.a);
  const Tensor code = at::relu(at::matmul(u, tensor("down.weight").t()) + tensor("down.bias"));
  const Tensor changed = reader.f + at::matmul(code, tensor("up.weight").t()) + tensor("up.bias");
  expect_near(hidden.back(), norm(changed + reader.a), {1e-10, 0}, "the block's output");
}

TEST(BottleneckTest, ParallelReadsWhatTheSublayerRead) {
  Sublayer s;
  expect_near(s.changed("{placement: parallel, width: 3, scaling: 4}", {4.0, {}}),
              s.y + 4 * Sublayer::formula(Sublayer::params(0), s.residual), kExact, "y'");
  EXPECT_EQ(built("{placement: parallel, scaling: 4, width: 3}", s.model->config)
                .parts()
                .front()
                .edit->scale(s.view.site),
            4.0);
  EXPECT_EQ(built("{width: 3}", s.model->config).parts().front().edit->scale(s.view.site), 1.0);
}

TEST(BottleneckTest, AWeightMultipliesTheNetworkWithItsLastBias) {
  Sublayer s;
  for (const bool has_scaling : {false, true}) {
    const NamedTensors params = Sublayer::params(0, has_scaling);
    const std::string options = has_scaling ? "{placement: sequential, width: 3, scaling: channel}"
                                            : "{placement: sequential, width: 3}";
    const Tensor a = Sublayer::formula(params, s.y);
    const Tensor gate = drawn({s.rows, 1}, 0.9), heads = drawn({s.rows, 2}, 1.0);
    expect_near(s.changed(options, {0.5, {}}, params), s.y + 0.5 * a, kExact, "a number");
    expect_near(s.changed(options, {2.0, gate}, params), s.y + 2.0 * gate * a, kExact,
                "a number a row");
    expect_near(s.changed(options, {2.0, heads}, params),
                s.y + 2.0 * heads.repeat_interleave(4, 1) * a, kExact, "a number a row and group");
    const Tensor closed = at::zeros({s.rows, 1}, at::kDouble);
    expect_near(s.changed(options, {1.0, closed}, params), s.y, kExact, "a closed gate");
  }
}

TEST(BottleneckTest, AMixtureIsTheSumOverExperts) {
  Sublayer s;
  for (const bool has_scaling : {false, true}) {
    const NamedTensors params = Sublayer::params(2, has_scaling);
    const Adapter adapter =
        built(has_scaling ? "{layers: [0], width: 3, scaling: channel}" : "{layers: [0], width: 3}",
              s.model->config);
    const Edit& edit = *adapter.parts().front().edit;
    const Tensor u = edit.input(s.view);
    for (const int64_t groups : {1, 2}) {
      const Tensor shares = drawn({s.rows, groups, 2}, 1.1);
      Tensor expected = s.y;
      for (int64_t e = 0; e < 2; ++e)
        expected = expected + 1.5 * shares.select(2, e).repeat_interleave(8 / groups, 1) *
                                  Sublayer::formula(params, u, e);
      const TensorList own = listed(edit, params);
      const Change found =
          edit.blend(Params(own), 2, s.view, u, {1.5, shares.flatten(1)}, s.context);
      // A factor for each column cannot act on the narrow product.
      EXPECT_EQ(found.code.defined(), groups == 1 && !has_scaling) << "one wide product";
      expect_near(apply_change(s.y, found), expected, kExact, std::to_string(groups) + " groups");
    }
  }
}

TEST(BottleneckTest, HasTheActivationsOfAten) {
  Sublayer s;
  const std::pair<const char*, std::function<Tensor(const Tensor&)>> rows[] = {
      {"relu", [](const Tensor& x) { return at::relu(x); }},
      {"gelu", [](const Tensor& x) { return at::gelu(x); }},
      {"gelu_tanh", [](const Tensor& x) { return at::gelu(x, "tanh"); }},
      {"swish", [](const Tensor& x) { return at::silu(x); }},
      {"tanh", [](const Tensor& x) { return at::tanh(x); }},
      {"linear", [](const Tensor& x) { return x; }}};
  NamedTensors params = Sublayer::params(0);
  for (const auto& [name, f] : rows) {
    const Tensor code = f(at::matmul(s.y, params.at("enc.0.ffn.out.down.weight").t()) +
                          params.at("enc.0.ffn.out.down.bias"));
    const Tensor expected = s.y + at::matmul(code, params.at("enc.0.ffn.out.up.weight").t()) +
                            params.at("enc.0.ffn.out.up.bias");
    expect_near(
        s.changed(std::string("{placement: sequential, width: 3, activation: ") + name + "}",
                  {1.0, {}}),
        expected, kExact, name);
  }
}

TEST(BottleneckTest, StartsFromItsInitialValues) {
  const auto model = golden_model("bert-tiny");  // C 32, so that a site has 16 x 32 draws a matrix
  const auto values = [&](const std::string& init, const char* part) {
    const Rig rig(model, "{edits: [{bottleneck: {sites: [attn.out, ffn.out], width: 16, init: " +
                             init + "}}]}");
    std::vector<Tensor> all;
    for (const auto& [name, tensor] : rig.tensors) {
      if (name.starts_with("0.") && name.ends_with(part)) all.push_back(tensor.detach().flatten());
    }
    return at::cat(all);
  };
  const auto deviation = [](const Tensor& x) { return x.std().item<double>(); };
  const auto largest = [](const Tensor& x) { return x.abs().max().item<double>(); };
  // 2048 draws: the deviation of a sample is off by 1.6 % (one in 2 sqrt(n)); five of those.
  for (const char* part : {".down.weight", ".up.weight"}) {
    EXPECT_NEAR(deviation(values("normal", part)), 0.02, 0.08 * 0.02) << part;
    EXPECT_GT(largest(values("normal", part)), 0.04) << part << ": not cut";
    EXPECT_NEAR(deviation(values("houlsby", part)), 0.0088, 0.08 * 0.0088)
        << part << ": a normal cut at two deviations keeps 0.88 of its own";
    EXPECT_LE(largest(values("houlsby", part)), 0.02) << part;
    EXPECT_GT(largest(values("houlsby", part)), 0.019) << part;
  }
  const double bound = 1 / std::sqrt(32.0);
  EXPECT_LE(largest(values("zero-up", ".down.weight")), bound);
  EXPECT_GT(largest(values("zero-up", ".down.weight")), 0.99 * bound);
  EXPECT_EQ(largest(values("zero-up", ".up.weight")), 0);
  for (const char* init : {"normal", "houlsby", "zero-up"}) {
    EXPECT_EQ(largest(values(init, ".bias")), 0) << init;
    EXPECT_EQ(built(std::string("{width: 3, init: ") + init + "}", "bert-base")
                  .parts()
                  .front()
                  .spec()
                  .traits.identity_at_init,
              std::string(init) == "zero-up");
  }
}

TEST(BottleneckTest, TrainsPublishedNumbersOfParameters) {
  // UniPELT (Mao et al. 2022) and AdaMix (Wang et al. 2022), merged: 895K and 0.9M on BERT-base,
  // 0.8M on RoBERTa-large.
  EXPECT_EQ(count(built("{}", "bert-base")), 894'528);
  EXPECT_EQ(count(built("{sites: ffn.down, placement: sequential, width: 48, activation: gelu}",
                        "bert-base")),
            894'528);
  EXPECT_EQ(count(built("{sites: ffn.down, placement: sequential, width: 16, activation: gelu}",
                        "roberta-large")),
            811'392);
  EXPECT_EQ(count(built("{sites: [attn.out, ffn.out], placement: sequential}", "bert-base")),
            2 * 894'528);
  EXPECT_EQ(count(built("{scaling: learned}", "bert-base")), 894'528 + 12);
  EXPECT_EQ(count(built("{scaling: channel}", "bert-base")), 894'528 + 12 * 768);
  // A reduction that does not divide the width is rounded down, and the width of the site counts,
  // not the model's.
  EXPECT_EQ(count(built("{layers: [0], reduction: 100}", "bert-base")), 2 * 768 * 7 + 7 + 768);
  EXPECT_EQ(count(built("{sites: ffn.act, placement: sequential, layers: [0]}", "bert-base")),
            2 * 3072 * 192 + 192 + 3072);
}

// What a stochastic mixture exchanges together, and what weight decay leaves alone.
TEST(BottleneckTest, NamesItsBanksAndDecaysItsMatrices) {
  const Adapter adapter = built("{layers: [0], scaling: learned}", "bert-base");
  std::map<std::string, std::pair<std::string, bool>> found;
  for (const ParamSpec& param : adapter.parts().front().spec().params) {
    EXPECT_EQ(to_name(param.site.value()), "enc.0.ffn.out");
    found[param.name] = {param.bank, param.decays};
  }
  const std::map<std::string, std::pair<std::string, bool>> expected = {
      {"enc.0.ffn.out.down.weight", {"down", true}},
      {"enc.0.ffn.out.down.bias", {"down", false}},
      {"enc.0.ffn.out.up.weight", {"up", true}},
      {"enc.0.ffn.out.up.bias", {"up", false}},
      {"enc.0.ffn.out.scaling", {"up", true}}};
  EXPECT_EQ(found, expected);
}

TEST(BottleneckTest, RefusesEachWrongOptionByItsPlace) {
  const struct {
    const char *options, *message;
  } rows[] = {
      {"{width: 8, reduction: 16}",
       "/edits/0/bottleneck/width: expected width or reduction, found both"},
      {"{width: 0}", R"(/edits/0/bottleneck/width: expected an integer in 1..1048576, found "0")"},
      {"{reduction: -1}",
       R"(/edits/0/bottleneck/reduction: expected a number in 0.001..1e+06, found "-1")"},
      {"{reduction: 1000}",
       "/edits/0/bottleneck/reduction: enc.0.ffn.out is 768 wide and would get no unit: set "
       "reduction lower, or width"},
      {"{placement: houlsby}",
       R"(/edits/0/bottleneck/placement: expected sequential, pfeiffer or parallel, found "houlsby")"},
      {"{activation: sine}",
       R"(/edits/0/bottleneck/activation: expected relu, gelu, gelu_tanh, swish, tanh or linear, found "sine")"},
      {"{init: zero}",
       R"(/edits/0/bottleneck/init: expected normal, houlsby or zero-up, found "zero")"},
      {"{scaling: leaned}",
       R"(/edits/0/bottleneck/scaling: expected a number, learned or channel, found "leaned")"},
      {"{scaling: [4]}",
       "/edits/0/bottleneck/scaling: expected a number in -1e+06..1e+06, found a list"},
      {"{sites: ffn.down}",
       "/edits/0/bottleneck/sites: placement pfeiffer acts on sublayer sites; enc.0.ffn.down is a "
       "linear site: set placement to "
       "sequential"},
      {"{sites: out, placement: parallel}",
       "placement parallel acts on sublayer sites; enc.0.out is a layer site"},
      {"{sites: attn, placement: sequential}",
       "/edits/0/bottleneck/sites: bottleneck acts on what leaves a site; enc.0.attn is an "
       "attention site"},
      {"{bias: false}", "/edits/0/bottleneck/bias: unknown key"},
  };
  for (const auto& row : rows)
    expect_message<InputError>([&] { built(row.options, "bert-base"); }, row.message);
}

}  // namespace
}  // namespace graft::testing::test_bottleneck
