#include "data/cells.h"

#include "base/document.h"
#include "base/error.h"
#include "base/wording.h"
#include "data/inner_columns.h"

namespace graft::detail {

std::string kind_shown(CellKind kind) {
  switch (kind) {
    case CellKind::kText: return "a text";
    case CellKind::kNumber: return "a number";
    case CellKind::kBoolean: return "a truth value";
    case CellKind::kNull: return "null";
    case CellKind::kMissing: return "no such key";
    case CellKind::kTree: return "a list or an object";
  }
  return "";
}

std::string cell_at(const Table& table, size_t row, size_t column) {
  return table.at(row) + "column " + quote(table.columns[column]) + ": ";
}

const std::string& text_cell(const Table& table, size_t row, size_t column) {
  const CellKind kind = table.rows[row].kind(column);
  const std::string& cell = table.rows[row].cells[column];
  if (kind == CellKind::kText) return cell;
  std::string way_out;
  if (kind == CellKind::kNumber || kind == CellKind::kBoolean)
    way_out = " " + cell + "; put it in quotes";
  else way_out = inner_names_hint(table, column);
  throw InputError(cell_at(table, row, column) + "expected a text, found " + kind_shown(kind) +
                   way_out);
}

std::string decimal_point_hint(const std::string& cell) {
  const size_t comma = cell.find(',');
  if (comma == std::string::npos) return "";
  std::string text = cell;
  text[comma] = '.';
  return finite_number(text) ? "; write " + text : "";
}

Node tree_cell(const Table& table, size_t row, size_t column) {
  return parse_json(table.rows[row].cells[column],
                    table.at(row) + "column " + quote(table.columns[column]));
}

Node list_cell(const Table& table, size_t row, size_t column, const std::string& wanted) {
  const CellKind kind = table.rows[row].kind(column);
  if (kind == CellKind::kTree && table.rows[row].cells[column].starts_with('['))
    return tree_cell(table, row, column);
  throw InputError(cell_at(table, row, column) + "expected " + wanted + ", found " +
                   (kind == CellKind::kTree ? "an object" : kind_shown(kind)) +
                   inner_names_hint(table, column));
}

std::vector<std::string> texts_of(const Node& list, const std::string& at) {
  std::vector<std::string> texts;
  for (const Node& item : list.items) {
    if (item.kind != Node::Kind::kScalar || !item.is_string) {
      throw InputError(at + "expected a list of texts, found an element " +
                       std::to_string(texts.size()) + " that is none; put it in quotes");
    }
    texts.push_back(item.scalar);
  }
  return texts;
}

std::vector<std::string> texts_cell(const Table& table, size_t row, size_t column) {
  return texts_of(list_cell(table, row, column, "a list of texts"), cell_at(table, row, column));
}

}  // namespace graft::detail
