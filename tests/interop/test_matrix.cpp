// What PEFT and AdapterHub write by default, method by family: imported it computes what they
// compute, or it is refused with the reason that doc/interop.md states. The tables of that page are
// these results.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "tests/interop/cells.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_matrix {
namespace {

struct Refusal {
  std::string method;              // the key of a cell begins so
  std::set<std::string> families;  // empty: any
  const char* message;
};

const std::vector<Refusal> kPeftRefusals = {
    {"lora, bias all",
     {"gpt2", "llama", "mistral", "qwen2", "t5", "mt5", "bart"},
     "are not read from PEFT; expected none"},
    {"lora, bias lora_only", {}, "/bias: lora_only trains the biases of some layers"},
    {"lora, one layer", {"t5", "mt5"}, "/layers_to_transform: PEFT counts the sublayers"},
    {"lora, pissa/", {}, "/init_lora_weights: \"pissa\" changes the base before training"},
    {"lora, token rows", {}, "/trainable_token_indices: trained token rows have no place here"},
    {"vera", {"gpt2"}, "which would share their vectors and each take other rows"},
    {"prefix", {"t5", "mt5", "bart"}, "in an encoder-decoder is not read"},
    {"prompt", {"t5", "mt5", "bart"}, "in an encoder-decoder is not read"},
    {"p-tuning", {"t5", "mt5", "bart"}, "in an encoder-decoder is not read"},
};
constexpr const char* kOtherKind =
    "/peft_type: expected LORA, IA3, VERA, PREFIX_TUNING, PROMPT_TUNING or P_TUNING, found";

const std::vector<Refusal> kPeftHeadRefusals = {
    {"lora, bias all", {}, "are not read from PEFT; expected none"},
};

const std::vector<Refusal> kHubRefusals = {
    {"compacter", {}, "/config/phm_layer: Compacter's layers have no place here"},
    {"seq_bn_inv", {}, "/config/inv_adapter: invertible adapters"},
    {"double_seq_bn_inv", {}, "/config/inv_adapter: invertible adapters"},
    {"pfeiffer+inv", {}, "/config/inv_adapter: invertible adapters"},
    {"houlsby+inv", {}, "/config/inv_adapter: invertible adapters"},
    {"prompt_tuning",
     {},
     "/config/architecture: prompt tuning puts its vectors behind the embedding's norm"},
    {"mtl_lora",
     {},
     "/config/architecture: expected null (bottleneck), lora, prefix_tuning, reft or union"},
    {"vera", {}, "VeRA of AdapterHub is not read"},
    {"dora", {}, "/config/use_dora: AdapterHub's DoRA leaves alpha/r out of the norm"},
    {"dvora", {}, "/config/use_dora: AdapterHub's DoRA leaves alpha/r out of the norm"},
    {"",
     {"gpt2", "llama", "mistral", "t5", "bart"},
     "folders of AdapterHub are read for BERT and RoBERTa"},
};

std::string family_of_key(const std::string& key) { return key.substr(key.rfind('/') + 1); }
std::string method_of_key(const std::string& key) { return key.substr(0, key.rfind('/')); }

// The refusal of a cell, or null where it must load.
const char* refusal_of(const std::string& key, const std::vector<Refusal>& refusals) {
  for (const Refusal& refusal : refusals) {
    const bool is_family =
        refusal.families.empty() || refusal.families.contains(family_of_key(key));
    if (is_family && key.starts_with(refusal.method)) return refusal.message;
  }
  return nullptr;
}

struct Outcome {
  int64_t equal = 0, refused = 0;
  std::map<std::string, std::map<std::string, char>> table;  // method -> family -> '=' or 'x'
};

Outcome run(const std::string& golden, const std::string& format,
            const std::vector<Refusal>& refusals) {
  Outcome out;
  for (const auto& [key, cell] : load_cells(golden)) {
    SCOPED_TRACE(key);
    const bool is_other_kind = format == "peft" && cell.tensors.empty();
    const char* refusal = is_other_kind ? kOtherKind : refusal_of(key, refusals);
    out.table[method_of_key(key)][family_of_key(key)] = refusal != nullptr ? 'x' : '=';
    if (refusal != nullptr) {
      ++out.refused;
      expect_message<InputError>([&, &one = cell] { import_cell(one, format); }, refusal);
      continue;
    }
    try {
      expect_cell_logits(cell, golden, import_cell(cell, format));
      ++out.equal;
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }
  return out;
}

// Each row of the table must stand in the page, as "| method | = | x | - |": equal, refused, not to
// be had from the peer.
void expect_rows_in_page(const Outcome& outcome, const std::vector<std::string>& families) {
  const std::string page = read_file(Path(GRAFT_SOURCE_DIR) / "doc" / "interop.md");
  for (const auto& [method, cells] : outcome.table) {
    if (std::none_of(families.begin(), families.end(),
                     [&own = cells](const std::string& family) { return own.contains(family); }))
      continue;  // of a table of other families
    std::string row = "| " + method + " |";
    for (const std::string& family : families)
      row += std::string(" ") + (cells.contains(family) ? cells.at(family) : '-') + " |";
    EXPECT_NE(page.find(row), std::string::npos) << "doc/interop.md has no row " << row;
  }
}

void expect_counts_in(const char* file, const Outcome& outcome, const std::string& what) {
  std::string page = read_file(Path(GRAFT_SOURCE_DIR) / file);
  std::replace(page.begin(), page.end(), '\n', ' ');  // wherever a line of the page ends
  const std::string text = std::to_string(outcome.equal) + " of " +
                           std::to_string(outcome.equal + outcome.refused) + " " + what;
  EXPECT_NE(page.find(text), std::string::npos) << file << " does not say: " << text;
}

TEST(Matrix, OfPeftsDefaults) {
  Outcome outcome = run("peft_matrix", "peft", kPeftRefusals);
  EXPECT_EQ(outcome.equal, 99);
  EXPECT_EQ(outcome.refused, 85);
  static const std::string kOfTypes = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
  std::erase_if(outcome.table, [](const auto& row) {
    return row.first.find_first_not_of(kOfTypes) == std::string::npos;
  });
  expect_rows_in_page(
      outcome, {"bert", "roberta", "gpt2", "llama", "mistral", "qwen2", "t5", "mt5", "bart"});
  expect_counts_in("doc/interop.md", outcome, "folders that PEFT writes by default");
  expect_counts_in("README.md", outcome, "of PEFT's defaults");
}

// Classifiers and regressions on decoders, T5, BART and ModernBERT.
TEST(Matrix, OfPeftsHeads) {
  const Outcome outcome = run("peft_heads", "peft", kPeftHeadRefusals);
  EXPECT_EQ(outcome.equal, 122);
  EXPECT_EQ(outcome.refused, 11);
  expect_rows_in_page(outcome, {"gpt2", "gpt2-value", "llama", "llama-value", "mistral", "qwen2",
                                "qwen3", "t5", "t5-value", "mt5", "bart"});
  expect_rows_in_page(outcome, {"modernbert", "modernbert-value"});
  expect_counts_in("doc/interop.md", outcome,
                   "classifiers of PEFT on decoders, T5, BART and ModernBERT");
  expect_counts_in("README.md", outcome, "of PEFT's classifiers");
}

TEST(Matrix, OfAdapterHubsConfigurations) {
  const Outcome outcome = run("adapterhub_matrix", "adapterhub", kHubRefusals);
  EXPECT_EQ(outcome.equal, 40);
  EXPECT_EQ(outcome.refused, 27);
  expect_rows_in_page(outcome, {"bert", "roberta"});
  expect_counts_in("doc/interop.md", outcome, "folders of AdapterHub's configurations");
  expect_counts_in("README.md", outcome, "of AdapterHub's configurations");
}

}  // namespace
}  // namespace graft::testing::test_matrix
