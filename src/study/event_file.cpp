#include "study/event_file.h"

#include <bit>
#include <boost/crc.hpp>

namespace graft {

namespace {

// Little endian.
template <class T>
void add_bytes(T bits, std::string& out) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(bits >> (8 * i) & 0xFF);
}

void add_varint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

// A field's number, and how it is written: 0 varint, 1 eight bytes, 2 a length and bytes, 5 four
// bytes.
void add_key(uint64_t field, uint64_t wire, std::string& out) {
  add_varint(field << 3 | wire, out);
}

void add_text(uint64_t field, std::string_view text, std::string& out) {
  add_key(field, 2, out);
  add_varint(text.size(), out);
  out += text;
}

std::string event_of(double seconds) {
  std::string event;
  add_key(1, 1, event);  // wall_time
  add_bytes(std::bit_cast<uint64_t>(seconds), event);
  return event;
}

uint32_t masked_crc(std::string_view data) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(data.data(), data.size());
  const uint32_t sum = crc.checksum();
  return (sum >> 15 | sum << 17) + 0xA282EAD8;
}

}  // namespace

std::string record_bytes(std::string_view data) {
  std::string length, out;
  add_bytes(static_cast<uint64_t>(data.size()), length);
  out = length;
  add_bytes(masked_crc(length), out);
  out += data;
  add_bytes(masked_crc(data), out);
  return out;
}

std::string version_event(double seconds) {
  std::string event = event_of(seconds);
  add_text(3, "brain.Event:2", event);  // file_version
  return event;
}

std::string scalar_event(const std::string& tag, int64_t step, double value, double seconds) {
  std::string scalar, summary, event = event_of(seconds);
  add_text(1, tag, scalar);
  add_key(2, 5, scalar);  // simple_value
  add_bytes(std::bit_cast<uint32_t>(static_cast<float>(value)), scalar);
  add_text(1, scalar, summary);
  add_key(2, 0, event);  // step
  add_varint(static_cast<uint64_t>(step), event);
  add_text(5, summary, event);
  return event;
}

}  // namespace graft
