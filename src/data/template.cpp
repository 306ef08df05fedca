#include "data/template.h"

#include <algorithm>

#include "base/error.h"
#include "base/names.h"
#include "base/utf8.h"
#include "data/text_words.h"

namespace graft {

namespace {

constexpr Name<FilterKind> kFilters[] = {
    {FilterKind::kStrip, "strip"},
    {FilterKind::kNoFinalPunctuation, "no_final_punctuation"},
    {FilterKind::kLowerFirst, "lower_first"},
    {FilterKind::kBefore, "before"},
    {FilterKind::kBehind, "behind"},
};

FilterKind filter_kind(const std::string& name) {
  std::vector<std::string> names;
  for (const Name<FilterKind>& known : kFilters) {
    if (known.word == name) return known.value;
    names.emplace_back(known.word);
  }
  throw InputError("unknown filter " + quote(name) + did_you_mean(name, names) + "; there are " +
                   joined(names));
}

// "strip" or "before:MARK".
TextFilter filter_of(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  TextFilter filter{filter_kind(name)};
  const bool has_mark = filter.kind == FilterKind::kBefore || filter.kind == FilterKind::kBehind;
  if (has_mark && colon != std::string::npos) filter.mark = text.substr(colon + 1);
  if (has_mark && filter.mark.empty())
    throw InputError("the filter " + name + " needs the text that it looks for: " + name + ":TEXT");
  if (!has_mark && colon != std::string::npos)
    throw InputError("the filter " + name + " takes no text, found " + quote(text));
  return filter;
}

Template::Piece place_of(std::string_view inside) {
  Template::Piece piece;
  for (size_t begin = 0; begin <= inside.size();) {
    const size_t end = std::min(inside.find('|', begin), inside.size());
    const std::string part(inside.substr(begin, end - begin));
    if (begin == 0) piece.column = part;
    else piece.filters.push_back(filter_of(part));
    begin = end + 1;
  }
  if (piece.column.empty())
    throw InputError("braces without a column's name; a brace that is meant is written twice");
  return piece;
}

size_t mark_in(const std::string& text, const TextFilter& filter) {
  const size_t at = text.find(filter.mark);
  if (at != std::string::npos) return at;
  throw InputError("expected a text with " + quote(filter.mark) + " in it, found " + quote(text));
}

}  // namespace

std::vector<std::string> Template::columns() const {
  std::vector<std::string> names;
  for (const Piece& piece : pieces) {
    if (!piece.column.empty() && std::find(names.begin(), names.end(), piece.column) == names.end())
      names.push_back(piece.column);
  }
  return names;
}

Template parse_template(std::string_view text) {
  Template out;
  out.text = text;
  std::string literal;
  const auto flush = [&] {
    if (!literal.empty()) out.pieces.push_back({literal, {}, {}});
    literal.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool is_doubled = i + 1 < text.size() && text[i + 1] == c;
    if (c != '{' && c != '}') {
      literal += c;
    } else if (is_doubled) {
      literal += c;
      ++i;
    } else if (c == '}') {
      throw InputError("a '}' closes nothing; a brace that is meant is written twice");
    } else {
      const size_t end = text.find_first_of("{}", i + 1);
      if (end == std::string_view::npos || text[end] == '{')
        throw InputError("a '{' is never closed; a brace that is meant is written twice");
      flush();
      out.pieces.push_back(place_of(text.substr(i + 1, end - i - 1)));
      i = end;
    }
  }
  flush();
  return out;
}

Template column_or_template(std::string_view text) {
  if (text.find_first_of("{}") != std::string_view::npos) return parse_template(text);
  if (text.empty())
    throw InputError("expected a column's name or a text with {column}, found an empty text");
  return {std::string(text), {{{}, std::string(text), {}}}};
}

std::string apply_filters(std::string_view text, const std::vector<TextFilter>& filters) {
  std::string out(text);
  for (const TextFilter& filter : filters) {
    switch (filter.kind) {
      case FilterKind::kStrip: out = strip(out); break;
      case FilterKind::kNoFinalPunctuation: {
        std::string_view kept = strip_end(out);
        if (!kept.empty() && std::string_view(".!?,;:").find(kept.back()) != std::string_view::npos)
          kept = strip_end(kept.substr(0, kept.size() - 1));
        out = std::string(kept);
        break;
      }
      case FilterKind::kLowerFirst: {
        const size_t first = utf8_sequence(out, 0);
        out = lower_text(out.substr(0, first)) + out.substr(first);
        break;
      }
      case FilterKind::kBefore: out = out.substr(0, mark_in(out, filter)); break;
      case FilterKind::kBehind: out = out.substr(mark_in(out, filter) + filter.mark.size()); break;
    }
  }
  return out;
}

}  // namespace graft
