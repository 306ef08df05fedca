// Texts with places for a row's cells: "Premise: {sentence1|strip} Hypothesis: {sentence2}". Not a
// programming language: a name in braces and what is done to its text, nothing else. A brace that
// is meant is written twice.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace graft {

enum class FilterKind {
  kStrip,               // white space at both ends goes
  kNoFinalPunctuation,  // so does one of . ! ? , ; : at the end, and white space there
  kLowerFirst,          // the first letter becomes small
  kBefore,              // what stands before the first `mark`
  kBehind,              // what stands behind it
};

struct TextFilter {
  FilterKind kind;
  std::string mark = {};  // of kBefore and kBehind

  friend bool operator==(const TextFilter&, const TextFilter&) = default;
};

struct Template {
  struct Piece {
    std::string literal;  // where `column` is empty
    std::string column;
    std::vector<TextFilter> filters;  // in order
  };
  std::string text;  // as written
  std::vector<Piece> pieces;

  // The names in braces, in order of first appearance.
  std::vector<std::string> columns() const;
  friend bool operator==(const Template& a, const Template& b) {
    return a.text == b.text;
  }  // the pieces follow from it
};

// Throws InputError ("a '{' is never closed", ...) without a place, which the caller knows.
Template parse_template(std::string_view text);
// The same, but a text without braces is the name of one column.
Template column_or_template(std::string_view text);

// Throws InputError where the text lacks the mark of a filter, without a place.
std::string apply_filters(std::string_view text, const std::vector<TextFilter>& filters);

}  // namespace graft
