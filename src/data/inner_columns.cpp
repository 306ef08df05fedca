#include "data/inner_columns.h"

#include <algorithm>
#include <string_view>

#include "base/document.h"
#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "data/cells.h"

namespace graft {

namespace {

struct InnerPath {
  size_t outer;      // the column that it begins with
  std::string rest;  // from that column's cell on: keys, or numbers from 0
  size_t column;     // that it becomes
};

// Whether paths may lead into a column: it holds lists or objects, or nothing in these rows.
bool may_hold_columns(const Table& table, size_t column) {
  bool is_empty = true;
  for (size_t r = 0; r < table.rows.size(); ++r) {
    if (table.rows[r].kind(column) == CellKind::kTree) return true;
    is_empty = is_empty && detail::is_absent(table, r, column);
  }
  return is_empty;
}

std::optional<InnerPath> path_of(const Table& table, const std::string& name) {
  for (size_t at = name.rfind('.'); at != std::string::npos && at > 0;
       at = name.rfind('.', at - 1)) {
    const std::optional<size_t> outer = table.find_column(std::string_view(name).substr(0, at));
    if (outer && may_hold_columns(table, *outer))
      return InnerPath{*outer, name.substr(at + 1), table.columns.size()};
  }
  return std::nullopt;
}

// What `path` leads to from `node` on; null where there is no such key or element. A key may have
// dots of its own: the longest that is there comes first.
const Node* inside(const Node& node, std::string_view path) {
  const auto child = [&](std::string_view step) -> const Node* {
    if (node.kind == Node::Kind::kMap) return node.find(step);
    const std::optional<int64_t> index = whole_number(step);
    const bool is_there =
        node.kind == Node::Kind::kList && index && *index >= 0 && *index < std::ssize(node.items);
    return is_there ? &node.items[static_cast<size_t>(*index)] : nullptr;
  };
  if (const Node* whole = child(path)) return whole;
  for (size_t at = path.rfind('.'); at != std::string_view::npos && at > 0;
       at = path.rfind('.', at - 1)) {
    const Node* step = child(path.substr(0, at));
    const Node* found = step == nullptr ? nullptr : inside(*step, path.substr(at + 1));
    if (found != nullptr) return found;
  }
  return nullptr;
}

CellKind kind_of_cell(const Node& node) {
  if (node.kind == Node::Kind::kNull) return CellKind::kNull;
  if (node.kind != Node::Kind::kScalar) return CellKind::kTree;
  if (node.is_string) return CellKind::kText;
  return node.as_bool() ? CellKind::kBoolean : CellKind::kNumber;
}

// `paths` in the order of their outer columns, so that each cell is read once.
void fill_columns(const std::vector<InnerPath>& paths, size_t r, Table& table) {
  std::optional<size_t> read;
  Node tree;
  for (const InnerPath& path : paths) {
    if (table.rows[r].kind(path.outer) != CellKind::kTree) continue;
    if (read != path.outer) tree = detail::tree_cell(table, r, path.outer);
    read = path.outer;
    const Node* found = inside(tree, path.rest);
    if (found == nullptr) continue;
    const CellKind kind = kind_of_cell(*found);
    table.rows[r].kinds[path.column] = kind;
    table.rows[r].cells[path.column] =
        kind == CellKind::kTree ? to_json(*found, -1) : found->scalar;
  }
}

void add_paths(const Node& tree, const std::string& at, std::vector<std::string>& paths) {
  for (const auto& [key, value] : tree.members) {
    const std::string path = at + "." + key;
    if (value.kind != Node::Kind::kMap) paths.push_back(path);
    add_paths(value, path, paths);
  }
  if (tree.kind != Node::Kind::kList || tree.items.empty()) return;
  const std::string first = at + ".0";
  if (tree.items.front().kind == Node::Kind::kScalar) paths.push_back(first);
  add_paths(tree.items.front(), first, paths);
}

}  // namespace

bool add_inner_columns(Table& table, const std::vector<std::string>& names) {
  std::vector<InnerPath> paths;
  for (const std::string& name : names) {
    std::optional<InnerPath> path = table.find_column(name) ? std::nullopt : path_of(table, name);
    if (!path) continue;
    paths.push_back(std::move(*path));
    table.columns.push_back(name);
  }
  if (paths.empty()) return false;
  std::stable_sort(paths.begin(), paths.end(),
                   [](const InnerPath& a, const InnerPath& b) { return a.outer < b.outer; });
  for (size_t r = 0; r < table.rows.size(); ++r) {
    Row& row = table.rows[r];
    row.cells.resize(table.columns.size());
    row.kinds.resize(table.columns.size(), CellKind::kMissing);
    try {
      fill_columns(paths, r, table);
    } catch (const InputError& fault) {
      if (row.fault.empty()) row.fault = fault.what();
    }
  }
  return true;
}

std::optional<Table> with_inner_columns(const Table& table, const std::vector<std::string>& names) {
  const bool is_asked = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return !table.find_column(name) && path_of(table, name);
  });
  if (!is_asked) return std::nullopt;
  Table out = table;
  add_inner_columns(out, names);
  return out;
}

std::vector<std::string> inner_names(const Table& table, size_t column) {
  std::vector<std::string> paths;
  for (size_t r = 0; r < table.rows.size() && paths.empty(); ++r) {
    if (table.rows[r].kind(column) != CellKind::kTree) continue;
    try {
      add_paths(detail::tree_cell(table, r, column), table.columns[column], paths);
    } catch (const InputError&) {  // which is told where the row is read
    }
  }
  return paths;
}

std::string inner_names_hint(const Table& table, size_t column) {
  const std::string& name = table.columns[column];
  std::vector<std::string> paths = inner_names(table, column);
  const std::optional<InnerPath> own = path_of(table, name);
  if (paths.empty() && own) paths = inner_names(table, own->outer);
  const bool is_known = std::find(paths.begin(), paths.end(), name) != paths.end();
  if (paths.empty() || is_known) return "";
  return (own ? did_you_mean(name, paths) : "") +
         "; what is inside is named with dots: " + joined_first(paths, 10);
}

}  // namespace graft
