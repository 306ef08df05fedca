// log.jsonl: one JSON object a line, one line an event. Append-only; a checkpoint remembers how
// long the file was, and a resume cuts it back to there.
#pragma once

#include <cstdint>
#include <string>

#include "base/document.h"
#include "base/files.h"

namespace graft {

class EventLog {
 public:
  // Opens `path`, made if missing: from now on the run is this process's. Throws IoError when
  // another process has it open here.
  explicit EventLog(const Path& path);
  ~EventLog();  // One that was made and has no event goes.
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // Before the first event: cuts the file to its first `bytes`. Throws InputError when it is
  // shorter than that.
  void keep(int64_t bytes);
  void write(Node event);  // {"event": ..., ...}; throws IoError
  int64_t sync();          // to disk; returns the length in bytes

 private:
  Path path_;
  int descriptor_ = -1;
  bool was_made_ = false;
  int64_t bytes_ = 0;
};

}  // namespace graft
