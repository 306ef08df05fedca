// Folders of every version of PEFT from 0.1 on, and what their configs and tensors may leave out or
// hold beside.
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "tests/interop/cells.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_peft_versions {
namespace {

constexpr const char* kGolden = "peft_versions";

// GPT-2's joint layer had branches in two of its parts in 0.1; to 0.17 targets reached into the
// saved copy of a head.
TEST(PeftVersions, ComputeWhatEachVersionComputed) {
  std::set<std::string> versions;
  for (const auto& [key, cell] : load_cells(kGolden)) {
    SCOPED_TRACE(key);
    versions.insert(key.substr(0, key.find('/')));
    try {
      expect_cell_logits(cell, kGolden, import_cell(cell));
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }
  EXPECT_EQ(versions.size(), 20U);  // 0.1 to 0.20
  EXPECT_EQ(load_cells(kGolden).size(), 302U);
}

bool has_default_targets(const std::string& key) {
  for (const char* name :
       {"bert-lora", "roberta-lora", "bert-ia3", "bert-dora", "gpt2-lora", "t5-lora", "t5-ia3"}) {
    if (key.ends_with(std::string("/") + name)) return true;
  }
  return false;
}

void expect_same_without_targets(const std::string& key, const Cell& cell) {
  SCOPED_TRACE(key);
  for (const bool is_null : {false, true}) {
    Cell bare = cell;
    for (const char* field : {"target_modules", "feedforward_modules"}) {
      if (is_null) bare.config[field] = Node::null();
      else
        std::erase_if(bare.config.members,
                      [&](const auto& member) { return member.first == field; });
    }
    expect_all_bits(import_cell(bare).tensors, import_cell(cell).tensors, key);
  }
}

// A config without target_modules means the family's default; so does one that says null.
TEST(PeftFolder, WithoutTargetsHasThoseOfItsFamily) {
  int64_t count = 0;
  for (const auto& [key, cell] : load_cells(kGolden)) {
    if (!has_default_targets(key)) continue;
    expect_same_without_targets(key, cell);
    ++count;
  }
  EXPECT_GT(count, 100);
}

// Of every decoder and encoder-decoder, as the last version wrote them.
TEST(PeftFolder, WithoutTargetsHasThoseOfADecoder) {
  for (const char* family : {"gpt2", "llama", "mistral", "qwen2", "qwen3", "t5", "mt5", "bart"}) {
    for (const std::string method : {"lora/", "ia3/"}) {
      const std::string key = method + family;
      expect_same_without_targets(key, load_cells("peft_heads").at(key));
    }
  }
}

// An empty list is no default: (IA)^3 then scales outputs alone, and the tensors are of another
// shape.
TEST(PeftFolder, WithAnEmptyListOfFeedForwardsHasNone) {
  Cell cell = load_cells(kGolden).at("0.20.0/bert-ia3");
  cell.config["feedforward_modules"] = Node::list({});
  expect_message<InputError>([&] { import_cell(cell); },
                             "expected numbers of shape [32, 1], found F32 [1, 32]");
}

std::string with_adapter_name(std::string name) {
  for (const char* part : {".lora_A", ".lora_B", ".lora_magnitude_vector", ".ia3_l"}) {
    const size_t at = name.find(part);
    if (at != std::string::npos) return name.insert(at + std::string_view(part).size(), ".default");
  }
  const size_t at = name.find("classifier.");
  return at == std::string::npos
             ? name
             : name.insert(at + std::string_view("classifier").size(), ".modules_to_save.default");
}

// Tensors of a whole training state, which other tools cut out: with the adapter's name in memory.
TEST(PeftFolder, MayHaveTheAdaptersNameInItsTensors) {
  for (const char* key :
       {"0.20.0/bert-lora", "0.20.0/bert-dora", "0.20.0/bert-ia3", "0.20.0/roberta-lora"}) {
    SCOPED_TRACE(key);
    const Cell& cell = load_cells(kGolden).at(key);
    Cell named = cell;
    named.tensors.clear();
    for (const auto& [name, tensor] : cell.tensors) named.tensors[with_adapter_name(name)] = tensor;
    EXPECT_FALSE(named.tensors.begin()->first == cell.tensors.begin()->first);
    expect_all_bits(import_cell(named).tensors, import_cell(cell).tensors, key);
    named.tensors.insert(cell.tensors.begin(), cell.tensors.end());
    expect_message<InputError>([&] { import_cell(named); },
                               "twice, with and without the adapter's name");
  }
}

// What a later version adds and this folder does not use; a value is refused by name.
TEST(PeftFolder, MayHaveFieldsOfALaterVersionWhileTheyAreUnused) {
  for (const char* key : {"0.20.0/bert-lora", "0.20.0/bert-ia3", "0.20.0/bert-prompt"}) {
    SCOPED_TRACE(key);
    Cell cell = load_cells(kGolden).at(key);
    for (const char* value : {"null", "false", "[]", "{}"}) {
      cell.config["use_tomorrow"] = yaml(value);
      EXPECT_NO_THROW(import_cell(cell)) << value;
    }
    for (const char* value : {"true", "0", "1.5", "none", "[1]", "{a: 1}"}) {
      cell.config["use_tomorrow"] = yaml(value);
      expect_message<InputError>([&] { import_cell(cell); }, "/use_tomorrow: unknown key");
    }
    cell.config["use_tomorrow"] = Node::null();
    cell.config["modules_to_sav"] = yaml("[classifier]");
    const std::string message = message_of<InputError>([&] { import_cell(cell); });
    EXPECT_NE(message.find("/modules_to_sav: unknown key (did you mean 'modules_to_save'?); if the "
                           "adapter computes the same without it, take it out of the file"),
              std::string::npos)
        << message;
    EXPECT_EQ(message.find("known here"), std::string::npos) << message;
  }
}

TEST(PeftFolder, OfTheFirstVersionsKeepsWhatItSaysOfParts) {
  Cell cell = load_cells(kGolden).at("0.2.0/bert-lora");
  EXPECT_EQ(cell.config.find("enable_lora")->kind, Node::Kind::kNull);
  EXPECT_EQ(cell.config.find("merge_weights")->scalar, "false");
  cell.config["merge_weights"] = Node::boolean(true);
  EXPECT_NO_THROW(import_cell(cell));
  cell.config["enable_lora"] = yaml("[true, false, true]");
  expect_message<InputError>([&] { import_cell(cell); },
                             "/enable_lora: branches in some parts of a layer are read for");
  Cell joint = load_cells(kGolden).at("0.1.0/gpt2-lora");
  joint.config["enable_lora"] = yaml("[true, true, true]");
  expect_message<InputError>([&] { import_cell(joint); },
                             "/enable_lora: branches in some parts of a layer are read for");
}

// Classes that nobody has named are called as transformers calls them.
TEST(PeftHead, NumbersLabelsThatHaveNoNames) {
  const LoadedAdapter loaded = import_cell(load_cells(kGolden).at("0.20.0/bert-lora"));
  EXPECT_EQ(loaded.adapter.task()->labels(),
            (std::vector<std::string>{"LABEL_0", "LABEL_1", "LABEL_2"}));
  EXPECT_TRUE(has_numbered_labels(*loaded.adapter.task()));
  EXPECT_FALSE(has_numbered_labels(class_task(3)));
  EXPECT_FALSE(has_numbered_labels(regression_task()));
  Cell one = load_cells(kGolden).at("0.20.0/bert-lora");
  for (auto& [name, tensor] : one.tensors) {
    if (name.find("classifier") != std::string::npos) tensor = tensor.slice(0, 0, 1).clone();
  }
  expect_message<InputError>(
      [&] { import_cell(one); },
      "the head has 1 output, but the folder does not say what it means: give task");
}

}  // namespace
}  // namespace graft::testing::test_peft_versions
