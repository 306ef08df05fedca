// Any bytes as a data file. The first byte chooses: t, c, l, j = TSV, CSV, JSONL, JSON; T, C =
// without a header line, three columns; e, w, d = E2E, WebNLG, DART. Only InputError may come out,
// and what was read is written and read back equal.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "data/task.h"

using namespace graft;

namespace {

void expect_equal(const Table& a, const Table& b) {
  ensure(a.columns == b.columns && a.rows.size() == b.rows.size(),
         "columns or rows changed on the way");
  for (size_t r = 0; r < a.rows.size(); ++r) {
    ensure(a.rows[r].cells == b.rows[r].cells, "cells changed on the way");
    for (size_t c = 0; c < a.columns.size(); ++c)
      ensure(a.rows[r].kind(c) == b.rows[r].kind(c), "a kind changed on the way");
  }
}

void check_rows(const Table& table) {
  int64_t line = 0;
  for (const Row& row : table.rows) {
    ensure(row.cells.size() == table.columns.size(), "a row is not as wide as the table");
    ensure(row.kinds.empty() || row.kinds.size() == row.cells.size(),
           "a row has another number of kinds");
    ensure(row.line >= 1 && row.line >= line, "lines run backwards");
    line = row.line;
  }
}

// The same columns as prompt, target, options, references and turns.
void check_texts(const Table& table) {
  for (const char* kind : {"generation", "choice"}) {
    Node node = Node::map();
    node["name"] = Node::text("fuzz");
    node["kind"] = Node::text(kind);
    node["prompt"] = Node::text(table.columns.front());
    node["target"] = Node::text(table.columns.back());
    node["chat"] = Node::text("chatml");
    node[kind[0] == 'g' ? "messages" : "options"] = Node::text(table.columns.back());
    if (kind[0] == 'g') node["references"] = Node::text(table.columns.front());
    try {
      to_examples(table, parse_task(node, "fuzz"), LabelUse::kOptional);
    } catch (const InputError&) {
    }
  }
}

void check_examples(const Table& table) {
  Task task;
  task.name = "fuzz";
  auto& classes = task.at<Classification>();
  classes.text = {table.columns.front(), {{{}, table.columns.front(), {}}}};
  classes.label_column = table.columns.back();
  task.id_column = table.columns.front();
  classes.labels = {"a", "b"};
  classes.spellings = {{"0", "a"}, {"1", "b"}};
  task.metrics = {"accuracy"};
  try {
    to_examples(table, task, LabelUse::kOptional);
  } catch (const InputError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const char mode = static_cast<char>(data[0]);
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  TableOptions options;
  if (mode == 'T' || mode == 'C') options.columns = {"label", "mark", "text"};
  const TableFormat format = mode == 'c' || mode == 'C' ? TableFormat::kCsv
                             : mode == 'l'              ? TableFormat::kJsonl
                             : mode == 'j'              ? TableFormat::kJson
                             : mode == 'e'              ? TableFormat::kE2e
                             : mode == 'w'              ? TableFormat::kWebNlg
                             : mode == 'd'              ? TableFormat::kDart
                                                        : TableFormat::kTsv;
  Table table;
  try {
    table = parse_table(text, format, "fuzz", options);
  } catch (const InputError&) {
    return 0;
  }
  check_rows(table);
  check_examples(table);
  check_texts(table);
  if (format == TableFormat::kWebNlg)
    return 0;  // a target that no row has would leave no column behind
  const TableFormat back = is_delimited(format) ? format : TableFormat::kJsonl;
  std::string written;
  try {
    written = write_table(table, back);
  } catch (const InputError&) {
    ensure(back == TableFormat::kTsv && text.find('\r') != std::string_view::npos,
           "a table that was read cannot be written");
    return 0;
  }
  expect_equal(table, parse_table(written, back, "written"));
  return 0;
}
