// Event files against bytes that are known from elsewhere; tests/cli/test_exports.py reads whole
// files with TensorBoard's own library.
#include "study/event_file.h"

#include <gtest/gtest.h>

namespace graft::test_event_file {
namespace {

std::string hex(const std::string& bytes) {
  static const char* const kDigits = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

// CRC-32C of "123456789" is e3069283, the check value of its polynomial.
TEST(EventFile, RecordsHaveMaskedChecksums) {
  const std::string record = record_bytes("123456789");
  ASSERT_EQ(record.size(), 8U + 4 + 9 + 4);
  EXPECT_EQ(hex(record.substr(0, 8)), "0900000000000000");
  EXPECT_EQ(record.substr(12, 9), "123456789");
  constexpr uint32_t kCrc = 0xE3069283;
  const uint32_t masked = ((kCrc >> 15) | (kCrc << 17)) + 0xA282EAD8U;
  uint32_t found = 0;
  for (size_t i = 0; i < 4; ++i)
    found |= static_cast<uint32_t>(static_cast<unsigned char>(record[21 + i])) << (8 * i);
  EXPECT_EQ(found, masked);
}

// By the wire format: field 1 a double, 2 a varint, 5 a message with field 1, a message with the
// tag as field 1 and a float as field 2.
TEST(EventFile, ScalarsHaveTheirFields) {
  EXPECT_EQ(hex(scalar_event("a", 300, 1.0, 0.0)),
            "090000000000000000"
            "10ac02"
            "2a0a"
            "0a08"
            "0a0161"
            "150000803f");
}

}  // namespace
}  // namespace graft::test_event_file
