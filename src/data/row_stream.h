// Rows of a file, piece by piece. What has come of a pipe or a terminal is read at once, so that it
// can be answered before the rest is there; of a regular file no more is held than a piece
// (row_file.h makes windows of the pieces).
#pragma once

#include <optional>
#include <string>

#include "data/reader.h"

namespace graft {

// Whether the rows of `path` come piece by piece: it is no regular file.
bool comes_in_pieces(const Path& path);

class RowStream {
 public:
  RowStream(Path path, TableOptions options);  // Throws InputError, IoError.
  ~RowStream();
  RowStream(const RowStream&) = delete;
  RowStream& operator=(const RowStream&) = delete;

  // The rows that have come since the last call, one at least; waits for them. Nothing at the end.
  // Lines and rows are counted from the beginning of the file. Of a JSON list, a packed file or a
  // data-to-text set all rows come at once. Throws InputError as read_table does, and for a row
  // longer than 64 MiB.
  std::optional<Table> next();

  // What reading the file once more would begin with to give every table the columns of all that
  // has come so far.
  const TableOptions& known() const { return known_; }

 private:
  // Where the search for the ends of rows stands.
  struct Search {
    size_t at = 0, line = 0;   // in text_: the next byte, the line that it is in
    size_t rows = 0, end = 0;  // whole ones, and where the last of them ends
    bool is_quoted = false;
  };

  void open();
  bool read_more();
  size_t end_of_whole_rows();
  std::optional<Table> take(size_t end);

  Path path_;
  TableOptions options_, known_;
  TableFormat format_ = TableFormat::kJsonl;
  int descriptor_ = -1;
  std::string text_;  // read and not yet given
  Search search_;
  bool is_packed_ = false, is_at_end_ = false, has_given_ = false;
  int64_t num_rows_ = 0;
};

}  // namespace graft
