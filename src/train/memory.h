// The memory of this process, as the kernel counts it.
#pragma once

#include <cstdint>

namespace graft {

int64_t peak_resident_bytes();  // the most so far
int64_t peak_address_bytes();   // the same of the address space: what a limit of ulimit -v counts

// What this process may take: by its limit of addresses or data, else the memory of the machine
// that is free now.
struct MemoryLimit {
  int64_t bytes = 0;
  bool is_set = false;
};
MemoryLimit memory_limit();

// Gives free pages of the heap back to the system; a malloc keeps them for itself otherwise.
void release_free_memory();

}  // namespace graft
