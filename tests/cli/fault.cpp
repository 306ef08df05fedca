// A library for LD_PRELOAD that makes a program die or its disk fill up at a chosen moment. Not
// part of the product.
//
// It counts the calls that change files: write (above descriptor 2), fsync, ftruncate, rename,
// mkostemp, mkdir and removals.
//   FAULT_KILL_AT=N   the Nth call is half done (a write writes half its bytes, the others
//                     nothing), then SIGKILL
//   FAULT_FULL_AT=N   from the Nth call on, write and mkostemp fail with ENOSPC, a write after half
//                     of its bytes
//   FAULT_COUNT=PATH  the number of calls is written there when the program ends
// Counting calls instead of waiting makes every moment reachable and the tests repeatable.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <type_traits>

namespace {

std::atomic<long> g_calls{0};

long limit_of(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::atol(text);
}

enum class Fault { kNone, kKill, kFull };

Fault next_call() {
  static const long kKillAt = limit_of("FAULT_KILL_AT"), kFullAt = limit_of("FAULT_FULL_AT");
  const long call = ++g_calls;
  if (kKillAt > 0 && call == kKillAt) return Fault::kKill;
  return kFullAt > 0 && call >= kFullAt ? Fault::kFull : Fault::kNone;
}

void die() {
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

template <typename F>
F real(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

void die_if_told() {
  if (next_call() == Fault::kKill) die();
}

struct AtEnd {
  ~AtEnd() {
    const char* path = std::getenv("FAULT_COUNT");
    if (path == nullptr) return;
    const int file = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    char text[32];
    const int length = std::snprintf(text, sizeof text, "%ld\n", g_calls.load());
    if (::syscall(SYS_write, file, text, length) != length) std::_Exit(99);
    ::close(file);
  }
} g_at_end;

}  // namespace

extern "C" {

ssize_t write(int file, const void* bytes, size_t count) {
  if (file <= 2) return ::syscall(SYS_write, file, bytes, count);
  const Fault fault = next_call();
  if (fault == Fault::kNone) return ::syscall(SYS_write, file, bytes, count);
  if (fault == Fault::kKill) {
    ::syscall(SYS_write, file, bytes, count / 2);
    die();
  }
  static std::atomic<bool> g_is_full{false};
  if (!g_is_full.exchange(true) && count > 1) return ::syscall(SYS_write, file, bytes, count / 2);
  errno = ENOSPC;
  return -1;
}

int mkostemp(char* pattern, int flags) {
  const Fault fault = next_call();
  if (fault == Fault::kKill) die();
  if (fault == Fault::kFull) {
    errno = ENOSPC;
    return -1;
  }
  static const auto kReal = real<int (*)(char*, int)>("mkostemp");
  return kReal(pattern, flags);
}

int fsync(int file) {
  die_if_told();
  static const auto kReal = real<int (*)(int)>("fsync");
  return kReal(file);
}

int ftruncate(int file, off_t length) noexcept {
  die_if_told();
  static const auto kReal = real<int (*)(int, off_t)>("ftruncate");
  return kReal(file, length);
}

int rename(const char* from, const char* to) noexcept {
  die_if_told();
  static const auto kReal = real<int (*)(const char*, const char*)>("rename");
  return kReal(from, to);
}

int mkdir(const char* path, mode_t mode) noexcept {
  die_if_told();
  static const auto kReal = real<int (*)(const char*, mode_t)>("mkdir");
  return kReal(path, mode);
}

int unlink(const char* path) noexcept {
  die_if_told();
  static const auto kReal = real<int (*)(const char*)>("unlink");
  return kReal(path);
}

int unlinkat(int folder, const char* path, int flags) noexcept {
  die_if_told();
  static const auto kReal = real<int (*)(int, const char*, int)>("unlinkat");
  return kReal(folder, path, flags);
}

int remove(const char* path) noexcept {
  die_if_told();
  static const auto kReal = real<int (*)(const char*)>("remove");
  return kReal(path);
}

}  // extern "C"
