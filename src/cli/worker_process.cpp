#include "cli/worker_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/error.h"

namespace graft {

namespace {

constexpr const char* kThisProgram = "/proc/self/exe";

[[noreturn]] void refuse_worker(const char* doing, int error) {
  throw IoError(std::string("cannot ") + doing + " a worker process: " + std::strerror(error));
}

// A file in memory, to be read from its beginning.
int filled(const std::string& input) {
  const int file = ::memfd_create("graft-worker", MFD_CLOEXEC);
  if (file < 0) refuse_worker("hand its work to", errno);
  write_all(file, input, "the input of a worker process");
  ::lseek(file, 0, SEEK_SET);
  return file;
}

}  // namespace

struct WorkerProcess::Pipe {
  Pipe() {
    if (::pipe2(ends, O_CLOEXEC) != 0) refuse_worker("listen to", errno);
  }
  int ends[2] = {-1, -1};
};

WorkerProcess::WorkerProcess(const std::vector<std::string>& arguments, const std::string& input)
    : WorkerProcess(arguments, input, Pipe()) {}

WorkerProcess::WorkerProcess(const std::vector<std::string>& arguments, const std::string& input,
                             Pipe pipe)
    : output_(pipe.ends[0]) {
  const Descriptor written(pipe.ends[1]), read(filled(input));
  std::vector<char*> words = {const_cast<char*>("graft")};
  for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, read.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, written.get(), STDOUT_FILENO);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  const int error =
      ::posix_spawn(&process_, kThisProgram, &files, &attributes, words.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&files);
  if (error != 0) refuse_worker("start", error);
}

WorkerProcess::~WorkerProcess() {
  if (process_ < 0) return;
  stop();
  wait();
}

std::vector<std::string> WorkerProcess::read_lines() {
  char buffer[1 << 14];
  ssize_t got = 0;
  do got = ::read(output_.get(), buffer, sizeof buffer);
  while (got < 0 && errno == EINTR);
  if (got < 0) refuse_worker("listen to", errno);
  has_ended_ = got == 0;
  partial_.append(buffer, static_cast<size_t>(got));
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t end = 0; (end = partial_.find('\n', begin)) != std::string::npos; begin = end + 1)
    lines.push_back(partial_.substr(begin, end - begin));
  partial_.erase(0, begin);
  return lines;
}

void WorkerProcess::stop() {
  if (process_ >= 0) ::kill(process_, SIGTERM);
}

int WorkerProcess::wait() {
  int status = 0;
  while (::waitpid(process_, &status, 0) < 0) {
    if (errno != EINTR) refuse_worker("wait for", errno);
  }
  process_ = -1;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void end_with(int parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::raise(SIGTERM);  // it ended before this one could ask
}

}  // namespace graft
