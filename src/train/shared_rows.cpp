#include "train/shared_rows.h"

#include <utility>

namespace graft {

std::shared_ptr<const void> SharedRows::find(const std::string& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return nullptr;
  found->second.last_use = ++uses_;
  return found->second.value;
}

void SharedRows::keep(const std::string& key, std::shared_ptr<const void> value) {
  if (entries_.size() >= kMost) {
    auto oldest = entries_.end();
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      const bool is_held = entry->second.value.use_count() > 1;
      const bool is_older =
          oldest == entries_.end() || entry->second.last_use < oldest->second.last_use;
      if (!is_held && is_older) oldest = entry;
    }
    if (oldest != entries_.end()) entries_.erase(oldest);
  }
  entries_[key] = {std::move(value), ++uses_};
}

}  // namespace graft
