#include "data/row_writer.h"

#include "base/error.h"
#include "base/spelling.h"
#include "data/rows.h"

namespace graft {

namespace {

constexpr TableFormat kRowFormats[] = {TableFormat::kJsonl, TableFormat::kJson, TableFormat::kCsv,
                                       TableFormat::kTsv};

std::string cell_of(const Node& value) {
  switch (value.kind) {
    case Node::Kind::kNull: return "";
    case Node::Kind::kScalar: return value.scalar;
    case Node::Kind::kList:
    case Node::Kind::kMap: return to_json(value, -1);
  }
  return "";
}

}  // namespace

const std::vector<std::string>& row_format_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const TableFormat format : kRowFormats) names.emplace_back(word_of(kTableFormats, format));
    return names;
  }();
  return kNames;
}

TableFormat row_format(const std::string& name) { return value_of(kTableFormats, name); }

TableFormat row_format_of(const Path& path, const std::string& flag) {
  if (named_descriptor(path)) return TableFormat::kJsonl;
  const std::string extension = detail::lower_extension(path);
  for (const TableFormat format : kRowFormats) {
    if (extension == std::string(".") + word_of(kTableFormats, format)) return format;
  }
  throw InputError(flag + ": expected a file name ending in .jsonl, .json, .csv or .tsv, found " +
                   quote(path.filename().string()) + "; rename it, or give " +
                   option_name("format") + " " + joined(row_format_names(), "or"));
}

std::string delimited_cell(const std::string& cell, TableFormat format, const std::string& place) {
  if (format == TableFormat::kTsv) {
    if (cell.find_first_of("\t\r\n") == std::string::npos) return cell;
    throw InputError(place + "TSV cannot hold a tab or a line break, found " + quote(cell) +
                     "; write CSV or JSONL");
  }
  // Semicolons and tabs, too: of a header without a comma they would be taken for what separates.
  if (cell.find_first_of(",;\t\"\r\n") == std::string::npos) return cell;
  std::string out = "\"";
  for (const char c : cell) out.append(c == '"' ? 2 : 1, c);
  return out + "\"";
}

RowWriter::RowWriter(OutputFile& file, TableFormat format, const std::vector<std::string>& columns,
                     std::optional<int64_t> written)
    : file_(file), format_(format), num_columns_(columns.size()), num_rows_(written.value_or(0)) {
  if (written) return;
  if (is_delimited(format_)) write_line(columns, "the header: ");
  if (format_ == TableFormat::kJson) file_.write("[");
}

void RowWriter::write(const Node& row, const std::string& place) {
  ensure(row.kind == Node::Kind::kMap, "a row is a map");
  if (is_delimited(format_)) {
    std::vector<std::string> cells;
    for (const auto& [name, value] : row.members) cells.push_back(cell_of(value));
    ensure(cells.size() == num_columns_, "a row has the columns of the header");
    write_line(cells, place);
  } else if (format_ == TableFormat::kJson) {
    file_.write((num_rows_ == 0 ? "\n" : ",\n") + to_json(row, -1));
  } else {
    file_.write(to_json(row, -1) + "\n");
  }
  ++num_rows_;
}

void RowWriter::end() {
  if (format_ == TableFormat::kJson) file_.write(num_rows_ == 0 ? "]\n" : "\n]\n");
}

void RowWriter::finish() {
  end();
  file_.finish();
}

void RowWriter::write_line(const std::vector<std::string>& cells, const std::string& place) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) line += format_ == TableFormat::kTsv ? '\t' : ',';
    line += delimited_cell(cells[i], format_, place);
  }
  file_.write(line + "\n");
}

}  // namespace graft
