// A file that is written piece by piece.
//
// A regular file is replaced at the end, as by write_file_atomically; who may read and write it
// stays as it was, and is what the umask says of a new one. What is none (a device, a
// pipe, the standard output) takes every piece at once and is never replaced. A job that may be cut
// and go on later keeps what it has written under a name that it finds again: see kept_files.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/files.h"

namespace graft {

// The open descriptor of this process that `path` names, by however many links: /dev/stdout,
// /dev/fd/3, /proc/self/fd/3. To open such a path anew would forget where its file stands and that
// it appends.
std::optional<int> named_descriptor(const Path& path);

// Whether what is written to `path` goes out at once: it is there and no regular file, or names an
// open descriptor.
bool takes_bytes_at_once(const Path& path);

// A part of a regular file that an earlier process left beside it, or that is to be left there.
struct Partial {
  uint64_t bytes = 0;  // to be kept of it: writing goes on behind them
};

class OutputFile {
 public:
  explicit OutputFile(Path path);  // Throws IoError.
  // Of a regular file: what is written stays in partial_path(path) until finish(). One process at a
  // time: throws IoError where another one writes it; InputError where fewer bytes are there than
  // are to be kept.
  OutputFile(Path path, Partial partial);
  ~OutputFile();  // Without finish() a regular file stays as it was.
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::string_view bytes);  // Throws IoError.
  void sync();                         // What was written so far is on the disk. Throws IoError.
  void finish();                       // Once, after the last piece. Throws IoError.
  void discard();  // In place of finish(): what was written goes, a partial file too.

  uint64_t num_bytes() const { return num_bytes_; }  // written, with those kept
  int descriptor() const { return descriptor_; }
  bool is_stream() const { return temp_.empty(); }

 private:
  void open_partial();

  Path path_, target_;  // as named, and behind its links
  std::string temp_;    // beside the target; of a stream empty
  bool keeps_partial_ = false;
  uint64_t num_bytes_ = 0;
  int descriptor_ = -1;
};

// Where the part lies: "folder/.NAME.partial", beside what the last of a chain of links names.
Path partial_path(const Path& path);

}  // namespace graft
