#include "base/version.h"

namespace graft {

const char* const kVersionText = GRAFT_VERSION;

void check_version(int64_t version, int64_t newest, const std::string& source) {
  if (version <= newest) return;
  throw NewerVersion(source + ": version " + std::to_string(version) +
                     " is newer than this graft reads (" + std::to_string(newest) +
                     "): update graft");
}

}  // namespace graft
