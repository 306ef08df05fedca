// Fuzz target: any SentencePiece file and any text. The input is the text's length as one byte, the
// text, then the file. Only InputError may escape; what was encoded can be decoded, at once and as
// a stream.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "base/utf8.h"
#include "text/sentencepiece_tokenizer.h"
#include "text/tokenizer.h"

namespace {

void require(bool claim, const char* what) {
  if (claim) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.empty() || input.size() < 1 + size_t{data[0]}) return 0;
  const std::string_view text = input.substr(1, data[0]), file = input.substr(1 + size_t{data[0]});
  try {
    const auto tokenizer = graft::Tokenizer::parse_sentencepiece(file, "fuzz", {});
    const graft::Encoding encoding = tokenizer->encode(text);
    const std::string decoded = tokenizer->decode(encoding.ids);
    require(graft::find_invalid_utf8(decoded) == std::string_view::npos, "decoded text is UTF-8");
    graft::StreamDecoder stream(tokenizer);
    std::string all;
    for (const int64_t id : encoding.ids) all += stream.push(id);
    require(all + stream.finish() == decoded, "the stream is the text");
  } catch (const graft::InputError&) {
  }
  return 0;
}
