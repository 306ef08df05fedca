// A study in the forms of other tools: event files for TensorBoard, and the results of PEFT's
// method comparison.
#pragma once

#include <set>
#include <string>

#include "base/files.h"
#include "study/store.h"

namespace graft {

// A name as one on a disk that is not `taken` yet; it is then.
std::string file_name(const std::string& name, std::set<std::string>& taken);

// DIR/<member>/events.out.tfevents.0.graft of every member that is done: its curves as scalars, tag
// "eval/accuracy". The time of an event is its step in seconds since 1970: clock readings are not
// kept by step. Files that are there are replaced.
void write_event_files(const StudyStore& store, const Path& dir);

// DIR/<method>--<member>.json of every member that is done, as method_comparison/MetaMathQA of PEFT
// holds them: seeds stand in the name, for its reader keeps one result a name. The accuracy is that
// of `test`, else of `eval` (accuracy or exact_match); memory is the process's largest. Throws
// InputError where a member has no such score.
void write_peft_results(const StudyStore& store, const Path& dir);

}  // namespace graft
