#include "text/aligned_text.h"

#include "base/error.h"

namespace graft {

AlignedText AlignedText::slice(size_t begin, size_t end) const {
  const auto from = static_cast<ptrdiff_t>(begin), to = static_cast<ptrdiff_t>(end);
  return {chars.substr(begin, end - begin),
          std::vector<uint32_t>(origin.begin() + from, origin.begin() + to)};
}

void AlignedText::replace(const std::vector<Edited>& edited, size_t skipped) {
  AlignedText out;
  out.chars.reserve(edited.size());
  out.origin.reserve(edited.size());
  size_t at = skipped;  // the next old character
  for (const Edited& e : edited) {
    if (e.change > 0) {
      out.push(e.c, at == 0 ? (origin.empty() ? 0 : origin[0]) : origin[at - 1]);
    } else {
      ensure(at < origin.size(), "a normalizer's changes run past its text");
      out.push(e.c, origin[at]);
      at += 1 + static_cast<size_t>(-e.change);
    }
  }
  *this = std::move(out);
}

std::vector<Span> places_of(std::u32string_view pattern, std::u32string_view text) {
  std::vector<Span> out;
  for (size_t at = text.find(pattern); at != std::u32string_view::npos;
       at = text.find(pattern, at + pattern.size()))
    out.push_back({at, at + pattern.size()});
  return out;
}

void check_growth(size_t size, size_t limit) {
  if (size > limit)
    throw InputError("the normalizer makes more than " + std::to_string(limit) +
                     " characters of the text");
}

}  // namespace graft
