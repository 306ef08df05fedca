#include "data/row_stream.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/descriptors.h"
#include "base/error.h"
#include "base/gzip.h"
#include "base/output_file.h"

namespace graft {

namespace {

constexpr size_t kLongestRow = size_t{64} << 20;

bool has_lines(TableFormat format) {
  return format == TableFormat::kJsonl || format == TableFormat::kCsv || format == TableFormat::kTsv;
}

}  // namespace

bool comes_in_pieces(const Path& path) {
  struct stat info {};
  if (const std::optional<int> named = named_descriptor(path)) return ::fstat(*named, &info) == 0 && !S_ISREG(info.st_mode);
  return ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

RowStream::RowStream(Path path, TableOptions options)
    : path_(std::move(path)), options_(std::move(options)), format_(format_of(path_, options_)) {
  descriptor_ = open_for_reading(path_);
  const mode_t mode = status_of(descriptor_, path_).st_mode;
  const bool is_device = S_ISCHR(mode) || S_ISBLK(mode);
  if (!is_device || named_descriptor(path_) || ::isatty(descriptor_) == 1) return;
  ::close(descriptor_);
  refuse_kind(mode, "a file or a pipe", path_);
}

RowStream::~RowStream() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool RowStream::read_more() {
  char buffer[1 << 16];
  const size_t got = read_some(descriptor_, buffer, sizeof buffer, text_.size(), path_);
  text_.append(buffer, got);
  is_at_end_ = got == 0;
  return got > 0;
}

// Behind the last row that is whole and not blank: of a blank line only what follows tells whether it is one between rows. 0 where
// there is none; a header is no row.
size_t RowStream::end_of_whole_rows() const {
  const bool has_header = format_ != TableFormat::kJsonl && options_.columns.empty();
  size_t end = 0, begin = 0, rows = 0;
  bool is_quoted = false;
  for (size_t i = 0; i < text_.size(); ++i) {
    if (format_ == TableFormat::kCsv && text_[i] == '"') is_quoted = !is_quoted;  // a doubled quote does it twice
    if (text_[i] != '\n' || is_quoted) continue;
    const bool is_blank = text_.find_first_not_of("\r\n", begin) >= i;
    begin = i + 1;
    if (is_blank) continue;
    ++rows;
    end = begin;
  }
  return rows > (has_header ? 1 : 0) ? end : 0;
}

std::optional<Table> RowStream::take(size_t end) {
  const std::string text = text_.substr(0, end);
  text_.erase(0, end);
  Table table = parse_table(text, format_, path_.string(), options_);
  table.first_row = num_rows_;
  num_rows_ += static_cast<int64_t>(table.rows.size());
  options_.first_line += std::count(text.begin(), text.end(), '\n');
  options_.delimiter = table.delimiter;  // as the first line has it
  if (options_.columns.empty() && format_ != TableFormat::kJsonl) options_.columns = table.columns;  // the next text has no header
  has_given_ = true;
  return table;
}

std::optional<Table> RowStream::next() {
  for (;;) {
    if (is_gzip(text_) || !has_lines(format_)) {  // to be read as a whole
      while (read_more()) {
      }
      if (is_gzip(text_)) text_ = gunzip(text_, path_.string(), kMostUnpacked);
    }
    if (is_at_end_) {
      const bool is_one_column = format_ != TableFormat::kJsonl && options_.columns.size() == 1;  // there a blank line is a row
      const bool is_over = has_given_ && (is_one_column ? text_.empty() : text_.find_first_not_of(" \t\r\n") == std::string::npos);
      return is_over ? std::nullopt : take(text_.size());
    }
    if (const size_t end = end_of_whole_rows(); end > 0) return take(end);
    if (text_.size() > kLongestRow)
      throw InputError(path_.string() + ":" + std::to_string(options_.first_line) + ": expected the end of a row within 64 MiB");
    read_more();
  }
}

}  // namespace graft
