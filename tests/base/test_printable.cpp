// Foreign text in messages: nothing steers a terminal, nothing fills it, whatever reader it comes
// through.
#include <gtest/gtest.h>

#include "base/document.h"
#include "base/error.h"
#include "base/options.h"
#include "base/printable.h"
#include "tests/support/testing.h"

namespace graft::test_printable {
namespace {

using testing::message_of;

TEST(Printable, EscapesWhatSteersATerminal) {
  EXPECT_EQ(printable("plain \xc3\xbc \xe4\xb8\xad \xf0\x9f\x98\x80"),
            "plain \xc3\xbc \xe4\xb8\xad \xf0\x9f\x98\x80");
  EXPECT_EQ(printable("a\x1b[31m\r\n\t\x7f"), "a\\x1b[31m\\x0d\\x0a\\x09\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\u009b31m")
      << "the control character that stands for ESC [";
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "txt.exe"),
            "\\u202etxt.exe")
      << "what follows would be written from right to left";
  EXPECT_EQ(printable("\xe2\x80\xa8\xef\xbb\xbf"), "\\u2028\\ufeff");
  EXPECT_EQ(printable("a\xff\xc3"), "a\\xff\\xc3") << "bytes that are not UTF-8";
  EXPECT_EQ(printable(std::string("a\0b", 3)),
            "a\\x00"
            "b");
}

TEST(Printable, CutsBetweenCharacters) {
  EXPECT_EQ(printable(std::string(80, 'x')), std::string(80, 'x'));
  EXPECT_EQ(printable(std::string(10'000'000, 'x')), std::string(80, 'x') + "...");
  EXPECT_EQ(printable("\xe4\xb8\xad\xe4\xb8\xad", 5), "\xe4\xb8\xad...");
  EXPECT_EQ(printable(std::string(100, '\x1b')), [] {
    std::string out;
    for (int i = 0; i < 20; ++i) out += "\\x1b";  // what is written counts, not what is read
    return out + "...";
  }());
}

TEST(MessageText, KeepsLinesAndBoundsThem) {
  EXPECT_EQ(message_text("a: wrong\n  while reading b"), "a: wrong\n  while reading b");
  EXPECT_EQ(message_text("a\x1b\nb\x7f\n"), "a\\x1b\nb\\x7f\n");
  const std::string line = message_text(std::string(10'000'000, 'x') + "\nnext");
  EXPECT_EQ(line, std::string(2000, 'x') + "...\nnext");
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "fault\n";
  const std::string cut = message_text(many + "last");
  EXPECT_TRUE(cut.ends_with("fault\n... and 801 more lines")) << cut.substr(cut.size() - 60);
  for (const std::string& text : {line, cut, message_text(std::string(3000, '\x1b'))})
    EXPECT_EQ(message_text(text), text);
}

TEST(Named, IsQuoted) {
  EXPECT_EQ(named("a\nb"), "'a\\x0ab'");
  EXPECT_EQ(bare_name("a\nb"), "a\\x0ab");
}

TEST(SteeringMarks, AreThoseBeyondTheControlCharactersOfAscii) {
  for (const char* text : {"yes\x7f", "a\xc2\x85", "\xc2\x9f", "\xe2\x80\xa8",
                           "\xe2\x80\xae"
                           "b",
                           "\xef\xbb\xbf"})
    EXPECT_TRUE(has_steering_marks(text)) << printable(text);
  for (const char* text : {"", "a\x1b\n\t", "\xc3\xbc", "\xc2\xa0", "\xe4\xb8\xad", "\xff"})
    EXPECT_FALSE(has_steering_marks(text)) << printable(text);
}

// Whatever a message is made of: a file's bytes, its keys, its values.
TEST(Messages, OfDocumentsAndOptionsAreSafe) {
  const std::string escape = "\x1b]0;title\x07", big(10'000'000, 'y');
  const std::vector<std::function<void()>> refusals = {
      [&] { parse_json("{\"a\": \"" + escape + "\"}", "x.json"); },
      [&] { parse_json("{\"a\": " + big + "}", "x.json"); },
      [&] { parse_json("{\"" + big + "\": 1, \"" + big + "\": 2}", "x.json"); },
      [&] { parse_json("{\"a\": \"" + big, "x.json"); },
      [&] { parse_yaml("a: " + escape, "x.yaml"); },
      [&] { parse_yaml("a: !" + std::string(100'000, 't') + " b", "x.yaml"); },
      [&] { parse_yaml("{\"a\\e\": 1, \"a\\e\": 2}", "x.yaml"); },
      [&] {
        const Node node =
            Node::map({{"rnak" + escape + "\n", Node::text("x")}, {big, Node::text(big)}});
        Options options(node, "x.yaml");
        options.integer("rank", 1, 0, 2);
        options.finish();
      },
      [&] {
        const Node node = Node::map({{"rank", Node::text(escape + big)}});
        Options options(node, "x.yaml");
        options.integer("rank", 1, 0, 2);
        options.finish();
      },
  };
  for (size_t i = 0; i < refusals.size(); ++i) {
    const std::string message = message_of<InputError>(refusals[i]);
    EXPECT_LT(message.size(), 3000U) << i;
    EXPECT_EQ(message_text(message), message) << i << ": " << printable(message, 300);
  }
}

}  // namespace
}  // namespace graft::test_printable
