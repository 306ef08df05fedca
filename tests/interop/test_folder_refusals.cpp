// What an import from AdapterHub or pyreft and an export to them refuse, and in which words.
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "edit/adapter_file.h"
#include "interop/interop.h"
#include "interop/torch_writer.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_folder_refusals {
namespace {

namespace fs = std::filesystem;

// A copy of a golden folder that a test may change before it is imported.
struct Foreign {
  std::string format;
  TempFolder folder;
  Node config;
  NamedTensors tensors;  // of AdapterHub's adapter

  Foreign(const std::string& of, const std::string& name) : format(of) {
    const Path from = golden_dir(format) / name / format;
    for (const auto& entry : fs::directory_iterator(from))
      fs::copy_file(entry.path(), folder / entry.path().filename().string());
    config = parse_json(read_file(folder / config_name()), "config");
    if (format == "adapterhub")
      tensors = load_foreign_tensors(from, "adapter.safetensors", "pytorch_adapter.bin").all();
    for (auto& [key, tensor] : tensors) tensor = tensor.clone();
  }
  std::string config_name() const {
    return format == "pyreft" ? "config.json" : "adapter_config.json";
  }
  LoadedAdapter import(const std::string& model, const std::optional<Task>& task = class_task(3),
                       const ImportAnswers& answers = {}) const {
    write_file_atomically(folder / config_name(), to_json(config));
    if (format == "adapterhub") {
      fs::remove(folder / "adapter.safetensors");
      save_torch_file(folder / "pytorch_adapter.bin", tensors);
    }
    return import_adapter(format, folder.path(), *golden_model(model), task, answers);
  }
};

std::string model_of(const std::string& name) { return name.substr(0, name.find('-')) + "-tiny"; }

TEST(HubFields, ThatHaveNoPlaceAreRefusedByName) {
  const struct {
    const char *folder, *key, *value, *message;  // value: YAML
  } rows[] = {
      {"bert-seq", "architecture", "mtl_lora",
       R"(/config/architecture: expected null (bottleneck), lora, prefix_tuning, reft or union, found "mtl_lora")"},
      {"bert-seq", "architecture", "prompt_tuning",
       "prompt tuning puts its vectors behind the embedding's norm"},
      {"bert-seq", "phm_layer", "true",
       "/config/phm_layer: Compacter's layers have no place here; expected false"},
      {"bert-seq", "inv_adapter", "nice",
       "/config/inv_adapter: invertible adapters behind the embedding have no place here; expected "
       "null"},
      {"bert-seq", "ln_before", "true",
       "/config/ln_before: a norm of the adapter's own has no place here; expected false"},
      {"bert-seq", "ln_after", "true",
       "/config/ln_after: a norm of the adapter's own has no place here; expected false"},
      {"bert-seq", "original_ln_after", "false",
       "these switches together have no place here: is_parallel false, original_ln_before true, "
       "original_ln_after false, "
       "residual_before_ln true"},
      {"bert-seq", "residual_before_ln", "post_add", "residual_before_ln post_add"},
      {"bert-seq", "residual_before_ln", "false",
       "original_ln_after true, residual_before_ln false"},
      {"bert-seq", "output_adapter", "false",
       "/config/output_adapter: expected output_adapter or mh_adapter to be true, found neither"},
      {"bert-seq", "non_linearity", "leakyrelu",
       R"(/config/non_linearity: expected relu, gelu, gelu_new, swish, tanh or linear, found "leakyrelu")"},
      {"bert-seq", "leave_out", "[0, 1]", "/config/leave_out: leaves out every layer"},
      {"bert-seq", "leave_out", "[0]",
       R"(adapter_down.0.weight" [8, 32] has no place in a Graft adapter)"},
      {"bert-seq", "reduction_factor", "8", "expected numbers of shape [4, 32], found F32 [8, 32]"},
      {"bert-seq", "reduction_factor", "{'0': 4}", "/config/reduction_factor/1: "},
      {"bert-seq", "scaling", "'column'", "/config/scaling: expected learned or channel"},
      {"bert-seq", "use_gating", "true", R"(gate.weight" is missing)"},
      {"bert-seq", "init_weights", "xavier",
       "/config/init_weights: expected bert, mam_adapter or houlsby"},
      {"bert-seq", "drop_path", "0.1", "/config/drop_path: unknown key"},
      {"bert-lora", "use_dora", "true",
       "/config/use_dora: AdapterHub's DoRA leaves alpha/r out of the norm"},
      {"bert-lora", "vera_d", "0.1",
       "/config/vera_d: VeRA of AdapterHub is not read; expected null"},
      {"bert-lora", "vera_b", "0.1",
       "/config/vera_b: VeRA of AdapterHub is not read; expected null"},
      {"bert-lora", "attn_matrices", "[q, o]",
       R"(/config/attn_matrices: expected q, k and v, found "o")"},
      {"bert-ia3", "r", "2", "/config/r: expected 1 with composition_mode scale, found 2"},
      {"bert-ia3", "dropout", "0.1", "/config/dropout: expected 0 with composition_mode scale"},
      {"bert-ia3", "use_gating", "true",
       "/config/use_gating: a gate that multiplies the whole output, and not the change, has no "
       "place here; expected false"},
      {"bert-prefix", "non_linearity", "relu",
       R"(/config/non_linearity: expected tanh between the layers of a prefix's network, found "relu")"},
      {"roberta-loreft", "output_reft", "false",
       "/config/output_reft: expected true: there is no other place"},
      {"roberta-loreft", "layers", "[]", "/config/layers: expected at least one layer"},
      {"roberta-loreft", "prefix_positions", "0",
       "/config/prefix_positions: expected prefix_positions or suffix_positions above 0, found "
       "neither"},
      {"roberta-loreft", "non_linearity", "mish",
       R"(/config/non_linearity: expected null, relu, gelu, gelu_new, tanh, silu or sigmoid, found "mish")"},
      {"bert-unipelt", "configs", "[]", "/config/configs: expected a list of configurations"},
      {"bert-unipelt", "configs", "[{architecture: union}]",
       "/config/configs/0/architecture: a union in a union"},
      {"bert-unipelt", "configs", "[{architecture: lora, use_dora: true}]",
       "/config/configs/0/use_dora: "},
  };
  for (const auto& row : rows) {
    Foreign foreign("adapterhub", row.folder);
    foreign.config["config"][row.key] = yaml(row.value);
    const std::optional<Task> task =
        std::string(row.folder) == "bert-unipelt" ? std::nullopt : std::optional(class_task(3));
    const std::string message =
        message_of<InputError>([&] { foreign.import(model_of(row.folder), task); });
    EXPECT_NE(message.find(row.message), std::string::npos)
        << row.key << ": " << row.value << "\nexpected: " << row.message
        << "\n   found: " << message;
  }
  Foreign lora("adapterhub", "bert-lora");
  for (const char* key : {"selfattn_lora", "intermediate_lora", "output_lora"})
    lora.config["config"][key] = Node::boolean(false);
  expect_message<InputError>(
      [&] { lora.import("bert-tiny"); },
      "expected selfattn_lora, intermediate_lora or output_lora to be true, found none");
  Foreign other("adapterhub", "bert-seq");
  other.config["hidden_size"] = Node::integer(64);
  expect_message<InputError>([&] { other.import("bert-tiny"); }, "/hidden_size: ");
  expect_message<InputError>([&] { Foreign("adapterhub", "bert-seq").import("roberta-tiny"); },
                             "/model_type: ");
}

TEST(HubFields, OfTrainingAloneAreSaidInTheOrigin) {
  Foreign foreign("adapterhub", "bert-seq");
  foreign.config["config"]["dropout"] = Node::number(0.1);
  EXPECT_NE(foreign.import("bert-tiny")
                .provenance.origin.find(
                    "adapters.1.3.0 (bottleneck; dropout 0.1 of its training left out)"),
            std::string::npos);
}

// Files without a version are of a time when "gelu" was its approximation.
TEST(HubFields, OfOldFilesHaveTheirOldMeaning) {
  Foreign foreign("adapterhub", "bert-seq");
  foreign.config["config"]["non_linearity"] = Node::text("gelu");
  EXPECT_NE(to_json(foreign.import("bert-tiny").adapter.describe()).find("\"gelu\""),
            std::string::npos);
  std::erase_if(foreign.config.members,
                [](const auto& member) { return member.first == "version"; });
  EXPECT_NE(to_json(foreign.import("bert-tiny").adapter.describe()).find("\"gelu_tanh\""),
            std::string::npos);
}

TEST(HubTensors, MustAllHaveAPlace) {
  Foreign copies("adapterhub", "bert-prefix");
  copies
      .tensors
          ["bert.encoder.layer.0.attention.self.prefix_tuning.pool.prefix_tunings.golden.self_"
           "prefix.wte.weight"]
      .add_(1);
  expect_message<InputError>(
      [&] { copies.import("bert-tiny"); },
      R"( differs from "bert.prefix_tuning.prefix_tunings.golden.self_prefix.wte.weight", of which it is a second copy)");
  Foreign surplus("adapterhub", "bert-seq");
  surplus.tensors["bert.invertible_adapters.golden.F.0.weight"] = at::zeros({2});
  expect_message<InputError>(
      [&] { surplus.import("bert-tiny"); },
      R"("bert.invertible_adapters.golden.F.0.weight" [2] has no place in a Graft adapter)");
  Foreign skewed("adapterhub", "roberta-loreft");
  skewed
      .tensors
          ["roberta.encoder.layer.0.reft_layer.refts.golden.units.0.projection.parametrizations."
           "weight.0.base"]
      .mul_(1.1);
  expect_message<InputError>([&] { skewed.import("roberta-tiny"); },
                             "the rotation's columns are not orthonormal (off by 0.2");
}

TEST(HubReft, MustBeSaidToBeNoReftOrDiReft) {
  const Foreign foreign("adapterhub", "roberta-direft"), rotation("adapterhub", "roberta-loreft");
  expect_message<InputError>([&] { foreign.import("roberta-tiny"); },
                             "AdapterHub writes NoReFT and DiReFT alike (subtract_projection is "
                             "not in the file): say which this "
                             "is with reft_kind noreft or reft_kind direft");
  expect_message<InputError>(
      [&] { foreign.import("roberta-tiny", class_task(3), {.reft_kind = "loreft"}); },
      "reft_kind: expected noreft or direft, found \"loreft\"");
  expect_message<InputError>(
      [&] { rotation.import("roberta-tiny", class_task(3), {.reft_kind = "noreft"}); },
      "reft_kind: the folder says what there is to say; leave it out");
  expect_message<InputError>(
      [&] { foreign.import("roberta-tiny", class_task(3), {.positions = "f3"}); },
      "positions: folders of adapterhub do not need it; leave it out");
  const Foreign pyreft("pyreft", "roberta-loreft");
  expect_message<InputError>(
      [&] {
        pyreft.import("roberta-tiny", class_task(3), {.positions = "f3", .reft_kind = "noreft"});
      },
      "reft_kind: folders of pyreft do not need it");
  expect_message<InputError>(
      [&] { foreign.import("roberta-tiny", class_task(3), {.is_untied = true}); },
      "untied: folders of adapterhub do not need it");
  expect_message<InputError>(
      [&] { foreign.import("roberta-tiny", class_task(3), {.activation = "gelu"}); },
      "activation: folders of adapterhub do not need it");
}

TEST(HubHead, MustBeAClassifierThatIsKnownHere) {
  const struct {
    const char *folder, *key, *value, *message;
  } rows[] = {
      {"bert-unipelt", "head_type", "tagging",
       R"(/config/head_type: expected classification, found "tagging": heads for other tasks have no place here)"},
      {"bert-unipelt", "bias", "false", "/config/bias: expected true: a head here has a bias"},
      {"bert-unipelt", "activation_function", "relu",
       "/config/layers: expected 2 layers with tanh between them on the first token, or 1 layer on "
       "the pooler; found 2 on the "
       "first token, activation_function relu"},
      {"roberta-mam", "use_pooler", "true",
       "expected 2 layers with tanh between them on the first token; found 2 on the pooler"},
      {"roberta-mam", "label2id", "[1]", "/config/label2id: expected numbers by label"},
      {"roberta-mam", "label2id", R"({"no": 0, " yes": 1, "so": 2})",
       R"(/config/label2id: label " yes" has blanks around it)"},
  };
  for (const auto& row : rows) {
    const Foreign foreign("adapterhub", row.folder);
    Node head = parse_json(read_file(foreign.folder / "head_config.json"), "head");
    head["config"][row.key] = yaml(row.value);
    write_file_atomically(foreign.folder / "head_config.json", to_json(head));
    expect_message<InputError>([&] { foreign.import(model_of(row.folder), std::nullopt); },
                               row.message);
  }
  const Foreign foreign("adapterhub", "bert-seq");
  Node head = parse_json(read_file(foreign.folder / "head_config.json"), "head");
  head["model_class"] = Node::text("BertForTokenClassification");
  write_file_atomically(foreign.folder / "head_config.json", to_json(head));
  expect_message<InputError>(
      [&] { foreign.import("bert-tiny"); },
      R"(/model_class: expected BertForSequenceClassification, found "BertForTokenClassification")");
}

// Labels that have no names are numbered.
TEST(HubHead, NamesItsLabels) {
  EXPECT_EQ(Foreign("adapterhub", "bert-unipelt")
                .import("bert-tiny", std::nullopt)
                .adapter.task()
                ->labels(),
            (std::vector<std::string>{"bad", "fair", "good"}));
  EXPECT_EQ(
      Foreign("adapterhub", "bert-seq").import("bert-tiny", std::nullopt).adapter.task()->labels(),
      (std::vector<std::string>{"LABEL_0", "LABEL_1", "LABEL_2"}));
}

TEST(PyreftFields, ThatHaveNoPlaceAreRefusedByName) {
  const ImportAnswers answers{.positions = "f3"};
  const std::string lo = "<class 'pyreft.interventions.LoreftIntervention'>";
  const auto representation = [](Foreign& f, size_t field, Node value) {
    f.config["representations"].items[0].items[field] = std::move(value);
  };
  const struct {
    std::function<void(Foreign&)> change;
    const char* message;
  } rows[] = {
      {[](Foreign& f) {
         f.config["intervention_types"].items[0] =
             Node::text("<class 'pyvene.VanillaIntervention'>");
       },
       "/intervention_types: expected one class for all interventions, found"},
      {[](Foreign& f) {
         for (Node& type : f.config["intervention_types"].items)
           type = Node::text("<class 'pyvene.VanillaIntervention'>");
       },
       "expected LoreftIntervention, NoreftIntervention, "},
      {[&](Foreign& f) { f.config["intervention_types"].items.pop_back(); },
       "expected one for each of 2 representations, found 1"},
      {[](Foreign& f) { f.config["representations"] = Node::null(); },
       "/representations: expected a list of interventions"},
      {[](Foreign& f) { f.config["representations"].items[0].items.pop_back(); },
       "number 0: expected a list of 14 fields, found 13"},
      {[&](Foreign& f) { representation(f, 9, Node::integer(0)); },
       "number 0: intervention_link_key has no place here; expected null"},
      {[&](Foreign& f) { representation(f, 7, Node::list({Node::integer(1)})); },
       "number 0: subspace_partition has no place here; expected null"},
      {[&](Foreign& f) { representation(f, 2, Node::text("h.pos")); },
       "expected unit pos and 1 unit, found h.pos and 1"},
      {[&](Foreign& f) { representation(f, 4, Node::integer(3)); },
       "number 1: expected low_rank_dimension 3 as of the first, found 2"},
      {[&](Foreign& f) {
         representation(f, 4, Node::null()),
             f.config["representations"].items[1].items[4] = Node::null();
       },
       "expected a low_rank_dimension, found \"\""},
      {[&](Foreign& f) {
         representation(f, 1, Node::text("roberta.encoder.layer[0].attention.output"));
       },
       "only the output of a whole block is a place here (roberta.encoder.layer[0].output or "
       "block_output)"},
      {[&](Foreign& f) { representation(f, 1, Node::text("roberta.encoder.layer[7].output")); },
       "layer 7: the model has 2"},
      {[](Foreign& f) { f.config["sorted_keys"].items[0] = Node::text("other"); },
       "/sorted_keys: expected the keys of the representations: "
       "comp_roberta_encoder_layer[0]_output_unit_pos_nunit_1#0"},
      {[](Foreign& f) { f.config["mode"] = Node::text("serial"); }, "/mode: expected parallel"},
      {[](Foreign& f) { f.config["use_fast"] = Node::boolean(true); }, "/use_fast: unknown key"},
      {[](Foreign& f) {
         fs::remove(f.folder /
                    "intkey_comp_roberta_encoder_layer[0]_output_unit_pos_nunit_1#0.bin");
       },
       "holds no intkey_comp_roberta_encoder_layer[0]_output_unit_pos_nunit_1#0.bin"},
      {[](Foreign& f) { save_torch_file(f.folder / "intkey_x.bin", {}); },
       "intkey_x.bin': belongs to no representation of config.json"},
      {[](Foreign& f) {
         save_torch_file(f.folder / "pytorch_model.bin",
                         {{"roberta.embeddings.x", at::zeros({2})}});
       },
       R"(tensor "roberta.embeddings.x" [2] has no place in a Graft adapter)"},
  };
  for (const auto& row : rows) {
    Foreign foreign("pyreft", "roberta-loreft");
    row.change(foreign);
    expect_message<InputError>([&] { foreign.import("roberta-tiny", class_task(3), answers); },
                               row.message);
  }
}

TEST(PyreftAnswers, AreNeededAndMustFit) {
  const Foreign foreign("pyreft", "roberta-loreft"), untied("pyreft", "bert-loreft-untied");
  expect_message<InputError>(
      [&] { foreign.import("roberta-tiny"); },
      "pyreft does not write which tokens are edited: say so with positions");
  expect_message<InputError>(
      [&] { foreign.import("roberta-tiny", class_task(3), {.positions = "3"}); },
      "positions: expected fN, lN, fN+lM, last or all, found \"3\"");
  expect_message<InputError>(
      [&] {
        foreign.import("roberta-tiny", class_task(3), {.positions = "f2+l2", .is_untied = true});
      },
      "layer 0 has 1 intervention, but positions f2+l2, untied, make 2");
  expect_message<InputError>(
      [&] { untied.import("bert-tiny", class_task(3), {.positions = "f2+l2"}); },
      "layer 0 has 2 interventions, but positions f2+l2 make 1: give untied, and positions of "
      "two sides");
  expect_message<InputError>(
      [&] {
        foreign.import("roberta-tiny", class_task(3), {.positions = "f3", .activation = "mish"});
      },
      "activation: expected");
}

TEST(FolderExport, RefusesWhatThePeersCannotHold) {
  const auto model = golden_model("bert-tiny");
  const struct {
    const char *format, *edits, *message;
  } rows[] = {
      {"adapterhub", "[]",
       "it changes nothing but the head, and AdapterHub keeps no head without an adapter"},
      {"adapterhub", "[{stochastic: {}, of: {lora: {}}}]",
       "0.stochastic: AdapterHub has no stochastic mixtures: make it one adapter first with graft "
       "average"},
      {"adapterhub", "[{router: {}, of: {lora: {}}}]",
       "0.router: AdapterHub has no routed mixtures of this kind"},
      {"adapterhub", "[{dora: {}}]", "0.dora: AdapterHub's DoRA is another function"},
      {"adapterhub", "[{prompt: {length: 2}}]",
       "0.prompt: AdapterHub puts a prompt's vectors behind the embedding's norm"},
      {"adapterhub", "[{bitfit: {}}]", "0.bitfit: AdapterHub keeps no trained biases"},
      {"adapterhub", "[{full: {}}]", "0.full: a fully trained model is no adapter"},
      {"adapterhub", "[{top-layers: {}}]", "0.top-layers: trained blocks are no adapter"},
      {"adapterhub", "[{gate: {}, of: {affine: {}}}]",
       "0.gate: AdapterHub has no gate around affine"},
      {"adapterhub", "[{gate: {value: 0.5}, of: {lora: {}}}]",
       "0.gate: AdapterHub has no gates of a fixed value"},
      {"adapterhub", "[{gate: {pool: mean_all, padded_to: 12}, of: {lora: {}}}]",
       "expected pool mean, found mean_all"},
      {"adapterhub", "[{gate: {prefix_logits: log}, of: {prefix: {}}}]",
       "expected prefix_logits off"},
      {"adapterhub", "[{gate: {share: layer}, of: {lora: {}}}]",
       "expected share separate, found layer"},
      {"adapterhub", "[{gate: {multiplier: gate_times_scale}, of: {lora: {}}}]",
       "expected multiplier gate"},
      {"adapterhub", "[{lora: {sites: attn.q}}, {lora: {sites: attn.k}}]",
       "1.lora: AdapterHub keeps one lora in a folder"},
      {"adapterhub", "[{lora: {sites: [enc.0.attn.q, enc.1.attn.k]}}]",
       "layer 1 has others than layer 0"},
      {"adapterhub", "[{lora: {sites: attn.o}}]",
       "AdapterHub's LoRA acts at attn.q, attn.k, attn.v, ffn.up and ffn.down; found attn.o"},
      {"adapterhub", "[{affine: {}}]",
       "AdapterHub's (IA)^3 acts at attn.q, attn.k, attn.v, ffn.up and ffn.down; found ffn.act"},
      {"adapterhub", "[{affine: {sites: attn.k, shift: true}}]",
       "AdapterHub's (IA)^3 scales and does not shift"},
      {"adapterhub",
       "[{bottleneck: {sites: attn.out}}, {bottleneck: {sites: ffn.out, activation: tanh}}]",
       "1.bottleneck: AdapterHub keeps one kind of bottleneck in a folder"},
      {"adapterhub",
       "[{bottleneck: {sites: attn.out, width: 2}}, {bottleneck: {sites: ffn.out, width: 3}}]",
       "AdapterHub has one width a layer: expected 2 at enc.0.ffn.out, found 3"},
      {"adapterhub", "[{bottleneck: {sites: ffn.out}}, {bottleneck: {sites: ffn.out}}]",
       "AdapterHub keeps one change of a module, and enc.0.ffn.out has two"},
      {"adapterhub", "[{bottleneck: {sites: ffn.down, placement: sequential}}]",
       "AdapterHub's bottlenecks stand at attn.out and ffn.out, or at attn.norm and ffn.norm; "
       "found ffn.down"},
      {"adapterhub", "[{prefix: {counts_positions: true}}]",
       "AdapterHub's prefix takes no positions"},
      {"adapterhub", "[{reft: {clamp: length, source: constant}}]",
       "AdapterHub's ReFT has a linear source; to pyreft has constant ones"},
      {"adapterhub", "[{reft: {clamp: length, rotation: false, projection_bias: true}}]",
       "AdapterHub's ReFT has no bias in its projection"},
      {"adapterhub", "[{reft: {clamp: length, subspace: [0]}}]",
       "AdapterHub's ReFT has no subspaces"},
      {"adapterhub", "[{reft: {clamp: length, positions: all}}]",
       "AdapterHub's ReFT edits first and last tokens, not all"},
      {"adapterhub", "[{reft: {clamp: length, subtract: false, activation: tanh}}]",
       "without it an edit goes into that form where its activation is linear, found tanh"},
      {"adapterhub", "[{reft: {}}]", "expected clamp length, as it must be trained, found code"},
      {"adapterhub", "[{reft: {clamp: length, skip_last: true}}]", "expected skip_last: false"},
      {"adapterhub", "[{reft: {clamp: length, dropout: 0.1}}]",
       "expected dropout_on output, found change"},
      {"adapterhub", "[{reft: {clamp: length, sites: ffn.out}}]",
       "AdapterHub's ReFT stands behind whole blocks (out); found enc.0.ffn.out"},
      {"pyreft", "[]", "it changes nothing but the head"},
      {"pyreft", "[{lora: {}}]",
       "0.lora: pyreft has no lora; it keeps edits of hidden states (reft)"},
      {"pyreft", "[{reft: {layers: [0]}}, {reft: {layers: [1]}}]",
       "1.reft: pyreft is written with one reft in a folder"},
      {"pyreft", "[{reft: {rotation: false}}]",
       "pyreft 0.1.0 cannot open a NoreftIntervention that it saved: its reader does not give "
       "add_bias"},
      {"pyreft", "[{reft: {rotation: false, source: constant}}]",
       "pyreft has no constant source without a rotation"},
      {"pyreft", "[{reft: {clamp: paper}}]",
       "expected clamp code, as it must be trained, found paper"},
      {"pyreft", "[{reft: {positions: all}}]", "pyreft edits first and last tokens, not all"},
      {"pyreft", "[{reft: {subspace: [0]}}]", "pyreft is told of subspaces with the data"},
      {"pyreft", "[{reft: {sites: ffn.out}}]",
       "pyreft is written with edits behind whole blocks (out); found enc.0.ffn.out"},
  };
  for (const auto& row : rows) {
    const TempFolder folder;
    const std::string definition = std::string("{edits: ") + row.edits + "}";
    const Rig rig(model, definition);
    const LoadedAdapter loaded{
        Adapter(yaml(definition), "test", {model->config, model->sites}, class_task(3)),
        rig.tensors,
        {}};
    expect_message<InputError>([&] { export_adapter(row.format, folder / "out", loaded, *model); },
                               row.message);
    EXPECT_FALSE(fs::exists(folder / "out")) << "a refused export leaves nothing: " << row.edits;
  }
  const TempFolder folder;
  const char* definition = "{edits: [{reft: {}}], head: {pooler: trained}}";
  const Rig rig(model, definition);
  const LoadedAdapter loaded{
      Adapter(yaml(definition), "test", {model->config, model->sites}, class_task(3)),
      rig.tensors,
      {}};
  expect_message<InputError>([&] { export_adapter("pyreft", folder / "out", loaded, *model); },
                             "pyreft's classifier has the model's own pooler");
}

}  // namespace
}  // namespace graft::testing::test_folder_refusals
