// Rows that a command answers, window by window: read, encoded, and those that cannot be left out
// where the user wants that.
//
// A regular file is read several times. First all its rows are encoded and forgotten, so that
// whatever is wrong with one of them is told before anything is answered; then they are encoded
// once more, a window at a time. What comes in pieces (the standard input, a pipe) is read once,
// and its faults are told as they come.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/output_file.h"
#include "cli/progress.h"
#include "data/row_file.h"
#include "data/row_writer.h"
#include "feed/dataset.h"

namespace CLI {
class App;
}

namespace graft {

enum class OnError { kStop, kSkip };

struct RowFlags {
  OnError on_error = OnError::kStop;
  std::string skipped;  // file for what was left out
  bool goes_on = false;
};

// --on-error and --skipped of a command that reads rows, and --resume of one that also writes a row
// for each.
void add_error_flags(CLI::App& command, RowFlags& flags);
void add_resume_flag(CLI::App& command, RowFlags& flags);
// Throws InputError where --skipped is given and no row is left out.
void check_skipped(const RowFlags& flags);

// "skip" or "stop".
const char* on_error_name(OnError on_error);

class RowFeed {
 public:
  using Encode = std::function<Dataset(std::vector<Example>)>;

  struct Options {
    std::string data;  // --data
    LabelUse use = LabelUse::kOptional;
    // Rows that are encoded, answered and written at once: among them lengths are sorted, and
    // --resume goes on behind them.
    int64_t window = 1024;
    // What notes on rows cut to max_length call the rows; empty: the caller tells them.
    std::string cut_name = "data";
    Verbosity verbosity = Verbosity::kQuiet;  // of check(), which may take a while
  };

  // `encode` throws InputError where a row is wrong, and without rows where the task is. Reads a
  // regular file through.
  RowFeed(Options options, const RowFlags& flags, const Task& task, Encode encode);

  bool comes_in_pieces() const { return !file_; }
  // Whether a later process finds the same rows.
  bool lasts() const;
  // Of a regular file.
  int64_t num_rows() const { return file_ ? file_->num_rows() : 0; }
  int64_t num_skipped() const { return num_skipped_; }

  // Encodes all rows of a regular file and tells which were cut or left out; `see` looks at what is
  // left of each window. Does nothing with what comes in pieces. Throws InputError for the first
  // row that cannot be answered, or with kSkip where none can.
  void check(const std::function<void(const Table&, const Dataset&)>& see);

  // The rows of a window that can be answered; `num_read` rows of the file end with it.
  struct Window {
    const Table& table;
    Dataset& data;
    int64_t num_read;
  };
  // From row `first` on, a multiple of the window. Requires: check(). Throws as check does, of what
  // comes in pieces.
  void for_each(int64_t first, const std::function<void(const Window&)>& use);

  // "; 3 rows skipped", to end a summary with, or "".
  std::string skipped_text() const;

 private:
  struct Fault {
    Example row;
    std::string reason;
  };

  Dataset encode(const Table& table, std::vector<Fault>& faults);
  Dataset encode_one_by_one(const Table& table, std::vector<Fault>& faults);
  void check_embeddings(const std::vector<Example>& examples);
  void for_each_piece(const std::function<void(const Table&)>& use) const;
  void add_cut(const Dataset& data);
  void tell_cut();
  void add_faults(const std::vector<Fault>& faults);
  void tell_fault(const std::string& reason) const;
  void finish_notes(int64_t num_rows);

  Options options_;
  RowFlags flags_;
  const Task& task_;
  Encode encode_;
  std::optional<RowFile> file_;
  std::optional<OutputFile> skipped_file_;
  std::optional<size_t> embedding_size_;
  CutRows cut_;
  int64_t num_cut_told_ = 0, num_skipped_ = 0;
  std::vector<std::string> reasons_;  // of the first rows left out
};

}  // namespace graft
