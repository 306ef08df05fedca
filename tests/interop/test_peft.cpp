// Folders that PEFT wrote: imported they compute what PEFT computes, exported again they are what
// PEFT wrote.
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "edit/adapter_file.h"
#include "interop/interop.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_peft {
namespace {

constexpr Tolerance kFloat{1e-5, 1e-4};

struct Case {
  Path folder;  // PEFT's
  Path values;  // case.safetensors
  std::string model;
  int64_t outputs = 0;
};

// "peft/NAME" and the start adapters "training/NAME".
const std::map<std::string, Case>& cases() {
  static const std::map<std::string, Case> found = [] {
    std::map<std::string, Case> out;
    for (const char* topic : {"peft", "training"}) {
      const Node manifest = golden_manifest(topic);
      for (const auto& [name, entry] : manifest.find("cases")->members) {
        const Path dir = golden_dir(topic) / name;
        if (!std::filesystem::exists(dir / "peft")) continue;
        out[std::string(topic) + "-" + name] = {
            dir / "peft", dir / "case.safetensors", entry.find("model")->scalar,
            static_cast<int64_t>(number_of(*entry.find("num_labels")))};
      }
    }
    return out;
  }();
  return found;
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& [name, one] : cases()) names.push_back(name);
  return names;
}

std::optional<Task> task_for(int64_t outputs) {
  if (outputs == 0) return std::nullopt;
  return outputs == 1 ? regression_task() : class_task(outputs);
}

Rig rig_of(const std::shared_ptr<const Model>& model, const LoadedAdapter& loaded) {
  Rig rig(model, to_json(loaded.adapter.describe()), loaded.adapter.task());
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : rig.tensors) tensor.copy_(loaded.tensors.at(name));
  return rig;
}

Node config_of(const Path& folder) {
  return parse_json(read_file(folder / "adapter_config.json"), "config");
}

NamedTensors tensors_of(const Path& folder) {
  return load_foreign_tensors(folder, "adapter_model.safetensors", "adapter_model.bin").all();
}

class GoldenPeft : public ::testing::TestWithParam<std::string> {
 protected:
  const Case& golden() const { return cases().at(GetParam()); }
  std::shared_ptr<const Model> model() const { return golden_model(golden().model); }
  LoadedAdapter imported(const Path& folder) const {
    return import_adapter("peft", folder, *model(), task_for(golden().outputs));
  }
};

TEST_P(GoldenPeft, ImportedItComputesWhatPeftComputes) {
  NamedTensors file = load_safetensors(golden().values).tensors;
  std::vector<Sequence> sequences =
      cut_sequences(file.at("ids"), file.at("token_types"), file.at("lengths"));
  const Rig rig = rig_of(model(), imported(golden().folder));
  if (golden().outputs == 0) {
    const at::NoGradGuard no_grad;
    const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
    const LaneResult result = run_lanes(*rig.model, pack_of(*rig.model, {lane_of(rig, sequences)}),
                                        {&bound}, {.keep_hidden = true})
                                  .front();
    return expect_near(result.hidden.back(), file.at("last"), kFloat, "last hidden states");
  }
  sequences.resize(
      std::min<size_t>(sequences.size(), static_cast<size_t>(file.at("logits").size(0))));
  expect_near(logits_of(rig, sequences), file.at("logits"), kFloat, "logits");
}

// What PEFT wrote but its readers ignore: with bias "all" it repeats biases inside the wrapper of
// the classifier.
bool is_repeated(const std::string& name) {
  return name.find(".original_module.") != std::string::npos ||
         name.find(".modules_to_save.") != std::string::npos;
}

TEST_P(GoldenPeft, ExportedItHoldsTheTensorsThatPeftWrote) {
  const TempFolder folder;
  export_adapter("peft", folder / "out", imported(golden().folder), *model());
  NamedTensors expected = tensors_of(golden().folder);
  std::erase_if(expected, [](const auto& entry) { return is_repeated(entry.first); });
  expect_all_bits(tensors_of(folder / "out"), expected, "adapter_model");
  EXPECT_EQ(load_safetensors(folder / "out" / "adapter_model.safetensors").metadata,
            (std::map<std::string, std::string>{{"format", "pt"}}));
}

std::set<std::string> words(const Node* node) {
  std::set<std::string> out;
  if (node->kind == Node::Kind::kScalar) out.insert(node->scalar);
  for (const Node& item : node->items) out.insert(item.scalar);
  return out;
}

// Fields whose text may differ for one meaning: where modules are chosen in other words, and notes
// on how the training began.
const std::set<std::string> kOtherWords = {"target_modules",
                                           "exclude_modules",
                                           "layers_to_transform",
                                           "feedforward_modules",
                                           "rank_pattern",
                                           "alpha_pattern",
                                           "r",
                                           "lora_alpha"};

TEST_P(GoldenPeft, ExportedItHasTheFieldsThatPeftWrote) {
  const TempFolder folder;
  export_adapter("peft", folder / "out", imported(golden().folder), *model());
  const Node found = config_of(folder / "out"), expected = config_of(golden().folder);
  if (expected.find("peft_type")->scalar == "P_TUNING")
    return;  // exported as what it then is: a prompt
  std::vector<std::string> found_keys, expected_keys;
  for (const auto& [key, value] : found.members) found_keys.push_back(key);
  for (const auto& [key, value] : expected.members) expected_keys.push_back(key);
  EXPECT_EQ(found_keys, expected_keys);
  for (const auto& [key, value] : expected.members) {
    if (kOtherWords.contains(key) || key == "base_model_name_or_path" ||
        key == "encoder_hidden_size" || key == "prefix_projection")
      continue;
    const Node& own = *found.find(key);
    if (key == "modules_to_save") EXPECT_EQ(words(&own), words(&value)) << key;
    else if (value.kind == Node::Kind::kScalar && !value.is_string && value.scalar != "true" &&
             value.scalar != "false")
      EXPECT_EQ(number_of(own), number_of(value)) << key;
    else EXPECT_EQ(to_json(own), to_json(value)) << key;
  }
}

TEST_P(GoldenPeft, ImportExportImportIsTheSameAdapter) {
  const TempFolder folder;
  const LoadedAdapter first = imported(golden().folder);
  export_adapter("peft", folder / "out", first, *model());
  const LoadedAdapter second = imported(folder / "out");
  EXPECT_EQ(to_json(second.adapter.describe()), to_json(first.adapter.describe()));
  expect_all_bits(second.tensors, first.tensors, "tensors");
}

TEST_P(GoldenPeft, SavedAndLoadedItIsTheSameAdapter) {
  const TempFolder folder;
  const LoadedAdapter first = imported(golden().folder);
  save_adapter(folder / "own", first.adapter, first.tensors, *model(), first.provenance);
  const LoadedAdapter second = load_adapter(folder / "own", *model());
  expect_all_bits(second.tensors, first.tensors, "tensors");
  EXPECT_EQ(second.provenance.origin, "peft 0.21.2 (" +
                                          config_of(golden().folder).find("peft_type")->scalar +
                                          "), " + golden().folder.string());
}

INSTANTIATE_TEST_SUITE_P(All, GoldenPeft, ::testing::ValuesIn(case_names()), parameter_name);

// What modules are chosen, in the short names of the folder that PEFT wrote.
TEST(PeftExport, ChoosesModulesByTheNamesThatPeopleUse) {
  for (const char* name : {"training-bert-lora", "training-bert-lora-rs", "peft-bert-patterns",
                           "peft-bert-pickle", "peft-bert-bias-all"}) {
    const TempFolder folder;
    const Case& golden = cases().at(name);
    const auto model = golden_model(golden.model);
    export_adapter("peft", folder / "out",
                   import_adapter("peft", golden.folder, *model, task_for(golden.outputs)), *model);
    EXPECT_EQ(words(config_of(folder / "out").find("target_modules")),
              words(config_of(golden.folder).find("target_modules")))
        << name;
  }
}

// "output.dense" also ends "attention.output.dense", and "query" every layer's: alone they take
// longer endings.
TEST(PeftExport, TakesLongerEndingsWhereAShortOneWouldChooseMore) {
  const TempFolder folder;
  const auto model = golden_model("bert-tiny");
  const char* definition =
      "{edits: [{lora: {sites: ffn.down, rank: 2}}, {lora: {sites: attn.q, layers: [1], rank: "
      "3}}]}";
  const Rig rig(model, definition);
  export_adapter("peft", folder / "out",
                 {Adapter(yaml(definition), "test", {model->config, model->sites}, class_task(3)),
                  rig.tensors,
                  {}},
                 *model);
  const Node config = config_of(folder / "out");
  EXPECT_EQ(words(config.find("target_modules")),
            (std::set<std::string>{"0.output.dense", "1.output.dense", "1.attention.self.query"}));
  EXPECT_EQ(number_of(*config.find("r")), 2);
  EXPECT_EQ(
      number_of(*config.find("rank_pattern")->find("bert.encoder.layer.1.attention.self.query")),
      3);
}

// rsLoRA is one switch for a folder in PEFT: beside plain LoRA it goes into alpha. The probe of
// export_adapter compares the two.
TEST(PeftExport, PutsPartialRankStabilisationIntoAlpha) {
  const TempFolder folder;
  const auto model = golden_model("bert-tiny");
  Rig rig(model,
          "{edits: [{lora: {sites: attn.q, rank: 4, alpha: 6, rslora: true}}, {lora: {sites: "
          "ffn.down, rank: 2, alpha: 3}}]}");
  rig.shake(0.2);
  const LoadedAdapter loaded{
      Adapter(
          yaml("{edits: [{lora: {sites: attn.q, rank: 4, alpha: 6, rslora: true}}, {lora: {sites: "
               "ffn.down, rank: 2, alpha: 3}}]}"),
          "test", {model->config, model->sites}, class_task(3)),
      rig.tensors,
      {}};
  export_adapter("peft", folder / "out", loaded, *model);
  const Node config = config_of(folder / "out");
  EXPECT_EQ(config.find("use_rslora")->scalar, "false");
  const LoadedAdapter again = import_adapter("peft", folder / "out", *model, class_task(3));
  const Node edits = again.adapter.describe()["edits"];
  EXPECT_EQ(number_of(*edits.items.at(0).find("lora")->find("alpha")),
            12.0);  // 6 * sqrt(4): 12 / 4 = 6 / sqrt(4)
}

// A prefix made by a network is exported as what the network makes.
TEST(PeftExport, FlattensAPrefix) {
  const TempFolder folder;
  const auto model = golden_model("bert-tiny");
  const char* definition = "{edits: [{prefix: {length: 3, mlp: 5, counts_positions: true}}]}";
  Rig rig(model, definition);
  rig.shake(0.2);
  const LoadedAdapter loaded{
      Adapter(yaml(definition), "test", {model->config, model->sites}, class_task(3)),
      rig.tensors,
      {}};
  export_adapter("peft", folder / "out", loaded, *model);
  EXPECT_EQ(tensors_of(folder / "out").at("prompt_embeddings").sizes(),
            (std::vector<int64_t>{3, 2 * 2 * 32}));
}

}  // namespace
}  // namespace graft::testing::test_peft
