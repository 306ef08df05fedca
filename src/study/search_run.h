// The searches of a study: before its members run, each method is tried with other settings and
// seeds on the rows that choose, and the best settings become those of its members.
#pragma once

#include <functional>

#include "study/sweep.h"

namespace graft {

inline constexpr const char* kSearchFile = "search.json";  // in the folder of the study

struct SearchOptions {
  Path out;             // OUT/search.json, and the runs below OUT/search
  bool may_run = true;  // else all must be in the file
  bool retries_failed = false;
  std::function<void(const std::string& run, size_t done, size_t most)> starts = {};
  std::function<void(const std::string& trial, const std::string& reason)> failed = {};
};

// The content of folder/search.json, for a page; null where there is none. Throws InputError where
// it is damaged. (In search_record.cpp.)
Node read_searches(const Path& folder);

// Throws InputError where a setting that is searched stands elsewhere in the study, is none, has a
// value that a member cannot have, or changes nothing; or where a seed of the search is one of the
// members'. (In search_check.cpp.)
void check_search(const StudyFile& study, StudyEngine& engine);

// One search for each method, task and other factor but the seeds, by the mean over the search's
// seeds of the first score of `eval`. Every trial that is over is in search.json, with its scores,
// and what was given up with its reason: a process that is killed goes on there; with
// retries_failed at the first trial that failed. Puts the settings found into the members of
// `study`. False where the engine was asked to stop. Throws InputError where the file is of another
// search, a search has no trial that came to its end, or may_run is false and trials are missing;
// IoError where another process is at it.
bool run_search(StudyFile& study, StudyEngine& engine, const SearchOptions& options);

}  // namespace graft
