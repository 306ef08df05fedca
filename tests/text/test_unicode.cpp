// UTF-8, classes, lower case and normal forms, against facts of the Unicode standard.
#include "text/unicode.h"

#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/error.h"

namespace graft::test_unicode {
namespace {

std::u32string chars_of(const std::vector<Edited>& edited) {
  std::u32string out;
  for (const Edited& e : edited) out.push_back(e.c);
  return out;
}

TEST(Unicode, Utf8RoundTripsEveryCodePoint) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string bytes;
    append_utf8(bytes, c);
    ASSERT_EQ(static_cast<int>(bytes.size()), utf8_length(c));
    ASSERT_EQ(decode_utf8(bytes, "text"), std::u32string(1, c)) << static_cast<uint32_t>(c);
  }
}

TEST(Unicode, IllFormedPartsBecomeReplacementCharacters) {
  EXPECT_EQ(replace_invalid_utf8("a\xFFz"), "a\uFFFDz");
  EXPECT_EQ(replace_invalid_utf8("\xE2\x82"), "\uFFFD");  // a sequence cut short is one part
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate is three
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x98\x80"), "\U0001F600");
}

TEST(Unicode, LowerCase) {
  EXPECT_EQ(lower('A'), U'a');
  EXPECT_EQ(lower('z'), U'z');
  EXPECT_EQ(lower(0x00C5), char32_t{0x00E5});
  EXPECT_EQ(lower(0x0100), char32_t{0x0101});  // a run of every other character
  EXPECT_EQ(lower(0x0101), char32_t{0x0101});
  EXPECT_EQ(lower(0x2126), char32_t{0x03C9});
  EXPECT_EQ(lower(0x01C5), char32_t{0x01C6});
  EXPECT_EQ(lower(0x10400), char32_t{0x10428});
  EXPECT_EQ(lower(0x00DF), char32_t{0x00DF});
}

TEST(Unicode, Classes) {
  const CharClasses& classes = char_classes();
  EXPECT_TRUE(classes.is_in('$', CharClass::kPunctuation));  // BERT counts ASCII symbols
  EXPECT_FALSE(classes.is_in(0x20AC, CharClass::kPunctuation));
  EXPECT_TRUE(classes.is_in(0x0301, CharClass::kNonspacingMark));
  EXPECT_TRUE(classes.is_in(0x0903, CharClass::kCombiningMark));
  EXPECT_FALSE(classes.is_in(0x0903, CharClass::kNonspacingMark));
  EXPECT_TRUE(classes.is_in(0x200B, CharClass::kBertRemoved));
  EXPECT_TRUE(classes.is_in(0x00BD, CharClass::kNumber));
  EXPECT_TRUE(classes.is_in('_', CharClass::kWord));
  EXPECT_TRUE(is_space(0x3000));
  EXPECT_TRUE(is_space(0x85));
  EXPECT_FALSE(is_space(0x200B));
  EXPECT_TRUE(is_bert_ideograph(0x5DDD));
  EXPECT_FALSE(is_bert_ideograph(0xAC00));
  EXPECT_FALSE(is_bert_ideograph(0x3042));
}

TEST(Unicode, NormalForms) {
  EXPECT_EQ(chars_of(normal_form(U"\u00E9", NormalForm::kNfd)), U"e\u0301");
  EXPECT_EQ(chars_of(normal_form(U"e\u0301", NormalForm::kNfc)), U"\u00E9");
  EXPECT_EQ(chars_of(normal_form(U"a\u0301\u0316", NormalForm::kNfd)),
            U"a\u0316\u0301");  // canonical order
  EXPECT_EQ(chars_of(normal_form(U"a\u0316\u0301", NormalForm::kNfc)),
            U"\u00E1\u0316");  // over a mark of a lower class
  EXPECT_EQ(chars_of(normal_form(U"a\u0305\u0301", NormalForm::kNfc)),
            U"a\u0305\u0301");  // blocked by a mark of its own class
  EXPECT_EQ(chars_of(normal_form(U"\uAC01", NormalForm::kNfd)), U"\u1100\u1161\u11A8");
  EXPECT_EQ(chars_of(normal_form(U"\u1100\u1161\u11A8", NormalForm::kNfc)), U"\uAC01");
  EXPECT_EQ(chars_of(normal_form(U"\uFB03", NormalForm::kNfkc)), U"ffi");
  EXPECT_EQ(chars_of(normal_form(U"\uFB03", NormalForm::kNfc)), U"\uFB03");
  EXPECT_EQ(chars_of(normal_form(U"\u0958", NormalForm::kNfc)),
            U"\u0915\u093C");  // excluded from composition
  EXPECT_EQ(chars_of(normal_form(U"\u1E9B\u0323", NormalForm::kNfkc)), U"\u1E69");
}

TEST(Unicode, NormalFormsStopAtUnicode9) {
  EXPECT_EQ(chars_of(normal_form(U"\U00011938", NormalForm::kNfd)),
            U"\U00011938");  // Unicode 13, decomposes since
  EXPECT_EQ(chars_of(normal_form(U"\u32FF", NormalForm::kNfkc)), U"\u32FF");  // Unicode 12.1
}

TEST(Digest, KnownAnswers) {  // FIPS 180-4 examples
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace
}  // namespace graft::test_unicode
