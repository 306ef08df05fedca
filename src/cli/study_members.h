// The members of a study at work on one model in memory: they join while memory allows, share
// passes where they can, and each is told at its end.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/files.h"
#include "cli/study_inputs.h"
#include "study/sweep.h"
#include "train/footprint.h"
#include "train/members.h"

namespace graft {

// How many members train at once.
struct StudyLimits {
  size_t together = 1;
  int64_t memory = 0;  // bytes, by what a plan foretells
};

class StudyMembers {
 public:
  // Members join in the order of `runs`. All must outlive it.
  StudyMembers(const std::vector<StudyRun>& runs, StudyEnds& ends, StudyInputs& inputs,
               StudyLimits limits);

  // All have ended.
  bool is_done() const { return under_way_.empty() && next_ == runs_.size(); }
  // Those that may join, and one step of all that train. Throws IoError: the others can go on from
  // their checkpoints.
  void step();
  // Checkpoints, to go on from. Throws what kept one from being written.
  void stop();

 private:
  // A member with all that it reads; what is left of that when a run has taken it.
  struct Loaded {
    StudyRun run;
    std::optional<RunInputs> inputs;
    Footprint footprint;
    Task task;
    ModelText text;
    std::shared_ptr<const EvalData> eval, test;
    GenerateOptions generation;
    double steps_share = 1;  // of its work; the rest is the evaluation of what it keeps
    size_t place = 0;        // in members_
  };

  void admit();
  bool has_room_for(const Loaded& loaded) const;
  std::optional<Loaded> load(const StudyRun& run);
  void start(Loaded loaded);
  void settle();
  template <class F>
  void tell_end(const Loaded& loaded, F evaluations);
  static MemberResult result_of(const Loaded& loaded, const FinalEvaluations& evaluations);
  FinalEvaluations evaluate_kept(const Loaded& loaded) const;
  template <class F>
  bool guarded(size_t member, F f);

  const std::vector<StudyRun>& runs_;
  StudyEnds& ends_;
  StudyInputs& inputs_;
  StudyLimits limits_;
  size_t next_ = 0;                // of runs_
  std::optional<Loaded> waiting_;  // runs_[next_], for whom there was no room
  std::vector<Loaded> under_way_;
  Members members_;
};

}  // namespace graft
