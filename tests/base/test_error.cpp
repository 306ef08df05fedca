// Messages: quoting foreign bytes, suggestions, lists of words, context lines.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/utf8.h"
#include "tests/support/testing.h"

namespace graft::test_error {
namespace {

using testing::message_of;

TEST(Quote, EscapesWhatATerminalShouldNotSee) {
  EXPECT_EQ(quote("plain"), "\"plain\"");
  EXPECT_EQ(quote(""), "\"\"");
  EXPECT_EQ(quote("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(quote("tab\tnew\nline\x1b[31m\x7f"), R"("tab\x09new\x0aline\x1b[31m\x7f")");
  EXPECT_EQ(quote("\xc3\xbc"), "\"\xc3\xbc\"");
  EXPECT_EQ(quote("a\xff\xc3"), R"("a\xff\xc3")") << "bytes that are not UTF-8";
}

TEST(Quote, CutsAtEightyBytesBetweenCharacters) {
  EXPECT_EQ(quote(std::string(80, 'x')), '"' + std::string(80, 'x') + '"');
  EXPECT_EQ(quote(std::string(81, 'x')), '"' + std::string(80, 'x') + "...\"");
  std::string wide;
  for (int i = 0; i < 40; ++i) wide += "\xe4\xb8\xad";  // 3 bytes each: 26 fit
  EXPECT_EQ(quote(wide), '"' + wide.substr(0, 78) + "...\"");
}

TEST(Utf8, AcceptsOnlyWellFormedSequences) {
  EXPECT_EQ(utf8_sequence("a", 0), 1U);
  EXPECT_EQ(utf8_sequence("\xc3\xbc", 0), 2U);
  EXPECT_EQ(utf8_sequence("\xe2\x82\xac", 0), 3U);
  EXPECT_EQ(utf8_sequence("\xf0\x9f\x98\x80", 0), 4U);
  EXPECT_EQ(utf8_sequence(std::string_view("\0", 1), 0), 1U);
  EXPECT_EQ(utf8_sequence("", 0), 0U);
  for (const char* wrong :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x80\x80", "\xed\xa0\x80",
        "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_EQ(utf8_sequence(wrong, 0), 0U) << quote(wrong);
  }
  EXPECT_EQ(find_invalid_utf8("ab\xc3\xbc"), std::string_view::npos);
  EXPECT_EQ(find_invalid_utf8("ab\xc3"), 2U);
}

TEST(DidYouMean, NamesTheNearestOrNothing) {
  const std::vector<std::string> keys{"learning_rate", "warmup", "rank", "lr"};
  EXPECT_EQ(did_you_mean("learnin_rate", keys), " (did you mean 'learning_rate'?)");
  EXPECT_EQ(did_you_mean("rnak", keys), " (did you mean 'rank'?)");
  EXPECT_EQ(did_you_mean("Lora", {"dora", "lora"}), " (did you mean 'lora'?)")
      << "case is no difference";
  EXPECT_EQ(did_you_mean("temperature", keys), "");
  EXPECT_EQ(did_you_mean("x", keys), "") << "a wholly different word is no suggestion";
  EXPECT_EQ(did_you_mean("", keys), "");
  EXPECT_EQ(did_you_mean("rank", {}), "");
  EXPECT_EQ(did_you_mean(std::string(100'000, 'a'), {std::string(100'000, 'b')}), "")
      << "long words must not take long";
}

TEST(DidYouMean, ANumberIsMeantByAnEqualOneAlone) {
  EXPECT_EQ(did_you_mean("1.0", {"0", "1"}), " (did you mean '1'?)");
  EXPECT_EQ(did_you_mean("10", {"0", "1"}), "") << "near in digits alone";
  EXPECT_EQ(did_you_mean("1", {"l"}), "") << "as any other word";
  EXPECT_EQ(did_you_mean("100", {"100x", "200"}), " (did you mean '100x'?)");
}

TEST(Joined, ReadsAsASentence) {
  EXPECT_EQ(joined({}), "");
  EXPECT_EQ(joined({"a"}), "a");
  EXPECT_EQ(joined({"a", "b"}), "a and b");
  EXPECT_EQ(joined({"a", "b", "c"}, "or"), "a, b or c");
}

TEST(Errors, CarryTheirExitCode) {
  EXPECT_EQ(InputError("x").code(), ExitCode::kInput);
  EXPECT_EQ(IoError("x").code(), ExitCode::kSystem);
  EXPECT_EQ(InternalError("x").code(), ExitCode::kBug);
  EXPECT_NO_THROW(ensure(true, "x"));
  EXPECT_EQ(message_of<InternalError>(
                [] { ensure(false, "a claim", "/a/src/b/src/edit/lanes.cpp", 169); }),
            "a claim (edit/lanes.cpp:169)");
  const std::string here = "test_error.cpp:" + std::to_string(__LINE__ + 1) + ")";
  EXPECT_TRUE(message_of<InternalError>([] { ensure(false, "a claim"); }).ends_with(here));
}

TEST(WithContext, AddsALineAndKeepsTheClass) {
  EXPECT_EQ(
      message_of<InputError>([] { with_context("reading x", [] { throw InputError("wrong"); }); }),
      "wrong\n  while reading x");
  EXPECT_EQ(message_of<IoError>([] { with_context("reading x", [] { throw IoError("full"); }); }),
            "full\n  while reading x");
  EXPECT_EQ(message_of<InternalError>(
                [] { with_context("reading x", [] { throw InternalError("bug"); }); }),
            "bug\n  while reading x");
  EXPECT_EQ(message_of<std::runtime_error>(
                [] { with_context("reading x", [] { throw std::runtime_error("foreign"); }); }),
            "foreign");
}

TEST(JoinedFirst, SaysThatThereAreMore) {
  EXPECT_EQ(joined_first({"a", "b", "c"}, 3), "a, b and c");
  EXPECT_EQ(joined_first({"a", "b", "c"}, 2), "a and b, ...");
}

}  // namespace
}  // namespace graft::test_error
