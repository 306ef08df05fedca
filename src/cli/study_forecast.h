// What a study will take: members at once, memory and time, before anything is trained.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/study_inputs.h"
#include "cli/study_members.h"

namespace graft {

class StudyForecast {
 public:
  // `inputs` must outlive it.
  StudyForecast(StudyInputs& inputs, StudyLimits limits) : inputs_(inputs), limits_(limits) {}

  // The next member of the study. What is wrong with its rows is its own failure when it comes to
  // train, told by check_rows. Throws InputError where it alone takes more memory than there is.
  void add(const PlannedMember& member);
  // Throws InputError that names a member whose rows cannot be trained on, and why.
  void check_rows() const;
  // Lines for a person. Times a few steps of each method and task.
  std::string text();

 private:
  struct Member {
    PlannedMember planned;
    Footprint footprint = {};
    double trained = 0, evaluated = 0;  // tokens, of all steps and evaluations
  };

  double seconds_per_token(const Member& member);

  StudyInputs& inputs_;
  StudyLimits limits_;
  std::vector<Member> members_;                               // that can be trained
  std::vector<std::pair<std::string, std::string>> refused_;  // the others: name and reason
  std::map<std::string, double> seconds_per_token_;           // by method and task
};

}  // namespace graft
