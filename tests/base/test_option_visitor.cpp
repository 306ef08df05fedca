// Options that are declared once: read, written and listed by the same declaration.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/option_visitor.h"
#include "tests/support/testing.h"

namespace graft::test_option_visitor {
namespace {

using testing::message_of;

enum class Side { kLeft, kRight };
constexpr Name<Side> kSides[] = {{Side::kLeft, "left"}, {Side::kRight, "right"}};

constexpr Name<std::optional<bool>> kAnswers[] = {
    {std::nullopt, "auto"}, {true, "true"}, {false, "false"}};

struct Inner {
  int64_t depth = 2;

  void visit(OptionVisitor& v) { v.integer("depth", depth, {0, 9}, "how deep"); }
};

struct Everything {
  int64_t count = 8;
  double rate = 0.5;
  std::optional<int64_t> width;
  std::optional<double> dropout, epochs;
  bool is_on = true;
  std::string name = "x";
  std::vector<std::string> sites = {"a", "b"};
  std::vector<int64_t> layers = {};
  Side side = Side::kRight;
  std::optional<bool> answer;
  Inner inner;

  void visit(OptionVisitor& v) {
    v.integer("count", count, {1, 4096}, "how many");
    v.number("rate", rate, {0, 1e6}, {"how fast", "the model's"});
    v.optional_integer("width", width, {1, int64_t{1} << 40}, "how wide");
    v.optional_number("dropout", dropout, {0, 1}, "how leaky");
    v.number_or("auto", "epochs", epochs, {0, 100}, "how long");
    v.boolean("on", is_on, "whether");
    v.text("name", name, "who");
    v.texts("sites", sites, "where");
    v.integers("layers", layers, {-9, 9}, "which");
    v.choice("side", side, kSides, "left or right");
    v.choice("answer", answer, kAnswers, "yes or no");
    v.section("inner", [this](OptionVisitor& part) { inner.visit(part); });
  }
};

Everything read(const std::string& text) {
  const Node node = parse_yaml(text, "x");
  Options options(node, "x");
  const Everything values = read_options(options, Everything{});
  options.finish();
  return values;
}

const std::string kDefaults =
    "count: 8\nrate: 0.5\nwidth: ~\ndropout: ~\nepochs: \"auto\"\non: true\nname: \"x\"\nsites: "
    "[\"a\", \"b\"]\n"
    "layers: []\nside: \"right\"\nanswer: auto\ninner:\n  depth: 2\n";

TEST(OptionVisitor, WritesWhatReadsBackEqual) {
  EXPECT_EQ(to_yaml(options_node(read("{}"))), kDefaults);
  EXPECT_EQ(to_yaml(options_node(read(kDefaults))), kDefaults);
  const std::string other =
      "count: 1\nrate: 0\nwidth: 3\ndropout: 0.25\nepochs: 7\non: false\nname: \"y\"\nsites: "
      "[\"c\"]\n"
      "layers: [-1]\nside: \"left\"\nanswer: false\ninner:\n  depth: 0\n";
  EXPECT_EQ(to_yaml(options_node(read(other))), other);
}

TEST(OptionVisitor, CollectsFaultsInTheOrderOfTheDeclaration) {
  EXPECT_EQ(message_of<InputError>([] {
              read("{side: up, count: 0, epochs: often, width: x, inner: {depth: 10}, more: 1}");
            }),
            "x:1:19: /count: expected an integer in 1..4096, found \"0\"\n"
            "x:1:44: /width: expected an integer in 1..1099511627776, found \"x\"\n"
            "x:1:30: /epochs: expected a number in 0..100, found \"often\"\n"
            "x:1:8: /side: expected left or right, found \"up\"\n"
            "x:1:62: /inner/depth: expected an integer in 0..9, found \"10\"\n"
            "x:1:73: /more: unknown key; known here: count, rate, width, dropout, epochs, on, "
            "name, sites, layers, side, "
            "answer and inner");
}

TEST(OptionVisitor, ListsNamesDefaultsAndValues) {
  std::string table;
  for (const OptionRow& row : option_rows(Everything{}))
    table += row.name + " | " + row.usual + " | " + row.values + " | " + row.meaning + "\n";
  EXPECT_EQ(
      table,
      "count | 8 | 1 to 4096 | how many\nrate | the model's | 0 to 1e+06 | how fast\n"
      "width | unset | 1 or more | how wide\ndropout | unset | 0 to 1 | how leaky\n"
      "epochs | auto | 0 to 100, auto | how long\non | true | true, false | whether\nname | x | a "
      "text | who\n"
      "sites | [a, b] | a text, or a list | where\nlayers | [] | integers, -9 to 9 | which\n"
      "side | right | left, right | left or right\nanswer | auto | auto, true, false | yes or no\n"
      "inner.depth | 2 | 0 to 9 | how deep\n");
}

TEST(Names, GoBothWaysAndRefuseOthers) {
  EXPECT_STREQ(word_of(kSides, Side::kLeft), "left");
  EXPECT_EQ(value_of(kSides, "right"), Side::kRight);
  EXPECT_EQ(words_of(kSides), (std::vector<std::string>{"left", "right"}));
  EXPECT_EQ(message_of<InternalError>([] { value_of(kSides, "up"); }), "no value is called \"up\"");
  EXPECT_THROW(word_of(kSides, static_cast<Side>(7)), InternalError);
}

}  // namespace
}  // namespace graft::test_option_visitor
