// graft inspect presets, graft inspect tasks: what is ready, a line each, with what its file says
// it is.
#pragma once

namespace graft {

// Write to standard output. Return the exit code.
int inspect_presets();
int inspect_tasks();

}  // namespace graft
