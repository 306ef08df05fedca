#include "tensor/dispatch.h"

#include <cstdlib>
#include <string>

#include "base/error.h"

namespace graft {

namespace {

bool read_environment() {
  const char* value = std::getenv("GRAFT_PLAIN");
  const std::string found = value != nullptr ? value : "";
  if (found.empty() || found == "0") return false;
  if (found == "1") return true;
  throw InputError(
      "GRAFT_PLAIN: expected 1 (plain operations) or 0 (kernels, the default), found " +
      quote(found));
}

}  // namespace

bool only_plain_forms() {
  static const bool only_plain = read_environment();
  return only_plain;
}

}  // namespace graft
