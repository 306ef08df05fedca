#include "cli/study_workers.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>

#include "base/error.h"
#include "cli/common.h"
#include "cli/training.h"
#include "cli/worker_process.h"
#include "study/result_node.h"

namespace graft {

namespace {

Node line_of(const StudyRun& run) {
  return Node::map({{"name", Node::text(run.planned->name)},
                    {"settings", Node::text(run.planned->settings)},
                    {"folder", Node::text(run.folder.string())}});
}

// Of an end that was not asked for.
std::string end_text(int code) {
  if (code >= 0) return "ended with " + std::to_string(code);
  return "was ended by signal " + std::to_string(-code) + " (" + ::strsignal(-code) + ")" +
         (code == -SIGKILL ? "; a system without free memory does that" : "");
}

// A worker with the members that are its own.
class Worker {
 public:
  Worker(const std::vector<StudyRun>& runs, const StudyLimits& limits, int64_t threads)
      : runs_(runs),
        states_(runs.size(), State::kWaiting),
        process_({"sweep", kWorkerCommand, "--together", std::to_string(limits.together),
                  "--memory", std::to_string(limits.memory), "--threads", std::to_string(threads),
                  "--parent", std::to_string(::getpid())},
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
    if (code > 0 && !was_stopped) {
      const std::string message = "a worker process " + end_text(code);
      if (code == static_cast<int>(ExitCode::kBug)) throw InternalError(message);
      throw IoError(message + "; the same command goes on");
    }
    // They are loaded in order: where none has started, the first that waits was.
    const auto first = [&](State state) {
      return std::find(states_.begin(), states_.end(), state);
    };
    const auto loaded = first(State::kWaiting);
    if (!was_stopped && first(State::kStarted) == states_.end() && loaded != states_.end())
      *loaded = State::kStarted;
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (states_[i] == State::kEnded) continue;
      if (states_[i] == State::kWaiting || was_stopped) left.push_back(runs_[i]);
      else ends.failed(runs_[i].member, "its process " + end_text(code));
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
      advanced_ = value.as_number().value();
      return;
    }
    const auto place = static_cast<size_t>(value.as_integer().value());
    const size_t member = runs_.at(place).member;
    if (what == "started") {
      states_[place] = State::kStarted;
      return ends.started(member);
    }
    states_[place] = State::kEnded;
    advanced_ =
        std::max(0.0, advanced_ - 1);  // it was about to end; the worker's own sum comes next
    if (what == "failed") ends.failed(member, told.find("reason")->scalar);
    else ends.finished(member, parse_result(*told.find("result")));
  }

  std::vector<StudyRun> runs_;
  std::vector<State> states_;
  WorkerProcess process_;
  double advanced_ = 0;
};

// Workers that stop together: each waits for its end when it goes.
class Workers {
 public:
  // Each has every n-th member, and begins one further on in each round: lists of the study's grid
  // whose length is n do not sort members by worker.
  Workers(const std::vector<StudyRun>& runs, const StudyLimits& limits,
          const WorkerOptions& options) {
    const size_t count = std::min(static_cast<size_t>(options.workers), runs.size());
    std::vector<std::vector<StudyRun>> hands(count);
    for (size_t i = 0; i < runs.size(); ++i) hands[(i + i / count) % count].push_back(runs[i]);
    // However few are left: a member has the bits of its number of threads.
    const int64_t threads = std::max<int64_t>(1, options.threads / options.workers);
    for (const std::vector<StudyRun>& hand : hands)
      all_.push_back(std::make_unique<Worker>(hand, limits, threads));
  }
  ~Workers() { stop(); }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  void stop() {
    for (const auto& worker : all_) worker->process().stop();
  }

  // Until all have ended; the members that none of them began or, when stopped, ended.
  std::vector<StudyRun> follow(StudyEnds& ends) {
    std::vector<StudyRun> left;
    for (size_t open = all_.size(); open > 0;) {
      for (Worker* worker : that_tell()) {
        worker->listen(ends);
        if (!worker->process().has_ended()) continue;
        worker->settle(StopSignals::caught() != 0, ends, left);
        --open;
      }
      double advanced = 0;
      for (const auto& worker : all_) advanced += worker->advanced();
      ends.advanced(advanced);
      if (StopSignals::caught() != 0) stop();
    }
    return left;
  }

 private:
  // Waits until some have written or ended, or a second has gone by: a signal may have come.
  std::vector<Worker*> that_tell() const {
    constexpr int kMilliseconds = 1000;
    std::vector<pollfd> waited;
    std::vector<Worker*> open, told;
    for (const auto& worker : all_) {
      if (worker->process().has_ended()) continue;
      waited.push_back({worker->process().descriptor(), POLLIN, 0});
      open.push_back(worker.get());
    }
    if (::poll(waited.data(), waited.size(), kMilliseconds) < 0 && errno != EINTR)
      throw IoError(std::string("cannot wait for worker processes: ") + std::strerror(errno));
    for (size_t i = 0; i < open.size(); ++i) {
      if (waited[i].revents != 0) told.push_back(open[i]);
    }
    return told;
  }

  std::vector<std::unique_ptr<Worker>> all_;
};

// A worker's side: writes what happens to its members.
class ToldEnds final : public StudyEnds {
 public:
  void started(size_t member) override { tell({{"started", number(member)}}); }
  void finished(size_t member, const MemberResult& result) override {
    tell({{"finished", number(member)}, {"result", result_node(result)}});
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
};

}  // namespace

bool WorkerEngine::run(const std::vector<StudyRun>& runs, StudyEnds& ends) {
  engine_.release_inputs();
  const StopSignals signals;
  std::vector<StudyRun> left = runs;
  while (!left.empty()) {
    left = Workers(left, limits_, options_).follow(ends);
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
  ToldEnds ends;
  try {
    return engine.run(runs, ends) ? 0 : 128 + StopSignals::caught();
  } catch (const IoError& error) {
    ends.refused(error.what());
    return static_cast<int>(error.code());
  }
}

}  // namespace graft
