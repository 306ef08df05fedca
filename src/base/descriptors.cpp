#include "base/descriptors.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/output_file.h"
#include "base/printable.h"

namespace graft {

namespace {

bool is_regular(int descriptor) {
  struct stat info {};
  return ::fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode);
}

bool is_named_pipe(int descriptor) {
  struct stat info {};
  struct statfs system {};
  return ::fstat(descriptor, &info) == 0 && S_ISFIFO(info.st_mode) &&
         ::fstatfs(descriptor, &system) == 0 && system.f_type != PIPEFS_MAGIC;
}

// At the end of a named pipe: nobody has opened it for writing yet, or the last writer has gone,
// which is told at once. Whether there may be more.
bool await_writer(int descriptor, const Path& path) {
  constexpr int kSeconds = 10;
  pollfd waiting{descriptor, POLLIN, 0};
  if (::poll(&waiting, 1, 1000 * kSeconds) == 0)
    throw InputError(named(path.string()) + ": a pipe that nobody writes to (waited " +
                     std::to_string(kSeconds) + " s)");
  return (waiting.revents & POLLIN) != 0;
}

}  // namespace

std::string refused(std::string_view doing, const Path& path) {
  const int code = errno;
  return std::string(doing) + " " + named(path.string()) + ": " + std::strerror(code);
}

int open_for_reading(const Path& path) {
  const std::optional<int> open_already = named_descriptor(path);
  const int descriptor = open_already ? ::fcntl(*open_already, F_DUPFD_CLOEXEC, 0)
                                      : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor >= 0) return descriptor;
  if (errno == ENOENT || errno == ENOTDIR)
    throw InputError(named(path.string()) + ": no such file");
  if (errno == ENXIO) throw InputError(named(path.string()) + ": expected a file, found a socket");
  throw IoError(refused("cannot open", path));
}

bool lock_alone(int descriptor) {
  return ::flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

struct stat status_of(int descriptor, const Path& path) {
  struct stat info {};
  if (::fstat(descriptor, &info) != 0) throw IoError(refused("cannot stat", path));
  return info;
}

void refuse_kind(mode_t mode, const std::string& expected, const Path& path) {
  const char* found = S_ISDIR(mode)    ? "a directory"
                      : S_ISFIFO(mode) ? "a pipe"
                      : S_ISSOCK(mode) ? "a socket"
                                       : "a device, which has no end";
  throw InputError(named(path.string()) + ": expected " + (S_ISDIR(mode) ? "a file" : expected) +
                   ", found " + found);
}

size_t read_some(int descriptor, char* buffer, size_t size, uint64_t held, const Path& path) {
  for (;;) {
    const ssize_t got = ::read(descriptor, buffer, size);
    if (got < 0 && errno == EAGAIN) {
      pollfd waiting{descriptor, POLLIN, 0};
      ::poll(&waiting, 1, -1);
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError(refused("cannot read", path));
    if (got == 0 && held == 0 && is_named_pipe(descriptor) && await_writer(descriptor, path))
      continue;
    const auto bytes = static_cast<size_t>(got);
    if (held + bytes > kMostPipeBytes && !is_regular(descriptor)) {
      throw InputError(named(path.string()) + ": expected at most " +
                       std::to_string(kMostPipeBytes >> 30) +
                       " GiB from a pipe, found more; write them to a file first");
    }
    return bytes;
  }
}

}  // namespace graft
