// graft sweep: a study's members trained, and where they stand.
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/progress.h"
#include "cli/study_engine.h"
#include "cli/study_tables.h"
#include "cli/study_workers.h"
#include "cli/training.h"
#include "study/search_run.h"
#include "study/sweep.h"
#include "train/memory.h"

namespace graft {

namespace {

constexpr int64_t kTogether = 16;

struct SweepFlags {
  std::string study, out, shard = "1/1", memory;
  int64_t threads = 0, together = kTogether, workers = 1;
  bool retries_failed = false, is_quiet = false, only_checks = false, only_searches = false;
};

// What a person sees of a sweep: a line a member that starts or fails, and a bar of them all.
class SweepLines {
 public:
  explicit SweepLines(Verbosity verbosity) : verbosity_(verbosity) {}

  void starts(const std::string& member, const SweepProgress& progress) {
    bar_of(progress).note(std::to_string(progress.done + progress.under_way) + "/" +
                          std::to_string(progress.total) + " " + member);
  }
  void advances(const SweepProgress& progress) {
    bar_of(progress).update(
        parts_of(progress),
        progress.under_way > 1 ? std::to_string(progress.under_way) + " together" : "");
  }
  // Also under --quiet.
  void failed(const std::string& member, const std::string& reason) {
    if (bar_) bar_->finish();
    std::fprintf(stderr, "failed: %s: %s\n", message_text(member).c_str(),
                 message_text(reason).c_str());
  }
  void finish() {
    if (bar_) bar_->finish();
  }

 private:
  static constexpr int64_t kParts = 1000;
  static int64_t parts_of(const SweepProgress& progress) {
    return static_cast<int64_t>(progress.work * static_cast<double>(kParts));
  }
  Progress& bar_of(const SweepProgress& progress) {
    if (!bar_)
      bar_.emplace("member", static_cast<int64_t>(progress.total) * kParts, parts_of(progress),
                   verbosity_, kParts);
    return *bar_;
  }

  Verbosity verbosity_;
  std::optional<Progress> bar_;
};

// Of the machine's free memory most: the plan's figures are right within 15 %.
constexpr double kShareOfFree = 0.85;

int64_t memory_of(const SweepFlags& flags) {
  if (flags.memory.empty())
    return static_cast<int64_t>(kShareOfFree * static_cast<double>(memory_limit().bytes));
  const std::optional<int64_t> bytes = bytes_of(flags.memory);
  if (!bytes || *bytes == 0)
    throw InputError("--memory: expected bytes such as 8G or 500M, found " + quote(flags.memory));
  return *bytes;
}

// Of one process: this one, or each of several workers.
StudyLimits limits_of(const SweepFlags& flags) {
  return {static_cast<size_t>(flags.together), memory_of(flags) / flags.workers};
}

// False where it was stopped.
bool search_first(const SweepFlags& flags, const Shard& shard, RunEngine& engine,
                  StudyFile& study) {
  SearchOptions options{
      .out = flags.out, .may_run = shard.count == 1, .retries_failed = flags.retries_failed};
  options.failed = [](const std::string& trial, const std::string& reason) {
    std::fprintf(stderr, "failed: %s: %s\n", message_text(trial).c_str(),
                 message_text(reason).c_str());
  };
  if (!flags.is_quiet)
    options.starts = [](const std::string& run, size_t done, size_t most) {
      std::fprintf(stderr, "search %zu of at most %zu: %s\n", done + 1, most,
                   message_text(run).c_str());
    };
  if (run_search(study, engine, options)) return true;
  std::fprintf(stderr, "\nstopped in the search; the same command goes on\n");
  return false;
}

// Trains what is left, in this process or in workers; the exit code.
int train_members(const SweepFlags& flags, const StudyLimits& limits, const Shard& shard,
                  const StudyFile& study, const StudyPlan& plan, RunEngine& engine) {
  SweepOptions options{flags.out, shard, flags.retries_failed};
  SweepLines lines(flags.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal);
  options.starts = [&](const std::string& member, const SweepProgress& progress) {
    lines.starts(member, progress);
  };
  options.advances = [&](const SweepProgress& progress) { lines.advances(progress); };
  options.failed = [&](const std::string& member, const std::string& reason) {
    lines.failed(member, reason);
  };
  WorkerEngine workers(engine, limits, {flags.workers, at::get_num_threads()});
  StudyEngine& trained_by = flags.workers > 1 ? static_cast<StudyEngine&>(workers) : engine;
  const SweepEnd end = sweep(study, plan, trained_by, options);
  lines.finish();
  if (end.is_stopped) {
    std::fprintf(stderr, "\nstopped after %zu of %zu members; the same command goes on\n",
                 end.done + end.failed, end.total);
    return 128 + StopSignals::caught();
  }
  std::printf("done: %zu of %zu%s\n", end.done, end.total,
              end.failed > 0 ? (", failed: " + std::to_string(end.failed)).c_str() : "");
  if (end.done > 0)
    std::printf("next: graft sweep table %s\n",
                bare_name(store_path(flags.out, shard).string()).c_str());
  if (end.failed == 0) return static_cast<int>(ExitCode::kDone);
  std::fprintf(stderr,
               "graft: %zu of %zu members failed; graft sweep status tells why, --retry-failed "
               "tries them again\n",
               end.failed, end.total);
  return static_cast<int>(ExitCode::kPartly);
}

int run_sweep(const SweepFlags& flags) {
  if (flags.out.empty() && !flags.only_checks)
    throw InputError("--out: missing; give the folder for the study's results and runs");
  set_threads(flags.threads);
  const Shard shard = parse_shard(flags.shard);
  StudyFile study = read_study(flags.study);
  if (flags.only_searches && !study.search)
    throw InputError("--only-search: " + flags.study + " has no section search:");
  const StudyLimits limits = limits_of(flags);
  RunEngine engine(limits);
  StudyPlan plan = plan_study(study, engine);
  if (!flags.is_quiet)
    std::fprintf(stderr, "%s: %s\n", message_text(study.name).c_str(),
                 counted(static_cast<int64_t>(plan.members.size()), "member").c_str());
  if (flags.only_checks) {
    if (study.search) check_search(study, engine);
    if (!flags.is_quiet) std::fprintf(stderr, "%s", engine.forecast().c_str());
    return 0;
  }
  if (study.search) {
    if (!search_first(flags, shard, engine, study)) return 128 + StopSignals::caught();
    if (flags.only_searches) return 0;
    plan = plan_study(study, engine);
  }
  return train_members(flags, limits, shard, study, plan, engine);
}

int show_status(const std::string& file) {
  const StudyStore store = StudyStore::read(store_in(file));
  const std::vector<MemberStatus> statuses = store.statuses();
  int64_t done = 0, failed = 0;
  double seconds = 0;
  for (size_t i = 0; i < statuses.size(); ++i) {
    done += statuses[i].state == MemberState::kDone ? 1 : 0;
    failed += statuses[i].state == MemberState::kFailed ? 1 : 0;
    if (statuses[i].state != MemberState::kDone) continue;
    for (const NamedNumber& reading : store.readings(i))
      seconds += reading.name == "seconds" ? reading.value : 0;
  }
  const auto total = static_cast<int64_t>(statuses.size()), waiting = total - done - failed;
  std::printf("%s: %s done, %s failed, %s waiting of %s\n", message_text(store.plan().name).c_str(),
              count_text(done).c_str(), count_text(failed).c_str(), count_text(waiting).c_str(),
              count_text(total).c_str());
  if (done > 0)
    std::printf(
        "trained %s%s\n", duration_text(seconds).c_str(),
        waiting > 0
            ? ("; about " +
               duration_text(seconds / static_cast<double>(done) * static_cast<double>(waiting)) +
               " left")
                  .c_str()
            : "");
  for (size_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i].state == MemberState::kFailed)
      std::printf("failed: %s: %s\n", message_text(store.plan().members[i].name).c_str(),
                  message_text(statuses[i].reason).c_str());
  }
  return 0;
}

// What WorkerEngine starts; not for people.
void add_work(CLI::App& sweep, Action& action) {
  CLI::App* command = sweep.add_subcommand(kWorkerCommand)->group("");
  auto flags = std::make_shared<WorkFlags>();
  command->add_option("--together", flags->together)->required();
  command->add_option("--memory", flags->memory)->required();
  command->add_option("--threads", flags->threads)->required();
  command->add_option("--parent", flags->parent)->required();
  command->callback([flags, &action] { action = [flags] { return work_for_study(*flags); }; });
}

void add_status(CLI::App& sweep, Action& action) {
  CLI::App* command = sweep.add_subcommand("status", "How far a study is, and what failed");
  auto file = std::make_shared<std::string>();
  command->add_option("study", *file, "the folder of --out, or a file in it")->required();
  command->footer("Example:\n  graft sweep status studies/few-shot");
  command->callback([file, &action] { action = [file] { return show_status(*file); }; });
}

void add_join(CLI::App& sweep, Action& action) {
  CLI::App* command = sweep.add_subcommand("join", "Put the files of a study's shards together");
  auto out = std::make_shared<std::string>();
  auto files = std::make_shared<std::vector<std::string>>();
  command->add_option("--out", *out, "the new file")->required();
  command->add_option("files", *files, "files of one study")->required();
  command->footer(
      "Example:\n  graft sweep join studies/a/shard-1-of-2.db studies/b/shard-2-of-2.db --out "
      "few-shot.db");
  command->callback([out, files, &action] {
    action = [out, files] {
      join_studies({files->begin(), files->end()}, *out);
      return 0;
    };
  });
}

}  // namespace

void add_sweep(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("sweep", "Train and compare the members of a study");
  auto flags = std::make_shared<SweepFlags>();
  command->add_option("study", flags->study, "STUDY.yaml: methods, tasks, sizes, seeds, settings");
  command->add_option("--out", flags->out,
                      "folder of the study: results in one file, and the runs; where there are "
                      "some, the rest is done");
  command->add_option("--shard", flags->shard,
                      "K/N: only every N-th member from the K-th on, into a file of its own");
  command->add_flag("--retry-failed", flags->retries_failed, "try again what failed");
  command->add_flag("--check", flags->only_checks,
                    "check the file and all members, foretell memory and time, train nothing");
  command->add_flag("--only-search", flags->only_searches,
                    "search for settings as the study's search: says, and train no member");
  command
      ->add_option("--together", flags->together,
                   "how many members train at once on one model in memory, those that can in one "
                   "pass; 1: one after another; the results are the same")
      ->check(above_zero());
  command
      ->add_option(
          "--workers", flags->workers,
          "processes that share the members, --threads and --memory, each with a model of its "
          "own (default: 1); the results are those of one with as many threads as each has")
      ->check(above_zero());
  command->add_option("--memory", flags->memory,
                      "what they may take, such as 8G (default: most of what is free)");
  add_threads(*command, flags->threads);
  command->add_flag("--quiet", flags->is_quiet, "no progress");
  command->require_subcommand(0, 1);
  add_work(*command, action);
  add_status(*command, action);
  add_study_table(*command, action);
  add_join(*command, action);
  command->footer(
      "Example:\n  graft sweep few-shot.yaml --out studies/few-shot\n  graft sweep table "
      "studies/few-shot\nCtrl-C finishes the step and writes a checkpoint; the same command goes "
      "on. doc/studies.md has the file.");
  command->callback([command, flags, &action] {
    if (!command->get_subcommands().empty()) return;
    if (flags->study.empty())
      throw CLI::ValidationError("study", "expected a STUDY.yaml, or status, table or join");
    action = [flags] { return run_sweep(*flags); };
  });
}

}  // namespace graft
