#include "text/precompiled.h"

#include <algorithm>
#include <optional>

namespace graft {

namespace {

constexpr size_t kMaxClusterBytes = 5;

size_t utf8_size(std::u32string_view chars) {
  size_t size = 0;
  for (const char32_t c : chars) size += static_cast<size_t>(utf8_length(c));
  return size;
}

// Writes `content` in place of `count` characters: those that are too many are inserted, those that
// are missing are swallowed by the last one written, even if an earlier cluster wrote it.
void put(std::vector<Edited>& out, std::u32string_view content, size_t count) {
  for (size_t i = 0; i < content.size(); ++i) out.push_back({content[i], i < count ? 0 : 1});
  if (content.size() < count && !out.empty())
    out.back().change -= static_cast<int32_t>(count - content.size());
}

}  // namespace

void apply(const PrecompiledNormalizer& options, AlignedText& text, size_t limit) {
  std::vector<Edited> out;
  out.reserve(text.size());
  bool is_changed = false;
  const auto replace = [&](std::u32string_view chars) {
    const auto match = options.charsmap->shortest(to_utf8(chars));
    if (!match) return false;
    put(out, match->content, chars.size());
    check_growth(out.size(), limit);
    return is_changed = true;
  };
  size_t begin = 0;
  for (const size_t end : grapheme_ends(text.chars)) {
    const std::u32string_view cluster = text.view().substr(begin, end - begin);
    begin = end;
    if (utf8_size(cluster) <= kMaxClusterBytes && replace(cluster)) continue;
    for (size_t i = 0; i < cluster.size(); ++i) {
      if (!replace(cluster.substr(i, 1))) out.push_back({cluster[i], 0});
    }
  }
  if (is_changed) text.replace(out);
}

void apply(const SentencePieceNormalizer& options, AlignedText& text, bool continues,
           size_t limit) {
  const std::string bytes = to_utf8(text.chars);
  const char32_t space = options.escape_whitespaces ? char32_t{0x2581} : U' ';
  AlignedText out;
  out.chars.reserve(text.size() + 1);
  out.origin.reserve(text.size() + 1);
  const bool is_inside =
      continues || (options.only_at_start && text.size() > 0 && text.origin[0] > 0);
  bool after_space = options.remove_extra_whitespaces && !is_inside, is_begun = is_inside;
  std::optional<uint32_t> prefix_origin;
  for (size_t at = 0, i = 0; i < text.size();) {  // the same place in bytes and in characters
    const auto match = options.charsmap == nullptr
                           ? std::nullopt
                           : options.charsmap->longest(std::string_view(bytes).substr(at));
    const std::u32string content = match ? match->content : text.chars.substr(i, 1);
    const uint32_t origin = text.origin[i];
    size_t left = match ? match->length : static_cast<size_t>(utf8_length(text.chars[i]));
    at += left;
    for (; left > 0 && i < text.size(); ++i)
      left -= std::min(left, static_cast<size_t>(utf8_length(text.chars[i])));
    // Spaces at the start go, but a text that is nothing else leaves no dummy prefix either.
    if (!is_begun && options.remove_extra_whitespaces && content == U" ") {
      prefix_origin = origin;
      continue;
    }
    if (!is_begun && options.add_dummy_prefix) out.push(space, prefix_origin.value_or(origin));
    is_begun = true;
    size_t first = 0;
    while (after_space && first < content.size() && content[first] == ' ') ++first;
    if (first > 0 && out.size() > 0 && out.chars.back() == space)
      out.origin.back() = origin;  // of several spaces, the last one stays
    for (size_t k = first; k < content.size(); ++k)
      out.push(content[k] == ' ' ? space : content[k], origin);
    check_growth(out.size(), limit);
    if (first < content.size())
      after_space = options.remove_extra_whitespaces && content.back() == ' ';
  }
  while (options.remove_extra_whitespaces && out.size() > 0 && out.chars.back() == space) {
    out.chars.pop_back();
    out.origin.pop_back();
  }
  text = std::move(out);
}

}  // namespace graft
