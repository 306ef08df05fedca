// Running a study: each of its members once, whatever stops the process between.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/descriptors.h"
#include "base/document.h"
#include "study/plan_file.h"
#include "study/store.h"

namespace graft {

// A member that is to be trained.
struct StudyRun {
  size_t member = 0;  // its index in the plan
  const PlannedMember* planned = nullptr;
  Path folder;
};

// What an engine tells of the members that it trains, by their index in the plan.
class StudyEnds {
 public:
  virtual ~StudyEnds() = default;

  virtual void started(size_t member) = 0;
  virtual void finished(size_t member, const MemberResult& result) = 0;
  // It fails, and would again.
  virtual void failed(size_t member, const std::string& reason) = 0;
  // What is done of those that have started and not ended: 1.5 where one is at its half and another
  // about to end.
  virtual void advanced(double members) = 0;
};

// What trains members.
class StudyEngine {
 public:
  virtual ~StudyEngine() = default;

  // The whole run.yaml of a member but for the folder, checked as far as can be before anything is
  // trained. Throws InputError.
  virtual Node resolve(const StudyFile& study, const MemberDraft& member) = 0;
  // Whether it can be trained here: throws InputError where not, before anything is trained.
  virtual void check(const PlannedMember& member) = 0;
  // Trains all of them, each in its folder, or goes on with what an earlier process began there; in
  // which order and how many at once is the engine's. Tells each end once, as it comes. False where
  // it was asked to stop: what has not ended can go on.
  virtual bool run(const std::vector<StudyRun>& runs, StudyEnds& ends) = 0;
};

// One process at a time works at the results of a folder, or at its search. Throws IoError where
// another does, or the folder cannot be opened.
class FolderLock {
 public:
  explicit FolderLock(const Path& folder);

 private:
  Descriptor folder_;
};

// Whether what a message of StudyEngine::resolve says is about this setting.
bool names_setting(const std::string& message, const std::string& key);

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
  size_t done = 0, under_way = 0, total = 0;  // of this shard; done: and failed
  double work = 0;  // members that are done or failed, and what is done of others
};

struct SweepOptions {
  Path out;
  Shard shard = {};
  bool retries_failed = false;
  // All may be empty. When a member starts, its name and how far the study is,
  std::function<void(const std::string& member, const SweepProgress&)> starts = {};
  std::function<void(const SweepProgress&)> advances = {};  // between steps,
  std::function<void(const std::string& member, const std::string& reason)> failed = {};
};

struct SweepEnd {
  bool is_stopped = false;
  size_t done = 0, failed = 0, total = 0;  // of this shard, by earlier processes too
};

// What is done is skipped; so is what failed, unless retries_failed. Throws InputError where the
// results in `out` are of another study, IoError where another process is at them.
SweepEnd sweep(const StudyFile& study, const StudyPlan& plan, StudyEngine& engine,
               const SweepOptions& options);

}  // namespace graft
