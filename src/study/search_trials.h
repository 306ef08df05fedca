// Internal to src/study.
//
// What a search tries: the members that share its result, and the run that a trial makes of them.
#pragma once

#include <string>
#include <vector>

#include "study/plan_file.h"
#include "study/plan_members.h"

namespace graft {

// The members that differ in seeds alone, and the first of them without its seeds.
struct SearchGroup {
  std::string name;
  MemberDraft draft;
  bool draws_rows = false;  // by a seed of theirs (seeds.rows), in place of the first ones
  std::vector<size_t> members;
};

// In the order of the study.
std::vector<SearchGroup> groups_of(const StudyFile& study);

// Where the file says what a trial sets; of its seed, the first of its settings.
const std::string& place_of_key(const SearchPlan& search, const std::string& key);

// A run of the trial.
MemberDraft draft_of(const SearchPlan& search, const SearchGroup& group, const Trial& trial,
                     int64_t seed);

}  // namespace graft
