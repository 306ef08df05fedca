#include "train/log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace graft {

EventLog::EventLog(const Path& path, int64_t keep_bytes) : path_(path), bytes_(keep_bytes) {
  const int make = keep_bytes == 0 ? O_CREAT : 0;  // one that should hold something is not made anew
  descriptor_ = ::open(path.c_str(), O_WRONLY | make | O_CLOEXEC, 0644);
  if (descriptor_ < 0 && errno == ENOENT && make == 0)
    throw InputError("'" + path.string() + "': no such file; put it back, or start a new run");
  if (descriptor_ < 0) throw IoError("cannot open '" + path.string() + "': " + std::strerror(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {  // a file system without locks is let pass
    ::close(descriptor_);
    throw InputError("'" + path.string() + "': another process is writing this run; wait for it, or stop it first");
  }
  const off_t length = ::lseek(descriptor_, 0, SEEK_END);
  if (length < keep_bytes) {
    ::close(descriptor_);
    throw InputError("'" + path.string() + "': expected at least " + std::to_string(keep_bytes) +
                     " bytes, as the checkpoint says, found " + std::to_string(length) +
                     "; put the file back, or start a new run");
  }
  if (::ftruncate(descriptor_, keep_bytes) != 0 || ::lseek(descriptor_, keep_bytes, SEEK_SET) < 0) {
    const std::string reason = std::strerror(errno);
    ::close(descriptor_);
    throw IoError("cannot cut '" + path.string() + "': " + reason);
  }
}

EventLog::~EventLog() { ::close(descriptor_); }

void EventLog::write(Node event) {
  const std::string line = to_json(event, -1) + "\n";
  write_all(descriptor_, line, path_);
  bytes_ += static_cast<int64_t>(line.size());
}

int64_t EventLog::sync() {
  if (::fsync(descriptor_) != 0) throw IoError("cannot sync '" + path_.string() + "': " + std::strerror(errno));
  return bytes_;
}

}  // namespace graft
