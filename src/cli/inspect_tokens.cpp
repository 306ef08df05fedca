#include "cli/inspect_tokens.h"

#include <cstdio>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/tokenizer.h"

namespace graft {

namespace {

void print_json(const Encoding& encoding, std::string& out) {
  out += "{\"ids\": [";
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    if (i > 0) out += ", ";
    out += std::to_string(encoding.ids[i]);
  }
  out += "], \"offsets\": [";
  for (size_t i = 0; i < encoding.offsets.size(); ++i) {
    if (i > 0) out += ", ";
    out += '[' + std::to_string(encoding.offsets[i].first) + ", " +
           std::to_string(encoding.offsets[i].second) + ']';
  }
  out += "]}\n";
}

void print_text(const Tokenizer& tokenizer, int64_t line, std::string_view text,
                const Encoding& encoding, std::string& out) {
  out += std::to_string(line) + ": " + quote(text) + "  (" + std::to_string(encoding.ids.size()) +
         " tokens)\n";
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const std::string token = quote(tokenizer.id_to_token(encoding.ids[i]).value_or(""));
    const auto [begin, end] = encoding.offsets[i];
    char row[64];
    std::snprintf(row, sizeof row, "  %8lld  %6lld..%-6lld ",
                  static_cast<long long>(encoding.ids[i]), static_cast<long long>(begin),
                  static_cast<long long>(end));
    out += row + token + (encoding.special[i] ? "  (added)" : "") + '\n';
  }
}

void flush(std::string& out) {
  if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size() || std::fflush(stdout) != 0)
    throw IoError("standard output: cannot be written to");
  out.clear();
}

}  // namespace

int inspect_tokens(const Tokenizer& tokenizer, const Path& file, bool json) {
  const std::string text = read_file(file);
  std::string out;
  int64_t line = 1;
  for (size_t at = 0; at < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view row = std::string_view(text).substr(at, end - at);
    at = end + 1;
    Encoding encoding;
    try {
      encoding = tokenizer.encode(row);
    } catch (const InputError& error) {
      throw InputError(file.string() + ":" + std::to_string(line) + ": " + error.what());
    }
    if (json) print_json(encoding, out);
    else print_text(tokenizer, line, row, encoding, out);
    if (out.size() > size_t{1} << 20) flush(out);
  }
  flush(out);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace graft
