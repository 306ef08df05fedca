#include "train/memory.h"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "base/error.h"

// Of tcmalloc; the command is linked with it, a program on the library may not be.
extern "C" [[gnu::weak]] void MallocExtension_ReleaseFreeMemory();

namespace graft {

namespace {

// "VmHWM:  1234 kB" of a file of /proc, in bytes.
int64_t kernel_figure(const char* file, const std::string& name) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1)) * 1024;
  }
  throw InternalError(std::string(file) + " names no " + name);
}

}  // namespace

// Not getrusage: its figure outlives exec, so a program started by a large one would begin with
// that one's peak.
int64_t peak_resident_bytes() { return kernel_figure("/proc/self/status", "VmHWM"); }

int64_t peak_address_bytes() { return kernel_figure("/proc/self/status", "VmPeak"); }

MemoryLimit memory_limit() {
  rlim_t least = RLIM_INFINITY;
  for (const auto resource : {RLIMIT_AS, RLIMIT_DATA}) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) == 0) least = std::min(least, limit.rlim_cur);
  }
  if (least != RLIM_INFINITY) return {static_cast<int64_t>(least), true};
  return {kernel_figure("/proc/meminfo", "MemAvailable"), false};
}

void release_free_memory() {
  if (MallocExtension_ReleaseFreeMemory != nullptr) MallocExtension_ReleaseFreeMemory();
  else ::malloc_trim(0);
}

}  // namespace graft
