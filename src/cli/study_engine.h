// Trains the members of a study in this process, each as the run that `graft train` would make of
// it.
#pragma once

#include <memory>

#include "cli/study_forecast.h"
#include "cli/study_inputs.h"
#include "cli/study_members.h"
#include "study/sweep.h"

namespace graft {

class RunEngine final : public StudyEngine {
 public:
  explicit RunEngine(StudyLimits limits);

  Node resolve(const StudyFile& study, const MemberDraft& member) override;
  void check(const PlannedMember& member) override { forecast_.add(member); }
  bool run(const std::vector<StudyRun>& runs, StudyEnds& ends) override;

  // Of the members that were checked.
  std::string forecast() { return forecast_.text(); }
  // Where others train what was checked here.
  void release_inputs() { inputs_.release(); }

 private:
  struct Target;  // what a study's model is, read once
  const Target& target_of(const StudyFile& study);

  StudyLimits limits_;
  StudyInputs inputs_;
  StudyForecast forecast_;
  std::shared_ptr<const Target> target_;
};

}  // namespace graft
