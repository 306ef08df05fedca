// What a command says when the system gives it no memory: what it needs, what it may have, and what
// lowers the need. Exit code 3.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <string>

namespace graft {

struct MemoryNeed {
  int64_t bytes = 0;    // resident at the peak, as predicted; 0: nobody has predicted it
  std::string way_out;  // "lower batch_size"
};

// Whether an exception says that there was no memory: of the C++ library, of libtorch's allocator,
// of oneDNN, of a mapping or thread.
bool means_no_memory(const std::exception& error);

// What f returns. An exception that means no memory becomes an IoError that tells `need` and what
// this process may have.
int with_memory_need(const MemoryNeed& need, const std::function<int()>& f);

}  // namespace graft
