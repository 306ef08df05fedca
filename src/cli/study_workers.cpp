#include "cli/study_workers.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>

#include "base/error.h"
#include "cli/common.h"
#include "cli/training.h"
#include "cli/worker_process.h"

namespace graft {

namespace {

// Where a worker leaves the result of a member for its parent.
Path result_path(const Path& folder) { return folder / "result.db"; }

Node line_of(const StudyRun& run) {
  return Node::map({{"name", Node::text(run.planned->name)},
                    {"settings", Node::text(run.planned->settings)},
                    {"folder", Node::text(run.folder.string())}});
}

// "ended with 70", "was ended by signal 9 (Killed)".
std::string end_text(int code) {
  if (code >= 0) return "ended with " + std::to_string(code);
  return "was ended by signal " + std::to_string(-code) + " (" + ::strsignal(-code) + ")";
}

// A worker with the members that are its own.
class Worker {
 public:
  Worker(const std::vector<StudyRun>& runs, const StudyLimits& limits, int64_t threads)
      : runs_(runs),
        states_(runs.size(), State::kWaiting),
        process_({"sweep", "work", "--together", std::to_string(limits.together), "--memory",
                  std::to_string(limits.memory), "--threads", std::to_string(threads), "--parent",
                  std::to_string(::getpid())},
                 input_of(runs)) {}

  WorkerProcess& process() { return process_; }
  double advanced() const { return advanced_; }

  // Passes on what it has written since.
  void listen(StudyEnds& ends) {
    for (const std::string& line : process_.read_lines()) hear(line, ends);
  }

  // After its last line: what its end says of members that it has not told of. Those that can still
  // be trained are put to `left`.
  void settle(bool was_stopped, StudyEnds& ends, std::vector<StudyRun>& left) {
    const int code = process_.wait();
    advanced_ = 0;
    const bool has_begun = std::any_of(states_.begin(), states_.end(),
                                       [](State state) { return state != State::kWaiting; });
    if (!was_stopped && (code > 0 || !has_begun))  // to deal them anew would come to the same
      throw IoError("a worker process " + end_text(code) +
                    (has_begun ? "" : " before it began a member") + "; the same command goes on");
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (states_[i] == State::kEnded) continue;
      if (states_[i] == State::kWaiting || was_stopped) {
        left.push_back(runs_[i]);
        continue;
      }
      ensure(code < 0, "a worker tells the end of what it began");
      ends.failed(runs_[i].member,
                  "its process " + end_text(code) + "; a system without free memory does that");
    }
  }

 private:
  enum class State { kWaiting, kStarted, kEnded };

  static std::string input_of(const std::vector<StudyRun>& runs) {
    std::string out;
    for (const StudyRun& run : runs) out += to_json(line_of(run), -1) + "\n";
    return out;
  }

  void hear(const std::string& line, StudyEnds& ends) {
    const Node told = parse_json(line, "worker");
    const auto& [what, value] = told.members.at(0);
    if (what == "refused") throw IoError(value.scalar);
    if (what == "advanced") {
      advanced_ = std::stod(value.scalar);
      return;
    }
    const size_t place = std::stoul(value.scalar);
    const StudyRun& run = runs_.at(place);
    states_[place] = what == "started" ? State::kStarted : State::kEnded;
    if (what == "started") ends.started(run.member);
    else if (what == "failed") ends.failed(run.member, told.find("reason")->scalar);
    else {
      const Path file = result_path(run.folder);
      ends.finished(run.member, StudyStore::read(file).result(0));
      std::filesystem::remove(file);
    }
  }

  std::vector<StudyRun> runs_;
  std::vector<State> states_;
  WorkerProcess process_;
  double advanced_ = 0;
};

using Workers = std::vector<std::unique_ptr<Worker>>;

// Every n-th member to one of n: methods stand side by side in a study, so that each has some of
// all.
Workers dealt(const std::vector<StudyRun>& runs, const StudyLimits& limits,
              const WorkerOptions& options) {
  const size_t count = std::min(static_cast<size_t>(options.workers), runs.size());
  std::vector<std::vector<StudyRun>> hands(count);
  for (size_t i = 0; i < runs.size(); ++i) hands[i % count].push_back(runs[i]);
  Workers workers;
  for (const std::vector<StudyRun>& hand : hands)
    workers.push_back(std::make_unique<Worker>(hand, limits, options.threads));
  return workers;
}

// Waits until some have written or a signal has come; those that have, ended ones too.
std::vector<Worker*> that_tell(const Workers& workers) {
  std::vector<pollfd> waited;
  std::vector<Worker*> all, told;
  for (const auto& worker : workers) {
    if (worker->process().has_ended()) continue;
    waited.push_back({worker->process().descriptor(), POLLIN, 0});
    all.push_back(worker.get());
  }
  if (::poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR)
    throw IoError(std::string("cannot wait for worker processes: ") + std::strerror(errno));
  for (size_t i = 0; i < all.size(); ++i) {
    if (waited[i].revents != 0) told.push_back(all[i]);
  }
  return told;
}

// Until all have ended; the members that none of them began or, when stopped, ended.
std::vector<StudyRun> followed(const Workers& workers, StudyEnds& ends) {
  std::vector<StudyRun> left;
  bool was_stopped = false;
  size_t open = workers.size();
  while (open > 0) {
    for (Worker* worker : that_tell(workers)) {
      worker->listen(ends);
      if (!worker->process().has_ended()) continue;
      worker->settle(was_stopped, ends, left);
      --open;
    }
    double advanced = 0;
    for (const auto& worker : workers) advanced += worker->advanced();
    ends.advanced(advanced);
    if (StopSignals::caught() == 0 || was_stopped) continue;
    was_stopped = true;
    for (const auto& worker : workers) worker->process().stop();
  }
  return left;
}

// A worker's side: writes what happens to its members.
class ToldEnds final : public StudyEnds {
 public:
  explicit ToldEnds(const std::vector<StudyRun>& runs) : runs_(runs) {}

  void started(size_t member) override { tell({{"started", number(member)}}); }
  void finished(size_t member, const MemberResult& result) override {
    const Path file = result_path(runs_[member].folder);
    std::filesystem::remove(file);
    StudyStore::open(file, {"worker", "", {*runs_[member].planned}}).finish(0, result);
    tell({{"finished", number(member)}});
  }
  void failed(size_t member, const std::string& reason) override {
    tell({{"failed", number(member)}, {"reason", Node::text(reason)}});
  }
  void advanced(double members) override { tell({{"advanced", Node::number(members)}}); }
  void refused(const std::string& message) { tell({{"refused", Node::text(message)}}); }

 private:
  static Node number(size_t member) { return Node::integer(static_cast<int64_t>(member)); }
  static void tell(std::vector<std::pair<std::string, Node>> members) {
    std::printf("%s\n", to_json(Node::map(std::move(members)), -1).c_str());
    std::fflush(stdout);
  }

  const std::vector<StudyRun>& runs_;
};

}  // namespace

bool WorkerEngine::run(const std::vector<StudyRun>& runs, StudyEnds& ends) {
  const StopSignals signals;
  std::vector<StudyRun> left = runs;
  while (!left.empty()) {
    left = followed(dealt(left, limits_, options_), ends);
    if (StopSignals::caught() != 0) return left.empty();
  }
  return true;
}

int work_for_study(const WorkFlags& flags) {
  end_with(static_cast<int>(flags.parent));
  set_threads(flags.threads);
  std::vector<PlannedMember> members;
  std::vector<Path> folders;
  for (std::string line; std::getline(std::cin, line);) {
    const Node member = parse_json(line, "worker");
    members.push_back({member.find("name")->scalar, {}, member.find("settings")->scalar});
    folders.emplace_back(member.find("folder")->scalar);
  }
  std::vector<StudyRun> runs;
  for (size_t i = 0; i < members.size(); ++i) runs.push_back({i, &members[i], folders[i]});
  RunEngine engine({static_cast<size_t>(flags.together), flags.memory});
  ToldEnds ends(runs);
  try {
    return engine.run(runs, ends) ? 0 : 128 + StopSignals::caught();
  } catch (const IoError& error) {
    ends.refused(error.what());
    return static_cast<int>(error.code());
  }
}

}  // namespace graft
