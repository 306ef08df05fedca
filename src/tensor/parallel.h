// Work shared among the threads of ATen's own pool.
//
// at::parallel_for is a template that runs in one thread unless the file that calls it is compiled
// with OpenMP, and a second OpenMP runtime (clang has its own) would fight with the first for the
// processor. So one file here calls the runtime that libtorch has already loaded. Not a scheduler:
// tasks must not wait for each other.
#pragma once

#include <cstdint>
#include <functional>

namespace graft {

// Calls task(i) once for each i in 0..count-1, in increasing order of start, on at most
// at::get_num_threads() threads. Tasks write to disjoint places. Rethrows the first exception.
// Inside another parallel region it runs in the calling thread.
void parallel_tasks(int64_t count, const std::function<void(int64_t)>& task);

// Calls work(begin, end) over pieces of [0, count) of about `grain` items. Where the pieces are cut
// depends on count and grain only, never on the number of threads.
void parallel_ranges(int64_t count, int64_t grain,
                     const std::function<void(int64_t, int64_t)>& work);

}  // namespace graft
