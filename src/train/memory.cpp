#include "train/memory.h"

#include <malloc.h>

#include <fstream>
#include <string>

#include "base/error.h"

// Of tcmalloc; the command is linked with it, a program on the library may not be.
extern "C" [[gnu::weak]] void MallocExtension_ReleaseFreeMemory();

namespace graft {

// Not getrusage: its figure outlives exec, so a program started by a large one would begin with that one's peak.
int64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;  // in kB
  }
  throw InternalError("/proc/self/status names no VmHWM");
}

void release_free_memory() {
  if (MallocExtension_ReleaseFreeMemory != nullptr) MallocExtension_ReleaseFreeMemory();
  else ::malloc_trim(0);
}

}  // namespace graft
