// adapter.json and adapter.safetensors: one row for every way to refuse them.
#include "edit/adapter_file.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "tensor/fingerprint.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_adapter_file {
namespace {

// A saved adapter that a test may spoil.
struct Saved {
  TempFolder folder;
  Rig rig{golden_model("bert-tiny"), "{edits: [{lora: {rank: 2}}]}"};
  Path dir = folder / "adapter";

  Saved() {
    Provenance provenance;
    provenance.model = "models/mine";
    provenance.max_length = 40;
    provenance.seed = 5;
    provenance.data = "rows.tsv";
    save_adapter(dir, *rig.adapter, rig.tensors, *rig.model, provenance);
  }
  Node json() const { return parse_json(read_file(dir / "adapter.json"), "adapter.json"); }
  void write(const Node& node) const { write_file_atomically(dir / "adapter.json", to_json(node)); }
  NamedTensors tensors() const {
    NamedTensors out;
    const NamedTensors mapped = load_safetensors(dir / "adapter.safetensors").tensors;
    for (const auto& [name, tensor] : mapped) out[name] = tensor.clone();
    return out;
  }
  void write(const NamedTensors& tensors) const {
    save_safetensors(dir / "adapter.safetensors", tensors);
  }
  std::string refusal(const std::shared_ptr<const Model>& model = golden_model("bert-tiny")) const {
    return message_of<InputError>([&] { load_adapter(dir, *model); });
  }
  void expect_refused(const std::string& part) const {
    const std::string message = refusal();
    EXPECT_NE(message.find(part), std::string::npos)
        << "expected: " << part << "\n   found: " << message;
    EXPECT_NE(message.find(dir.string()), std::string::npos)
        << "the folder is not named: " << message;
  }
};

TEST(AdapterFile, SaysWhereItComesFrom) {
  const Saved saved;
  const AdapterHeader header = read_adapter_header(saved.dir);
  EXPECT_EQ(header.model_type, "bert");
  EXPECT_EQ(header.base.size(), golden_model("bert-tiny")->weights.all_base().size());
  EXPECT_EQ(header.task, class_task(3));
  EXPECT_EQ(header.provenance.model, "models/mine");
  EXPECT_EQ(header.provenance.max_length, 40);
  EXPECT_EQ(header.provenance.seed, 5);
  EXPECT_EQ(header.provenance.data, "rows.tsv");
}

TEST(AdapterFile, SaysHowAnAdapterOfOtherSoftwareIsImported) {
  for (const auto& [file, format] : {std::pair{"adapter_model.safetensors", "peft"},
                                     {"adapter_model.bin", "peft"},
                                     {"pytorch_adapter.bin", "adapterhub"},
                                     {"adapter.safetensors", "adapterhub"},
                                     {"intkey_layer.0.bin", "pyreft"}}) {
    const TempFolder folder;
    for (const char* name : {"adapter_config.json", file}) write_file_atomically(folder / name, "");
    expect_message<InputError>([&] { read_adapter_header(folder.path()); },
                               "holds an adapter of other software: make one of it with graft "
                               "import from " +
                                   std::string(format));
  }
}

TEST(AdapterFile, RefusesAnotherBase) {
  const Saved saved;
  // bert-sharded has the same shapes and other numbers.
  const std::string message = saved.refusal(golden_model("bert-sharded"));
  EXPECT_NE(message.find("trained on another base than "), std::string::npos) << message;
  EXPECT_NE(message.find("39 of 39 tensors differ (embed.norm.bias, embed.norm.weight, "
                         "embed.position.weight and embed.type.weight, ...)"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("give the base it was trained on, models/mine"), std::string::npos)
      << message;
  const std::string family = saved.refusal(golden_model("roberta-tiny"));
  EXPECT_NE(family.find("trained on a bert model, but "), std::string::npos) << family;
  EXPECT_NE(family.find("is a roberta model; give the adapter's own base (it was models/mine)"),
            std::string::npos)
      << family;
}

TEST(AdapterFile, RefusesABaseThatDiffersInOneTensor) {
  const Saved saved;
  const auto model = golden_model("bert-tiny");
  NamedTensors base = model->weights.all_base();
  base.at("enc.1.ffn.up.bias") = base.at("enc.1.ffn.up.bias").clone();
  base.at("enc.1.ffn.up.bias")[3] += 1e-6;
  const auto other = std::make_shared<const Model>(Model{
      "other", model->config, model->sites, Weights(model->config, base, Precision::kFloat32)});
  EXPECT_NE(saved.refusal(other).find("1 of 39 tensors differ (enc.1.ffn.up.bias)"),
            std::string::npos)
      << saved.refusal(other);
  base.erase("pooler.bias");
  base.erase("pooler.weight");
  const auto without = std::make_shared<const Model>(Model{
      "other", model->config, model->sites, Weights(model->config, base, Precision::kFloat32)});
  EXPECT_NE(saved.refusal(without).find("3 of 39 tensors differ"), std::string::npos)
      << "those that one side lacks among all: " << saved.refusal(without);
}

// A quantised file is turned into plain numbers of the trunk's dtype; what an adapter belongs to is
// the file.
TEST(AdapterFile, BelongsToAGgufFileInEveryPrecision) {
  const Path file = golden_dir("gguf") / "llama.gguf";
  const auto wide = load_model(file, Precision::kFloat32),
             narrow = load_model(file, Precision::kBFloat16);
  EXPECT_EQ(narrow->weights.base_fingerprints(), wide->weights.base_fingerprints());
  for (const auto& [trained_on, used_on] : {std::pair{narrow, wide}, std::pair{wide, narrow}}) {
    const TempFolder folder;
    const Rig rig(trained_on, "{edits: [{lora: {rank: 2}}]}", std::nullopt);
    save_adapter(folder.path(), *rig.adapter, rig.tensors, *rig.model, {});
    EXPECT_NO_THROW(load_adapter(folder.path(), *used_on));
    EXPECT_NO_THROW(load_adapter(folder.path(), *trained_on));
    const auto other = load_model(golden_dir("gguf") / "llama3.gguf", Precision::kBFloat16);
    EXPECT_THROW(load_adapter(folder.path(), *other), InputError);
  }
}

// Before, what was recorded was hashed after it was rounded.
TEST(AdapterFile, OfABfloat16RunOfGraft010IsStillReadOnItsGgufFile) {
  const Path file = golden_dir("gguf") / "llama.gguf";
  const auto narrow = load_model(file, Precision::kBFloat16);
  const TempFolder folder;
  const Rig rig(narrow, "{edits: [{lora: {rank: 2}}]}", std::nullopt);
  save_adapter(folder.path(), *rig.adapter, rig.tensors, *rig.model, {});
  Node json = parse_json(read_file(folder / "adapter.json"), "adapter.json");
  for (auto& [name, digest] : json["base"]["tensors"].members)
    digest = Node::text(fingerprint(narrow->weights.base(tensor_id(name))));
  write_file_atomically(folder / "adapter.json", to_json(json));
  for (const Precision precision : {Precision::kBFloat16, Precision::kFloat32})
    EXPECT_NO_THROW(load_adapter(folder.path(), *load_model(file, precision)));
  json["base"]["tensors"].members.front().second = Node::text(std::string(32, '0'));
  write_file_atomically(folder / "adapter.json", to_json(json));
  EXPECT_THROW(load_adapter(folder.path(), *narrow), InputError);
}

TEST(AdapterFile, RefusesTensorsThatDoNotFit) {
  const std::string name = "0.lora/enc.0.attn.q.lora_a";
  const struct {
    const char* what;
    std::function<void(NamedTensors&)> spoil;
    const char* message;
  } rows[] = {
      {"missing", [&](NamedTensors& t) { t.erase(name); },
       "adapter.safetensors: tensor '0.lora/enc.0.attn.q.lora_a' is missing"},
      {"surplus", [](NamedTensors& t) { t["0.lora/enc.0.attn.q.lora_c"] = at::zeros({2}); },
       "tensor '0.lora/enc.0.attn.q.lora_c' belongs to no part of the adapter (did you mean "
       "'0.lora/enc.0.attn.q.lora_a'?)"},
      {"misshapen",
       [&](NamedTensors& t) {
         t.at(name) = at::zeros({32, 2});
       },
       "tensor '0.lora/enc.0.attn.q.lora_a': expected F32 [2, 32], found F32 [32, 2]"},
      {"dtype", [&](NamedTensors& t) { t.at(name) = t.at(name).to(at::kBFloat16); },
       "tensor '0.lora/enc.0.attn.q.lora_a': expected F32 [2, 32], found BF16 [2, 32]"},
      {"NaN",
       [&](NamedTensors& t) { t.at(name)[1][31] = std::numeric_limits<double>::quiet_NaN(); },
       "tensor '0.lora/enc.0.attn.q.lora_a' holds numbers that are not finite"},
      {"head", [](NamedTensors& t) { t.erase("head/out.bias"); },
       "tensor 'head/out.bias' is missing"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    const Saved saved;
    NamedTensors tensors = saved.tensors();
    row.spoil(tensors);
    saved.write(tensors);
    saved.expect_refused(row.message);
  }
  const Saved saved;  // all faults at once
  NamedTensors tensors = saved.tensors();
  for (const auto& row : {rows[0], rows[1], rows[5]}) row.spoil(tensors);
  saved.write(tensors);
  for (const auto& row : {rows[0], rows[1], rows[5]}) saved.expect_refused(row.message);
}

TEST(AdapterFile, RefusesJsonThatDoesNotFit) {
  const struct {
    const char* what;
    std::function<void(Node&)> spoil;
    const char* message;
  } rows[] = {
      {"newer", [](Node& n) { n["version"] = Node::integer(2), n["later"] = Node::null(); },
       "version 2 is newer than this graft reads (1): update graft"},
      {"version", [](Node& n) { n["version"] = Node::text("one"); },
       R"(/version: expected an integer in 1..1000000, found "one")"},
      {"format", [](Node& n) { n["format"] = Node::text("peft"); },
       R"(/format: expected graft-adapter, found "peft")"},
      {"unknown key", [](Node& n) { n["edit"] = Node::null(); },
       "/edit: unknown key (did you mean 'edits'?)"},
      {"unknown option", [](Node& n) { n["edits"].items[0]["lora"]["rnak"] = Node::integer(2); },
       "/edits/0/lora/rnak: unknown key (did you mean 'rank'?)"},
      {"unknown edit", [](Node& n) { n["edits"].items[0].members[0].first = "lorra"; },
       "/edits/0/lorra: unknown key (did you mean 'lora'?)"},
      {"provenance", [](Node& n) { n["provenance"]["moon"] = Node::null(); },
       "/provenance/moon: unknown key"},
      {"task", [](Node& n) { n["task"]["moon"] = Node::null(); }, "unknown key"},
      {"model type",
       [](Node& n) {
         std::erase_if(n["base"].members, [](const auto& m) { return m.first == "model_type"; });
       },
       "/base/model_type: missing; expected a text"},
      {"base",
       [](Node& n) {
         std::erase_if(n["base"].members, [](const auto& m) { return m.first == "tensors"; });
       },
       "/base/tensors: missing; expected the fingerprints of the base's tensors"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    const Saved saved;
    Node json = saved.json();
    row.spoil(json);
    saved.write(json);
    saved.expect_refused(row.message);
  }
}

TEST(AdapterFile, RefusesAFolderThatIsNone) {
  const TempFolder folder;
  expect_message<InputError>([&] { read_adapter_header(folder.path()); }, "adapter.json");
  const Saved saved;
  std::filesystem::remove(saved.dir / "adapter.safetensors");
  saved.expect_refused("adapter.safetensors");
}

// adapter.json comes last: a write that fails half-way leaves the older adapter's description, or
// none at all.
TEST(AdapterFile, AFailedWriteLeavesNoNewAdapter) {
  const Saved saved;
  const TempFolder folder;
  for (const int64_t bytes : {0, 100, 4000}) {
    fail_writes_after(bytes);
    EXPECT_THROW(
        save_adapter(folder / "new", *saved.rig.adapter, saved.rig.tensors, *saved.rig.model, {}),
        IoError);
    fail_writes_after(-1);
    EXPECT_FALSE(std::filesystem::exists(folder / "new" / "adapter.json")) << bytes << " bytes";
  }
}

}  // namespace
}  // namespace graft::testing::test_adapter_file
