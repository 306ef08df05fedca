// What one file of a study has done, put into another: of shards that become one, and of a study
// that got more members.
#include <functional>

#include "base/error.h"
#include "base/files.h"
#include "study/database.h"
#include "study/store.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

// The member's result or failure, if it has one.
void copy_end(const StudyStore& from, size_t member, const MemberStatus& status, StudyStore& to,
              size_t place) {
  if (status.state == MemberState::kDone) to.finish(place, from.result(member));
  if (status.state == MemberState::kFailed) to.fail(place, status.reason);
}

// Takes over what `shard` has of each member. Throws InputError where `joined` has another result.
void take_members(const StudyStore& shard, const Path& path, StudyStore& joined) {
  const std::vector<MemberStatus> theirs = shard.statuses(), ours = joined.statuses();
  for (size_t i = 0; i < theirs.size(); ++i) {
    if (theirs[i].state == MemberState::kWaiting) continue;
    const bool is_done = theirs[i].state == MemberState::kDone;
    if (ours[i].state == MemberState::kWaiting) {
      copy_end(shard, i, theirs[i], joined, i);
      continue;
    }
    if (theirs[i] == ours[i] && (!is_done || shard.result(i).agrees_with(joined.result(i))))
      continue;
    throw InputError("'" + path.string() + "': the member " + quote(shard.plan().members[i].name) +
                     " is there and in a file before it, and the two differ; leave one out");
  }
}

// A study at `part` that `fill` fills; where that throws, no file stays.
void make_study(const Path& part, const StudyPlan& plan,
                const std::function<void(StudyStore&)>& fill) {
  try {
    StudyStore store = StudyStore::open(part, plan);
    fill(store);
  } catch (...) {
    fs::remove(part);
    throw;
  }
}

}  // namespace

void extend_study(const Path& path, const StudyPlan& plan) {
  const Path part = fresh_beside(path, ".extended");
  make_study(part, plan, [&](StudyStore& extended) {
    const StudyStore before = StudyStore::read(path);
    const std::vector<MemberStatus> statuses = before.statuses();
    const std::vector<size_t> places = plan.places_of(before.plan()).value();
    for (size_t i = 0; i < places.size(); ++i)
      copy_end(before, i, statuses[i], extended, places[i]);
  });
  rename_over(part, path);
}

void join_studies(const std::vector<Path>& files, const Path& out) {
  if (files.empty()) throw InputError("join: expected the files of a study, found none");
  if (fs::exists(out))
    throw InputError("'" + out.string() + "': is there already; give another file");
  const StudyPlan plan = StudyStore::read(files.front()).plan();
  const Path part = fresh_beside(out, ".joined");
  make_study(part, plan, [&](StudyStore& joined) {
    for (const Path& file : files) {
      const StudyStore shard = StudyStore::read(file);
      if (shard.plan().digest() != plan.digest())
        throw InputError("'" + file.string() + "': is of another study than '" +
                         files.front().string() + "': " + shard.plan().difference_from(plan));
      take_members(shard, file, joined);
    }
  });
  name_new_file(part, out);
}

}  // namespace graft
