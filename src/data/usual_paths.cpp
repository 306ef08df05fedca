#include "data/usual_paths.h"

#include <algorithm>
#include <cctype>

#include "data/column_values.h"
#include "data/inner_columns.h"
#include "data/usual_names.h"

namespace graft::detail {

namespace {

// A usual name with its outer column as the file spells it.
std::string as_spelled(std::string_view name, const Table& table) {
  const size_t end = std::min(name.find('.'), name.size());
  const auto found = std::find_if(
      table.columns.begin(), table.columns.end(),
      [&](const std::string& column) { return folded(column) == name.substr(0, end); });
  return found == table.columns.end() ? std::string(name) : *found + std::string(name.substr(end));
}

// "en", "zh-CN", "deu_Latn".
bool is_language(std::string_view key) {
  const auto are_letters = [](std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](unsigned char c) { return std::isalpha(c) != 0; });
  };
  const size_t end = std::min(key.find_first_of("-_"), key.size());
  const std::string_view code = key.substr(0, end);
  return (code.size() == 2 || code.size() == 3) && are_letters(code) &&
         (end == key.size() || (key.size() - end - 1 >= 2 && are_letters(key.substr(end + 1))));
}

// The first two languages that the column of translations has.
std::vector<std::string> language_paths(const Table& table) {
  const std::string name = as_spelled(kLanguagesName, table);
  const std::optional<size_t> column = table.find_column(name);
  std::vector<std::string> paths =
      column ? inner_names(table, *column) : std::vector<std::string>{};
  std::erase_if(paths, [&](const std::string& path) {
    return !is_language(std::string_view(path).substr(name.size() + 1));
  });
  paths.resize(paths.size() < 2 ? 0 : 2);
  return paths;
}

}  // namespace

std::vector<std::string> usual_paths(const Table& table) {
  std::vector<std::string> names = language_paths(table);
  const auto add = [&](std::string_view name) { names.push_back(as_spelled(name, table)); };
  for (const AnswerPaths& paths : kAnswerPaths) {
    for (const std::string_view path : {paths.prompt, paths.target, paths.references}) add(path);
  }
  for (const std::string_view name : kInnerNames) add(name);
  return names;
}

}  // namespace graft::detail
