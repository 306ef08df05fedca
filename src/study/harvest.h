// What a run's folder says of it, for the file of a study.
#pragma once

#include <string>

#include "base/files.h"
#include "study/store.h"

namespace graft {

// Scores, facts and readings of metrics.json, curves and records of log.jsonl (doc/run_folder.md);
// no answers. Of each side the score `primary` comes first, the loss last. Throws InputError where
// the run is not finished or a file is damaged.
MemberResult read_run_folder(const Path& folder, const std::string& primary);

}  // namespace graft
