// The declared options of every method: their defaults are those of an empty document, and each
// says what it is for.
#include <gtest/gtest.h>

#include <algorithm>

#include "edit/adapter.h"
#include "edit/head.h"
#include "edit/registry.h"
#include "tests/support/models.h"

namespace graft::testing::test_options {
namespace {

// Defaults that depend on the model or on other options: a table has words for them.
const std::vector<std::string> kInWords = {"bottleneck.width", "prompt.length", "gate.padded_to",
                                           "stochastic.share"};

bool is_in_words(const Method& method, const OptionRow& row) {
  const std::string name = std::string(method.name) + "." + row.name;
  return std::find(kInWords.begin(), kInWords.end(), name) != kInWords.end();
}

// An entry of `edits:` with these options; a combinator stands around an edit that has all of them.
Node entry(const Method& method, Node options, const std::string& option) {
  Node out = Node::map({{method.name, std::move(options)}});
  const bool is_of_prefix = option.starts_with("prefix");
  if (method.is_combinator())
    out["of"] = Node::map({{is_of_prefix ? "prefix" : "lora", Node::map()}});
  return out;
}

Node described(const Node& entry) {
  const auto model = golden_model("bert-tiny");
  return make_edit(entry, {model->config, model->sites}, "test", "/edits/0")->describe();
}

TEST(DeclaredOptions, HaveTheDefaultsOfAnEmptyDocument) {
  int64_t compared = 0;
  for (const std::string& name : known_edits()) {
    const Method& method = method_named(name);
    for (const OptionRow& row : method.options()) {
      if (is_in_words(method, row)) continue;
      const Node given = Node::map({{row.name, yaml(row.usual)}});
      EXPECT_EQ(to_yaml(described(entry(method, given, row.name))),
                to_yaml(described(entry(method, Node::map(), row.name))))
          << name << "." << row.name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 100);
}

TEST(DeclaredOptions, AreThoseOfADescription) {
  for (const std::string& name : known_edits()) {
    const Method& method = method_named(name);
    std::vector<std::string> declared;
    for (const OptionRow& row : method.options()) declared.push_back(row.name);
    auto from = declared.begin();  // a description keeps their order
    const Node description = described(entry(method, Node::map(), ""));
    for (const auto& [key, value] : description.members.front().second.members) {
      from = std::find(from, declared.end(), key);
      ASSERT_NE(from, declared.end()) << name << "." << key;
    }
  }
}

TEST(DeclaredOptions, SayWhatTheyAreFor) {
  std::vector<std::vector<OptionRow>> tables{option_rows(HeadOptions{})};
  for (const std::string& name : known_edits()) {
    EXPECT_FALSE(std::string(method_named(name).about).empty()) << name;
    tables.push_back(method_named(name).options());
  }
  for (const std::vector<OptionRow>& rows : tables) {
    EXPECT_FALSE(rows.empty());
    for (const OptionRow& row : rows) {
      EXPECT_GT(row.meaning.size(), 10u) << row.name;
      EXPECT_FALSE(row.values.empty()) << row.name;
      EXPECT_FALSE(row.usual.empty()) << row.name;
    }
  }
}

}  // namespace
}  // namespace graft::testing::test_options
