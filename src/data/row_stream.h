// Rows of a file that comes piece by piece: of the standard input, a pipe or a terminal. What has come is read at once, so that it
// can be answered before the rest is there.
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

  // The rows that have come since the last call, one at least; waits for them. Nothing at the end. Lines and rows are counted from
  // the beginning of the file. Of a JSON list, a packed file or a data-to-text set all rows come at once. Throws InputError as
  // read_table does, and for a row longer than 64 MiB.
  std::optional<Table> next();

 private:
  bool read_more();
  size_t end_of_whole_rows() const;
  std::optional<Table> take(size_t end);

  Path path_;
  TableOptions options_;
  TableFormat format_;
  int descriptor_ = -1;
  std::string text_;  // read and not yet given
  bool is_at_end_ = false, has_given_ = false;
  int64_t num_rows_ = 0;
};

}  // namespace graft
