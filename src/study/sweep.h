// Running a study: its members one after another, each once, whatever stops the process between.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/document.h"
#include "study/plan_file.h"
#include "study/store.h"

namespace graft {

// What trains a member.
class StudyEngine {
 public:
  virtual ~StudyEngine() = default;

  // The whole run.yaml of a member but for the folder, checked as far as can be before anything is
  // trained. Throws InputError.
  virtual Node resolve(const StudyFile& study, const MemberDraft& member) = 0;
  // Trains it in `folder`, or goes on with what an earlier process began there; none where it was
  // asked to stop. Throws InputError where the member fails, and would again.
  virtual std::optional<MemberResult> run(const Node& settings, const Path& folder) = 0;
};

// Every member with its whole settings. Throws InputError, before anything is trained, listing what
// is wrong with any member, each with the line and column of what it comes from; and members that
// are the same run.
StudyPlan plan_study(const StudyFile& study, StudyEngine& engine);

// Of n shards the k-th, from 1, has every n-th member from the k-th on.
struct Shard {
  size_t index = 1, count = 1;

  bool has(size_t member) const { return member % count == index - 1; }
};

// "2/8". Throws InputError.
Shard parse_shard(const std::string& text);

// Where a study's results are: OUT/study.db and OUT/runs, or those of a shard.
Path store_path(const Path& out, const Shard& shard);
Path runs_path(const Path& out, const Shard& shard);

struct SweepProgress {
  std::string member;
  size_t done = 0, total = 0;          // of this shard
  std::optional<double> seconds_left;  // by the members that this process has finished
};

struct SweepOptions {
  Path out;
  Shard shard = {};
  bool retries_failed = false;
  std::function<void(const SweepProgress&)> starts = {};  // before each member; may be empty
  std::function<void(const std::string& member, const std::string& reason)> failed = {};
};

struct SweepEnd {
  bool is_stopped = false;
  size_t done = 0, failed = 0, total = 0;  // of this shard, by earlier processes too
};

// What is done is skipped; so is what failed, unless retries_failed. Throws InputError where the
// results in `out` are of another study, or another process is at them.
SweepEnd sweep(const StudyFile& study, const StudyPlan& plan, StudyEngine& engine,
               const SweepOptions& options);

}  // namespace graft
