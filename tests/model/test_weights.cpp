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

namespace graft::testing::test_weights {
namespace {

using at::Tensor;

// What stands before the trunk's names: of an encoder as in a folder with a head.
std::string prefix_of(const ModelConfig& config) {
  return family_of(config).trunk_prefix(!config.has_decoder());
}

// A model folder whose tensors a test may spoil.
struct Folder {
  TempFolder dir;
  ModelConfig config;
  NamedTensors tensors;  // by checkpoint names

  explicit Folder(const std::string& name = "bert", const std::string& changes = "{}")
      : config(parse_config(tiny_config(name, parse_json(changes, "changes")), "tiny")) {
    write_file_atomically(dir / "config.json",
                          to_json(tiny_config(name, parse_json(changes, "changes"))));
    const Family& family = family_of(config);
    for (const auto& [ours, tensor] : random_base(config, 1)) {
      const std::string theirs = *checkpoint_name(family, tensor_id(ours));
      if (theirs.find('[') == std::string::npos)
        tensors[(ours == "lm.weight" ? "" : prefix_of(config)) + theirs] = tensor;
    }
  }
  void rename(const std::string& from, const std::string& to) {
    tensors[to] = tensors.at(from);
    tensors.erase(from);
  }
  std::shared_ptr<const Model> load() const {
    save_safetensors(dir / "model.safetensors", tensors);
    return load_model(dir.path(), Precision::kFloat32);
  }
  void expect_refused(const std::string& part) const {
    const std::string message = message_of<InputError>([&] { load(); });
    EXPECT_NE(message.find(part), std::string::npos)
        << "expected: " << part << "\n   found: " << message;
    EXPECT_NE(message.find(dir.path().string()), std::string::npos)
        << "the folder is not named: " << message;
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
  folder.expect_refused(
      "tensor 'bert.encoder.layer.1.attention.self.query.weight' is missing; the folder is "
      "incomplete");
}

TEST(Weights, RefuseAllMissingTensorsAtOnce) {
  Folder folder("t5", R"({"tie_word_embeddings": false})");
  folder.tensors.erase("decoder.final_layer_norm.weight");
  folder.rename("encoder.block.1.layer.0.SelfAttention.q.weight",
                "encoder.block.1.layer.0.SelfAttention.qq.weight");
  folder.tensors.erase("lm_head.weight");
  folder.expect_refused(
      "3 tensors are missing: encoder.block.1.layer.0.SelfAttention.q.weight, "
      "decoder.final_layer_norm.weight and lm_head.weight "
      "(did you mean 'encoder.block.1.layer.0.SelfAttention.qq.weight'?)");
}

// transformers loads the table from any of the names that are tied to it.
TEST(Weights, ReadAWordTableUnderItsOtherNames) {
  const struct {
    const char *name, *table, *other;
  } rows[] = {
      {"t5", "shared.weight", "encoder.embed_tokens.weight"},
      {"t5", "shared.weight", "decoder.embed_tokens.weight"},
      {"t5", "shared.weight", "lm_head.weight"},
      {"mt5", "shared.weight", "encoder.embed_tokens.weight"},
      {"bart", "model.shared.weight", "model.encoder.embed_tokens.weight"},
      {"bart", "model.shared.weight", "model.decoder.embed_tokens.weight"},
      {"bart", "model.shared.weight", "lm_head.weight"},
      {"llama", "model.embed_tokens.weight", "lm_head.weight"},
      {"mistral", "model.embed_tokens.weight", "lm_head.weight"},
      {"qwen2", "model.embed_tokens.weight", "lm_head.weight"},
      {"bert", "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"},
      {"roberta", "roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.name) + " " + row.other);
    Folder folder(row.name, R"({"tie_word_embeddings": true})");
    const Tensor table = folder.tensors.at(row.table);
    folder.rename(row.table, row.other);
    expect_bits(folder.load()->weights.base(tensor_id("embed.word.weight")), table, row.other);
    folder.tensors.erase(row.other);
    folder.expect_refused(std::string("tensor '") + row.table + "' is missing (");
  }
}

// Where the file ties the output layer and holds another one: transformers 4 leaves that one out,
// transformers 5 takes it.
TEST(Weights, TieTheOutputLayerAsTheWriterOfTheFile) {
  for (const std::string name : {"llama", "t5", "bart", "mt5"}) {
    for (const std::string version : {"4.57.6", "5.24.0"}) {
      SCOPED_TRACE(name + " " + version);
      Folder folder(name,
                    R"({"tie_word_embeddings": true, "transformers_version": ")" + version + "\"}");
      const Tensor other = at::full({13, 8}, 0.5),
                   table = folder.tensors.at(
                       prefix_of(folder.config) +
                       *checkpoint_name(family_of(name), tensor_id("embed.word.weight")));
      folder.tensors["lm_head.weight"] = other;
      const auto model = folder.load();
      EXPECT_EQ(model->config.has_tied_output, version == "4.57.6");
      EXPECT_EQ(model->weights.has(tensor_id("lm.weight")), version == "5.24.0");
      if (version == "5.24.0")
        expect_bits(model->weights.base(tensor_id("lm.weight")), other, "output");
      folder.tensors["lm_head.weight"] = table.clone();
      EXPECT_TRUE(folder.load()->config.has_tied_output) << "an equal one is a copy";
    }
  }
  Folder folder("t5", R"({"transformers_version": "5.24.0"})");
  folder.tensors["encoder.embed_tokens.weight"] = at::full({13, 8}, 0.5);
  folder.expect_refused(
      "tensor 'encoder.embed_tokens.weight' differs from 'shared.weight', of which it is a second "
      "copy here");
}

TEST(Weights, ReadTheBiasThatTheDecoderOfMasksAdds) {
  Folder folder;
  for (const char* name :
       {"transform.dense.bias", "transform.LayerNorm.weight", "transform.LayerNorm.bias"})
    folder.tensors[std::string("cls.predictions.") + name] = at::ones({8});
  folder.tensors["cls.predictions.transform.dense.weight"] = at::eye(8);
  folder.tensors["cls.predictions.bias"] = at::full({13}, 1.0);
  EXPECT_EQ(folder.load()->weights.base(tensor_id("mask.bias"))[0].item<float>(), 1);
  folder.tensors["cls.predictions.decoder.bias"] = at::full({13}, 2.0);
  EXPECT_EQ(folder.load()->weights.base(tensor_id("mask.bias"))[0].item<float>(), 2);
}

// The index of a sharded model may name tensors that no shard holds.
TEST(Weights, NeedOnlyWhatTheModelReads) {
  Folder folder("llama", R"({"tie_word_embeddings": true})");
  const auto write_index = [&](const std::vector<std::string>& listed) {
    Node map = Node::map();
    for (const std::string& name : listed)
      map[name] = Node::text("model-00001-of-00001.safetensors");
    write_file_atomically(folder.dir / "model.safetensors.index.json",
                          to_json(Node::map({{"weight_map", std::move(map)}})));
    save_safetensors(folder.dir / "model-00001-of-00001.safetensors", folder.tensors);
  };
  std::vector<std::string> names{"lm_head.weight"};
  for (const auto& [name, tensor] : folder.tensors) names.push_back(name);
  write_index(names);
  EXPECT_TRUE(load_model(folder.dir.path(), Precision::kFloat32)->config.has_tied_output);
  folder.tensors.erase("model.norm.weight");
  write_index(names);
  expect_message<InputError>(
      [&] { load_model(folder.dir.path(), Precision::kFloat32); },
      "tensor 'model.norm.weight' is missing; the index gives 'model.norm.weight' to "
      "'model-00001-of-00001.safetensors', which does not hold it");
}

TEST(Weights, RefuseAMisshapenTensor) {
  Folder folder;
  folder.tensors.at("bert.encoder.layer.0.intermediate.dense.weight") = at::zeros({8, 12});
  folder.expect_refused(
      "tensor 'bert.encoder.layer.0.intermediate.dense.weight': expected [12, 8], found [8, 12]");
}

TEST(Weights, RefuseNumbersThatAreNotFloating) {
  Folder folder;
  folder.tensors.at("bert.encoder.layer.0.intermediate.dense.bias") = at::zeros({12}, at::kLong);
  folder.expect_refused(
      "tensor 'bert.encoder.layer.0.intermediate.dense.bias': expected floating-point numbers, "
      "found I64");
}

TEST(Weights, RefuseASurplusTensor) {
  Folder folder;
  folder.tensors["bert.encoder.layer.2.attention.self.query.weight"] = at::zeros({8, 8});
  folder.tensors["bert.encoder.layer.0.adapter.weight"] = at::zeros({8, 8});
  folder.expect_refused(
      "2 tensors belong to no part of a bert model with 2 layers: "
      "bert.encoder.layer.0.adapter.weight and "
      "bert.encoder.layer.2.attention.self.query.weight");
}

TEST(Weights, RefuseNotANumber) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Folder folder;
    folder.tensors.at("bert.embeddings.word_embeddings.weight")[12][7] = bad;
    folder.expect_refused(
        "tensor 'bert.embeddings.word_embeddings.weight' holds numbers that are not finite");
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
  bert.tensors["heads.default.1.weight"] = at::zeros({2, 8});  // AdapterHub's
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
    const Place layer{StackId::kEncoder, 0, Part::kAttnQ};
    const Tensor x = normal_tensor({5, 8}, 1, RandomKey{3}).to(plain.dtype());
    const Tensor weight = normal_tensor({8, 8}, 1, RandomKey{4}).requires_grad_(true),
                 bias = normal_tensor({8}, 1, RandomKey{5});
    const Weights both = plain.with({{weight_of(layer), weight}, {bias_of(layer), bias}}),
                  only_bias = plain.with({{bias_of(layer), bias}});
    const auto expected = [&](const Tensor& w, const Tensor& b) {
      return at::linear(x, w.to(x.scalar_type()), b.to(x.scalar_type()));
    };
    expect_near(both.linear(layer, x), expected(weight, bias), {1e-6, 1e-6}, "both");
    expect_near(only_bias.linear(layer, x), expected(plain.base(weight_of(layer)), bias),
                {1e-6, 1e-6}, "bias");
    expect_near(plain.linear(layer, x),
                expected(plain.base(weight_of(layer)), plain.base(bias_of(layer))), {1e-6, 1e-6},
                "the first set keeps its own");
    EXPECT_TRUE(both.at(weight_of(layer)).requires_grad());
    EXPECT_TRUE(plain.base(weight_of(layer)).is_same(both.base(weight_of(layer))));
    EXPECT_TRUE(both.replaces_in(StackId::kEncoder, 0));
    EXPECT_FALSE(both.replaces_in(StackId::kEncoder, 1) || plain.replaces_in(StackId::kEncoder, 0));
    expect_message<InternalError>(
        [&] {
          plain.with({{bias_of(layer), at::zeros({9})}});
        },
        "a replaced tensor keeps its shape: enc.0.attn.q.bias");
  }
}

// A step of a bias that is smaller than bfloat16's there moves the output in the mean over rows,
// also where the weight of the layer is trained beside it.
TEST(Weights, DoNotRoundATrainedBiasOnABFloat16Trunk) {
  const auto model = tiny_model("bert", Precision::kBFloat16);
  const Place layer{StackId::kEncoder, 0, Part::kAttnQ};
  const Tensor x = normal_tensor({4000, 8}, 1, RandomKey{3}).to(at::kBFloat16);
  const Tensor weight = model->weights.base(weight_of(layer)).to(at::kFloat);
  const auto mean = [&](double bias) {
    const Weights both = model->weights.with(
        {{weight_of(layer), weight}, {bias_of(layer), at::full({8}, bias, at::kFloat)}});
    return both.linear(layer, x).to(at::kFloat).mean(0);
  };
  // 1 and 1.002 are one number in bfloat16. Each output is rounded, by 0.002 in the mean of one
  // row.
  expect_near(mean(1.002) - mean(1.0), at::full({8}, 0.002), {0.0005, 0}, "moved");
}

TEST(Weights, ReadOnlyTheRowsAskedFor) {
  const auto model = tiny_model("bert", Precision::kBFloat16);
  const Tensor rows =
      model->weights.rows(tensor_id("embed.word.weight"), at::tensor({3, 0, 3}, at::kLong));
  EXPECT_EQ(rows.scalar_type(), at::kBFloat16);
  expect_bits(rows,
              model->weights.base(tensor_id("embed.word.weight"))
                  .index_select(0, at::tensor({3, 0, 3}, at::kLong))
                  .to(at::kBFloat16),
              "rows");
}

}  // namespace
}  // namespace graft::testing::test_weights
