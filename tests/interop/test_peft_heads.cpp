// Classifiers and regressions on decoders, T5 and BART in PEFT's folders: where the head comes
// from, and what is written. That they compute what PEFT computes: Matrix.OfPeftsHeads.
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "data/plain_task.h"
#include "interop/merge.h"
#include "tensor/safetensors.h"
#include "tests/interop/cells.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_peft_heads {
namespace {

constexpr const char* kGolden = "peft_heads";

TEST(PeftHeads, ComeBackFromAnExport) {
  int64_t count = 0;
  for (const auto& [key, cell] : load_cells(kGolden)) {
    if (key.starts_with("lora, bias all")) continue;
    SCOPED_TRACE(key);
    const TempFolder folder;
    const auto model = model_of(cell);
    const LoadedAdapter first = import_cell(cell);
    export_adapter("peft", folder / "out", first, *model);
    const LoadedAdapter again =
        import_adapter("peft", folder / "out", *model, first.adapter.task());
    expect_all_bits(again.tensors, first.tensors, key);
    EXPECT_EQ(again.adapter.describe(), first.adapter.describe());
    ++count;
  }
  EXPECT_EQ(count, 122);
}

// PEFT saves what is called classifier or score; T5's and BART's heads have another name, which a
// config must list.
TEST(PeftHeads, AreWrittenWhereTheConfigListsThem) {
  for (const auto& [key, module] : {std::pair{"lora/t5", "classification_head"},
                                    {"lora/bart", "classification_head"},
                                    {"lora/llama", "score"}}) {
    SCOPED_TRACE(key);
    const TempFolder folder;
    export_adapter("peft", folder / "out", import_cell(load_cells(kGolden).at(key)),
                   *model_of(load_cells(kGolden).at(key)));
    const Node config =
        parse_json(read_file(folder / "out/adapter_config.json"), "adapter_config.json");
    EXPECT_EQ(config.find("task_type")->scalar, "SEQ_CLS");
    const Node* saved = config.find("modules_to_save");
    std::set<std::string> names;
    for (const Node& item : saved->items) names.insert(item.scalar);
    EXPECT_EQ(names, (std::set<std::string>{"classifier", "score", module}));
    int64_t held = 0;
    for (const auto& [name, tensor] :
         load_safetensors(folder / "out/adapter_model.safetensors").tensors)
      held += name.starts_with(std::string("base_model.model.") + module) ? 1 : 0;
    EXPECT_EQ(held, std::string(module) == "score" ? 1 : 4);
  }
}

TEST(PeftHeads, AreTheModelsOwnWhereTheFolderHoldsNone) {
  const LoadedAdapter loaded = import_cell(load_cells(kGolden).at("lora/t5"));
  EXPECT_EQ(loaded.adapter.task()->labels(), (std::vector<std::string>{"bad", "so so", "good"}));
  EXPECT_NE(loaded.provenance.origin.find("with the model's own head"), std::string::npos);
  const NamedTensors base =
      load_safetensors(golden_dir("classifiers") / "t5-labels/model.safetensors").tensors;
  for (const char* layer : {"dense", "out_proj"}) {
    for (const char* tensor : {".weight", ".bias"}) {
      const std::string ours =
          std::string("head/") + (std::string(layer) == "dense" ? "dense" : "out") + tensor;
      expect_bits(loaded.tensors.at(ours).detach(),
                  base.at(std::string("classification_head.") + layer + tensor), ours);
    }
  }
  EXPECT_EQ(import_cell(load_cells(kGolden).at("lora/t5-value")).adapter.task()->kind(),
            TaskKind::kRegression);
}

// Outputs that have names are the task's by name; the order counts where the names are others.
TEST(PeftHeads, FollowTheLabelsOfATask) {
  const Cell& cell = load_cells(kGolden).at("lora/t5");
  const TempFolder folder;
  write_folder(cell, "peft", folder / "in");
  const auto with = [&](const std::vector<std::string>& labels) {
    return import_adapter("peft", folder / "in", *model_of(cell), plain_task(labels));
  };
  const at::Tensor own = import_cell(cell).tensors.at("head/out.weight").detach();
  const LoadedAdapter turned = with({"good", "Bad", "so so"}), renamed = with({"x", "y", "z"});
  EXPECT_EQ(turned.adapter.task()->labels(), (std::vector<std::string>{"good", "Bad", "so so"}));
  expect_bits(turned.tensors.at("head/out.weight").detach(),
              own.index_select(0, at::tensor({2, 0, 1}, at::kLong)), "turned");
  expect_bits(renamed.tensors.at("head/out.weight").detach(), own, "renamed");
}

TEST(PeftHeads, ThatNobodyHoldsAreAskedFor) {
  Cell cell = load_cells(kGolden).at("lora/t5");
  cell.model = "trunks/t5-tiny";
  expect_message<InputError>([&] { import_cell(cell); },
                             "holds no \"base_model.model.classification_head.dense.weight\", so "
                             "the head is the model's own");
  expect_message<InputError>(
      [&] { import_cell(cell); },
      "brings none; give model the classifier that the adapter was trained on");
  Cell saved = load_cells(kGolden).at(
      "lora, head saved/t5");  // what a config lists is not looked for elsewhere
  std::erase_if(saved.tensors, [](const auto& each) {
    return each.first.find("classification_head") != std::string::npos;
  });
  expect_message<InputError>(
      [&] { import_cell(saved); },
      "tensor \"base_model.model.classification_head.dense.weight\" is missing");
}

TEST(PeftHeads, OfOtherTasksAreRefusedByName) {
  for (const auto& [key, in_words] :
       {std::pair{"lora/llama", "CAUSAL_LM"}, {"lora/t5", "SEQ_2_SEQ_LM"}}) {
    Cell cell = load_cells(kGolden).at(key);
    cell.config["task_type"] = Node::text("TOKEN_CLS");
    expect_message<InputError>([&] { import_cell(cell); },
                               std::string("/task_type: expected ") + in_words +
                                   ", SEQ_CLS, FEATURE_EXTRACTION or null, found \"TOKEN_CLS\"");
  }
  Cell words = load_cells(kGolden).at("lora/llama");
  words.config["task_type"] = Node::text("CAUSAL_LM");
  expect_message<InputError>([&] { import_cell(words); },
                             "tensor \"base_model.model.score.weight\" [3, 16] has no place");
  Cell unnamed = load_cells(kGolden).at("lora/llama");
  unnamed.config["task_type"] = Node::null();
  expect_all_bits(import_cell(unnamed).tensors,
                  import_cell(load_cells(kGolden).at("lora/llama")).tensors, "no task_type");
}

// The head's layers have places of their own: a copy of more is refused.
TEST(PeftHeads, SaveNothingElse) {
  Cell cell = load_cells(kGolden).at("lora/bart");
  cell.config["modules_to_save"] = Node::texts({"out_proj"});  // of every attention, too
  expect_message<InputError>([&] { import_cell(cell); },
                             "/modules_to_save: expected classification_head (of a model with a "
                             "classifier), found \"out_proj\"");
}

// ModernBERT's classifier reads its head for masks, whose layer PEFT changes or saves with its
// norm.
TEST(PeftHeads, OfModernBertFoldIntoItsHeadForMasks) {
  for (const char* key : {"lora, all-linear/modernbert", "lora, dora all-linear/modernbert",
                          "ia3, all-linear/modernbert", "lora, head for masks saved/modernbert"}) {
    SCOPED_TRACE(key);
    const Cell& cell = load_cells(kGolden).at(key);
    const auto model = model_of(cell);
    LoadedAdapter loaded = import_cell(cell);
    const Task task = *loaded.adapter.task();
    auto folded = merged_tensors(loaded, *model);
    for (auto& [name, tensor] : folded) tensor = tensor.detach();
    const auto merged = std::make_shared<const Model>(
        Model{"merged", model->config, model->sites,
              Weights(model->config, std::move(folded), Precision::kFloat32)});
    const TensorId dense = weight_of(kMaskDensePlace);
    EXPECT_GT(difference_of(merged->weights.base(dense), model->weights.base(dense)).absolute,
              1e-3);
    Rig bare(merged, "{edits: []}", task);
    for (const char* name : {"head/out.weight", "head/out.bias"})
      bare.tensors[name] = loaded.tensors.at(name);
    Rig rig(model, std::move(loaded.adapter));
    rig.tensors = loaded.tensors;
    const std::vector<Sequence> rows = random_sequences(model->config, 4, 12, 3);
    expect_near(logits_of(bare, rows), logits_of(rig, rows), {1e-5, 1e-4}, key);
  }
}

TEST(PeftHeads, OfModernBertAreNamedWhereTheConfigTrainsThem) {
  Cell cell = load_cells(kGolden).at("lora, Wqkv/modernbert");
  const LoadedAdapter saved =
      import_cell(load_cells(kGolden).at("lora, head for masks saved/modernbert"));
  EXPECT_TRUE(saved.tensors.contains("head/mask.dense.weight"));
  EXPECT_TRUE(saved.tensors.contains("head/mask.norm.weight"));
  cell.config["modules_to_save"] = Node::texts({"norm"});  // of every block, too
  expect_message<InputError>([&] { import_cell(cell); },
                             "/modules_to_save: expected classifier or head (of a model with a "
                             "classifier), found \"norm\"");
}

TEST(PeftHeads, TrainedHereAreWritten) {
  for (const std::string name : {"gpt2-tiny", "llama-grouped", "mistral-tiny", "qwen2-tiny",
                                 "t5-tiny", "t5-gated", "bart-tiny"}) {
    for (const Task& task : {class_task(3), regression_task()}) {
      for (const std::string& definition :
           {std::string("{edits: [{lora: {}}]}"),
            std::string("{edits: [{affine: {sites: [attn.k, attn.v]}}]}"),
            std::string("{edits: [{prefix: {length: 2, counts_positions: true}}]}")}) {
        const auto model = golden_model(name, Precision::kFloat32, "trunks");
        if (model->config.is_encoder_decoder() && definition.find("prefix") != std::string::npos)
          continue;
        const TempFolder folder;
        Rig rig(model, definition, task);
        rig.shake(0.1);
        const LoadedAdapter loaded{
            Adapter(yaml(definition), "test", {model->config, model->sites}, task),
            rig.tensors,
            {}};
        EXPECT_LT(export_adapter("peft", folder / "out", loaded, *model).largest_difference, 1e-5)
            << name << " " << definition;
      }
    }
  }
}

}  // namespace
}  // namespace graft::testing::test_peft_heads
