#include "tensor/parallel.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

namespace graft {

namespace {

// What a compiler emits for `#pragma omp parallel`. Zero threads means the pool's own number:
// asking for another makes libgomp rebuild its pool.
using ParallelRegion = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);

ParallelRegion find_runtime() {
  return reinterpret_cast<ParallelRegion>(
      dlsym(RTLD_DEFAULT, "GOMP_parallel"));  // null: one thread
}

struct Work {
  const std::function<void(int64_t)>& task;
  int64_t count;
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;

  void run() {
    try {
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) task(i);
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
};

}  // namespace

void parallel_tasks(int64_t count, const std::function<void(int64_t)>& task) {
  static const ParallelRegion region = find_runtime();
  if (count <= 1 || region == nullptr || at::get_num_threads() == 1 || at::in_parallel_region()) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  Work work{task, count, {}, {}, {}};
  region([](void* data) { static_cast<Work*>(data)->run(); }, &work, 0, 0);
  if (work.failure) std::rethrow_exception(work.failure);
}

void parallel_ranges(int64_t count, int64_t grain,
                     const std::function<void(int64_t, int64_t)>& work) {
  grain = std::max<int64_t>(grain, 1);
  parallel_tasks((count + grain - 1) / grain,
                 [&](int64_t piece) { work(piece * grain, std::min(count, (piece + 1) * grain)); });
}

}  // namespace graft
