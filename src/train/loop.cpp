#include "train/loop.h"

namespace graft {

RunEnd drive(std::vector<std::unique_ptr<Run>>& runs) {
  for (auto& run : runs) {  // one that stopped between its last step and its end
    if (run->is_done()) run->finish();
  }
  for (bool is_working = true; is_working;) {
    is_working = false;
    for (auto& run : runs) {
      if (run->is_done()) continue;
      is_working = true;
      run->step();
      if (run->is_done()) run->finish();
      if (!run->wants_stop()) continue;
      bool is_left = false;
      for (auto& other : runs) {
        if (other->is_done()) continue;
        is_left = true;
        other->checkpoint();
      }
      return is_left ? RunEnd::kStopped : RunEnd::kDone;  // it was asked for with the last step
    }
  }
  return RunEnd::kDone;
}

}  // namespace graft
