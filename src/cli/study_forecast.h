// What a study will take: members at once, memory and time, before anything is trained.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/study_inputs.h"
#include "cli/study_members.h"

namespace graft {

// What a member computes, in tokens that are trained on: an evaluation goes forward alone, and
// counts a third.
struct MemberWork {
  double steps = 0;  // with the evaluations between them
  double last = 0;   // the evaluation of what is kept
};
MemberWork work_of(const RunInputs& inputs);

class StudyForecast {
 public:
  // `inputs` must outlive it.
  StudyForecast(StudyInputs& inputs, StudyLimits limits) : inputs_(inputs), limits_(limits) {}

  // The next member of the study. Throws InputError where its rows cannot be trained on, or it
  // alone takes more memory than there is.
  void add(const PlannedMember& member);
  // Lines for a person. Times a few steps of each method and task.
  std::string text();

 private:
  struct Member {
    PlannedMember planned;
    Footprint footprint = {};
    MemberWork work = {};
  };

  double seconds_per_token(const Member& member);

  StudyInputs& inputs_;
  StudyLimits limits_;
  std::vector<Member> members_;
  std::map<std::string, double> seconds_per_token_;  // by method and task
};

}  // namespace graft
