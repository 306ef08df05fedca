// Keys of config.json that no family reads: published key sets, values that are refused, keys that
// a user may pass over.
#include "model/config_keys.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "model/families.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_config_keys {
namespace {

Node published(const std::string& file) {
  const Path path = golden_dir("published") / file;
  return parse_json(read_file(path), path.string());
}

ModelConfig parsed(const std::string& family, const std::string& changes,
                   const IgnoredKeys& ignored = {}) {
  return parse_config(tiny_config(family, parse_json(changes, "changes")), "config.json", ignored);
}

TEST(PublishedConfigs, Load) {
  const Node all = published("loads.json");
  std::set<std::string> families;
  for (const auto& [name, config] : all.members) {
    SCOPED_TRACE(name);
    EXPECT_NO_THROW(families.insert(parse_config(config, name).model_type));
  }
  EXPECT_GE(all.members.size(), 71U);
  EXPECT_EQ(families.size(), known_families().size()) << "every family is among them";
}

TEST(PublishedConfigs, OfOtherFamiliesAreRefusedByName) {
  const Node all = published("refused.json");
  for (const auto& [name, config] : all.members) {
    SCOPED_TRACE(name);
    const std::string message =
        message_of<InputError>([&own = config, &about = name] { parse_config(own, about); });
    EXPECT_NE(message.find(": /model_type: expected " + joined(known_families(), "or") +
                           ", found \"" + config.find("model_type")->scalar + "\""),
              std::string::npos)
        << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << "nothing else is said: " << message;
  }
  EXPECT_EQ(all.members.size(), 20U);
}

// The rules of every family, and those of each.
std::vector<std::pair<std::string, std::vector<KeyRule>>> all_rules() {
  std::vector<std::pair<std::string, std::vector<KeyRule>>> out = {
      {"bert", {common_key_rules().begin(), common_key_rules().end()}}};
  for (const std::string& family : known_families())
    out.emplace_back(family, family_of(family).keys);
  return out;
}

TEST(ConfigKeys, HaveOneRuleEach) {
  for (const auto& [family, rules] : all_rules()) {
    std::set<std::string> seen;
    for (const KeyRule& rule : rules) {
      EXPECT_FALSE(rule.keys.empty());
      for (const std::string& key : rule.keys)
        EXPECT_TRUE(seen.insert(key).second) << family << " " << key;
    }
  }
}

// Each with the first value that its rule allows, in a family that it is for; and with another.
TEST(ConfigKeys, LoadWithTheValuesOfTheirRule) {
  int64_t refused = 0;
  for (const auto& [family, rules] : all_rules()) {
    const Node plain = tiny_config(family);
    for (const KeyRule& rule : rules) {
      for (const std::string& key : rule.keys) {
        if (plain.find(key) != nullptr || key == "model_type") continue;
        const std::string fine = rule.values.empty()                 ? R"(["anything"])"
                                 : rule.values.front() == "absolute" ? "\"absolute\""
                                                                     : rule.values.front();
        // Some of them say the same to read_config, which takes a list of one kind.
        if (key != "layer_types") {
          EXPECT_NO_THROW(parsed(family, "{\"" + key + "\": " + fine + "}"))
              << family << " " << key;
        }
        if (rule.values.empty() || rule.values.size() == 2U) continue;
        expect_message<InputError>(
            [&, &name = family] { parsed(name, "{\"" + key + R"(": "other"})"); },
            "/" + key + ": another value than " + rule.values.front() +
                " changes what the model computes");
        ++refused;
      }
    }
  }
  EXPECT_GE(refused, 60);
}

TEST(ConfigKeys, WithNullSayWhatTheirAbsenceSays) {
  EXPECT_NO_THROW(
      parsed("bert", R"({"rope_scaling": null, "something_new": null, "pruned_heads": null})"));
  EXPECT_NO_THROW(parsed(
      "llama", R"({"rope_interleaved": null, "pretraining_tp": null, "sliding_window": null})"));
}

// AdapterHub's library lists adapters in every config.json; one in the list acts.
TEST(ConfigKeys, OfAdapterHubHoldNoAdapter) {
  for (const char* list : {"null", "{}", R"({"adapters": {}})",
                           R"({"adapters": {}, "config_map": {"62": {"r": 8}}, "fusions": {}})"})
    EXPECT_NO_THROW(parsed("bert", std::string("{\"adapters\": ") + list + "}")) << list;
  expect_message<InputError>(
      [] { parsed("bert", R"({"adapters": {"adapters": {"mine": "62"}, "config_map": {}}})"); },
      "/adapters: expected no adapter, found \"mine\", which changes what the model computes: save "
      "the model without it");
  expect_message<InputError>([] { parsed("bert", R"({"adapters": "mine"})"); },
                             "/adapters: expected no adapter, found \"mine\"");
}

TEST(ConfigKeys, ThatAreLongDoNotFillAMessage) {
  const std::string message =
      message_of<InputError>([] { parsed("bert", "{\"" + std::string(20'000, 'x') + "\": 1}"); });
  EXPECT_LT(message.size(), 2'000U);
}

TEST(ConfigKeys, ThatAreUnknownNameTheNearestAndTheWayOut) {
  expect_message<InputError>([] { parsed("llama", R"({"rope_interleavd": false})"); },
                             "/rope_interleavd: unknown key (did you mean 'rope_interleaved'?); if "
                             "the model computes the same "
                             "without it, load it with ignore_config_key rope_interleavd");
  const std::string message =
      message_of<InputError>([] { parsed("bert", R"({"aa_new": 1, "bb_new": {"x": [1]}})"); });
  EXPECT_NE(message.find("/aa_new: unknown key; if"), std::string::npos) << message;
  EXPECT_NE(message.find("/bb_new: unknown key; if"), std::string::npos) << message;
  EXPECT_LT(message.size(), 400U) << "a list of all known keys helps nobody";
}

TEST(ConfigKeys, CanBePassedOver) {
  const ModelConfig c =
      parsed("bert", R"({"aa_new": 1, "bb_new": {"x": [1]}})", {.named = {"aa_new", "bb_new"}});
  EXPECT_EQ(c.ignored_keys, (std::vector<std::string>{"aa_new", "bb_new"}));
  EXPECT_EQ(parsed("bert", R"({"aa_new": 1})", {.remembered = {"aa_new", "gone"}}).ignored_keys,
            std::vector<std::string>{"aa_new"});
  EXPECT_TRUE(parsed("bert", "{}", {.remembered = {"gone"}}).ignored_keys.empty());
}

TEST(ConfigKeys, ThatCountCannotBePassedOver) {
  const struct {
    const char *changes, *named, *message;
  } rows[] = {
      {"{}", "hidden_size",
       "ignore_config_key hidden_size: only a key of config.json that graft does not know can be "
       "ignored"},
      {R"({"is_decoder": true})", "is_decoder", "ignore_config_key is_decoder: only a key"},
      {R"({"aa_new": 1})", "aa_nwe",
       "ignore_config_key aa_nwe: only a key of config.json that graft does not know can be "
       "ignored "
       "(did you mean 'aa_new'?); it has aa_new"},
      {R"({"aa_new": 1, "bb_new": 2})", "aa_new", "/bb_new: unknown key"},
  };
  for (const auto& row : rows)
    expect_message<InputError>([&] { parsed("bert", row.changes, {.named = {row.named}}); },
                               row.message);
}

// Runs and scripts of an earlier version name keys that it did not know.
TEST(ConfigKeys, ThatAreKnownByNowMayStillBeNamed) {
  EXPECT_NO_THROW(parsed("bert", R"({"model_max_length": 512})", {.named = {"model_max_length"}}));
  const char* const inside = R"({"adapters": {"adapters": {"mood": "abc"}}})";
  EXPECT_THROW(parsed("bert", inside, {}), InputError);
  EXPECT_NO_THROW(parsed("bert", inside, {.named = {"adapters"}}));
}

}  // namespace
}  // namespace graft::testing::test_config_keys
