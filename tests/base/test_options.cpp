// Options: values with their ranges, and all faults of a section in one throw.
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "base/options.h"
#include "tests/support/testing.h"

namespace graft::test_options {
namespace {

using testing::message_of;

TEST(Options, ReadsEveryKind) {
  const Node node = parse_yaml(
      "i: -3\nd: 2.5e-1\nb: true\nt: words\nc: two\nl: [a, \"b\"]\none: a\nn: [1, 2]\nn1: 7\nsub: "
      "{x: 1}\nempty:\n",
      "x");
  Options options(node, "x");
  EXPECT_EQ(options.integer("i", 0, -5, 5), -3);
  EXPECT_EQ(options.number("d", 0, 0, 1), 0.25);
  EXPECT_TRUE(options.boolean("b", false));
  EXPECT_EQ(options.text("t", ""), "words");
  EXPECT_EQ(options.choice("c", "one", {"one", "two"}), "two");
  EXPECT_EQ(options.texts("l", std::nullopt), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(options.texts("one", std::nullopt), std::vector<std::string>{"a"});
  EXPECT_EQ(options.integers("n", std::nullopt, 0, 9), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(options.integers("n1", std::nullopt, 0, 9), std::vector<int64_t>{7});
  EXPECT_EQ(options.section("sub").integer("x", 0, 0, 9), 1);
  EXPECT_EQ(options.section("empty").integer("x", 5, 0, 9), 5);
  EXPECT_EQ(options.section("absent").integer("x", 6, 0, 9), 6);
  EXPECT_EQ(options.integer("fallback", 4, 0, 9), 4);
  EXPECT_FALSE(options.has("nothing"));
  EXPECT_EQ(options.raw("nothing"), nullptr);
  EXPECT_NO_THROW(options.finish());
}

TEST(Options, CollectsAllFaultsInOneThrow) {
  const Node node = parse_yaml(
      "rank: eight\nalpha: 2000\nrate: \"1\"\nflag: yes\nkind: gaussian\nname: [1]\nsites: {a: "
      "1}\nlayers: [0, x]\nrnk: 3\nsub: "
      "5\nother: {deep: 1}\ninf: .inf\n",
      "run.yaml");
  Options options(node, "run.yaml", "/edits/0");
  EXPECT_EQ(options.integer("rank", 8, 1, 4096), 8);
  options.integer("alpha", 8, 1, 100);
  options.number("rate", 0.5, 0, 1);
  options.boolean("flag", false);
  options.choice("kind", "gaussian_", {"gaussian_", "zero"});
  options.text("name", "");
  options.texts("sites", std::nullopt);
  options.integers("layers", std::nullopt, 0, 11);
  options.integer("needed", std::nullopt, 0, 1);
  options.number("inf", 0, 0, std::numeric_limits<double>::infinity());
  options.section("sub").integer("x", 1, 0, 1);
  options.section("other").integer("deeper", 1, 0, 1);
  options.fault("rank", "does not divide the width 768");
  const std::string message = message_of<InputError>([&] { options.finish(); });
  EXPECT_EQ(message,
            "run.yaml:1:7: /edits/0/rank: expected an integer in 1..4096, found \"eight\"\n"
            "run.yaml:2:8: /edits/0/alpha: expected an integer in 1..100, found \"2000\"\n"
            "run.yaml:3:7: /edits/0/rate: expected a number in 0..1, found \"1\"\n"
            "run.yaml:4:7: /edits/0/flag: expected true or false, found \"yes\"\n"
            "run.yaml:5:7: /edits/0/kind: expected gaussian_ or zero, found \"gaussian\" (did you "
            "mean 'gaussian_'?)\n"
            "run.yaml:6:7: /edits/0/name: expected a text, found a list\n"
            "run.yaml:7:8: /edits/0/sites: expected a text or a list of texts, found a section\n"
            "run.yaml:8:9: /edits/0/layers: expected a list of integers in 0..11, found \"x\"\n"
            "run.yaml: /edits/0/needed: missing; expected an integer in 0..1\n"
            "run.yaml:12:6: /edits/0/inf: expected a number in 0..inf, found \".inf\"\n"
            "run.yaml:10:6: /edits/0/sub: expected a section of keys and values, found \"5\"\n"
            "run.yaml:1:7: /edits/0/rank: does not divide the width 768\n"
            "run.yaml:9:6: /edits/0/rnk: unknown key (did you mean 'rank'?); known here: rank, "
            "alpha, rate, flag, kind, name, "
            "sites, layers, needed, "
            "inf, sub and other\n"
            "run.yaml:11:15: /edits/0/other/deep: unknown key (did you mean 'deeper'?); known "
            "here: deeper");
}

TEST(Options, NameMissingValuesOfEveryKind) {
  const Node node;
  Options options(node, "x");
  options.number("d", std::nullopt, 0, 1);
  options.boolean("b", std::nullopt);
  options.text("t", std::nullopt);
  EXPECT_EQ(options.choice("c", std::nullopt, {"one", "two"}), "one");
  options.texts("l", std::nullopt);
  options.integers("n", std::nullopt, 0, 1);
  EXPECT_EQ(
      message_of<InputError>([&] { options.finish(); }),
      "x: /d: missing; expected a number in 0..1\nx: /b: missing; expected true or false\nx: /t: "
      "missing; expected a text\n"
      "x: /c: missing; expected one or two\nx: /l: missing; expected a text or a list of texts\n"
      "x: /n: missing; expected a list of integers in 0..1");
}

TEST(Options, ListEachKnownKeyOnce) {
  const Node node = parse_yaml("a: 1\nzzzzz: 2\n", "x");
  Options options(node, "x");
  if (options.has("a")) options.integer("a", 0, 0, 9);
  options.ignore("harmless");
  EXPECT_EQ(message_of<InputError>([&] { options.finish(); }),
            "x:2:8: /zzzzz: unknown key; known here: a and harmless");
  Options none(node, "x");
  none.section("sub");
  EXPECT_NE(message_of<InputError>([&] { none.finish(); }).find("/a: unknown key; known here: sub"),
            std::string::npos);
  Options nothing(node, "x");
  EXPECT_NE(
      message_of<InputError>([&] { nothing.finish(); }).find("/a: unknown key; known here: none"),
      std::string::npos);
}

TEST(Options, RefuseWhatIsNotASection) {
  const Node node = parse_yaml("[1, 2]", "x");
  Options options(node, "x");
  EXPECT_EQ(message_of<InputError>([&] { options.finish(); }),
            "x:1:1: expected a section of keys and values, found a list");
}

TEST(Options, RefuseNumbersThatAreNot) {
  for (const char* text :
       {"1.5", "1e3", "+1", "0x10", "99999999999999999999", "1 ", "\"1\"", "~", "[1]", "1_000"}) {
    const Node node = parse_yaml(std::string("i: ") + text, "x");
    Options options(node, "x");
    options.integer("i", 0, INT64_MIN, INT64_MAX);
    if (std::string(text) == "1 ") EXPECT_NO_THROW(options.finish());
    else
      EXPECT_NE(message_of<InputError>([&] { options.finish(); }).find("expected an integer"),
                std::string::npos)
          << text;
  }
  for (const char* text : {"nan", "inf", "1e999", "one", "1,5"}) {
    const Node node = parse_yaml(std::string("d: ") + text, "x");
    Options options(node, "x");
    options.number("d", 0, -1e308, 1e308);
    EXPECT_NE(message_of<InputError>([&] { options.finish(); }).find("expected a number"),
              std::string::npos)
        << text;
  }
}

}  // namespace
}  // namespace graft::test_options
