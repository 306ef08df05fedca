// Members of a study trained in processes of their own, each with a share of the threads, of the
// memory and of the members.
//
// A worker reads its members from its standard input, a JSON object a line, trains them as one
// process would, and writes what StudyEnds tells on its standard output, a JSON object a line:
// {"started": 0}, {"advanced": 1.5}, {"failed": 0, "reason": "..."}, {"finished": 0, "result":
// {...}}; {"refused": "..."} where the system refuses what all need. Numbers are places among its
// own members.
#pragma once

#include <cstdint>
#include <vector>

#include "cli/study_engine.h"

namespace graft {

struct WorkerOptions {
  int64_t workers = 1;  // at most
  int64_t threads = 1;  // of all together
};

class WorkerEngine final : public StudyEngine {
 public:
  // `engine` resolves and checks; `limits` are those of one worker.
  WorkerEngine(RunEngine& engine, StudyLimits limits, WorkerOptions options)
      : engine_(engine), limits_(limits), options_(options) {}

  Node resolve(const StudyFile& study, const MemberDraft& member) override {
    return engine_.resolve(study, member);
  }
  void check(const PlannedMember& member) override { engine_.check(member); }
  // The members that a worker was at when the system killed it have failed; those that it had not
  // begun are dealt anew. Throws IoError where the system refuses a worker what all need.
  bool run(const std::vector<StudyRun>& runs, StudyEnds& ends) override;

 private:
  RunEngine& engine_;
  StudyLimits limits_;
  WorkerOptions options_;
};

struct WorkFlags {
  int64_t together = 1, memory = 0, threads = 0;
  int64_t parent = 0;  // process that started it
};

// What a worker does; its exit code.
int work_for_study(const WorkFlags& flags);

// The name of its command, `graft sweep worker-process`; not for people.
inline constexpr const char* kWorkerCommand = "worker-process";

}  // namespace graft
