// What the cells of a column have in common, by which a task is proposed for its file.
// Internal to src/data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/reader.h"

namespace graft::detail {

// Small letters, and one blank for every stretch of white space but none at the ends: what
// spellings of a label have in common.
std::string folded(const std::string& text);

// Cells that differ in case and white space alone, or as "1" and "1.0" do.
struct Group {
  struct Spelling {
    std::string text;
    int64_t rows = 0;
  };

  std::vector<Spelling> spellings;  // in order of first appearance
  int64_t rows = 0;

  // The commonest spelling without white space at its ends; of a whole number without a point.
  std::string name() const;
  // By name: numbers by value, texts by bytes.
  bool comes_before(const Group& other) const;
};

struct Column {
  std::string name;
  size_t index = 0;
  std::vector<Group> groups;  // in order of first appearance
  int64_t absent = 0, numbers = 0, trees = 0, fractions = 0, characters = 0, rows = 0;
  std::string first_absent;  // row_name
  std::string first_tree;    // the first list or object that holds something

  bool is_label() const {  // every value comes twice on average
    return trees == 0 && groups.size() >= 2 &&
           static_cast<int64_t>(groups.size()) * 2 <= rows - absent;
  }
  bool is_number() const { return numbers > 0 && numbers == rows - absent; }
  bool is_text() const { return trees == 0 && characters > 0; }
};

Column column_of(const Table& table, size_t index);

// Fractions, or more than twenty numbers, are amounts and no labels.
bool is_amount(const Column& column);

}  // namespace graft::detail
