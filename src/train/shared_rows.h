// Rows as token ids, made once for all runs of a process that read the same ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "infer/kept_rows.h"

namespace graft {

// Values by what they are made of. Used by one thread.
class SharedRows {
 public:
  // The value of `key`, made by `make` where there is none yet. A key has one type.
  template <class T>
  std::shared_ptr<const T> get(const std::string& key, const std::function<T()>& make) {
    std::shared_ptr<const void> found = find(key);
    if (found == nullptr) keep(key, found = std::make_shared<const T>(make()));
    return std::static_pointer_cast<const T>(found);
  }
  // Of what runs keep of their rows beside these.
  const std::shared_ptr<KeptPool>& kept() const { return kept_; }
  bool has(const std::string& key) const { return entries_.contains(key); }

 private:
  struct Entry {
    std::shared_ptr<const void> value;
    int64_t last_use = 0;
  };

  // Values that no run holds are kept for the next ones, but no more than so many in all.
  static constexpr size_t kMost = 64;

  std::shared_ptr<const void> find(const std::string& key);
  void keep(const std::string& key, std::shared_ptr<const void> value);

  std::map<std::string, Entry> entries_;
  std::shared_ptr<KeptPool> kept_ = std::make_shared<KeptPool>();
  int64_t uses_ = 0;
};

}  // namespace graft
