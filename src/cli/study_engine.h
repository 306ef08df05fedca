// Trains the members of a study in this process, each as the run that `graft train` would make of
// it.
#pragma once

#include <csignal>
#include <memory>

#include "data/task.h"
#include "study/sweep.h"
#include "train/inputs.h"

namespace graft {

class RunEngine final : public StudyEngine {
 public:
  Node resolve(const StudyFile& study, const MemberDraft& member) override;
  std::optional<MemberResult> run(const Node& settings, const Path& folder) override;

  // Of the signal that stopped the last run; 0 where none did.
  int signal() const { return signal_; }

 private:
  struct Target;  // what a study's model is, read once
  const Target& target_of(const StudyFile& study);

  std::shared_ptr<const Target> target_;
  std::shared_ptr<const Model> model_;  // of the last run, for the next one
  int signal_ = 0;
};

}  // namespace graft
