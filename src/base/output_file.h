// A file that is written piece by piece.
//
// A regular file is replaced at the end, as by write_file_atomically. What is none (a device, a pipe, the standard output) takes
// every piece at once and is never replaced.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/files.h"

namespace graft {

// The open descriptor of this process that `path` names, by however many links: /dev/stdout, /dev/fd/3, /proc/self/fd/3. To open
// such a path anew would forget where its file stands and that it appends.
std::optional<int> named_descriptor(const Path& path);

class OutputFile {
 public:
  explicit OutputFile(Path path);  // Throws IoError.
  ~OutputFile();                   // Without finish() a regular file stays as it was.
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::string_view bytes);  // Throws IoError.
  void finish();                       // Once, after the last piece. Throws IoError.

  int descriptor() const { return descriptor_; }
  bool is_stream() const { return temp_.empty(); }

 private:
  void replace();

  Path path_, target_;  // as named, and behind its links
  std::string temp_;    // beside the target; of a stream empty
  int descriptor_ = -1;
};

}  // namespace graft
