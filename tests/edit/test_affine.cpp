// Affine: what it computes at a site, alone, weighted and mixed; what folds; published counts; the
// message for each wrong option. That it trains as PEFT's (IA)^3 does is shown by
// tests/golden/test_training.cpp.
#include <gtest/gtest.h>

#include "base/error.h"
#include "edit/adapter.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_affine {
namespace {

using at::Tensor;

Adapter built(const std::string& options, const ModelConfig& config) {
  return Adapter(yaml("{edits: [{affine: " + options + "}]}"), "run.yaml", {config, Sites(config)},
                 std::nullopt);
}

Adapter built(const std::string& options, const std::string& config) {
  return built(options, read_config(golden_dir("configs") / (config + ".json")));
}

const EditSpec& spec_of(const Adapter& adapter) { return adapter.parts().front().spec(); }

template <class Config>
bool folds(const char* options, const Config& config) {
  return spec_of(built(options, config)).traits.acts == Acts::kFoldable;
}

int64_t count(const Adapter& adapter) {
  int64_t sum = 0;
  for (const ParamSpec& param : adapter.params()) sum += c10::multiply_integers(param.shape);
  return sum;
}

// Smooth numbers without zeros or ones.
Tensor drawn(const std::vector<int64_t>& shape, double phase) {
  return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 0.7 + phase).view(shape) +
         0.05;
}

// enc.0.attn.k of a tiny model in float64, called by hand.
struct Keys {
  std::shared_ptr<const Model> model = tiny_model("bert", Precision::kFloat64);
  std::vector<Sequence> sequences = random_sequences(model->config, 2, 4, 5);
  Pack pack = pack_of(*model, {lane_of(sequences)});
  int64_t rows = pack.num_rows;
  Tensor x = drawn({rows, 8}, 0.1), y = drawn({rows, 8}, 0.2);
  SiteView view{model->sites.at("enc.0.attn.k"), pack, pack.whole(), x, y, {}, {}};
  Adapter adapter = built("{sites: attn.k, layers: [0], shift: true}", model->config);
  const Edit& edit = *adapter.parts().front().edit;
  Tensor scale = drawn({8}, 0.3), shift = drawn({8}, 0.4);
  Context context;

  Tensor changed(const Weight& weight) {
    const NamedTensors params{{"enc.0.attn.k.scale", scale}, {"enc.0.attn.k.shift", shift}};
    const TensorList own = listed(edit, params);
    return apply_change(y, edit.change(Params(own), view, edit.input(view), weight, context));
  }
  Tensor mixed(const Tensor& scales, const Tensor& shifts,
               const Tensor& shares) {  // shares: [T, G, E]
    const NamedTensors params{{"enc.0.attn.k.scale", scales}, {"enc.0.attn.k.shift", shifts}};
    const TensorList own = listed(edit, params);
    return apply_change(y, edit.blend(Params(own), scales.size(0), view, edit.input(view),
                                      {1.0, shares.flatten(1)}, context));
  }
};

constexpr Tolerance kExact{1e-12, 0};  // float64

TEST(AffineTest, ScalesThenShiftsWhatLeavesTheSite) {
  Keys k;
  expect_near(k.changed({1.0, {}}), k.scale * k.y + k.shift, kExact, "y'");
  EXPECT_EQ(k.edit.scale(k.view.site), 1.0);
  expect_bits(k.edit.input(k.view), k.y, "what a gate or router around it reads");
}

// A weight takes the change from none (0) to all of it (1), not the activation from zero.
TEST(AffineTest, AWeightMultipliesTheChange) {
  Keys k;
  const Tensor delta = (k.scale - 1.0) * k.y + k.shift;
  expect_near(k.changed({0.25, {}}), k.y + 0.25 * delta, kExact, "a number");
  expect_near(k.changed({0.0, {}}), k.y, kExact, "none");
  const Tensor gate = drawn({k.rows, 1}, 0.5), heads = drawn({k.rows, 2}, 0.6);
  expect_near(k.changed({2.0, gate}), k.y + 2.0 * gate * delta, kExact, "a number a row");
  expect_near(k.changed({2.0, heads}), k.y + 2.0 * heads.repeat_interleave(4, 1) * delta, kExact,
              "a number a row and head");
}

// MoV: y' = (p V) y. Shares that do not add up to one, as the largest k of a softmax, shrink y
// itself.
TEST(AffineTest, AMixtureIsOneOfVectors) {
  Keys k;
  const Tensor scales = drawn({3, 8}, 0.7), shifts = drawn({3, 8}, 0.8);
  for (const int64_t groups : {1, 2}) {
    const Tensor shares = drawn({k.rows, groups, 3}, 0.9);              // sums from -2 to 2
    const Tensor of_columns = shares.repeat_interleave(8 / groups, 1);  // [T, 8, E]
    const Tensor scale = (of_columns * scales.t()).sum(2), shift = (of_columns * shifts.t()).sum(2);
    expect_near(k.mixed(scales, shifts, shares), scale * k.y + shift, kExact,
                std::to_string(groups) + " groups");
  }
  const Tensor half = at::full({k.rows, 1, 3}, 1.0 / 6, at::kDouble);
  expect_near(k.mixed(at::ones_like(scales), at::zeros_like(shifts), half), 0.5 * k.y, kExact,
              "shares that add up to one half");
}

TEST(AffineTest, AMixtureWhoseSharesAddUpToOneIsTheSumOfItsChanges) {
  Keys k;
  const Tensor scales = drawn({3, 8}, 0.7), shifts = drawn({3, 8}, 0.8),
               shares = at::softmax(drawn({k.rows, 2, 3}, 0.9), 2);
  const NamedTensors params{{"enc.0.attn.k.scale", scales}, {"enc.0.attn.k.shift", shifts}};
  const TensorList own = listed(k.edit, params);
  const Change one_by_one =
      k.edit.Edit::blend(Params(own), 3, k.view, k.y, {1.0, shares.flatten(1)}, k.context);
  expect_near(k.mixed(scales, shifts, shares), apply_change(k.y, one_by_one), kExact, "y'");
}

// 1.003 is 1 in bfloat16.
TEST(AffineTest, KeepsItsVectorsInFloat32OnABfloat16Trunk) {
  const Rig rig(tiny_model("bert", Precision::kBFloat16), "{edits: [{affine: {}}]}");
  const AdapterTensors derived = rig.adapter->derive(rig.tensors, rig.model->weights);
  EXPECT_EQ(derived.parts.front().size(), rig.adapter->parts().front().spec().params.size());
  for (const Tensor& tensor : derived.parts.front()) EXPECT_EQ(tensor.scalar_type(), at::kFloat);
}

TEST(AffineTest, TrainsPublishedNumbersOfParameters) {
  EXPECT_EQ(count(built("{}", "bert-base")), 12 * (2 * 768 + 3072));
  // RED (Wu et al. 2024) on LLaMA-7B.
  EXPECT_EQ(count(built("{sites: ffn.down, shift: true}", "llama-7b")), 262'144);
  EXPECT_EQ(count(built("{sites: out, layers: [15], scale: false, shift: true}", "llama-7b")),
            4096);
}

TEST(AffineTest, DecaysScalesOnly) {
  for (const ParamSpec& param : built("{shift: true}", "bert-base").params())
    EXPECT_EQ(param.decays, param.name.ends_with(".scale")) << param.name;
}

TEST(AffineTest, FoldsWhereALayerCanTakeIt) {
  const struct {
    const char *options, *config;
    bool folds;
  } rows[] = {
      {"{}", "bert-base", true},
      {"{sites: ['attn.[qkvo]', 'ffn.*p', ffn.act, ffn.down], shift: true}", "bert-base", true},
      {"{sites: [ffn.down, ffn.out]}", "bert-base", false},
      {"{sites: attn.out}", "bert-base", false},
      {"{sites: out, scale: false, shift: true}", "bert-base", false},
      {"{sites: ffn.norm}", "bert-base", false},
      {"{sites: embed}", "bert-base", false},
      {"{}", "llama-7b", true},
      {"{sites: attn.v, shift: true}", "llama-7b", false},  // no bias to take it
      {"{sites: ffn.mid, shift: true}", "llama-7b", false},
      {"{sites: ffn.mid}", "llama-7b", true},
  };
  for (const auto& row : rows)
    EXPECT_EQ(folds(row.options, row.config), row.folds) << row.options << " on " << row.config;
  // A gated FFN with biases: the other branch multiplies a shift behind the activation, but not one
  // of their product.
  ModelConfig gated = read_config(golden_dir("configs") / "llama-7b.json");
  gated.decoder->has_ffn_bias = true;
  EXPECT_FALSE(folds("{sites: ffn.act, shift: true}", gated));
  EXPECT_TRUE(folds("{sites: ffn.act}", gated));
  EXPECT_TRUE(folds("{sites: ffn.mid, shift: true}", gated));
}

TEST(AffineTest, RefusesEachWrongOptionByItsPlace) {
  const struct {
    const char *options, *message;
  } rows[] = {
      {"{scale: false}",
       "/edits/0/affine/scale: expected scale or shift to be true, found neither"},
      {"{scale: 2}", R"(/edits/0/affine/scale: expected true or false, found "2")"},
      {"{shift: x}", R"(/edits/0/affine/shift: expected true or false, found "x")"},
      {"{sites: [attn.k, attn]}",
       "/edits/0/affine/sites: affine acts on what leaves a site; enc.0.attn is an attention site"},
      {"{shfit: true}", "/edits/0/affine/shfit: unknown key (did you mean 'shift'?)"},
  };
  for (const auto& row : rows)
    expect_message<InputError>([&] { built(row.options, "bert-base"); }, row.message);
}

}  // namespace
}  // namespace graft::testing::test_affine
