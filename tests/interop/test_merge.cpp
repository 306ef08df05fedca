// Merging: what folds gives a folder that runs alone with the same logits; what does not is refused
// with the reason.
#include <gtest/gtest.h>

#include "base/error.h"
#include "edit/own_head.h"
#include "interop/merge.h"
#include "interop/probes.h"
#include "model/families.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_merge {
namespace {

struct Made {
  std::shared_ptr<const Model> model;
  LoadedAdapter loaded;
  Path base;
};

Made made(const std::string& definition, const std::string& family = "bert",
          const std::optional<Task>& task = class_task(3), double shake = 0.1) {
  const auto model = golden_model(family + "-tiny");
  Rig rig(model, definition, task);
  rig.shake(shake);
  return {model,
          {Adapter(yaml(definition), "test", {model->config, model->sites}, task), rig.tensors, {}},
          golden_dir("models") / (family + "-tiny")};
}

MergeReport merge(const Made& m, const Path& out, MergeOptions options = {}) {
  return merge_adapter(m.loaded, *m.model, m.base, made_up_probes(m.model->config, 12), out,
                       options);
}

class Merges : public ::testing::TestWithParam<const char*> {};

// float32 sums in another order, on logits of about 1.
TEST_P(Merges, GiveTheAdaptersLogits) {
  for (const std::string family : {"bert", "roberta"}) {
    const TempFolder folder;
    const MergeReport report = merge(made(GetParam(), family), folder / "merged");
    EXPECT_LT(report.largest, 1e-5) << family;
    EXPECT_EQ(report.probes, 12);
    measured(std::string("merged ") + GetParam() + " on " + family, report.largest);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Foldable, Merges,
    ::testing::Values(
        "{edits: [{lora: {sites: ['attn.[qkvo]', ffn.up, ffn.down]}}]}", "{edits: [{dora: {}}]}",
        "{edits: [{affine: {}}]}",
        "{edits: [{affine: {sites: ['attn.[qkvo]', 'ffn.up', ffn.act], shift: true}}]}",
        "{edits: [{bitfit: {}}]}", "{edits: [{full: {}}]}", "{edits: [{top-layers: {count: 1}}]}",
        "{edits: [{stochastic: {experts: 3}, of: {lora: {rank: 2}}}]}",
        "{edits: [{lora: {rank: 2}}, {bitfit: {}}, {lora: {sites: attn.q, rank: 1}}]}",
        "{edits: [{affine: {}}, {lora: {sites: [attn.q, attn.v]}}]}",
        "{edits: [{affine: {}}, {lora: {sites: [ffn.down]}}]}",
        "{edits: [{affine: {sites: [attn.mid, attn.o, ffn.act], shift: true}}]}",
        "{edits: [{affine: {sites: [attn.mid]}}, {lora: {sites: [attn.o]}}]}",
        "{edits: [{affine: {}}, {lora: {sites: ['attn.[qv]', ffn.down]}}]}",
        "{edits: [{affine: {sites: [attn.mid, attn.o], shift: true}}, {lora: {sites: [attn.o]}}]}",
        "{edits: [{affine: {sites: ffn.act, shift: true}}, {affine: {sites: ffn.act, shift: "
        "true}}]}",
        "{edits: [{affine: {sites: attn.q, shift: true}}, {dora: {sites: attn.q}}]}",
        "{edits: [{bitfit: {}}, {dora: {}}]}", "{edits: [{lora: {rank: 2}}, {full: {}}]}", "{}"));

// y = m/norm (W0 x + s B A x) + b: a bias that another part trains is not stretched.
TEST(Merging, OfDoraLeavesATrainedBias) {
  const Made m = made("{edits: [{dora: {sites: attn.q}}, {bitfit: {}}]}");
  const NamedTensors merged = merged_tensors(m.loaded, *m.model);
  const at::Tensor& trained = m.loaded.tensors.at("1.bitfit/enc.0.attn.q.bias");
  EXPECT_GT(
      (trained - m.model->weights.all_base().at("enc.0.attn.q.bias")).abs().max().item<double>(),
      0.01);
  // f b + (1 - f) b in float32, with f about 1 and b below 1.
  expect_near(merged.at("enc.0.attn.q.bias"), trained, {1e-6, 0}, "bias");
}

// BERT's pooler is a layer like others.
TEST(Merging, FoldsIntoThePooler) {
  for (const char* edit : {"{lora: {sites: [attn.v, pooler]}}", "{dora: {sites: [pooler]}}",
                           "{affine: {sites: [pooler], shift: true}}",
                           "{stochastic: {experts: 2}, of: {lora: {sites: [pooler]}}}"}) {
    const TempFolder folder;
    const Made m = made(std::string("{edits: [") + edit + "]}");
    EXPECT_LT(merge(m, folder / "merged").largest, 1e-5) << edit;
    const NamedTensors before = load_safetensors(m.base / "model.safetensors").tensors,
                       after = load_safetensors(folder / "merged/model.safetensors").tensors;
    EXPECT_FALSE(after.at("bert.pooler.dense.weight").equal(before.at("bert.pooler.dense.weight")))
        << edit;
  }
}

TEST(Merging, WritesTheCheckpointsNamesWithTheHeadAndItsLabels) {
  const TempFolder folder;
  const Made m = made("{edits: [{lora: {}}], head: {pooler: trained}}");
  merge(m, folder / "merged");
  const SafetensorsFile file = load_safetensors(folder / "merged/model.safetensors");
  EXPECT_TRUE(file.tensors.contains("bert.encoder.layer.0.attention.self.query.weight"));
  expect_bits(file.tensors.at("classifier.weight"), m.loaded.tensors.at("head/out.weight").detach(),
              "head");
  expect_bits(file.tensors.at("bert.pooler.dense.weight"),
              m.loaded.tensors.at("head/pooler.weight").detach(), "trained pooler");
  EXPECT_EQ(file.metadata.at("format"), "pt");
  const Node json = parse_json(read_file(folder / "merged/config.json"), "config.json");
  EXPECT_EQ(json.find("architectures")->items.front().scalar, "BertForSequenceClassification");
  EXPECT_EQ(json.find("id2label")->members.size(), 3U);
  EXPECT_EQ(json.find("problem_type")->scalar, "single_label_classification");
  EXPECT_EQ(
      parse_json(read_file(folder / "merged/merge.json"), "merge.json").find("version")->scalar,
      "1");
}

// A merged classifier of every kind of family answers by itself, with the labels that it was
// trained on.
TEST(Merging, OfAClassifierGivesAFolderThatAnswers) {
  for (const char* name : {"gpt2-tiny", "llama-tiny", "t5-tiny", "t5-gated", "bart-tiny"}) {
    const TempFolder folder;
    const auto model = golden_model(name, Precision::kFloat32, "trunks");
    const std::string definition = "{edits: [{lora: {}}]}";
    Rig rig(model, definition, class_task(3));
    rig.shake(0.1);
    const LoadedAdapter loaded{
        Adapter(yaml(definition), "test", {model->config, model->sites}, class_task(3)),
        rig.tensors,
        {}};
    const std::vector<Sequence> probes = made_up_probes(model->config, 12);
    merge_adapter(loaded, *model, golden_dir("trunks") / name, probes, folder / "merged", {});
    const auto merged = load_model(folder / "merged", Precision::kFloat32);
    EXPECT_FALSE(merged->weights.has(tensor_id("lm.weight")))
        << "no class with a classifier has one";
    const OwnHead own = read_own_head(folder / "merged", merged->config).value();
    EXPECT_EQ(own.task, class_task(3));
    Rig alone(merged, own_head_adapter(own, *merged, own.task).adapter);
    alone.tensors = own.tensors;
    expect_near(logits_of(alone, probes), logits_of(rig, probes), {1e-5, 1e-5}, name);
  }
}

// A cloze has no classifier: its folder stays one that fills masks in.
TEST(Merging, OfAClozeKeepsTheHeadForMasks) {
  const TempFolder folder;
  const auto model = golden_model("roberta-mlm", Precision::kFloat32, "trunks");
  Task task = class_task(2);
  task.at<Classification>().cloze = Cloze{{}, {"a", "b"}};
  const std::string definition = "{edits: [{lora: {}}]}";
  Rig rig(model, definition, task);
  rig.shake(0.1);
  const LoadedAdapter loaded{
      Adapter(yaml(definition), "test", {model->config, model->sites}, task), rig.tensors, {}};
  std::vector<Sequence> probes = made_up_probes(model->config, 4);
  const auto words = std::make_shared<const std::vector<int64_t>>(std::vector<int64_t>{5, 6});
  for (Sequence& probe : probes) probe.asked = Mask{1, words};
  merge_adapter(loaded, *model, golden_dir("trunks") / "roberta-mlm", probes, folder / "merged",
                {});
  const Node json = parse_json(read_file(folder / "merged/config.json"), "config.json");
  EXPECT_EQ(json.find("architectures")->items.front().scalar, "RobertaForMaskedLM");
  const SafetensorsFile file = load_safetensors(folder / "merged/model.safetensors");
  EXPECT_TRUE(file.tensors.contains("lm_head.dense.weight"));
  EXPECT_TRUE(file.tensors.contains("roberta.encoder.layer.0.attention.self.query.weight"));
}

TEST(Merging, InBFloat16SaysHowMuchItMoves) {
  const TempFolder folder;
  const Made m = made("{edits: [{lora: {}}]}");
  const MergeReport report = merge(m, folder / "merged", {Precision::kBFloat16, 1});
  EXPECT_GT(report.largest, 1e-4);  // 8 bits of mantissa
  EXPECT_LT(report.largest, 0.2);
  EXPECT_LE(report.mean, report.largest);
  EXPECT_EQ(load_safetensors(folder / "merged/model.safetensors")
                .tensors.at("classifier.weight")
                .scalar_type(),
            at::kBFloat16);
}

TEST(Merging, RefusesADriftAndLeavesNothing) {
  const TempFolder folder;
  const Made m = made("{edits: [{lora: {}}]}");
  expect_message<InputError>(
      [&] {
        merge(m, folder / "merged", {Precision::kBFloat16, 1e-9});
      },
      "more than max_drift 1e-09 allows");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  merge(m, folder / "merged");
  expect_message<InputError>([&] { merge(m, folder / "merged"); },
                             "is there already; choose a new folder");
}

TEST(Merging, TakesAFolderWithASlashBehindIt) {
  const TempFolder folder;
  const Made m = made("{edits: [{lora: {}}]}");
  for (const char* name : {"first/", "second/."}) {
    merge(m, folder / name);
    EXPECT_TRUE(std::filesystem::exists(folder / name / "merge.json")) << name;
    expect_message<InputError>([&] { merge(m, folder / name); },
                               std::string(name) + "' is there already; choose a new folder");
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 2);
}

// A link to nowhere is there, and no folder takes its name.
TEST(Merging, SaysWhichFolderWouldNotBeRenamed) {
  const TempFolder folder;
  std::filesystem::create_symlink(folder / "nowhere", folder / "merged");
  const Made m = made("{edits: [{lora: {}}]}");
  const std::string message = message_of<IoError>([&] { merge(m, folder / "merged"); });
  EXPECT_TRUE(message.starts_with("cannot rename '" + (folder / "merged.unfinished.").string()))
      << message;
  EXPECT_NE(message.find("' to '" + (folder / "merged").string() + "': "), std::string::npos);
  std::filesystem::remove(folder / "merged");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

// On a model of tests/golden/gguf, without a head.
Made made_on_gguf(const std::string& name) {
  const std::string definition = "{edits: [{lora: {sites: ['attn.[qkvo]', ffn.down]}}]}";
  const auto model = golden_model(name + ".gguf", Precision::kFloat32, "gguf");
  Rig rig(model, definition, std::nullopt);
  rig.shake(0.1);
  return {model,
          {Adapter(yaml(definition), "test", {model->config, model->sites}, std::nullopt),
           rig.tensors,
           {}},
          golden_dir("gguf") / (name + ".gguf")};
}

// What other programs see is judged by transformers' reading of the same file: its names, and its
// numbers where nothing was folded in.
TEST(Merging, OfAGgufFileGivesAFolderThatAnswersAlike) {
  for (const std::string name : {"llama", "qwen2", "qwen3"}) {
    SCOPED_TRACE(name);
    const TempFolder folder;
    const Made m = made_on_gguf(name);
    const MergeReport report = merge(m, folder / "merged");
    EXPECT_LT(report.largest, 2e-5 * std::max(1.0, report.largest_value));
    const auto merged = load_model(folder / "merged", Precision::kFloat32);
    const Rig alone(merged, "{}", std::nullopt);
    const BoundAdapter own(*merged, *alone.adapter, alone.tensors),
        beside(*m.model, m.loaded.adapter, m.loaded.tensors);
    for (const Sequence& probe : made_up_probes(m.model->config, 3))
      expect_near(token_logits(*merged, own, probe), token_logits(*m.model, beside, probe),
                  {2e-5 * std::max(1.0, report.largest_value), 0}, name);
    const NamedTensors written = load_safetensors(folder / "merged/model.safetensors").tensors,
                       theirs =
                           load_safetensors(golden_dir("gguf") / (name + ".safetensors")).tensors;
    for (const auto& [tensor, value] : theirs) {
      if (tensor == "ids" || tensor == "logits") continue;
      ASSERT_TRUE(written.contains(tensor)) << tensor;
      const bool is_folded = tensor.find("self_attn") != std::string::npos ||
                             tensor.find("down_proj") != std::string::npos;
      if (!is_folded) expect_bits(written.at(tensor), value, tensor);
    }
    EXPECT_FALSE(std::filesystem::exists(folder / "merged/tokenizer.json")) << "the file has none";
  }
}

TEST(Merging, OfAGgufFileSaysInConfigJsonWhatTheMetadataSay) {
  const TempFolder folder;
  const Made m = made_on_gguf("qwen3");
  merge(m, folder / "merged", {Precision::kBFloat16, 1});
  const Node json = parse_json(read_file(folder / "merged/config.json"), "config.json");
  EXPECT_EQ(json.find("model_type")->scalar, "qwen3");
  EXPECT_EQ(json.find("architectures")->items.front().scalar, "Qwen3ForCausalLM");
  EXPECT_EQ(json.find("torch_dtype")->scalar, "bfloat16");
  EXPECT_EQ(to_json(*json.find("eos_token_id"), -1), "[2,3]");
  for (const auto& [name, tensor] : load_safetensors(folder / "merged/model.safetensors").tensors)
    EXPECT_EQ(tensor.scalar_type(), at::kBFloat16) << name;
  expect_message<InputError>(
      [&] {
        merge(m, folder / "other", {Precision::kBFloat16, 1e-9});
      },
      "more than max_drift 1e-09 allows");
  EXPECT_FALSE(std::filesystem::exists(folder / "other"));
}

TEST(Merging, RefusesWhatDoesNotFoldWithTheReason) {
  const struct {
    const char *definition, *message;
  } rows[] = {
      {"{edits: [{gate: {}, of: {lora: {}}}]}",
       "0.gate cannot be folded into weights: its weight is another one for every example"},
      {"{edits: [{router: {}, of: {lora: {}}}]}",
       "0.router cannot be folded into weights: its weights are other ones for every token"},
      {"{edits: [{bottleneck: {width: 2}}]}",
       "0.bottleneck cannot be folded into weights: a nonlinear function stands beside the layer"},
      {"{edits: [{prefix: {}}]}",
       "0.prefix cannot be folded into weights: its keys and values come from no token"},
      {"{edits: [{prompt: {length: 2}}]}",
       "0.prompt cannot be folded into weights: its rows come before every text"},
      {"{edits: [{lora: {}}, {reft: {}}]}",
       "1.reft cannot be folded into weights: it edits the residual stream"},
      {"{edits: [{affine: {sites: out}}]}",
       "0.affine cannot be folded into weights: not all of its sites"},
      {"{edits: [{stochastic: {}, of: {bottleneck: {width: 2}}}]}",
       "0.stochastic cannot be folded into weights"},
  };
  for (const auto& row : rows) {
    const TempFolder folder;
    const Made m = made(row.definition);
    expect_message<InputError>([&] { merge(m, folder / "merged"); }, row.message);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << row.definition;
  }
}

}  // namespace
}  // namespace graft::testing::test_merge
