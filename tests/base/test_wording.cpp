// Numbers as people read them.
#include "base/wording.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace graft::test_wording {
namespace {

TEST(Wording, Plural) {
  EXPECT_EQ(plural(1, "row"), "row");
  EXPECT_EQ(plural(0, "row"), "rows");
  EXPECT_EQ(plural(2, "row"), "rows");
}

TEST(Wording, CountsHaveSeparators) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1000), "1,000");
  EXPECT_EQ(count_text(-1000), "-1,000");
  EXPECT_EQ(count_text(-100), "-100");
  EXPECT_EQ(count_text(INT64_MAX), "9,223,372,036,854,775,807");
}

TEST(Wording, NumbersHaveFourDigits) {
  EXPECT_EQ(number_text(0.91426), "0.9143");
  EXPECT_EQ(number_text(2.0 / 3), "0.6667");
  EXPECT_EQ(number_text(1), "1");
  EXPECT_EQ(number_text(1.2346e-7), "1.235e-07");
}

TEST(Wording, NumbersAsTheyAreWritten) {
  EXPECT_EQ(finite_number("8"), 8.0);
  EXPECT_EQ(finite_number("-1.50"), -1.5);
  EXPECT_EQ(finite_number("3e-2"), 0.03);
  for (const char* none : {"", "nan", "inf", "1e999", "3,5", " 1", "1 ", "one"})
    EXPECT_EQ(finite_number(none), std::nullopt) << none;
  EXPECT_EQ(whole_number("-12"), -12);
  EXPECT_EQ(whole_number("007"), 7);
  for (const char* none : {"", "8.0", "+8", " 8", "8 ", "1e3", "9223372036854775808"})
    EXPECT_EQ(whole_number(none), std::nullopt) << none;
}

TEST(Wording, Durations) {
  EXPECT_EQ(duration_text(-1), "0s");
  EXPECT_EQ(duration_text(59.4), "59s");
  EXPECT_EQ(duration_text(59.5), "1m 00s");
  EXPECT_EQ(duration_text(200), "3m 20s");
  EXPECT_EQ(duration_text(3720), "1h 02m");
}

TEST(Wording, Bytes) {
  EXPECT_EQ(bytes_text(0), "0 kB");
  EXPECT_EQ(bytes_text(1), "1 kB");
  EXPECT_EQ(bytes_text(340'000'000), "340 MB");
  EXPECT_EQ(bytes_text(1'240'000'000), "1.24 GB");
}

TEST(Wording, BytesAreReadAsTheyAreWritten) {
  const std::vector<std::pair<const char*, int64_t>> written = {{"8G", 8'000'000'000},
                                                                {"1.5 GB", 1'500'000'000},
                                                                {"500m", 500'000'000},
                                                                {"12 kB", 12'000},
                                                                {"4096", 4096},
                                                                {"4096 B", 4096},
                                                                {"0", 0},
                                                                {"2T", 2'000'000'000'000}};
  for (const auto& [text, bytes] : written) {
    EXPECT_EQ(bytes_of(text), bytes) << text;
  }
  for (const char* text : {"", "G", "8 X", "8KM", "-1", "nan", "inf", "8 GBs", "1e30"})
    EXPECT_FALSE(bytes_of(text)) << text;
}

}  // namespace
}  // namespace graft::test_wording
