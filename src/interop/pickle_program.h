// The program that a pickle of protocol 2 is, read from front to back. Internal to src/interop.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace graft {

class PickleProgram {
 public:
  PickleProgram(std::string_view text, const std::string& source) : text_(text), source_(source) {
    if (text_.size() < 2 || text_[0] != '\x80' || text_[1] != 2)
      fail("expected pickle protocol 2, as torch.save writes it");
    position_ = 2;
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw InputError(source_ + ": byte " + std::to_string(position_) + " of data.pkl: " + message);
  }

  std::string_view bytes(size_t count) {
    if (count > text_.size() - position_) fail("the pickle ends in the middle of an instruction");
    position_ += count;
    return text_.substr(position_ - count, count);
  }

  uint64_t little(size_t count) {  // little endian
    uint64_t out = 0;
    const std::string_view raw = bytes(count);
    for (size_t i = 0; i < count; ++i)
      out |= static_cast<uint64_t>(static_cast<unsigned char>(raw[i])) << (8 * i);
    return out;
  }

  std::string line() {
    const size_t end = text_.find('\n', position_);
    if (end == std::string_view::npos) fail("the pickle ends in the middle of a name");
    const std::string out(text_.substr(position_, end - position_));
    position_ = end + 1;
    return out;
  }

  double real() {  // big endian
    uint64_t bits = 0;
    for (const char c : bytes(8)) bits = bits << 8 | static_cast<unsigned char>(c);
    return std::bit_cast<double>(bits);
  }

  int64_t long_integer() {
    const size_t count = little(1);
    if (count > 8) fail("an integer of more than 64 bits");
    uint64_t raw = little(count);
    if (count > 0 && count < 8 && (raw >> (8 * count - 1)) != 0) raw |= ~uint64_t{0} << (8 * count);
    return std::bit_cast<int64_t>(raw);
  }

 private:
  std::string_view text_;
  const std::string& source_;
  size_t position_ = 0;
};

}  // namespace graft
