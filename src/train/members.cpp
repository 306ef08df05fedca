#include "train/members.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/timer.h"
#include "train/memory.h"
#include "train/out_of_memory.h"

namespace graft {

namespace {

// Of one run among others.
MemoryNeed member_need() {
  return {0, std::string(kLowerMemory) + ", or train fewer runs at once"};
}

}  // namespace

Members::Members(int64_t pass_tokens) : pass_tokens_(pass_tokens) {}

size_t Members::join(RunInputs inputs, StartMode mode, Observer* observer) {
  if (model_ != nullptr && inputs.model != model_) {
    throw InputError("'" + inputs.config.out + "': a member trains on '" + inputs.model->source +
                     "', loaded once more; all members of a study share one model in memory");
  }
  const std::shared_ptr<const Model> model = inputs.model;
  Member joined{std::make_unique<Run>(std::move(inputs), mode, observer), {}, {}};
  model_ = model;
  joined.status = {.out = joined.run->config().out, .total_steps = joined.run->total_steps()};
  Member& member = members_.emplace_back(std::move(joined));
  guarded(member, [&] { end_step(member); });  // a run may have stopped between last step and end
  return members_.size() - 1;
}

// What goes wrong in `f` is the member's own: it leaves.
template <class F>
void Members::guarded(Member& member, F f) {
  try {
    with_memory_need<InputError>(member_need(), f);
  } catch (const InputError& error) {
    member.status.failure = error.what();
    member.status.error = std::current_exception();
  } catch (const IoError& error) {
    member.status.failure = error.what();
    member.status.error = std::current_exception();
  }
  if (!member.status.failure.empty()) member.status.state = State::kFailed;
  if (member.status.state != State::kTraining) member.run.reset();
}

void Members::leave(size_t index) {
  Member& member = members_.at(index);
  ensure(member.status.state == State::kTraining, "a member that leaves is training");
  guarded(member, [&] {
    member.run->checkpoint();
    member.status.state = State::kLeft;
  });
}

void Members::end_step(Member& member) {
  member.status.steps_done = member.run->steps_done();
  if (!member.run->is_done()) return;
  member.evaluations = member.run->finish();
  member.status.state = State::kDone;
}

void Members::step_alone(Member& member) {
  guarded(member, [&] {
    member.run->step();
    end_step(member);
  });
}

void Members::step() {
  std::vector<Member*> together;
  for (Member& member : members_) {
    if (member.status.state != State::kTraining) continue;
    if (member.run->rewrites_trunk()) step_alone(member);
    else together.push_back(&member);
  }
  step_together(together);
}

// A pass failed in which several were. It has updated nothing: what it leaves are gradients in the
// bound tensors of `works`, which go with them, and each draws its step anew. By itself the one
// that failed shows that it is it; where there was no memory for all at once, none may be.
void Members::step_apart(std::vector<std::pair<Member*, StepWork>> works) {
  std::vector<Member*> members;
  for (const auto& drawn : works) members.push_back(drawn.first);
  works.clear();
  release_free_memory();
  for (Member* member : members) step_alone(*member);
}

void Members::step_together(const std::vector<Member*>& members) const {
  const Timer timer;
  std::vector<std::pair<Member*, StepWork>> works;
  for (Member* member : members)
    guarded(*member, [&] { works.emplace_back(member, member->run->draw()); });
  std::vector<StepWork*> shared;
  for (auto& drawn : works) shared.push_back(&drawn.second);
  bool has_failed = false;
  try {
    with_memory_need<InputError>(member_need(), [&] { run_passes(shared, pass_tokens_); });
  } catch (const InputError&) {
    has_failed = true;
  }
  if (has_failed) return step_apart(std::move(works));
  const double seconds = timer.seconds();
  int64_t tokens = 0;
  for (const StepWork* work : shared) tokens += work->sum().tokens;
  for (auto& drawn : works) {
    Member& member = *drawn.first;
    StepWork& work = drawn.second;
    const double share =
        static_cast<double>(work.sum().tokens) / static_cast<double>(std::max<int64_t>(tokens, 1));
    guarded(member, [&] {
      member.run->update(work, seconds * share);
      end_step(member);
    });
  }
}

size_t Members::num_training() const {
  const auto trains = [](const Member& member) { return member.status.state == State::kTraining; };
  return static_cast<size_t>(std::count_if(members_.begin(), members_.end(), trains));
}

bool Members::is_done() const { return num_training() == 0; }

void Members::checkpoint() {
  for (Member& member : members_) {
    if (member.status.state == State::kTraining) guarded(member, [&] { member.run->checkpoint(); });
  }
}

}  // namespace graft
