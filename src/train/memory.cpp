#include "train/memory.h"

#include <fstream>
#include <string>

#include "base/error.h"

namespace graft {

// Not getrusage: its figure outlives exec, so a program started by a large one would begin with that one's peak.
int64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;   // in kB
  }
  throw InternalError("/proc/self/status names no VmHWM");
}

}  // namespace graft
