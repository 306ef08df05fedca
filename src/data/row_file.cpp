#include "data/row_file.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/output_file.h"
#include "data/row_stream.h"

namespace graft {

namespace {

// Puts the rows of the next piece behind those of `all`: of JSON it may have further columns.
void append(Table next, Table& all) {
  std::move(next.rows.begin(), next.rows.end(), std::back_inserter(all.rows));
  if (next.columns.size() <= all.columns.size()) return;
  all.columns = std::move(next.columns);
  for (Row& row : all.rows) {
    row.cells.resize(all.columns.size());
    row.kinds.resize(all.columns.size(), CellKind::kMissing);
  }
}

// Calls `use` with the rows of `table` in tables of `window`, as long as there are so many, or of
// all that is left with `is_all`. Returns where it stopped.
size_t give_parts(const Table& table, int64_t window, bool is_all,
                  const std::function<void(const Table&)>& use) {
  const size_t size = table.rows.size(), step = static_cast<size_t>(window);
  size_t begin = 0;
  while (size - begin >= step || (is_all && begin < size)) {
    const auto at = [&](size_t r) { return table.rows.begin() + static_cast<std::ptrdiff_t>(r); };
    const size_t end = std::min(begin + step, size);
    Table part{.source = table.source,
               .columns = table.columns,
               .rows = {at(begin), at(end)},
               .has_header = table.has_header,
               .header_line = table.header_line};
    part.delimiter = table.delimiter;
    part.first_row = table.first_row + static_cast<int64_t>(begin);
    use(part);
    begin = end;
  }
  return begin;
}

}  // namespace

void for_each_part(const Table& table, int64_t window,
                   const std::function<void(const Table&)>& use) {
  give_parts(table, window, /*is_all=*/true, use);
}

RowFile::RowFile(Path path, TableOptions options)
    : path_(std::move(path)), options_(std::move(options)) {
  RowStream stream(path_, options_);
  whole_ = stream.next();
  ensure(whole_.has_value(), "a file has rows or is refused");
  num_rows_ = std::ssize(whole_->rows);
  const bool comes_once =
      named_descriptor(path_).has_value();  // "/dev/stdin < rows.jsonl": read from where it stands
  while (std::optional<Table> more = stream.next()) {
    num_rows_ += std::ssize(more->rows);
    if (comes_once) append(std::move(*more), *whole_);
    else whole_.reset();
  }
  options_ = stream.known();
}

void RowFile::for_each_window(int64_t window, int64_t first,
                              const std::function<void(const Table&)>& use) const {
  const auto use_wanted = [&](const Table& table) {
    if (table.first_row >= first) use(table);
  };
  if (whole_) return for_each_part(*whole_, window, use_wanted);
  RowStream stream(path_, options_);
  Table pending;
  while (std::optional<Table> next = stream.next()) {
    if (pending.source.empty()) pending = std::move(*next);
    else append(std::move(*next), pending);
    const size_t given = give_parts(pending, window, /*is_all=*/false, use_wanted);
    pending.rows.erase(pending.rows.begin(),
                       pending.rows.begin() + static_cast<std::ptrdiff_t>(given));
    pending.first_row += static_cast<int64_t>(given);
  }
  for_each_part(pending, window, use_wanted);
}

}  // namespace graft
