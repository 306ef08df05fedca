// A second process of this program that works for this one: it reads from its standard input what
// it is to do, and writes on its standard output, line by line, what comes of it.
#pragma once

#include <string>
#include <vector>

#include "base/descriptors.h"

namespace graft {

class WorkerProcess {
 public:
  // `arguments`: those behind the program's name; `input`: all that it will read. It has this
  // process's standard error and a process group of its own, so that a signal from the keyboard
  // does not reach it. Throws IoError.
  WorkerProcess(const std::vector<std::string>& arguments, const std::string& input);
  // Stops it, drops what it still writes and waits for its end.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  int descriptor() const { return output_.get(); }  // to wait for
  // The whole lines that have come since the last call; waits where there is nothing at all.
  std::vector<std::string> read_lines();
  bool has_ended() const { return has_ended_; }  // its last line has been read
  // Asks it to stop, once: by SIGINT, so that whoever sends SIGTERM to both does not send it the
  // second signal of a kind, which would end it at once.
  void stop();
  // Waits for its end: an exit code, or less than 0 for the signal that ended it.
  int wait();

 private:
  struct Pipe;
  WorkerProcess(const std::vector<std::string>& arguments, const std::string& input, Pipe pipe);

  Descriptor output_;
  int process_ = -1;
  std::string partial_;  // a line whose end has not come
  bool has_ended_ = false, was_asked_ = false;
};

// To be called by a worker first: it is killed when the process `parent` that started it ends,
// however that ends.
void end_with(int parent);

}  // namespace graft
