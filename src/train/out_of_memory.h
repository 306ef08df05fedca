// What is said when the system gives no memory: what is needed, what this process may have, and
// what lowers the need.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "base/error.h"

namespace graft {

struct MemoryNeed {
  int64_t bytes = 0;    // resident at the peak, as predicted; 0: nobody has predicted it
  std::string way_out;  // "lower batch_size"
};

// What lowers the need of a run.
inline constexpr const char* kLowerMemory =
    "Lower batch_size, token_budget or max_length, raise accumulate instead, or set "
    "save_memory=true or precision=bf16";

// Whether an exception says that there was no memory: of the C++ library, of libtorch's allocator,
// of oneDNN, of a mapping or thread.
bool means_no_memory(const std::exception& error);

// Whether it says so in the words of out_of_memory_message.
bool tells_memory_need(const std::exception& error);

// "out of memory: ..." with `need` and what this process may have.
std::string out_of_memory_message(const MemoryNeed& need);

// What f returns. An exception that means no memory becomes an `As` that tells `need`.
template <class As = IoError, class F>
auto with_memory_need(const MemoryNeed& need, const F& f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::exception& error) {
    if (tells_memory_need(error) || !means_no_memory(error)) throw;
  }
  throw As(out_of_memory_message(need));  // here all that `f` held is free again
}

}  // namespace graft
