#include "train/loop.h"

namespace graft {

RunEnd drive(Run& run) {
  while (!run.is_done()) {
    run.step();
    if (!run.is_done() && run.wants_stop()) {
      run.checkpoint();
      return RunEnd::kStopped;
    }
  }
  run.finish();  // also of one that stopped between its last step and its end
  return RunEnd::kDone;
}

}  // namespace graft
