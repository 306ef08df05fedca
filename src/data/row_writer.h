// Rows written one by one, in the formats that data files are read in.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/document.h"
#include "base/output_file.h"
#include "data/reader.h"

namespace graft {

// The formats that rows are written in, by name: jsonl, json, csv, tsv.
const std::vector<std::string>& row_format_names();
// Of a name of that list, and the name of one of them.
TableFormat row_format(const std::string& name);
// What the ending of `path` stands for; of the standard output JSONL. Throws InputError naming the
// ways: `flag` is the option that gave the path.
TableFormat row_format_of(const Path& path, const std::string& flag);

// A cell of TSV or CSV, in quotes where CSV needs them. Throws InputError opening with `place`
// where TSV cannot hold it.
std::string delimited_cell(const std::string& cell, TableFormat format, const std::string& place);

// A row is a map. In JSONL and JSON it stands as it is; in CSV and TSV a list or map within it is
// written as JSON, and null is an empty field.
class RowWriter {
 public:
  // `columns`: the keys of every row, the header of CSV and TSV, which is written at once; JSON
  // does not ask. `written`: rows that the file holds already, with what stands before them. Throws
  // IoError.
  RowWriter(OutputFile& file, TableFormat format, const std::vector<std::string>& columns,
            std::optional<int64_t> written = {});

  // The whole row, at once. Throws IoError, and InputError opening with `place`
  // where TSV cannot hold a cell.
  void write(const Node& row, const std::string& place);
  // Once, after the last row. Throws IoError.
  void end();
  // The same, and a regular file is in its place then.
  void finish();

  int64_t num_rows() const { return num_rows_; }

 private:
  void write_line(const std::vector<std::string>& cells, const std::string& place);

  OutputFile& file_;
  TableFormat format_;
  size_t num_columns_;
  int64_t num_rows_ = 0;
};

}  // namespace graft
