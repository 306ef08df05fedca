// Fuzz target: any tokenizer.json and any text. The input is the file, then a zero byte, then the
// text; without one the file is also the text. Only InputError may escape; offsets lie in the text,
// all parts of an encoding have one length, and what was encoded can be decoded.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer.h"

namespace {

void require(bool claim, const char* what) {
  if (claim) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

int64_t num_code_points(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

void check(const std::shared_ptr<const graft::Tokenizer>& tokenizer, std::string_view text,
           std::optional<std::string_view> pair, const graft::EncodeOptions& options) {
  const graft::Encoding encoding = tokenizer->encode(text, pair, options);
  const size_t size = encoding.ids.size();
  require(encoding.type_ids.size() == size && encoding.offsets.size() == size &&
              encoding.special.size() == size,
          "one length");
  require(options.max_length == 0 || static_cast<int64_t>(size) <= options.max_length,
          "max_length");
  const int64_t longest = std::max(num_code_points(text), pair ? num_code_points(*pair) : 0);
  for (size_t i = 0; i < size; ++i) {
    const auto [begin, end] = encoding.offsets[i];
    require(begin >= 0 && begin <= end && end <= longest, "offsets in the text");
    require(encoding.ids[i] >= 0 && encoding.ids[i] < tokenizer->id_bound(),
            "ids in the vocabulary");
  }
  const std::string decoded = tokenizer->decode(encoding.ids, graft::SpecialTokens::kKeep);
  require(graft::find_invalid_utf8(decoded) == std::string_view::npos, "decoded text is UTF-8");
  graft::StreamDecoder stream(tokenizer, graft::SpecialTokens::kKeep);
  std::string all;
  for (const int64_t id : encoding.ids) all += stream.push(id);
  require(all + stream.finish() == decoded, "the stream is the text");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const std::string_view file = input.substr(0, zero);
  const std::string_view text = zero == std::string_view::npos ? input : input.substr(zero + 1);
  std::shared_ptr<const graft::Tokenizer> tokenizer;
  try {
    tokenizer = graft::Tokenizer::parse(file, "fuzz");
  } catch (const graft::InputError&) {
    return 0;
  }
  // Each on its own: one may be refused (not UTF-8, no unknown token, too short to cut) and the
  // next not.
  const auto attempt = [&](std::string_view first, std::optional<std::string_view> second,
                           const graft::EncodeOptions& options) {
    try {
      check(tokenizer, first, second, options);
    } catch (const graft::InputError&) {
    }
  };
  using graft::TruncationStrategy;
  attempt(text, std::nullopt, {});
  attempt("The e\u0301 \u5ddd <s>[SEP] 12's", text, {true, 9, TruncationStrategy::kLongestFirst});
  attempt(text, "a b c d", {false, 3, TruncationStrategy::kOnlyFirst});
  attempt("a", text, {true, 6, TruncationStrategy::kOnlySecond});
  return 0;
}
