// graft inspect model: family, sizes, parameters and sites of a model.
#pragma once

#include "base/files.h"
#include "model/config.h"

namespace graft {

// Writes to standard output. Returns the exit code.
int inspect_model(const Path& model, const IgnoredKeys& ignored);

}  // namespace graft
