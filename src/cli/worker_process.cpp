#include "cli/worker_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace graft {

namespace {

constexpr const char* kThisProgram = "/proc/self/exe";

[[noreturn]] void refuse_worker(const char* doing) {
  throw IoError(std::string("cannot ") + doing + " a worker process: " + std::strerror(errno));
}

// A file in memory, to be read from its beginning.
class Input {
 public:
  explicit Input(const std::string& text) : file_(::memfd_create("graft-worker", MFD_CLOEXEC)) {
    if (file_.get() < 0) refuse_worker("hand its work to");
    write_all(file_.get(), text, "the input of a worker process");
    if (::lseek(file_.get(), 0, SEEK_SET) != 0) refuse_worker("hand its work to");
  }
  int get() const { return file_.get(); }

 private:
  Descriptor file_;
};

}  // namespace

struct WorkerProcess::Pipe {
  Pipe() {
    if (::pipe2(ends, O_CLOEXEC) != 0) refuse_worker("listen to");
  }
  int ends[2] = {-1, -1};
};

WorkerProcess::WorkerProcess(const std::vector<std::string>& arguments, const std::string& input)
    : WorkerProcess(arguments, input, Pipe()) {}

WorkerProcess::WorkerProcess(const std::vector<std::string>& arguments, const std::string& input,
                             Pipe pipe)
    : output_(pipe.ends[0]) {
  const Descriptor written(pipe.ends[1]);
  const Input read(input);
  std::vector<char*> words = {const_cast<char*>("graft")};
  for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  std::signal(SIGCHLD, SIG_DFL);  // where it is ignored, as a parent may leave it, no end is told
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  sigset_t heard;
  ::sigemptyset(&heard);
  ::sigaddset(&heard, SIGINT);  // ignored in what a shell runs in the background
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, read.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, written.get(), STDOUT_FILENO);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setsigdefault(&attributes, &heard);
  errno = ::posix_spawn(&process_, kThisProgram, &files, &attributes, words.data(), environ);
  const int error = errno;
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&files);
  errno = error;
  if (error != 0) refuse_worker("start");
}

// Whoever writes into a full pipe does not hear a signal: the rest is read, and dropped.
WorkerProcess::~WorkerProcess() {
  if (process_ < 0) return;
  stop();
  try {
    while (!has_ended_) read_lines();
    wait();
  } catch (const IoError&) {  // it ends with this process
  }
}

std::vector<std::string> WorkerProcess::read_lines() {
  char buffer[1 << 14];
  ssize_t got = 0;
  do got = ::read(output_.get(), buffer, sizeof buffer);
  while (got < 0 && errno == EINTR);
  if (got < 0) refuse_worker("listen to");
  has_ended_ = got == 0;
  size_t searched = partial_.size();  // up to here there is no end of a line
  partial_.append(buffer, static_cast<size_t>(got));
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t end = 0; (end = partial_.find('\n', searched)) != std::string::npos;
       begin = searched = end + 1)
    lines.push_back(partial_.substr(begin, end - begin));
  partial_.erase(0, begin);
  return lines;
}

void WorkerProcess::stop() {
  if (process_ >= 0 && !std::exchange(was_asked_, true)) ::kill(process_, SIGINT);
}

int WorkerProcess::wait() {
  int status = 0;
  while (::waitpid(process_, &status, 0) < 0) {
    if (errno != EINTR) refuse_worker("wait for");
  }
  process_ = -1;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void end_with(int parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::raise(SIGKILL);  // it ended before this one could ask
}

}  // namespace graft
