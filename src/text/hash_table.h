// A hash table from 64-bit keys to small values: open addressing, linear probing, no erasure. For
// tables built once and read hot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace graft {

template <typename Value>
class HashTable {
 public:
  // Room for about `expected` entries; grows when more come.
  explicit HashTable(size_t expected = 8) { resize(expected * 2); }

  // The value of `key`, or null. The key ~0 is reserved.
  const Value* find(uint64_t key) const {
    for (size_t at = slot(key);; at = (at + 1) & mask_) {
      if (slots_[at].first == key) return &slots_[at].second;
      if (slots_[at].first == kFree) return nullptr;
    }
  }

  // Returns the value at `key`, inserting `value` when absent; second: whether it was inserted.
  std::pair<Value*, bool> insert(uint64_t key, Value value) {
    if ((count_ + 1) * 2 > slots_.size()) resize(slots_.size() * 2);
    for (size_t at = slot(key);; at = (at + 1) & mask_) {
      if (slots_[at].first == key) return {&slots_[at].second, false};
      if (slots_[at].first == kFree) {
        slots_[at] = {key, value};
        ++count_;
        return {&slots_[at].second, true};
      }
    }
  }

  size_t size() const { return count_; }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};

  size_t slot(uint64_t key) const {
    return static_cast<size_t>((key * 0x9E3779B97F4A7C15ull) >> shift_) & mask_;
  }

  void resize(size_t wanted) {
    size_t size = 16;
    int bits = 4;
    while (size < wanted) size *= 2, ++bits;
    std::vector<std::pair<uint64_t, Value>> old(size, {kFree, Value{}});
    old.swap(slots_);
    mask_ = size - 1;
    shift_ = 64 - bits;
    count_ = 0;
    for (const auto& [key, value] : old) {
      if (key != kFree) insert(key, value);
    }
  }

  std::vector<std::pair<uint64_t, Value>> slots_;
  size_t mask_ = 0, count_ = 0;
  int shift_ = 60;
};

}  // namespace graft
