// An input iterator over text that tells a shared counter how far its reader has come. nlohmann's
// event parser does not say where an event happened; what it has read when the event fires does.
#pragma once

#include <cstddef>
#include <iterator>

namespace graft {

class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* place, size_t* num_read) : place_(place), num_read_(num_read) {}
  reference operator*() const { return *place_; }
  CountingIterator& operator++() {
    ++place_;
    ++*num_read_;
    return *this;
  }
  CountingIterator operator++(int) {
    const CountingIterator old = *this;
    ++*this;
    return old;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) {
    return a.place_ == b.place_;
  }

 private:
  const char* place_;
  size_t* num_read_;
};

}  // namespace graft
