#include "train/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/descriptors.h"
#include "base/error.h"

namespace graft {

EventLog::EventLog(const Path& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor_ < 0 && errno == ENOENT) {
    descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    was_made_ = descriptor_ >= 0;
  }
  if (descriptor_ < 0)
    throw IoError("cannot open '" + path.string() + "': " + std::strerror(errno));
  if (!lock_alone(descriptor_)) {
    ::close(descriptor_);
    throw IoError("'" + path.string() +
                  "': another process is writing this run; wait for it, or stop it first");
  }
}

EventLog::~EventLog() {
  if (was_made_ && bytes_ == 0) ::unlink(path_.c_str());
  ::close(descriptor_);
}

void EventLog::keep(int64_t bytes) {
  if (was_made_ && bytes > 0)
    throw InputError("'" + path_.string() + "': no such file; put it back, or start a new run");
  const off_t length = ::lseek(descriptor_, 0, SEEK_END);
  if (length < bytes) {
    throw InputError("'" + path_.string() + "': expected at least " + std::to_string(bytes) +
                     " bytes, as the checkpoint says, found " + std::to_string(length) +
                     "; put the file back, or start a new run");
  }
  if (::ftruncate(descriptor_, bytes) != 0 || ::lseek(descriptor_, bytes, SEEK_SET) < 0)
    throw IoError("cannot cut '" + path_.string() + "': " + std::strerror(errno));
  bytes_ = bytes;
}

void EventLog::write(Node event) {
  const std::string line = to_json(event, -1) + "\n";
  write_all(descriptor_, line, path_);
  bytes_ += static_cast<int64_t>(line.size());
}

int64_t EventLog::sync() {
  if (::fsync(descriptor_) != 0)
    throw IoError("cannot sync '" + path_.string() + "': " + std::strerror(errno));
  return bytes_;
}

}  // namespace graft
