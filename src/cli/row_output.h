// The files that a command writes rows to, a window of its input after the other: kept when the
// command is cut, so that --resume goes on behind the last window (base/kept_files.h). What takes
// bytes as they come, or is made of rows that come in pieces, is written the plain way.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/kept_files.h"
#include "cli/row_feed.h"
#include "model/trunk.h"

namespace graft {

class RowOutput {
 public:
  // How far a command had come: rows of the input, and counts of its own.
  struct State {
    int64_t num_read = 0, num_answered = 0, num_written = 0;
  };

  // `paths`: as flags give them, the first being --out. `can_go_on`: a later process finds the same
  // rows. `goes_on`: --resume (check_resumable). `about`: what the bytes depend on, asked for where
  // they are kept. Throws what KeptFiles throws.
  RowOutput(std::vector<std::string> paths, bool can_go_on, bool goes_on,
            const std::function<Node()>& about);

  OutputFile& file(size_t index);
  // Of an earlier process; nothing at the beginning.
  const std::optional<State>& state() const { return state_; }
  // An earlier process wrote all of it, and the files are in their places now.
  bool is_finished() const { return kept_ && kept_->is_finished(); }
  // A window is written whole.
  void commit(const State& state);
  // Puts the files in their places.
  void finish(const State& state);

  // Runs `f`, which writes. Adds to an error what is kept.
  void guard(const std::function<void()>& f);

 private:
  std::vector<std::string> paths_;
  std::vector<std::unique_ptr<OutputFile>> plain_;
  std::optional<KeptFiles> kept_;
  std::optional<State> state_;
};

// Throws InputError where --resume cannot be served: one of `outputs` takes bytes as they come, or
// `data` comes in pieces.
void check_resumable(const std::vector<std::string>& outputs, const std::string& data);

// What answers of every kind depend on.
struct AnswerSources {
  std::string model, adapter, data;
  std::vector<std::string> beside = {};  // further adapters
  const Task* task = nullptr;
  Precision precision = Precision::kFloat32;
  int64_t max_length = 0;
  TableFormat format = TableFormat::kJsonl;
  OnError on_error = OnError::kStop;
};

// As texts to compare, by the names of their flags: of a file its content, of one above 64 MiB its
// size and time, but of --data always its content.
Node about_answers(const AnswerSources& sources);
// Of a flag with several values, for the same purpose.
std::string list_text(const std::vector<std::string>& values);

}  // namespace graft
