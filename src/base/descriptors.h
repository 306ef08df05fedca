// Open files by their descriptors: what files.h, output_file.h and data/row_stream.h have in
// common.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/files.h"

namespace graft {

// Closes its descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

inline constexpr uint64_t kMostPipeBytes = uint64_t{4}
                                           << 30;  // a pipe does not say before how much will come

// "cannot open 'x': Permission denied", of the system's last error.
std::string refused(std::string_view doing, const Path& path);

// Opens `path`, or the descriptor that it names once more, without waiting: a named pipe would be
// waited for until somebody writes to it. Throws InputError if it is missing, IoError if the system
// refuses.
int open_for_reading(const Path& path);

// Locks an open file or folder until its descriptor is closed. False where another process holds
// it; a file system without locks is let pass.
bool lock_alone(int descriptor);

struct stat status_of(int descriptor, const Path& path);  // Throws IoError.

// "'x': expected a file, found a device, which has no end"; in place of a directory a file alone is
// expected.
[[noreturn]] void refuse_kind(mode_t mode, const std::string& expected, const Path& path);

// Up to `size` bytes as soon as there are any; 0 at the end. A named pipe must be opened for
// writing within ten seconds. `held`: bytes that the caller has kept of earlier calls. Throws
// InputError for a pipe without a writer, and for more than kMostPipeBytes to be kept of what is no
// regular file; IoError.
size_t read_some(int descriptor, char* buffer, size_t size, uint64_t held, const Path& path);

}  // namespace graft
