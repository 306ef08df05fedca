#include "text/sentencepiece_file.h"

#include <bit>
#include <cmath>

#include "base/error.h"
#include "base/utf8.h"
#include "text/vocabulary.h"

namespace graft {

namespace {

// Walks the fields of one message. The wire format: a tag (number << 3 | kind), then a varint (kind
// 0), 8 bytes (1), a length and that many bytes (2) or 4 bytes (5).
class Message {
 public:
  Message(std::string_view bytes, size_t begin, size_t end, const std::string& source)
      : bytes_(bytes), at_(begin), end_(end), source_(source) {}

  // Moves to the next field; false at the end.
  bool next() {
    if (at_ == end_) return false;
    start_ = at_;
    const uint64_t tag = varint();
    field_ = tag >> 3;
    kind_ = tag & 7;
    switch (kind_) {
      case 0: number_ = varint(); break;
      case 1: take(8); break;
      case 2: take(varint()); break;
      case 5: take(4); break;
      default: fail("expected a field of kind 0, 1, 2 or 5, found " + std::to_string(kind_));
    }
    return true;
  }

  uint64_t field() const { return field_; }
  uint64_t number() const {
    expect(0);
    return number_;
  }
  std::string text() const {
    expect(2);
    return std::string(bytes_.substr(data_, size_));
  }
  float real() const {
    expect(5);
    uint32_t bits = 0;
    for (size_t i = 4; i-- > 0;) bits = bits << 8 | static_cast<uint8_t>(bytes_[data_ + i]);
    return std::bit_cast<float>(bits);
  }
  Message message() const {
    expect(2);
    return {bytes_, data_, data_ + size_, source_};
  }
  [[noreturn]] void fail(const std::string& why) const {
    throw InputError(source_ + ": byte " + std::to_string(start_) +
                     ": not a SentencePiece model: " + why);
  }

 private:
  void expect(uint64_t kind) const {
    if (kind_ != kind)
      fail("expected field " + std::to_string(field_) + " of kind " + std::to_string(kind) +
           ", found " + std::to_string(kind_));
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) fail("it ends inside a number");
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      value |= uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
    fail("a number of more than 64 bits");
  }

  void take(uint64_t size) {
    if (size > end_ - at_)
      fail("a field of " + std::to_string(size) + " bytes where " + std::to_string(end_ - at_) +
           " are left");
    data_ = at_;
    size_ = static_cast<size_t>(size);
    at_ += size_;
  }

  std::string_view bytes_;
  size_t at_, end_, start_ = 0, data_ = 0, size_ = 0;
  uint64_t field_ = 0, kind_ = 0, number_ = 0;
  const std::string& source_;
};

SentencePieceFile::Piece read_piece(Message message) {
  SentencePieceFile::Piece piece;
  while (message.next()) {
    if (message.field() == 1) {
      piece.text = message.text();
      if (find_invalid_utf8(piece.text) != std::string_view::npos)
        message.fail("the piece " + quote(piece.text) + " is not UTF-8");
      if (piece.text.empty() || piece.text.size() > Vocabulary::kMaxTokenBytes)
        message.fail("expected a piece of 1.." + std::to_string(Vocabulary::kMaxTokenBytes) +
                     " bytes, found " + std::to_string(piece.text.size()));
    } else if (message.field() == 2) {
      piece.score = message.real();
      if (!std::isfinite(piece.score)) message.fail("a score that is not finite");
    } else if (message.field() == 3) {
      if (message.number() < 1 || message.number() > 6)
        message.fail("expected a piece of type 1..6, found " + std::to_string(message.number()));
      piece.type = static_cast<PieceType>(message.number());
    }
  }
  if (piece.text.empty()) message.fail("a piece without text");
  return piece;
}

void read_trainer(Message message, SentencePieceFile& out) {
  while (message.next()) {
    if (message.field() == 3) out.model_type = static_cast<int64_t>(message.number());
    else if (message.field() == 24) out.space_is_suffix = message.number() != 0;
    else if (message.field() == 35) out.byte_fallback = message.number() != 0;
  }
}

void read_normalizer(Message message, SentencePieceFile& out) {
  while (message.next()) {
    if (message.field() == 2) out.charsmap = message.text();
    else if (message.field() == 3) out.add_dummy_prefix = message.number() != 0;
    else if (message.field() == 4) out.remove_extra_whitespaces = message.number() != 0;
    else if (message.field() == 5) out.escape_whitespaces = message.number() != 0;
  }
}

}  // namespace

SentencePieceFile parse_sentencepiece_file(std::string_view bytes, const std::string& source) {
  SentencePieceFile out;
  Message message(bytes, 0, bytes.size(), source);
  while (message.next()) {
    if (message.field() == 1) {
      if (out.pieces.size() >= static_cast<size_t>(Vocabulary::kMaxTokens))
        message.fail("more than " + std::to_string(Vocabulary::kMaxTokens) + " pieces");
      out.pieces.push_back(read_piece(message.message()));
    } else if (message.field() == 2) {
      read_trainer(message.message(), out);
    } else if (message.field() == 3) {
      read_normalizer(message.message(), out);
    } else if (message.field() == 5) {
      for (Message part = message.message(); part.next();) {
        if (part.field() == 2) out.denormalizer_charsmap = part.text();
      }
    }
  }
  if (out.pieces.empty())
    throw InputError(source + ": not a SentencePiece model: it has no pieces");
  return out;
}

}  // namespace graft
