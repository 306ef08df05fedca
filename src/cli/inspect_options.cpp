#include "cli/inspect_options.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "base/error.h"
#include "edit/head.h"
#include "edit/registry.h"
#include "train/config.h"

namespace graft {

namespace {

constexpr const char* kHead = "head";
constexpr const char* kAboutHead =
    "what answers a task, beside the edits: the section head of an adapter";

// Columns side by side; the last one ends its line as it is.
void print_columns(const std::vector<std::vector<std::string>>& lines) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& line : lines) {
    widths.resize(std::max(widths.size(), line.size()));
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  for (const std::vector<std::string>& line : lines) {
    for (size_t i = 0; i + 1 < line.size(); ++i)
      std::printf("%-*s  ", static_cast<int>(widths[i]), line[i].c_str());
    std::printf("%s\n", line.back().c_str());
  }
}

Node rows_node(const std::vector<OptionRow>& rows) {
  Node list = Node::list();
  for (const OptionRow& row : rows) {
    list.items.push_back(Node::map({{"name", Node::text(row.name)},
                                    {"default", Node::text(row.usual)},
                                    {"values", Node::text(row.values)},
                                    {"meaning", Node::text(row.meaning)}}));
  }
  return list;
}

void print_rows(const std::vector<OptionRow>& rows) {
  std::vector<std::vector<std::string>> lines{{"option", "default", "values", "meaning"}};
  for (const OptionRow& row : rows) lines.push_back({row.name, row.usual, row.values, row.meaning});
  print_columns(lines);
}

void print_json(const Node& node) { std::printf("%s\n", to_json(node).c_str()); }

int list_methods(bool is_json) {
  std::vector<std::vector<std::string>> lines;
  Node list = Node::list();
  const auto add = [&](const char* name, const char* about) {
    lines.push_back({name, about});
    list.items.push_back(Node::map({{"name", Node::text(name)}, {"about", Node::text(about)}}));
  };
  for (const std::string& name : known_edits()) {
    const Method& method = method_named(name);
    add(method.name, method.about);
  }
  add(kHead, kAboutHead);
  if (is_json) print_json(list);
  else print_columns(lines);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace

int inspect_method(const std::string& name, bool is_json) {
  if (name.empty()) return list_methods(is_json);
  const bool is_head = name == kHead;
  const std::string about = is_head ? kAboutHead : method_named(name).about;
  const std::vector<OptionRow> rows =
      is_head ? option_rows(HeadOptions{}) : method_named(name).options();
  if (is_json) {
    print_json(Node::map(
        {{"name", Node::text(name)}, {"about", Node::text(about)}, {"options", rows_node(rows)}}));
  } else {
    std::printf("%s: %s\n\n", name.c_str(), about.c_str());
    print_rows(rows);
  }
  return static_cast<int>(ExitCode::kDone);
}

int inspect_settings(bool is_json) {
  const std::vector<OptionRow> rows = option_rows(RunConfig{});
  if (is_json) print_json(rows_node(rows));
  else print_rows(rows);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace graft
