// Columns inside others: what stands in a list or an object of JSON, by a path with dots, as pandas
// and Hugging Face's data sets name it. "translation.en" is what the object in the column
// "translation" has at "en", "answers.text.0" the first element of the list at "text" of "answers".
// The longest name that is there counts: the column "a.b" before "b" of the column "a".
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/reader.h"

namespace graft {

// Adds a column for each of `names` that is a path into a column of lists or objects; in rows that
// have nothing there the key is missing. A row whose list or object cannot be read (a repeated key)
// becomes one with a fault. False, and nothing is done, where no name is such a path, as in all
// files but JSON.
bool add_inner_columns(Table& table, const std::vector<std::string>& names);
// A copy with these columns; nothing where no name is such a path.
std::optional<Table> with_inner_columns(const Table& table, const std::vector<std::string>& names);

// The paths into a column, by its first list or object that holds something.
std::vector<std::string> inner_names(const Table& table, size_t column);
// For a cell that is not what is wanted: the paths into its column, or into the one that the
// column's own path begins with. "" where there are none, and of a path that other rows have.
std::string inner_names_hint(const Table& table, size_t column);

}  // namespace graft
