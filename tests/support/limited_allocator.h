// An allocator of tensors that refuses: what is larger than a limit, or one allocation among many,
// with the words of libtorch's where the system has no memory. In place while it lives.
#pragma once

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace graft::testing {

class LimitedAllocator final : public c10::Allocator {
 public:
  LimitedAllocator() : own_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this); }
  ~LimitedAllocator() override { c10::SetCPUAllocator(own_); }
  LimitedAllocator(const LimitedAllocator&) = delete;

  c10::DataPtr allocate(size_t bytes) override {
    largest = std::max(largest, bytes);
    TORCH_CHECK(bytes <= limit && count++ != refused,
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate ", bytes,
                " bytes. Error code 12 (Cannot allocate memory)");
    return own_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return own_->raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    own_->copy_data(to, from, bytes);
  }

  size_t limit = SIZE_MAX;
  int64_t refused = -1;  // by its number among all
  size_t largest = 0;    // that was asked for
  int64_t count = 0;     // of all

 private:
  c10::Allocator* own_;
};

}  // namespace graft::testing
