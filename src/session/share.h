// The folder with what comes ready by name: presets/ (adapters) and tasks/. A program says where it
// lies.
#pragma once

#include "base/files.h"

namespace graft {

struct Share {
  Path dir;

  // "" of no folder, where nothing is found by name.
  Path presets() const { return dir.empty() ? dir : dir / "presets"; }
  Path tasks() const { return dir.empty() ? dir : dir / "tasks"; }
};

}  // namespace graft
