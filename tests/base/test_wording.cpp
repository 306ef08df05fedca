// Numbers as people read them.
#include "base/wording.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace graft::test_wording
