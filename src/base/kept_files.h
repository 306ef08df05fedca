// Files that a long job writes piece by piece, together; cut in the middle, it goes on later where
// it stopped.
//
// What is written of a file lies beside it (partial_path). Beside the first one lies
// `.NAME.progress`, JSON lines: the first says what the bytes depend on, each further one how far
// the job had come: {"bytes": [81234, 4096], "finished": false, "state": ...}. A line follows when
// the bytes that it counts are on the disk. Bytes behind the last whole line do not count: the
// piece they are of is written once more. When the files appear in their places, all of that goes.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/document.h"
#include "base/output_file.h"

namespace graft {

class KeptFiles {
 public:
  enum class Start { kAnew, kGoOn };

  // `about`: a map of texts, named as a user knows them ("--precision": "fp32"). kGoOn with nothing
  // there begins anew, too. Throws InputError naming each entry of `about` that was another, is new
  // or is gone, and what OutputFile throws.
  KeptFiles(std::vector<Path> paths, const Node& about, Start start);
  ~KeptFiles();  // What was written stays where commit() was called.
  KeptFiles(const KeptFiles&) = delete;
  KeptFiles& operator=(const KeptFiles&) = delete;

  // The state of the last commit, of an earlier process too.
  const std::optional<Node>& state() const { return state_; }
  // All was written before, and the process ended while the files were put in their places; they
  // are now.
  bool is_finished() const { return is_finished_; }

  // Requires: not is_finished().
  OutputFile& file(size_t index) { return *files_[index]; }
  // All that was written counts, and `state` with it. Throws IoError.
  void commit(Node state);
  // Puts the files in their places. Throws IoError.
  void finish(Node state);

 private:
  // How far the job had come at a commit.
  struct Mark {
    std::vector<uint64_t> bytes;  // of each file
    Node state;
    bool is_finished = false;
    uint64_t progress_bytes = 0;  // of the progress file, up to here
  };

  std::optional<Mark> read_mark(const Node& about) const;
  bool lies_there(const Mark& mark) const;
  void open_files(const std::vector<uint64_t>& bytes);
  void open_progress(uint64_t bytes, const Node& about);
  void add_line(const Node& line);
  void mark(Node state, bool is_finished);
  void put_in_place();
  void discard();  // takes away what was written

  std::vector<Path> paths_;
  Path progress_path_;
  std::vector<std::unique_ptr<OutputFile>> files_;  // null: in its place already
  int progress_ = -1;                               // descriptor
  std::optional<Node> state_;
  bool is_finished_ = false;
};

// Whether a job that wrote `path` was cut and left a part of it.
bool has_kept_part(const Path& path);

}  // namespace graft
