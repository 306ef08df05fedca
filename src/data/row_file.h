// A regular file of rows, read window by window and as often as asked, so that memory is taken by a
// window and not by the file.
//
// A JSON list, a packed file and a data-to-text set are read as a whole and kept; so is a file that
// is no longer than a piece of reading, and what is open already (/dev/stdin), since that is read
// once.
#pragma once

#include <functional>
#include <optional>

#include "data/reader.h"

namespace graft {

class RowFile {
 public:
  // Reads it through once. Throws as read_table.
  RowFile(Path path, TableOptions options);

  int64_t num_rows() const { return num_rows_; }

  // Its rows from number `first` on in tables of `window` rows, the last of what is left. Every
  // table has the columns of the whole file. Requires: `first` is a multiple of `window`. Throws as
  // read_table.
  void for_each_window(int64_t window, int64_t first,
                       const std::function<void(const Table&)>& use) const;

 private:
  Path path_;
  TableOptions options_;
  std::optional<Table> whole_;
  int64_t num_rows_ = 0;
};

// Calls `use` with the rows of `table` in tables of at most `window`.
void for_each_part(const Table& table, int64_t window,
                   const std::function<void(const Table&)>& use);

}  // namespace graft
