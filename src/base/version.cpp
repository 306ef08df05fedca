#include "base/version.h"

namespace graft {

const char* const kVersionText = GRAFT_VERSION;

}  // namespace graft
