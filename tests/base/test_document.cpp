// Documents: YAML and JSON into one tree with positions, back into equal text, and every refusal.
#include <gtest/gtest.h>

#include <cmath>

#include "base/document.h"
#include "base/error.h"
#include "base/printable.h"
#include "tests/support/testing.h"

namespace graft::test_document {
namespace {

using testing::expect_message;

std::string place(const Node& node) {
  return std::to_string(node.line) + ":" + std::to_string(node.column);
}

TEST(Yaml, ReadsKindsAndPositions) {
  const Node root = parse_yaml(
      "rank: 8\nname: \"8\"\nlist: [a, 'b']\nsub:\n  none: ~\n  block: |\n    text\n", "x.yaml");
  ASSERT_EQ(root.kind, Node::Kind::kMap);
  ASSERT_EQ(root.members.size(), 4U);
  EXPECT_EQ(*root.find("rank"), Node::plain("8"));
  EXPECT_EQ(place(*root.find("rank")), "1:7");
  EXPECT_EQ(*root.find("name"), Node::text("8"));
  EXPECT_EQ(*root.find("list"), Node::list({Node::plain("a"), Node::text("b")}));
  EXPECT_EQ(place(root.find("list")->items[1]), "3:11");
  EXPECT_EQ(root.find("sub")->find("none")->kind, Node::Kind::kNull);
  EXPECT_EQ(*root.find("sub")->find("block"), Node::text("text\n"));
  EXPECT_EQ(root.find("absent"), nullptr);
  EXPECT_EQ(parse_yaml("", "x"), Node::null());
  EXPECT_EQ(parse_yaml("a: 1\r\nb: x\r\n", "x"), parse_yaml("a: 1\nb: x\n", "x"));
  EXPECT_EQ(parse_yaml("# only a comment\n", "x"), Node::null());
  EXPECT_EQ(parse_yaml("!!str 5", "x"), Node::text("5"));
  EXPECT_EQ(*parse_yaml("a: &x 1\nb: *x\n", "x").find("b"), Node::plain("1"));
  const Node aliased = parse_yaml("list: [0, {sub: &x {k: [1, \"2\"]}}]\nagain: *x\n", "x");
  EXPECT_EQ(*aliased.find("again"), *aliased.find("list")->items[1].find("sub"));
  EXPECT_EQ(place(*aliased.find("again")), "2:8");
  EXPECT_EQ(parse_yaml("a\n\nb", "x"), Node::text("a\nb"));
}

TEST(Yaml, RefusesWithAPosition) {
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 20; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last + ", " + last +
              ", " + last + ", " + last + "]\n";
  }
  std::string indented;
  for (size_t i = 0; i < 70; ++i) indented += std::string(i, ' ') + "a:\n";
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"a: 1\nb: [1, 2\n", "x.yaml:3:1: not valid YAML: "},
      {"a: 1\n  b: 2\n", "x.yaml:2:4: not valid YAML: "},
      {"a: 1\nb: 2\na: 3\n", "x.yaml:3:1: key \"a\" appears twice"},
      {"[1, 2]: 3\n", "x.yaml:1:1: expected a plain key"},
      {"a: !python/object 1\n", "x.yaml:1:4: tag \"!python/object\" has no meaning here"},
      {"a: !!int 1\n", "tag \"tag:yaml.org,2002:int\" has no meaning here"},
      {"a: !!str [1]\n", "x.yaml:1:4: tag !!str: expected a text"},
      {"a: 1\n---\nb: 2\n", "x.yaml:2:1: expected one document, found a second"},
      {"a: \"\xff\"\n", "x.yaml: not valid UTF-8 at byte 4"},
      {"a: \"x\\_y\"",
       "x.yaml:1:4: the escapes \\_ and \\N are not supported; write \\u00a0 or \\u0085"},
      {"a: 1\rb: 2", "x.yaml: control character \"\\x0d\" at byte 4"},
      {"a: \x1b[31m\n",
       "x.yaml: control character \"\\x1b\" at byte 3; write it as an escape in double quotes"},
      {std::string(65, '[') + std::string(65, ']'), "x.yaml:1:65: nested deeper than 64 levels"},
      {std::string(100'000, '['), "expected a plain key (is a bracket left open?)"},
      {std::string(100'000, '{'), "expected a plain key (is a bracket left open?)"},
      {indented, "nested deeper than 64 levels"},
      {laughs, "aliases expand to more nodes than the text has bytes"},
      {"a: *nowhere\n", "x.yaml:1:4: not valid YAML: the referenced anchor is not defined"},
      {"&a [*a]", "x.yaml:1:5: an alias inside of what it stands for"},
      {",a{#me", "x.yaml:1:1: expected one document, found a second"},
      {"? [1]\n: 2\n", "x.yaml:1:3: expected a plain key"},
      {"~: 2\n", "x.yaml:1:1: expected a plain key"},
      {std::string((size_t{64} << 20) + 1, ' '),
       "x.yaml: expected at most 64 MiB of text, found 67108865 bytes"},
  };
  for (const auto& [text, message] : wrong) {
    SCOPED_TRACE(message);
    const std::string& content = text;
    expect_message<InputError>([&] { parse_yaml(content, "x.yaml"); }, message);
  }
}

TEST(Yaml, AcceptsDepth64) {
  EXPECT_NO_THROW(parse_yaml(std::string(64, '[') + std::string(64, ']'), "x"));
}

TEST(Json, ReadsKindsAndPositions) {
  const Node root = parse_json(
      "{\"rank\": 8,\n \"name\" : \"a \\\"8\\\\\",\n \"list\":[1.50,-2e3, true,null],\n \"sub\": "
      "{\"x\": false}}",
      "x.json");
  ASSERT_EQ(root.members.size(), 4U);
  EXPECT_EQ(place(root), "1:1");
  EXPECT_EQ(*root.find("rank"), Node::plain("8"));
  EXPECT_EQ(place(*root.find("rank")), "1:10");
  EXPECT_EQ(*root.find("name"), Node::text("a \"8\\"));
  EXPECT_EQ(place(*root.find("name")), "2:11");
  EXPECT_EQ(*root.find("list"), Node::list({Node::plain("1.50"), Node::plain("-2e3"),
                                            Node::boolean(true), Node::null()}));
  const std::vector<Node>& items = root.find("list")->items;
  EXPECT_EQ(place(*root.find("list")) + " " + place(items[0]) + " " + place(items[1]) + " " +
                place(items[2]) + " " + place(items[3]),
            "3:9 3:10 3:15 3:21 3:26");
  EXPECT_EQ(place(*root.find("sub")->find("x")), "4:15");
  EXPECT_EQ(parse_json("12", "x"), Node::plain("12"));
  EXPECT_EQ(parse_json(" -0 ", "x"), Node::plain("-0"));
  EXPECT_EQ(place(parse_json("\n\n \"a\"", "x")), "3:2");
}

TEST(Json, RefusesWithAPosition) {
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"", "x.json:1:1: not valid JSON near \"\""},
      {"{\"a\": 1,\n \"b\": }",
       "x.json:2:7: not valid JSON near \"\\\"b\\\": }\": syntax error while parsing value"},
      {"[1, 2", "x.json:1:6: not valid JSON"},
      {"[01]", "x.json:1:3: not valid JSON"},
      {"[1e999]", "x.json:1:6: not valid JSON near \"1e999\": number overflow"},
      {"{} {}", "x.json:1:4: not valid JSON"},
      {"[NaN]", "x.json:1:2: not valid JSON"},
      {"\"\xff\"", "x.json:1:2: not valid JSON"},
      {"{\"a\": 1,\n \"b\": 2,\n \"a\": 3}", "x.json:3:2: key \"a\" appears twice"},
      {std::string(65, '[') + std::string(65, ']'), "x.json:1:65: nested deeper than 64 levels"},
      {std::string(100'000, '['), "nested deeper than 64 levels"},
      {std::string((size_t{64} << 20) + 1, ' '),
       "x.json: expected at most 64 MiB of text, found 67108865 bytes"},
  };
  for (const auto& [text, message] : wrong) {
    SCOPED_TRACE(message);
    const std::string& content = text;
    expect_message<InputError>([&] { parse_json(content, "x.json"); }, message);
  }
}

TEST(Json, AcceptsDepth64) {
  EXPECT_NO_THROW(parse_json(std::string(64, '[') + std::string(64, ']'), "x"));
}

TEST(Json, ManyKeysTakeLinearTime) {
  std::string text = "{";  // a quadratic search for repeated keys would take minutes
  for (int i = 0; i < 300'000; ++i)
    text += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":" + std::to_string(i);
  EXPECT_EQ(parse_json(text + "}", "x").members.size(), 300'000U);
}

TEST(Emit, KeepsEveryDigitAndEscapes) {
  const std::string text =
      R"({"a":12345678901234567890123,"b":[1.50,-0,true,null,"1"],"c":{},"d":[],"e\n\"":"\u0001)"
      "\xc3\xbc\"}";
  const Node node = parse_json(text, "x");
  EXPECT_EQ(to_json(node, -1), text);
  EXPECT_EQ(to_json(Node::map(
                {{"a", Node::list({Node::integer(1), Node::text("x")})}, {"b", Node::map()}})),
            "{\n  \"a\": [\n    1,\n    \"x\"\n  ],\n  \"b\": {}\n}\n");
  EXPECT_EQ(to_json(Node::plain("word"), -1), "\"word\"") << "a word of YAML is a text in JSON";
  EXPECT_EQ(to_json(Node::plain("0x10"), -1), "\"0x10\"");
}

TEST(Emit, YamlReadsBackEqual) {
  const Node node = Node::map(
      {{"edits",
        Node::list({Node::map({{"lora", Node::map({{"sites", Node::list({Node::plain("attn.q"),
                                                                         Node::plain("attn.v")})},
                                                   {"rank", Node::integer(8)}})}}),
                    Node::list({Node::list()})})},
       {"nothing", Node::null()},
       {"texts", Node::list({Node::text("8"), Node::text("true"), Node::text(""),
                             Node::text("a: b # c\n\t\"'"), Node::text("~")})},
       {"", Node::map()},
       {"~", Node::number(0.1)},
       {"a: b", Node::boolean(false)},
       {"\xc3\xbc", Node::number(1e-300)}});
  EXPECT_EQ(parse_yaml(to_yaml(node), "again"), node) << to_yaml(node);
}

TEST(Emit, YamlEscapesWhatSteersATerminal) {
  for (const std::string mark : {"\x7f", "\xc2\x85", "\xc2\x9f", "\xe2\x80\xa8", "\xe2\x80\xae",
                                 "\xe2\x81\xa6", "\xd8\x9c", "\xef\xbb\xbf", "\x01", "\x1b"}) {
    const std::string text = "zw\xc3\xb6lf" + mark + " \xf0\x9f\x98\x80";
    for (const Node& value : {Node::text(text), Node::plain(text)}) {
      const Node node = Node::map({{text, Node::list({value})}, {"labels", value}});
      const std::string yaml = to_yaml(node);
      EXPECT_EQ(yaml.find(mark), std::string::npos) << printable(yaml, 500);
      EXPECT_EQ(parse_yaml(yaml, "again"), node) << printable(yaml, 500);
    }
  }
  // Other texts stay as they are, between line ends too.
  EXPECT_EQ(to_yaml(Node::map({{"zw\xc3\xb6lf", Node::text("\xc3\xbc\n")}})),
            "zw\xc3\xb6lf: \"\xc3\xbc\\n\"\n");
}

TEST(Equality, CountsQuotesOnlyWhereTheyMatter) {
  EXPECT_EQ(Node::text("word"), Node::plain("word"));
  for (const char* text : {"1", "-1.5e3", "true", "false", "nan", "1e999"})
    EXPECT_FALSE(Node::text(text) == Node::plain(text)) << text;
  EXPECT_FALSE(Node::text("") == Node::null());
}

TEST(Number, IsTheShortestTextThatReadsBack) {
  EXPECT_EQ(Node::number(0.1).scalar, "0.1");
  EXPECT_EQ(Node::number(3e-5).scalar, "3e-05");
  EXPECT_EQ(Node::integer(INT64_MIN).scalar, "-9223372036854775808");
}

TEST(Scalar, IsANumberByItsWholeText) {
  for (const auto& [text, value] : std::vector<std::pair<std::string, double>>{
           {"8", 8}, {"-1.5e3", -1500}, {"0.1", 0.1}, {"5e-324", 5e-324}, {"inf", HUGE_VAL}})
    EXPECT_EQ(Node::plain(text).as_number(), value) << text;
  EXPECT_TRUE(std::isnan(Node::number(NAN).as_number().value()));
  for (const char* text :
       {"", " 8", "8 ", "+8", "0x10", "8 rows", "eight", "true", "1e999", "1e-999"})
    EXPECT_EQ(Node::plain(text).as_number(), std::nullopt) << text;
}

TEST(Scalar, IsAnIntegerByItsWholeText) {
  EXPECT_EQ(Node::plain("8").as_integer(), 8);
  EXPECT_EQ(Node::integer(INT64_MIN).as_integer(), INT64_MIN);
  for (const char* text : {"", "8.0", "1e3", "9223372036854775808", "8th", "false"})
    EXPECT_EQ(Node::plain(text).as_integer(), std::nullopt) << text;
}

TEST(Scalar, IsATruthValueByItsWord) {
  EXPECT_EQ(Node::boolean(true).as_bool(), true);
  EXPECT_EQ(Node::boolean(false).as_bool(), false);
  for (const char* text : {"", "True", "yes", "1", "true "})
    EXPECT_EQ(Node::plain(text).as_bool(), std::nullopt) << text;
}

TEST(Scalar, IsATextInQuotes) {
  for (const Node& node : {Node::text("8"), Node::text("true"), Node::null(), Node::list(),
                           Node::map(), Node::integers({8})}) {
    EXPECT_EQ(node.as_number(), std::nullopt);
    EXPECT_EQ(node.as_integer(), std::nullopt);
    EXPECT_EQ(node.as_bool(), std::nullopt);
  }
  EXPECT_EQ(parse_json(to_json(Node::number(NAN)), "x").as_number(), std::nullopt);
}

TEST(Member, IsFoundByItsKey) {
  const Node node = parse_yaml("rank: 8\nalpha: 0.5\nname: \"8\"\nnone: ~\ntied: false\n", "x");
  EXPECT_EQ(node.find_number("rank"), 8);
  EXPECT_EQ(node.find_integer("rank"), 8);
  EXPECT_EQ(node.find_number("alpha"), 0.5);
  for (const char* key : {"alpha", "name", "none", "absent"})
    EXPECT_EQ(node.find_integer(key), std::nullopt) << key;
  EXPECT_EQ(node.find_number("name"), std::nullopt);
  EXPECT_EQ(node.find_bool("tied"), false);
  EXPECT_EQ(node.find_bool("rank"), std::nullopt);
  EXPECT_EQ(node.find_bool("absent"), std::nullopt);
  EXPECT_EQ(Node::integer(8).find_number("rank"), std::nullopt) << "no map";
}

TEST(KeyAndValue, AreTheSidesOfTheFirstEqualsSign) {
  using Parts = std::pair<std::string, std::string>;
  EXPECT_EQ(key_and_value("epochs=5"), (Parts{"epochs", "5"}));
  EXPECT_EQ(key_and_value("a.b=x=y"), (Parts{"a.b", "x=y"}));
  EXPECT_EQ(key_and_value("seed="), (Parts{"seed", ""}));
  for (const char* none : {"", "epochs", "=5", "="}) EXPECT_EQ(key_and_value(none), std::nullopt);
}

TEST(SetPath, ReplacesAddsAndRefuses) {
  Node root = parse_yaml("adapter: {rank: 8}\nseed: 1\n", "x");
  set_path(root, "adapter.rank", "16");
  set_path(root, "adapter.sites", "[a, b]");
  set_path(root, "data.train", "\"8\"");
  set_path(root, "seed", "");
  EXPECT_EQ(*root.find("adapter")->find("rank"), Node::plain("16"));
  EXPECT_EQ(root.find("adapter")->find("sites")->items.size(), 2U);
  EXPECT_EQ(root.find("adapter")->find("sites")->items[1].line, 0) << "no line of a file";
  EXPECT_EQ(*root.find("data")->find("train"), Node::text("8"));
  EXPECT_EQ(*root.find("seed"), Node::null());
  expect_message<InputError>([&] { set_path(root, "adapter.rank.x", "1"); },
                             "\"adapter.rank.x\": \"x\" lies below a value, not below a section");
  expect_message<InputError>([&] { set_path(root, "adapter..x", "1"); },
                             "\"adapter..x\": expected a key such as");
  expect_message<InputError>([&] { set_path(root, "", "1"); }, "\"\": expected a key such as");
  expect_message<InputError>([&] { set_path(root, "a", "[1"); },
                             "a:1:1: expected a plain key (is a bracket left open?)");
}

}  // namespace
}  // namespace graft::test_document
