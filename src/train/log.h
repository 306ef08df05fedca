// log.jsonl: one JSON object a line, one line an event. Append-only; a checkpoint remembers how long the file was, and a resume
// cuts it back to there.
#pragma once

#include <cstdint>
#include <string>

#include "base/document.h"
#include "base/files.h"

namespace graft {

class EventLog {
 public:
  // Opens `path`, cut to its first `keep_bytes` bytes (made if missing). Throws InputError when it is shorter than that, or when
  // another process has it open here.
  EventLog(const Path& path, int64_t keep_bytes);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  void write(Node event);  // {"event": ..., ...}; throws IoError
  int64_t sync();          // to disk; returns the length in bytes

 private:
  Path path_;
  int descriptor_ = -1;
  int64_t bytes_ = 0;
};

}  // namespace graft
