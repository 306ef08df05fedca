// Weights: which tensors a model must have, and sets with some replaced.
#include "model/weights.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "edit/initial.h"
#include "model/families.h"
#include "model/trunk.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing {
namespace {

using at::Tensor;

// A model folder whose tensors a test may spoil.
struct Folder {
  TempFolder dir;
  ModelConfig config;
  NamedTensors tensors;  // by checkpoint names

  explicit Folder(const std::string& family = "bert") : config(parse_config(tiny_config(family), "tiny")) {
    write_file_atomically(dir / "config.json", to_json(tiny_config(family)));
    for (const auto& [name, tensor] : random_base(config, 1))
      tensors[family + "." + *checkpoint_name(family_of(family), name)] = tensor;
  }
  std::shared_ptr<const Model> load() const {
    save_safetensors(dir / "model.safetensors", tensors);
    return load_model(dir.path(), Precision::kFloat32);
  }
  void expect_refused(const std::string& part) const {
    const std::string message = message_of<InputError>([&] { load(); });
    EXPECT_NE(message.find(part), std::string::npos) << "expected: " << part << "\n   found: " << message;
    EXPECT_NE(message.find(dir.path().string()), std::string::npos) << "the folder is not named: " << message;
  }
};

TEST(Weights, LoadUnderTheirCanonicalNames) {
  const Folder folder;
  const auto model = folder.load();
  expect_all_bits(model->weights.all_base(), random_base(folder.config, 1), "base");
}

TEST(Weights, RefuseAMissingTensor) {
  Folder folder;
  folder.tensors.erase("bert.encoder.layer.1.attention.self.query.weight");
  folder.expect_refused("tensor 'enc.1.attn.q.weight' is missing");
}

TEST(Weights, RefuseAMisshapenTensor) {
  Folder folder;
  folder.tensors.at("bert.encoder.layer.0.intermediate.dense.weight") = at::zeros({8, 12});
  folder.expect_refused("tensor 'enc.0.ffn.up.weight': expected [12, 8], found [8, 12]");
}

TEST(Weights, RefuseNumbersThatAreNotFloating) {
  Folder folder;
  folder.tensors.at("bert.encoder.layer.0.intermediate.dense.bias") = at::zeros({12}, at::kLong);
  folder.expect_refused("tensor 'enc.0.ffn.up.bias': expected floating-point numbers, found I64");
}

TEST(Weights, RefuseASurplusTensor) {
  Folder folder;
  folder.tensors["bert.encoder.layer.2.attention.self.query.weight"] = at::zeros({8, 8});
  folder.tensors["bert.encoder.layer.0.adapter.weight"] = at::zeros({8, 8});
  folder.expect_refused(
      "2 tensors belong to no part of a bert model with 2 layers: bert.encoder.layer.0.adapter.weight and "
      "bert.encoder.layer.2.attention.self.query.weight");
}

TEST(Weights, RefuseNotANumber) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Folder folder;
    folder.tensors.at("bert.embeddings.word_embeddings.weight")[12][7] = bad;
    folder.expect_refused("tensor 'bert.embeddings.word_embeddings.weight' holds numbers that are not finite");
  }
}

TEST(Weights, RefuseATensorUnderTwoNames) {
  Folder folder;
  folder.tensors["bert.embeddings.LayerNorm.gamma"] = at::ones({8});
  folder.expect_refused("is stored twice, under two spellings of its name");
}

TEST(Weights, LeaveOutOtherHeads) {
  Folder bert, roberta("roberta");
  bert.tensors["cls.predictions.bias"] = at::zeros({13});
  bert.tensors["classifier.weight"] = at::zeros({2, 8});
  bert.tensors["bert.embeddings.position_ids"] = at::zeros({1, 10}, at::kLong);
  roberta.tensors["lm_head.bias"] = at::zeros({13});
  roberta.tensors["roberta.pooler.dense.weight"] = at::zeros({8, 8});
  EXPECT_NO_THROW(bert.load());
  EXPECT_NO_THROW(roberta.load());
}

TEST(Weights, ServeReplacedTensors) {
  for (const Precision precision : {Precision::kFloat32, Precision::kFloat64}) {
    const auto model = tiny_model("bert", precision);
    const Weights& plain = model->weights;
    const Tensor x = normal_tensor({5, 8}, 1, RandomKey{3}).to(plain.dtype());
    const Tensor weight = normal_tensor({8, 8}, 1, RandomKey{4}).requires_grad_(true), bias = normal_tensor({8}, 1, RandomKey{5});
    const Weights both = plain.with({{"enc.0.attn.q.weight", weight}, {"enc.0.attn.q.bias", bias}}),
                  only_bias = plain.with({{"enc.0.attn.q.bias", bias}});
    const auto expected = [&](const Tensor& w, const Tensor& b) {
      return at::linear(x, w.to(x.scalar_type()), b.to(x.scalar_type()));
    };
    expect_near(both.linear("enc.0.attn.q", x), expected(weight, bias), {1e-6, 1e-6}, "both");
    expect_near(only_bias.linear("enc.0.attn.q", x), expected(plain.base("enc.0.attn.q.weight"), bias), {1e-6, 1e-6}, "bias");
    expect_near(plain.linear("enc.0.attn.q", x), expected(plain.base("enc.0.attn.q.weight"), plain.base("enc.0.attn.q.bias")),
                {1e-6, 1e-6}, "the first set keeps its own");
    EXPECT_TRUE(both.at("enc.0.attn.q.weight").requires_grad());
    EXPECT_TRUE(plain.base("enc.0.attn.q.weight").is_same(both.base("enc.0.attn.q.weight")));
    expect_message<InternalError>(
        [&] {
          plain.with({{"enc.0.attn.q.bias", at::zeros({9})}});
        },
        "a replaced tensor keeps its shape: enc.0.attn.q.bias");
  }
}

TEST(Weights, ReadOnlyTheRowsAskedFor) {
  const auto model = tiny_model("bert", Precision::kBFloat16);
  const Tensor rows = model->weights.rows("embed.word.weight", at::tensor({3, 0, 3}, at::kLong));
  EXPECT_EQ(rows.scalar_type(), at::kBFloat16);
  expect_bits(rows, model->weights.base("embed.word.weight").index_select(0, at::tensor({3, 0, 3}, at::kLong)).to(at::kBFloat16),
              "rows");
}

}  // namespace
}  // namespace graft::testing
