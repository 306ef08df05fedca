// Several training runs on one trunk in memory.
//
// A member is a run of its own: its adapter, rows, order, seed, rate, dropout, clipping, optimizer,
// log, checkpoints, folder and stop, the files that `graft train` writes. What the members share is
// the trunk: in each step those whose adapters read its weights as they are pass together, a lane
// each (two for AdaMix); those that rewrite weights (full fine-tuning, BitFit, ...) take turns.
//
// A member has the bits that it has alone: no row of a trunk depends on the rows of another lane,
// each lane has the rows that it has in a pass of its own, and what it draws begins with its own
// key. One that fails (a loss that is not finite, a disk that is full, no memory for its batch)
// leaves with its reason, and the others go on as if it had not been there.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "train/run.h"

namespace graft {

// Used by one thread.
class Members {
 public:
  enum class State { kTraining, kDone, kFailed, kLeft };

  // What is known of a member, also when its run is no longer in memory.
  struct Status {
    std::string out;  // its folder
    State state = State::kTraining;
    std::string failure = {};       // why it failed; empty unless it has
    std::exception_ptr error = {};  // the same as it was thrown
    int64_t steps_done = 0, total_steps = 0;
  };

  // `pass_tokens`: how many tokens of rows may share a pass; more make another one. What is
  // computed does not depend on it.
  explicit Members(int64_t pass_tokens = kPassTokens);

  // A run joins; its place in the list. All must have one model in memory: load_inputs(config,
  // tasks_dir, model). Throws as Run does, and InputError for another model; the others are as they
  // were.
  size_t join(RunInputs inputs, StartMode mode = StartMode::kFresh, Observer* observer = nullptr);
  // A run leaves with a checkpoint, from which it can be resumed, here or alone; where that cannot
  // be written it has failed. Requires: it is training.
  void leave(size_t member);

  // One step of every member that trains; those that come to their end are finished (Run::finish).
  void step();
  // True when no member trains.
  bool is_done() const;
  // Of all that train.
  void checkpoint();

  size_t size() const { return members_.size(); }
  const Status& status(size_t member) const { return members_.at(member).status; }
  // Of a member that is done; once.
  FinalEvaluations take_evaluations(size_t member) {
    return std::exchange(members_.at(member).evaluations, {});
  }
  // How many train.
  size_t num_training() const;

  static constexpr int64_t kPassTokens = 1024;

 private:
  struct Member {
    std::unique_ptr<Run> run;  // none unless it trains
    Status status;
    FinalEvaluations evaluations;
  };

  template <class F>
  static void guarded(Member& member, F f);
  static void end_step(Member& member);
  static void step_alone(Member& member);
  static void step_apart(std::vector<std::pair<Member*, StepWork>> works);
  void step_together(const std::vector<Member*>& members) const;

  std::vector<Member> members_;
  std::shared_ptr<const Model> model_;  // of the first member
  int64_t pass_tokens_;
};

}  // namespace graft
