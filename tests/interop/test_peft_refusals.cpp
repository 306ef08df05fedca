// What an import from PEFT and an export to it refuse, and in which words.
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "edit/adapter_file.h"
#include "interop/interop.h"
#include "tensor/safetensors.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_peft_refusals {
namespace {

constexpr const char* kQuery =
    "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight";

// A golden folder of PEFT's that a test may change before it is imported.
struct Foreign {
  TempFolder folder;
  Node config;
  NamedTensors tensors;

  explicit Foreign(const std::string& name)
      : config(parse_json(read_file(golden_dir("peft") / name / "peft" / "adapter_config.json"),
                          "config")),
        tensors(load_safetensors(golden_dir("peft") / name / "peft" / "adapter_model.safetensors")
                    .tensors) {
    for (auto& [key, tensor] : tensors) tensor = tensor.clone();
  }
  void write() const {
    save_safetensors(folder / "adapter_model.safetensors", tensors);
    write_file_atomically(folder / "adapter_config.json", to_json(config));
  }
  LoadedAdapter import(const std::optional<Task>& task = class_task(3),
                       const std::string& model = "bert-tiny") const {
    write();
    return import_adapter("peft", folder.path(), *golden_model(model), task);
  }
};

TEST(PeftFields, ThatAreNotUnderstoodAreRefusedByName) {
  const struct {
    const char* folder;
    const char* key;
    const char* value;  // YAML
    const char* message;
  } rows[] = {
      {"bert-patterns", "peft_type", "LOHA",
       R"(/peft_type: expected LORA, IA3, VERA, PREFIX_TUNING, PROMPT_TUNING or P_TUNING, found "LOHA")"},
      {"bert-patterns", "peft_type", "LORE", "(did you mean 'LORA'?)"},
      {"bert-patterns", "task_type", "TOKEN_CLS",
       R"(/task_type: expected SEQ_CLS, FEATURE_EXTRACTION or null, found "TOKEN_CLS": heads for other tasks have no place here)"},
      {"bert-patterns", "fan_in_fan_out", "true",
       "/fan_in_fan_out: transposed weights are of other models; expected false"},
      {"bert-ia3", "fan_in_fan_out", "true", "/fan_in_fan_out: transposed weights"},
      {"bert-patterns", "lora_bias", "true",
       "/lora_bias: a bias in the branch has no place here; expected false"},
      {"bert-patterns", "trainable_token_indices", "[1]",
       "/trainable_token_indices: trained token rows have no place here"},
      {"bert-patterns", "target_parameters", "[a]",
       "/target_parameters: changes of bare parameters have no place here"},
      {"bert-patterns", "layer_replication", "[[0, 1]]",
       "/layer_replication: repeated layers have no place here"},
      {"bert-patterns", "megatron_config", "{a: 1}",
       "/megatron_config: layers split over machines have no place here"},
      {"bert-patterns", "alora_invocation_tokens", "[1]",
       "/alora_invocation_tokens: activated LoRA has no place here"},
      {"bert-patterns", "use_qalora", "true",
       "/use_qalora: QALoRA has no place here; expected false"},
      {"bert-patterns", "use_bdlora", "true", "/use_bdlora: BD-LoRA has no place here"},
      {"bert-patterns", "arrow_config", "{a: 1}", "/arrow_config: Arrow routing has no place here"},
      {"bert-patterns", "kasa_config", "{a: 1}", "/kasa_config: KaSA has no place here"},
      {"bert-patterns", "velora_config", "{a: 1}", "/velora_config: VeLoRA has no place here"},
      {"bert-patterns", "monteclora_config", "{a: 1}",
       "/monteclora_config: MonteCLoRA has no place here"},
      {"bert-patterns", "init_lora_weights", "'pissa_niter_4'",
       R"(/init_lora_weights: "pissa_niter_4" changes the base before training, and this folder holds no changed base)"},
      {"bert-patterns", "init_lora_weights", "'olora'", "path_initial_model_for_weight_conversion"},
      {"bert-patterns", "bias", "lora_only",
       "/bias: lora_only trains the biases of some layers, which has no place here; expected none "
       "or all"},
      {"bert-patterns", "bias", "some", "/bias: expected none, all or lora_only"},
      {"bert-patterns", "modules_to_save", "[classifier, embeddings]",
       R"(/modules_to_save: expected classifier or pooler (of a model with a classifier), found "embeddings")"},
      {"bert-features", "modules_to_save", "[pooler]", R"(found "pooler")"},
      {"bert-patterns", "use_fourier", "true", "/use_fourier: unknown key"},
      {"bert-patterns", "target_modules", "[]",
       "/target_modules: expected a list of module names or a regular expression"},
      {"bert-patterns", "target_modules", "3",
       "/target_modules: expected a list of module names or a regular expression"},
      {"bert-patterns", "target_modules", "'(query'",
       R"(not a valid regular expression: "(query" (at character )"},
      {"bert-patterns", "target_modules", "''",
       "expected a regular expression of 1..65536 bytes, found 0"},
      {"bert-patterns", "target_modules", "'(([a-z.0-9]+)+)+!'",
       "/target_modules: the regular expression takes too many steps on \"bert."},
      {"bert-patterns", "rank_pattern", "[1]", "/rank_pattern: expected numbers by pattern"},
      {"bert-patterns", "rank_pattern", "{'(': 2}", "not a valid regular expression"},
      {"bert-patterns", "layers_to_transform", "[x]",
       "/layers_to_transform: expected a list of integers"},
      {"bert-patterns", "layers_pattern", "'('", "/layers_pattern: "},
      {"bert-ia3", "feedforward_modules", "[output.dense, key]",
       "/feedforward_modules: scales the input of bert.encoder.layer.0.attention.self.key; only "
       "what enters the last layer of an "
       "attention or a feed-forward is a site"},
      {"bert-prompt", "num_virtual_tokens", "0", "/num_virtual_tokens: expected an integer in 1.."},
      {"bert-prompt", "num_transformer_submodules", "2",
       "/num_transformer_submodules: expected an integer in 1..1"},
      {"bert-prompt", "token_dim", "64", "/token_dim: expected an integer in 32..32"},
      {"bert-prefix", "num_layers", "3", "/num_layers: expected an integer in 2..2"},
      {"bert-prefix", "num_attention_heads", "2",
       "/num_attention_heads: expected an integer in 4..4"},
      {"bert-prefix", "unheard_of", "1", "/unheard_of: unknown key"},
  };
  for (const auto& row : rows) {
    Foreign foreign(row.folder);
    foreign.config[row.key] = yaml(row.value);
    const std::string message = message_of<InputError>([&] {
      foreign.import(std::string(row.folder) == "bert-features" ? std::nullopt
                                                                : std::optional(class_task(3)));
    });
    EXPECT_NE(message.find(row.message), std::string::npos)
        << row.key << ": " << row.value << "\nexpected: " << row.message
        << "\n   found: " << message;
    EXPECT_NE(message.find("adapter_config.json"), std::string::npos) << message;
  }
}

TEST(PeftFields, ThatAreUnusedOrWithoutEffectAreTaken) {
  Foreign foreign("bert-patterns");
  for (const char* key : {"eva_config", "loftq_config", "corda_config", "revision",
                          "layers_pattern", "exclude_modules", "monteclora_config"})
    foreign.config[key] = Node::null();
  foreign.config["megatron_core"] = Node::text("other");
  foreign.config["init_lora_weights"] = Node::text("gaussian");
  std::erase_if(foreign.config.members, [](const auto& member) {
    return member.first == "use_dora" || member.first == "alora_invocation_tokens";
  });  // older files lack most
  EXPECT_EQ(foreign.import().adapter.parts().size(), 3U);
}

TEST(PeftFields, AllFaultsAreListedAtOnce) {
  Foreign foreign("bert-patterns");
  foreign.config["lora_bias"] = Node::boolean(true);
  foreign.config["unknown"] = Node::boolean(true);
  foreign.tensors["surplus"] = at::zeros({2});
  foreign.tensors.erase("base_model.model.classifier.bias");
  const std::string message = message_of<InputError>([&] { foreign.import(); });
  for (const char* part : {"/lora_bias", "/unknown", "\"surplus\" [2] has no place",
                           "\"base_model.model.classifier.bias\" is missing"}) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
  }
}

TEST(PeftTensors, MustAgreeWithTheConfig) {
  const std::string b = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_B.weight";
  const struct {
    std::function<void(Foreign&)> change;
    const char* message;
  } rows[] = {
      {[](Foreign& f) { f.tensors.erase(kQuery); },
       "although target_modules choose bert.encoder.layer.0.attention.self.query"},
      {[&](Foreign& f) { f.tensors.erase(b); }, "lora_B.weight\" is missing"},
      {[](Foreign& f) { f.config["target_modules"] = yaml("[value]"); },
       "changes a module that target_modules do not choose"},
      {[](Foreign& f) { f.config["layers_to_transform"] = yaml("[0]"); },
       "changes a module that target_modules do not choose"},
      {[](Foreign& f) { f.config["target_modules"] = yaml("[query, value, key]"); },
       "although target_modules choose bert.encoder.layer.0.attention.self.key"},
      {[](Foreign& f) { f.config["target_modules"] = Node::text("all-linear"); },
       "although target_modules choose bert.pooler.dense"},
      {[](Foreign& f) { f.config["rank_pattern"] = Node::null(); },
       "expected numbers of shape [4, 32], found F32 [2, 32]"},
      {[](Foreign& f) { f.tensors[kQuery] = f.tensors[kQuery].t().contiguous(); },
       "expected numbers of shape [4, 32], found F32 [32, 4]"},
      {[](Foreign& f) { f.tensors[kQuery] = f.tensors[kQuery].to(at::kLong); },
       "found I64 [4, 32]"},
      {[](Foreign& f) { f.tensors[kQuery].fill_(NAN); },
       "'0.lora/enc.0.attn.q.lora_a' holds numbers that are not finite"},
      {[](Foreign& f) {
         f.tensors["base_model.model.bert.embeddings.word_embeddings.lora_embedding_A"] =
             at::zeros({4, 9});
       },
       "lora_embedding_A\" [4, 9] has no place in a Graft adapter"},
      {[](Foreign& f) {
         f.tensors["base_model.model.classifier.lora_A.weight"] = at::zeros({4, 32});
       },
       "tensor \"base_model.model.classifier.lora_B.weight\" is missing"},
      {[](Foreign& f) { f.tensors.clear(); }, "holds no lora_A of any layer"},
  };
  for (const auto& row : rows) {
    Foreign foreign("bert-patterns");
    row.change(foreign);
    expect_message<InputError>([&] { foreign.import(); }, row.message);
  }
  Foreign scales("bert-ia3");
  std::erase_if(scales.tensors, [](const auto& entry) { return entry.first.ends_with("ia3_l"); });
  expect_message<InputError>([&] { scales.import(); }, "holds no ia3_l of any layer");
  Foreign biases("bert-bias-all");
  biases.tensors["base_model.model.classifier.modules_to_save.bias"].add_(1);
  expect_message<InputError>([&] { biases.import(); },
                             "modules_to_save.bias\" differs from "
                             "\"base_model.model.classifier.bias\", of which it is a second copy");
}

// What a reader hands over is checked once more, so that none can leave something out.
TEST(Assembling, NamesEveryEmptySlotAndEveryTensorWithoutOne) {
  const auto model = golden_model("bert-tiny");
  ForeignAdapter foreign;
  const std::string path = foreign.add("lora", yaml("{sites: [attn.q], layers: [0], rank: 2}"));
  EXPECT_EQ(path, "0.lora/");
  foreign.tensors[path + "enc.0.attn.q.lora_a"] = at::ones({3, 32});
  foreign.tensors[path + "enc.0.attn.q.lora_c"] = at::ones({2});
  const std::string message =
      message_of<InputError>([&] { assemble(foreign, *model, std::nullopt, "folder"); });
  EXPECT_EQ(message,
            "folder: '0.lora/enc.0.attn.q.lora_a': expected [2, 32], found [3, 32]\n"
            "folder: holds nothing for '0.lora/enc.0.attn.q.lora_b'\n"
            "folder: '0.lora/enc.0.attn.q.lora_c' fits no slot of the adapter");
}

TEST(PeftHead, NeedsATaskThatFits) {
  const Foreign with("bert-patterns"), without("bert-features");
  EXPECT_EQ(with.import(std::nullopt).adapter.task()->labels(),
            (std::vector<std::string>{"LABEL_0", "LABEL_1", "LABEL_2"}));
  expect_message<InputError>([&] { with.import(class_task(2)); },
                             "task: the task \"test\" needs 2 outputs, but the head has 3 outputs");
  expect_message<InputError>([&] { with.import(regression_task()); },
                             "needs 1 output, but the head has 3 outputs");
  expect_message<InputError>(
      [&] { without.import(class_task(3)); },
      "has no head, so no labels; leave it out, or give a task whose answers are texts");
  EXPECT_FALSE(without.import(std::nullopt).adapter.task().has_value());
}

TEST(PeftFolder, MustBeOneOfTheModel) {
  const TempFolder empty;
  const auto model = golden_model("bert-tiny");
  expect_message<InputError>([&] { import_adapter("peft", empty.path(), *model, std::nullopt); },
                             "holds no adapter_config.json, so it is no adapter folder of peft");
  expect_message<InputError>([&] { import_adapter("pef", empty.path(), *model, std::nullopt); },
                             "unknown format \"pef\" (did you mean 'peft'?)");
  Foreign foreign("bert-patterns");
  expect_message<InputError>([&] { foreign.import(class_task(3), "roberta-tiny"); },
                             "has no place in a Graft adapter");
  write_file_atomically(foreign.folder / "adapter_model.bin", "x");
  expect_message<InputError>([&] { foreign.import(); },
                             "holds both adapter_model.safetensors and adapter_model.bin");
  std::filesystem::remove(foreign.folder / "adapter_model.safetensors");
  expect_message<InputError>(
      [&] { import_adapter("peft", foreign.folder.path(), *model, class_task(3)); },
      "adapter_model.bin: not a file of torch 1.6");
  std::filesystem::remove(foreign.folder / "adapter_model.bin");
  expect_message<InputError>(
      [&] { import_adapter("peft", foreign.folder.path(), *model, class_task(3)); },
      "expected adapter_model.safetensors or adapter_model.bin, found neither");
}

// A head that reads the pooler of a base that has none would fail only when used.
TEST(PeftFolder, NeedsThePoolerThatItsHeadReads) {
  const auto whole = golden_model("bert-tiny");
  NamedTensors base = whole->weights.all_base();
  base.erase("pooler.weight"), base.erase("pooler.bias");
  const Model model{"bare", whole->config, whole->sites,
                    Weights(whole->config, base, Precision::kFloat32)};
  expect_message<InputError>(
      [&] {
        import_adapter("peft", golden_dir("peft") / "bert-patterns" / "peft", model, class_task(3));
      },
      "its head reads a pooler, but the model 'bare' has none; give the base it was trained on");
  EXPECT_TRUE(
      import_adapter("peft", golden_dir("peft") / "bert-pooler" / "peft", model, class_task(3))
          .tensors.contains("head/pooler.weight"));
}

// PEFT's prefix takes positions from the table: 3 here, so that 37 of 40 are left for tokens.
TEST(PeftPrefix, LeavesFewerPositionsForTokens) {
  const auto model = golden_model("bert-tiny");
  const LoadedAdapter loaded =
      import_adapter("peft", golden_dir("peft") / "bert-prefix" / "peft", *model, class_task(3));
  const BoundAdapter bound(*model, loaded.adapter, loaded.tensors);
  for (const int64_t length : {37, 38}) {
    Sequence sequence;
    sequence.ids.assign(static_cast<size_t>(length), 5);
    sequence.type_ids.assign(static_cast<size_t>(length), 0);
    LaneInput lane;
    lane.sequences = {&sequence};
    lane.layout = loaded.adapter.layout();
    const auto run = [&] { run_lanes(*model, pack_of(*model, {lane}), {&bound}); };
    if (length == 37) EXPECT_NO_THROW(run());
    else expect_message<InputError>(run, "takes 41 positions; ");
  }
}

TEST(PeftExport, RefusesWhatPeftCannotHold) {
  const auto model = golden_model("bert-tiny");
  const struct {
    const char* definition;
    const char* message;
  } rows[] = {
      {"[]", "it changes nothing but the head, and PEFT keeps no head alone"},
      {"[{bottleneck: {}}]", "0.bottleneck: PEFT has no bottleneck adapters; to adapterhub has"},
      {"[{reft: {}}]", "0.reft: PEFT has no edits of hidden states (ReFT); to pyreft has"},
      {"[{bitfit: {}}]", "0.bitfit: PEFT saves biases only beside LoRA (bias: all)"},
      {"[{full: {}}]",
       "0.full: a fully trained model is no adapter to PEFT: merge it into the weights with graft "
       "merge"},
      {"[{top-layers: {}}]", "0.top-layers: trained blocks are no adapter to PEFT"},
      {"[{gate: {}, of: {lora: {}}}]", "0.gate: PEFT has no gates"},
      {"[{stochastic: {}, of: {lora: {}}}]",
       "0.stochastic: PEFT has no stochastic mixtures: make it one adapter first with graft "
       "average"},
      {"[{router: {}, of: {lora: {}}}]",
       "0.router: PEFT has no routed mixtures of this kind (MoV, MoLoRA)"},
      {"[{lora: {}}, {prefix: {}}]",
       "1.prefix: PEFT keeps one method in a folder, and 0.lora is another"},
      {"[{lora: {sites: attn.q}}, {lora: {sites: attn.q}}]",
       "1.lora: PEFT keeps one change of a module, and enc.0.attn.q has two"},
      {"[{lora: {sites: attn.q}}, {lora: {sites: attn.k, dropout: 0.5}}]",
       "1.lora: lora_dropout is one number in PEFT: expected 0 as in 0.lora/, found 0.5"},
      {"[{lora: {}}, {bitfit: {pooler: false}}]",
       "1.bitfit: bias: all holds every bias of the model, but pooler.bias was not trained"},
      {"[{affine: {shift: true}}]", "0.affine: PEFT's (IA)^3 scales and does not shift"},
      {"[{affine: {sites: out}}]", "enc.0.out is neither"},
      {"[{affine: {sites: [ffn.act, ffn.down]}}]",
       "scales what enters or what leaves bert.encoder.layer.0.output.dense, not both"},
      {"[{prefix: {layers: [1], counts_positions: true}}]",
       "PEFT's prefix stands in every layer, found 1 of 2"},
      {"[{prefix: {}}]", "expected counts_positions: true, as it must be trained"},
      {"[{prompt: {length: 2, position: after_first}}]",
       "PEFT's prompt stands before all tokens: expected position before, found after_first"},
      {"[{prefix: {layers: [0], counts_positions: true}}, {prefix: {layers: [1], counts_positions: "
       "true}}]",
       "1.prefix: PEFT keeps one prefix in a folder"},
  };
  for (const auto& row : rows) {
    const TempFolder folder;
    const std::string definition = std::string("{edits: ") + row.definition + "}";
    const Rig rig(model, definition);
    const LoadedAdapter loaded{
        Adapter(yaml(definition), "test", {model->config, model->sites}, class_task(3)),
        rig.tensors,
        {}};
    expect_message<InputError>([&] { export_adapter("peft", folder / "out", loaded, *model); },
                               row.message);
    EXPECT_FALSE(std::filesystem::exists(folder / "out"))
        << "a refused export leaves nothing: " << row.definition;
  }
}

// A file of an earlier adapter would be read as a part of this one.
TEST(PeftExport, TakesANewOrEmptyFolder) {
  const LoadedAdapter loaded = Foreign("bert-patterns").import();
  const auto model = golden_model("bert-tiny");
  for (const char* name : {"adapter_config.json", "adapter_model.bin", "notes.txt"}) {
    const TempFolder folder;
    write_file_atomically(folder / name, "{}");
    expect_message<InputError>([&] { export_adapter("peft", folder.path(), loaded, *model); },
                               "is there already and is no empty folder; choose a new one");
    std::filesystem::remove(folder / name);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << name;
  }
  const TempFolder folder;
  EXPECT_NO_THROW(export_adapter("peft", folder.path(), loaded, *model));
  expect_message<InputError>(
      [&] { export_adapter("peft", folder / "adapter_config.json", loaded, *model); },
      "is no empty folder");
}

TEST(PeftExport, LeavesNothingOnAFullDisk) {
  const LoadedAdapter loaded = Foreign("bert-patterns").import();
  const auto model = golden_model("bert-tiny");
  const TempFolder folder;
  export_adapter("peft", folder / "whole", loaded, *model);
  const auto tensors =
      static_cast<int64_t>(std::filesystem::file_size(folder / "whole/adapter_model.safetensors"));
  std::filesystem::create_directory(folder / "empty");
  for (const int64_t bytes : {tensors / 2, tensors + 10}) {
    for (const char* name : {"new", "empty"}) {
      fail_writes_after(bytes);
      const std::string message =
          message_of<IoError>([&] { export_adapter("peft", folder / name, loaded, *model); });
      fail_writes_after(-1);
      EXPECT_NE(message.find("cannot write"), std::string::npos) << message;
    }
    EXPECT_FALSE(std::filesystem::exists(folder / "new"));
    EXPECT_TRUE(std::filesystem::is_empty(folder / "empty"));
  }
}

}  // namespace
}  // namespace graft::testing::test_peft_refusals
