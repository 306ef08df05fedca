#include "data/template.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "data/text_words.h"

namespace graft {

namespace {

TextFilter filter_of(const std::string& name) {
  static const std::vector<std::pair<std::string, TextFilter>> kFilters = {
      {"strip", TextFilter::kStrip},
      {"no_final_punctuation", TextFilter::kNoFinalPunctuation},
      {"lower_first", TextFilter::kLowerFirst}};
  std::vector<std::string> names;
  for (const auto& [known, filter] : kFilters) {
    if (known == name) return filter;
    names.push_back(known);
  }
  throw InputError("unknown filter " + quote(name) + did_you_mean(name, names) + "; there are " +
                   joined(names));
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
  for (const TextFilter filter : filters) {
    switch (filter) {
      case TextFilter::kStrip: out = strip(out); break;
      case TextFilter::kNoFinalPunctuation: {
        std::string_view kept = strip_end(out);
        if (!kept.empty() && std::string_view(".!?,;:").find(kept.back()) != std::string_view::npos)
          kept = strip_end(kept.substr(0, kept.size() - 1));
        out = std::string(kept);
        break;
      }
      case TextFilter::kLowerFirst: {
        const size_t first = utf8_sequence(out, 0);
        out = lower_text(out.substr(0, first)) + out.substr(first);
        break;
      }
    }
  }
  return out;
}

}  // namespace graft
