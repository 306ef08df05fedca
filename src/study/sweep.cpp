#include "study/sweep.h"

#include <fcntl.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"

namespace graft {

namespace {

constexpr size_t kMostFaults = 20;  // that are told

// "models/minilm/config.json:3:5: ..." or "'models/minilm': ...", of `path` or a file in it.
bool is_about(const std::string& message, const std::string& path) {
  const auto ends_at = [&](size_t end) {
    return end < message.size() && std::string_view("/:'").find(message[end]) != std::string::npos;
  };
  const size_t quoted = message.find("'" + path);
  return (message.starts_with(path) && ends_at(path.size())) ||
         (quoted != std::string::npos && ends_at(quoted + 1 + path.size()));
}

// Where in the file the fault of a member comes from: a setting that the message names, else the
// model or the task where it is about that, else the method.
std::string place_of(const StudyFile& study, const MemberDraft& member,
                     const std::string& message) {
  for (const StudySetting& setting : member.settings) {
    if (names_setting(message, setting.key)) return setting.place;
  }
  if (is_about(message, study.model)) return study.model_place;
  for (const std::string& word :
       {std::string("task"), member.task, member.data, member.train, member.eval, member.test}) {
    if (!word.empty() && message.find(word) != std::string::npos) return member.task_place;
  }
  return member.method_place;
}

struct MemberFault {
  std::string place, member, message;
  size_t others = 0;  // members with the same one
};

std::string faults_text(const std::vector<MemberFault>& faults) {
  std::string out;
  const size_t told = std::min(faults.size(), kMostFaults);
  for (size_t i = 0; i < told; ++i) {
    const MemberFault& fault = faults[i];
    const std::string others =
        fault.others == 0 ? "" : " and " + std::to_string(fault.others) + " more";
    out += (i == 0 ? "" : "\n") + fault.place + ": member " + quote(fault.member) + others + ": " +
           fault.message;
  }
  if (told < faults.size()) out += "\nand " + std::to_string(faults.size() - told) + " more faults";
  return out;
}

// The settings that make a run: what it is called does not.
Node run_of(Node settings) {
  std::erase_if(settings.members, [](const auto& each) {
    return each.first == "adapter_name" || each.first == "out";
  });
  return settings;
}

}  // namespace

FolderLock::FolderLock(const Path& folder)
    : folder_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (folder_.get() < 0) throw IoError(refused("cannot open", folder));
  if (!lock_alone(folder_.get()))
    throw IoError("'" + folder.string() +
                  "': another process is running this study; wait for it, or stop it first");
}

bool names_setting(const std::string& message, const std::string& key) {
  const std::string last = key.substr(key.rfind('.') + 1);
  for (const std::string& form : {setting_text(key + "="), "/" + key + ":", "/" + last + ":"}) {
    if (message.find(form) != std::string::npos) return true;
  }
  return message.starts_with(key + ": ");  // elsewhere in a message "key: value" is advice
}

StudyPlan plan_study(const StudyFile& study, StudyEngine& engine) {
  StudyPlan plan{study.name, study.text, {}};
  std::vector<MemberFault> faults;
  std::map<std::string, std::string> seen;  // settings, and where their method stands
  const auto tell = [&](const std::string& place, const std::string& member,
                        const std::string& message) {
    for (MemberFault& fault : faults) {
      if (fault.place == place && fault.message == message) {
        ++fault.others;
        return;
      }
    }
    faults.push_back({place, member, message});
  };
  for (const MemberDraft& member : study.members) {
    try {
      const Node settings = engine.resolve(study, member);
      const auto [first, is_new] = seen.emplace(to_json(run_of(settings), -1), member.method_place);
      if (!is_new)
        tell(member.method_place, member.name,
             "is the same run as a member of the method at " + first->second + "; leave one out");
      plan.members.push_back({member.name, member.factors, to_json(settings, -1)});
      engine.check(plan.members.back());
    } catch (const InputError& error) {
      tell(place_of(study, member, error.what()), member.name, error.what());
    }
  }
  if (!faults.empty()) throw InputError(faults_text(faults));
  return plan;
}

Shard parse_shard(const std::string& text) {
  const std::string_view all = text;
  const size_t slash = std::min(all.find('/'), all.size());
  const std::optional<int64_t> index = whole_number(all.substr(0, slash));
  const std::optional<int64_t> count = whole_number(all.substr(std::min(slash + 1, all.size())));
  if (index && count && *index >= 1 && *index <= *count)
    return {static_cast<size_t>(*index), static_cast<size_t>(*count)};
  throw InputError(option_name("shard") +
                   ": expected K/N, the K-th of N parts, such as 2/8, found " + quote(text));
}

Path store_path(const Path& out, const Shard& shard) {
  if (shard.count == 1) return out / "study.db";
  return out /
         ("shard-" + std::to_string(shard.index) + "-of-" + std::to_string(shard.count) + ".db");
}

Path runs_path(const Path& out, const Shard& shard) {
  if (shard.count == 1) return out / "runs";
  return out / ("runs-" + std::to_string(shard.index) + "-of-" + std::to_string(shard.count));
}

namespace {

// Puts into the store what an engine tells.
class KeptEnds final : public StudyEnds {
 public:
  KeptEnds(StudyStore& store, const SweepOptions& options, SweepEnd& end)
      : store_(store), options_(options), end_(end) {}

  void started(size_t member) override {
    under_way_.insert(member);
    if (options_.starts) options_.starts(name_of(member), progress());
  }
  void finished(size_t member, const MemberResult& result) override {
    store_.finish(member, result);
    ++end_.done;
    under_way_.erase(member);
  }
  void failed(size_t member, const std::string& reason) override {
    store_.fail(member, reason);
    ++end_.failed;
    under_way_.erase(member);  // where it had started
    if (options_.failed) options_.failed(name_of(member), reason);
  }
  void advanced(double members) override {
    advanced_ = members;
    if (options_.advances) options_.advances(progress());
  }

 private:
  const std::string& name_of(size_t member) const { return store_.plan().members[member].name; }
  SweepProgress progress() const {
    const size_t done = end_.done + end_.failed;
    return {done, under_way_.size(), end_.total, static_cast<double>(done) + advanced_};
  }

  StudyStore& store_;
  const SweepOptions& options_;
  SweepEnd& end_;
  std::set<size_t> under_way_;
  double advanced_ = 0;
};

}  // namespace

SweepEnd sweep(const StudyFile& study, const StudyPlan& plan, StudyEngine& engine,
               const SweepOptions& options) {
  ensure(study.members.size() == plan.members.size(), "a plan is of its study");
  const Path runs = runs_path(options.out, options.shard);
  make_directories(runs);
  const FolderLock lock(runs);
  StudyStore store = StudyStore::open(store_path(options.out, options.shard), plan);
  const std::vector<MemberStatus> statuses = store.statuses();
  SweepEnd end;
  std::vector<StudyRun> left;
  for (size_t i = 0; i < plan.members.size(); ++i) {
    if (!options.shard.has(i)) continue;
    ++end.total;
    const bool is_failed = statuses[i].state == MemberState::kFailed;
    if (statuses[i].state == MemberState::kDone) ++end.done;
    else if (is_failed && !options.retries_failed) ++end.failed;
    else left.push_back({i, &plan.members[i], runs / study.members[i].folder});
  }
  KeptEnds ends(store, options, end);
  end.is_stopped = !engine.run(left, ends) && end.done + end.failed < end.total;
  return end;
}

}  // namespace graft
