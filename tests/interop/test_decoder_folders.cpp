// Decoders and encoder-decoders: folders that PEFT and pyreft wrote compute what those compute,
// come back from an export, and merge.
#include <gtest/gtest.h>

#include "base/error.h"
#include "interop/interop.h"
#include "interop/merge.h"
#include "interop/probes.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_decoder_folders {
namespace {

constexpr Tolerance kFloat{1e-5, 1e-4};

std::shared_ptr<const Model> trunk(const std::string& name) {
  return golden_model(name, Precision::kFloat32, "trunks");
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  const Node manifest = golden_manifest("decoder_folders");
  for (const auto& [name, entry] : manifest.find("cases")->members) names.push_back(name);
  return names;
}

class DecoderFolder : public ::testing::TestWithParam<std::string> {
 protected:
  DecoderFolder()
      : manifest(golden_manifest("decoder_folders")),
        entry(*manifest.find("cases")->find(GetParam())),
        model(trunk(entry.find("model")->scalar)) {
    if (const Node* positions = entry.find("positions")) answers.positions = positions->scalar;
  }

  std::string format() const { return entry.find("format")->scalar; }
  LoadedAdapter imported(const Path& folder) const {
    return import_adapter(format(), folder, *model, std::nullopt, answers);
  }
  LoadedAdapter imported() const {
    return imported(golden_dir("decoder_folders") / GetParam() / format());
  }

  Node manifest, entry;
  std::shared_ptr<const Model> model;
  ImportAnswers answers;
};

std::vector<std::vector<int64_t>> cut(const at::Tensor& ids, const at::Tensor& lengths) {
  std::vector<std::vector<int64_t>> out;
  const int64_t* at = ids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < lengths.numel(); ++i) {
    const int64_t length = lengths[i].item<int64_t>();
    out.emplace_back(at, at + length);
    at += length;
  }
  return out;
}

void expect_logits(const Model& model, const LoadedAdapter& loaded, const NamedTensors& file) {
  const BoundAdapter bound(model, loaded.adapter, loaded.tensors);
  const auto rows = cut(file.at("ids"), file.at("lengths"));
  std::vector<std::vector<int64_t>> targets(rows.size());
  if (file.contains("target_ids")) targets = cut(file.at("target_ids"), file.at("target_lengths"));
  std::vector<at::Tensor> logits;
  for (size_t i = 0; i < rows.size(); ++i)
    logits.push_back(token_logits(
        model, bound, Sequence{.example = static_cast<int64_t>(i), .ids = rows[i]}, targets[i]));
  expect_near(at::cat(logits), file.at("logits"), kFloat, "logits");
}

TEST_P(DecoderFolder, ImportedItComputesWhatThePeerComputes) {
  const NamedTensors file =
      load_safetensors(golden_dir("decoder_folders") / GetParam() / "case.safetensors").tensors;
  expect_logits(*model, imported(), file);
  const Adapter bare(yaml("{}"), "bare", {model->config, model->sites}, std::nullopt);
  const BoundAdapter without(*model, bare, {});
  const auto rows = cut(file.at("ids"), file.at("lengths"));
  const std::vector<int64_t> target =
      file.contains("target_ids") ? cut(file.at("target_ids"), file.at("target_lengths")).front()
                                  : std::vector<int64_t>{};
  const at::Tensor own = token_logits(*model, without, Sequence{.ids = rows[0]}, target);
  EXPECT_GT((own - file.at("logits").slice(0, 0, own.size(0))).abs().max().item<double>(), 1e-3)
      << "the adapter changes something";
}

TEST_P(DecoderFolder, ExportedAgainItIsWhatThePeerWrote) {
  const TempFolder folder;
  const LoadedAdapter first = imported();
  export_adapter(format(), folder / "out", first, *model);
  const NamedTensors file =
      load_safetensors(golden_dir("decoder_folders") / GetParam() / "case.safetensors").tensors;
  expect_logits(*model, imported(folder / "out"), file);
  if (format() != "peft") return;
  const NamedTensors theirs = load_safetensors(golden_dir("decoder_folders") / GetParam() /
                                               "peft/adapter_model.safetensors")
                                  .tensors;
  const NamedTensors ours = load_safetensors(folder / "out/adapter_model.safetensors").tensors;
  ASSERT_EQ(ours.size(), theirs.size());
  for (const auto& [name, tensor] : theirs) expect_bits(ours.at(name), tensor, name);
  const Node config = parse_json(read_file(folder / "out/adapter_config.json"), "ours"),
             golden = parse_json(
                 read_file(golden_dir("decoder_folders") / GetParam() / "peft/adapter_config.json"),
                 "theirs");
  for (const char* key : {"task_type", "peft_type", "fan_in_fan_out", "r", "token_dim",
                          "num_attention_heads", "num_layers", "use_dora"}) {
    if (golden.find(key) == nullptr) continue;
    EXPECT_EQ(*config.find(key), *golden.find(key)) << key;
  }
}

INSTANTIATE_TEST_SUITE_P(All, DecoderFolder, ::testing::ValuesIn(case_names()), parameter_name);

// Only some of the layers that GPT-2 has as one.
TEST(DecoderExport, JoinsBranchesOfSomePieces) {
  for (const char* definition :
       {"{edits: [{lora: {sites: [attn.q, attn.v], rank: 2, alpha: 3}}]}",
        "{edits: [{lora: {sites: [attn.q, attn.v, ffn.up], rank: 2, alpha: 3}}]}",
        "{edits: [{affine: {sites: [attn.k]}}]}"}) {
    const TempFolder folder;
    Rig rig(trunk("gpt2-tiny"), definition, std::nullopt);
    rig.shake(0.2);
    const LoadedAdapter loaded{
        Adapter(yaml(definition), "test", {rig.model->config, rig.model->sites}, std::nullopt),
        rig.tensors,
        {}};
    EXPECT_LT(export_adapter("peft", folder / "out", loaded, *rig.model).largest_difference, 1e-5)
        << definition;
  }
}

TEST(DecoderExport, RefusesWhatPeftHasNoFormFor) {
  const auto refused = [](const std::string& model, const std::string& definition,
                          const std::string& format, const std::string& message) {
    const TempFolder folder;
    const Rig rig(trunk(model), definition, std::nullopt);
    const LoadedAdapter loaded{
        Adapter(yaml(definition), "test", {rig.model->config, rig.model->sites}, std::nullopt),
        rig.tensors,
        {}};
    expect_message<InputError>([&] { export_adapter(format, folder / "out", loaded, *rig.model); },
                               message);
  };
  refused(
      "gpt2-tiny",
      "{edits: [{lora: {sites: [attn.q], rslora: true}}, {lora: {sites: [attn.v], rslora: true}}]}",
      "peft", "expected rslora: false");
  refused("gpt2-tiny",
          "{edits: [{lora: {sites: [attn.q], rank: 2}}, {lora: {sites: [attn.v], rank: 3}}]}",
          "peft", "as one layer, with one rank and alpha");
  refused("gpt2-tiny", "{edits: [{dora: {sites: [attn.q]}}]}", "peft",
          "DoRA there needs all of them");
  refused("gpt2-tiny", "{edits: [{lora: {}}, {bitfit: {}}]}", "peft", "are not written for PEFT");
  refused("t5-tiny", "{edits: [{prefix: {}}]}", "peft",
          "PEFT gives rows to an encoder and its decoder in its own way");
  refused("t5-tiny", "{edits: [{reft: {}}]}", "pyreft", "a t5 model has two");
  refused("llama-tiny", "{edits: [{lora: {}}]}", "adapterhub", "written for BERT and RoBERTa");
}

// Of decoders, as of encoders in test_merge.cpp: float32 sums in another order, on logits of
// about 1.
TEST(DecoderMerge, GivesTheAdaptersLogits) {
  for (const std::string name : {"gpt2-tiny", "gpt2-bare", "llama-tiny", "llama-grouped",
                                 "qwen2-tiny", "t5-tiny", "t5-gated", "bart-tiny"}) {
    for (const std::string& definition :
         {std::string(
              "{edits: [{lora: {sites: ['attn.[qkvo]', 'cross.[qv]?', ffn.up, ffn.down]}}]}"),
          std::string("{edits: [{dora: {}}]}"),
          std::string("{edits: [{affine: {sites: [attn.mid, 'cross.mid?']}}]}"),
          std::string("{edits: [{affine: {sites: [attn.k, attn.v, 'ffn.mid|ffn.act']}}]}"),
          std::string("{edits: [{bitfit: {}}]}"), std::string("{edits: [{full: {}}]}")}) {
      const TempFolder folder;
      if (definition.find("bitfit") != std::string::npos &&
          !(name.starts_with("gpt2") || name.starts_with("qwen2") || name.starts_with("bart")))
        continue;  // no biases
      Rig rig(trunk(name), definition, std::nullopt);
      rig.shake(0.1);
      const LoadedAdapter loaded{
          Adapter(yaml(definition), "test", {rig.model->config, rig.model->sites}, std::nullopt),
          rig.tensors,
          {}};
      const MergeReport report =
          merge_adapter(loaded, *rig.model, golden_dir("trunks") / name,
                        made_up_probes(rig.model->config, 6), folder / "merged", {});
      EXPECT_LT(report.largest, 2e-5) << name << " " << definition;
      // The folder's names are those of the base, so that other software reads it, too.
      std::vector<std::string> before, after;
      for (const auto& [tensor, value] :
           load_safetensors(golden_dir("trunks") / name / "model.safetensors").tensors)
        before.push_back(tensor);
      for (const auto& [tensor, value] :
           load_safetensors(folder / "merged/model.safetensors").tensors)
        after.push_back(tensor);
      if (name == "gpt2-bare" || name == "bart-tiny") continue;
      EXPECT_EQ(after, before) << name;
    }
  }
}

}  // namespace
}  // namespace graft::testing::test_decoder_folders
