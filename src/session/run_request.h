// What a user asks of a training run (a file, paths, a preset, settings), resolved to the config of
// one: run.yaml with every default in it.
#pragma once

#include <functional>
#include <string>

#include "edit/target.h"
#include "graft/run.h"
#include "session/presets.h"
#include "session/share.h"
#include "train/config.h"

namespace graft {

// `note`: told what the user may not expect, line by line; may be empty. Throws InputError listing
// every fault.
RunConfig resolve_run(const RunRequest& request, const Share& share,
                      const std::function<void(const std::string& line)>& note = {});

// The last part of it, where paths, task and preset stand in a document already: `settings` go over
// the preset and the document, every default of the preset is written out, and the whole is
// checked. `target`: of the document's model and task.
RunConfig resolve_document(Node document, AdapterPreset preset,
                           const std::vector<std::string>& settings, const EditTarget& target,
                           const std::string& source,
                           const std::function<void(const std::string& line)>& note = {});

// Puts the paths that are given into document.data.
void put_data(const DataConfig& data, Node& document, const std::string& source);

// The config of the run in folder `dir`. Throws InputError where there is none.
RunConfig read_run(const Path& dir);

// Of a config that read_run gave: throws InputError with the keys of run.yaml whose relative paths
// lead nowhere, as when the process works in another folder than the one that training began in.
void check_paths(const RunConfig& config);

// `path` itself as training rows, or the train/dev/test files of a folder.
DataConfig find_data(const std::string& path);

}  // namespace graft
