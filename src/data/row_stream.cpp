#include "data/row_stream.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/descriptors.h"
#include "base/error.h"
#include "base/gzip.h"
#include "base/output_file.h"
#include "data/rows.h"

namespace graft {

namespace {

constexpr size_t kLongestRow = size_t{64} << 20;

}  // namespace

bool comes_in_pieces(const Path& path) {
  struct stat info {};
  if (const std::optional<int> named = named_descriptor(path))
    return ::fstat(*named, &info) == 0 && !S_ISREG(info.st_mode);
  return ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

RowStream::RowStream(Path path, TableOptions options)
    : path_(std::move(path)), options_(std::move(options)), known_(options_) {
  descriptor_ = open_for_reading(path_);  // before the format: that nothing is there is told first
  try {
    open();
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

void RowStream::open() {
  const mode_t mode = status_of(descriptor_, path_).st_mode;
  const bool is_device = S_ISCHR(mode) || S_ISBLK(mode);
  const bool is_open_already = named_descriptor(path_) || ::isatty(descriptor_) == 1;
  if (S_ISDIR(mode) || (is_device && !is_open_already))
    refuse_kind(mode, "a file or a pipe", path_);
  format_ = format_of(path_, options_);
  is_packed_ = detail::lower_extension(path_) == ".gz";
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

// Behind the last row that is whole and not blank: of a blank line only what follows tells whether
// it is one between rows. 0 where there is none; a header is no row, nor is what says the
// separator. Goes on from the last call, so that a long row costs O(bytes), as do many blank lines.
size_t RowStream::end_of_whole_rows() {
  Search& s = search_;
  for (; s.at < text_.size(); ++s.at) {
    if (format_ == TableFormat::kCsv && text_[s.at] == '"')
      s.is_quoted = !s.is_quoted;  // a doubled quote does it twice
    if (text_[s.at] != '\n' || s.is_quoted) continue;
    const std::string_view line(text_.data() + s.line, s.at - s.line);
    const bool is_blank = line.find_first_not_of("\r\n") == std::string_view::npos;
    s.line = s.at + 1;
    if (is_blank) continue;
    ++s.rows;
    s.end = s.line;
  }
  const bool has_header = format_ != TableFormat::kJsonl && options_.columns.empty(),
             says_separator = format_ == TableFormat::kCsv && options_.first_line == 1 &&
                              detail::size_of_separator_line(detail::without_mark(text_)) > 0;
  const size_t heads = (has_header ? 1U : 0U) + (says_separator ? 1U : 0U);
  return s.rows > heads ? s.end : 0;
}

std::optional<Table> RowStream::take(size_t end) {
  const std::string text = text_.substr(0, end);
  text_.erase(0, end);
  search_ = {};
  Table table = parse_table(text, format_, path_.string(), options_);
  table.first_row = num_rows_;
  num_rows_ += static_cast<int64_t>(table.rows.size());
  options_.first_line += std::count(text.begin(), text.end(), '\n');
  options_.delimiter = table.delimiter;  // as the first line has it
  options_.known_bytes += end;
  if (format_ == TableFormat::kJsonl) options_.known_columns = table.columns;
  else if (options_.columns.empty())
    options_.columns = table.fields;  // the next text has no header
  known_.known_bytes = options_.known_bytes;
  known_.known_columns = options_.known_columns;
  has_given_ = true;
  return table;
}

std::optional<Table> RowStream::next() {
  for (;;) {
    is_packed_ = is_packed_ || (!has_given_ && is_gzip(text_));
    if (is_packed_ || !detail::has_lines(format_)) {  // to be read as a whole
      while (read_more()) {
      }
      if (is_packed_ || is_gzip(text_)) text_ = gunzip(text_, path_.string(), kMostUnpacked);
      is_packed_ = false;
      search_ = {};
    }
    if (is_at_end_) {
      const bool is_one_column = format_ != TableFormat::kJsonl &&
                                 options_.columns.size() == 1;  // there a blank line is a row
      const bool is_over =
          has_given_ &&
          (is_one_column ? text_.empty() : text_.find_first_not_of(" \t\r\n") == std::string::npos);
      return is_over ? std::nullopt : take(text_.size());
    }
    if (const size_t end = end_of_whole_rows(); end > 0) return take(end);
    if (text_.size() > kLongestRow)
      throw InputError(path_.string() + ":" + std::to_string(options_.first_line) +
                       ": expected the end of a row within 64 MiB");
    read_more();
  }
}

}  // namespace graft
