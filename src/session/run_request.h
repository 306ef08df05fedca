// What a user asks of a training run (a file, paths, a preset, settings), resolved to the config of
// one: run.yaml with every default in it.
#pragma once

#include <functional>
#include <string>

#include "graft/run.h"
#include "session/share.h"
#include "train/config.h"

namespace graft {

// `note`: told what the user may not expect, line by line; may be empty. Throws InputError listing
// every fault.
RunConfig resolve_run(const RunRequest& request, const Share& share,
                      const std::function<void(const std::string& line)>& note = {});

// The config of the run in folder `dir`. Throws InputError where there is none.
RunConfig read_run(const Path& dir);

// `path` itself as training rows, or the train/dev/test files of a folder.
DataConfig find_data(const std::string& path);

}  // namespace graft
