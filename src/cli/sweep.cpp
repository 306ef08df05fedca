// graft sweep: a study's members trained, where they stand, and its tables.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/progress.h"
#include "cli/study_engine.h"
#include "infer/evaluate.h"
#include "study/exports.h"
#include "study/report.h"
#include "study/runs.h"
#include "study/search_run.h"
#include "study/sweep.h"
#include "study/table_text.h"
#include "train/memory.h"

namespace graft {

namespace {

constexpr int64_t kTogether = 16;

struct SweepFlags {
  std::string study, out, shard = "1/1", memory;
  int64_t threads = 0, together = kTogether;
  bool retries_failed = false, is_quiet = false, only_checks = false, only_searches = false;
};

struct TableFlags {
  std::string file;
  StudyTableOptions options;
  StudyTableFormat format = StudyTableFormat::kMarkdown;
  std::vector<StudyTablePart> parts;
};

struct ReportFlags {
  std::vector<std::string> files;
  std::string out, tensorboard, peft_results;
  StudyTableOptions options;
};

bool less_is_better(const std::string& metric) {
  return metric == "loss" || is_less_better(metric);
}

// The file itself, or that of a folder.
Path store_in(const std::string& name) {
  return std::filesystem::is_directory(name) ? store_path(name, {}) : Path(name);
}

// What a person sees of a sweep: a line a member that starts or fails, and a bar of them all.
class SweepLines {
 public:
  explicit SweepLines(Verbosity verbosity) : verbosity_(verbosity) {}

  void starts(const std::string& member, const SweepProgress& progress) {
    bar_of(progress).note(std::to_string(progress.done + progress.under_way) + "/" +
                          std::to_string(progress.total) + " " + message_text(member));
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

StudyLimits limits_of(const SweepFlags& flags) {
  if (flags.together < 1)
    throw InputError("--together: expected 1 or more, found " + std::to_string(flags.together));
  StudyLimits limits{static_cast<size_t>(flags.together), 0};
  if (flags.memory.empty()) {
    limits.memory = static_cast<int64_t>(kShareOfFree * static_cast<double>(memory_limit().bytes));
    return limits;
  }
  const std::optional<int64_t> bytes = bytes_of(flags.memory);
  if (!bytes || *bytes == 0)
    throw InputError("--memory: expected bytes such as 8G or 500M, found " + quote(flags.memory));
  limits.memory = *bytes;
  return limits;
}

// False where it was stopped.
bool search_first(const SweepFlags& flags, const Shard& shard, RunEngine& engine,
                  StudyFile& study) {
  SearchOptions options{.out = flags.out,
                        .may_run = shard.count == 1,
                        .is_less_better = less_is_better,
                        .starts = {}};
  if (!flags.is_quiet)
    options.starts = [](const std::string& run, size_t done, size_t most) {
      std::fprintf(stderr, "search %zu of at most %zu: %s\n", done + 1, most,
                   message_text(run).c_str());
    };
  if (run_search(study, engine, options)) return true;
  std::fprintf(stderr, "\nstopped in the search; the same command goes on\n");
  return false;
}

int run_sweep(const SweepFlags& flags) {
  if (flags.out.empty() && !flags.only_checks)
    throw InputError("--out: missing; give the folder for the study's results and runs");
  set_threads(flags.threads);
  const Shard shard = parse_shard(flags.shard);
  StudyFile study = read_study(flags.study);
  if (flags.only_searches && !study.search)
    throw InputError("--only-search: " + flags.study + " has no section search:");
  RunEngine engine(limits_of(flags));
  StudyPlan plan = plan_study(study, engine);
  if (!flags.is_quiet)
    std::fprintf(stderr, "%s: %s %s\n", message_text(study.name).c_str(),
                 count_text(static_cast<int64_t>(plan.members.size())).c_str(),
                 plural(static_cast<int64_t>(plan.members.size()), "member").c_str());
  if (study.search) check_search(study);
  if (flags.only_checks) {
    if (!flags.is_quiet) std::fprintf(stderr, "%s", engine.forecast().c_str());
    engine.check_rows();
    return 0;
  }
  if (study.search) {
    if (!search_first(flags, shard, engine, study)) return 128 + engine.signal();
    if (flags.only_searches) return 0;
    plan = plan_study(study, engine);
  }
  SweepOptions options{flags.out, shard, flags.retries_failed};
  SweepLines lines(flags.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal);
  options.starts = [&](const std::string& member, const SweepProgress& progress) {
    lines.starts(member, progress);
  };
  options.advances = [&](const SweepProgress& progress) { lines.advances(progress); };
  options.failed = [&](const std::string& member, const std::string& reason) {
    lines.failed(member, reason);
  };
  const SweepEnd end = sweep(study, plan, engine, options);
  lines.finish();
  const Path store = store_path(flags.out, shard);
  if (end.is_stopped) {
    std::fprintf(stderr, "\nstopped after %zu of %zu members; the same command goes on\n",
                 end.done + end.failed, end.total);
    return 128 + engine.signal();
  }
  std::printf("done: %zu of %zu%s\nnext: graft sweep table %s\n", end.done, end.total,
              end.failed > 0 ? (", failed: " + std::to_string(end.failed)).c_str() : "",
              store.c_str());
  return 0;
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

int show_table(TableFlags flags) {
  if (flags.parts.empty())
    flags.parts = flags.format == StudyTableFormat::kCsv
                      ? std::vector{StudyTablePart::kResults}
                      : std::vector{StudyTablePart::kResults, StudyTablePart::kComparisons,
                                    StudyTablePart::kRanks};
  if (flags.format == StudyTableFormat::kCsv && flags.parts.size() > 1)
    throw InputError("--part: a CSV file holds one table; give one of " +
                     joined(words_of(kStudyTableParts), "or"));
  flags.options.is_less_better = less_is_better;
  const StudyTable table = make_table(StudyStore::read(store_in(flags.file)), flags.options);
  for (size_t i = 0; i < flags.parts.size(); ++i)
    std::printf("%s%s", i == 0 ? "" : "\n", to_text(table, flags.parts[i], flags.format).c_str());
  return 0;
}

int write_report(const ReportFlags& flags) {
  if (flags.out.empty() && flags.tensorboard.empty() && flags.peft_results.empty())
    throw InputError("nothing to write: give --out, --tensorboard or --peft-results");
  std::vector<StudyStore> stores;
  std::vector<Node> searches;  // of each store
  std::vector<Path> runs;
  for (const std::string& file : flags.files) {
    if (std::filesystem::exists(Path(file) / "run.yaml")) runs.emplace_back(file);
    else {
      stores.push_back(StudyStore::read(store_in(file)));
      const Path search = Path(file) / "search.json";
      searches.push_back(std::filesystem::exists(search)
                             ? parse_json(read_file(search), search.string())
                             : Node::null());
    }
  }
  if (!runs.empty()) stores.push_back(study_of_runs(runs));
  std::vector<ReportedStudy> studies;
  for (const StudyStore& store : stores) studies.push_back({&store, flags.options});
  for (ReportedStudy& study : studies) study.options.is_less_better = less_is_better;
  for (size_t i = 0; i < searches.size(); ++i) studies[i].search = std::move(searches[i]);
  if (!flags.out.empty()) write_file_atomically(flags.out, report_page(studies));
  for (const StudyStore& store : stores) {
    const Path own = stores.size() > 1 ? Path(store.plan().name) : Path();
    if (!flags.tensorboard.empty()) write_event_files(store, Path(flags.tensorboard) / own);
    if (!flags.peft_results.empty()) write_peft_results(store, Path(flags.peft_results) / own);
  }
  return 0;
}

void add_status(CLI::App& sweep, Action& action) {
  CLI::App* command = sweep.add_subcommand("status", "How far a study is, and what failed");
  auto file = std::make_shared<std::string>();
  command->add_option("study", *file, "the folder of --out, or a file in it")->required();
  command->footer("Example:\n  graft sweep status studies/few-shot");
  command->callback([file, &action] { action = [file] { return show_status(*file); }; });
}

// What tables and reports have in common.
void add_table_options(CLI::App& command, StudyTableOptions& options) {
  command.add_option("--side", options.side,
                     "eval, test or a data set of its own (default: test where there is one)");
  command.add_option("--metric", options.metric, "(default: the task's primary one)");
  command.add_option("--compare", options.compared,
                     "the factor whose values are compared (default: method)");
  command.add_option("--baseline", options.baseline,
                     "compare with this value only (default: every two)");
  command.add_option("--alpha", options.alpha, "of the tests (default: 0.05)")
      ->check(CLI::Range(1e-6, 0.5));
}

void add_table(CLI::App& sweep, Action& action) {
  CLI::App* command =
      sweep.add_subcommand("table", "Means with intervals, paired comparisons and ranks");
  auto flags = std::make_shared<TableFlags>();
  command->add_option("study", flags->file, "the folder of --out, or a file in it")->required();
  command
      ->add_option_function<std::string>(
          "--format",
          [flags](const std::string& word) { flags->format = value_of(kStudyTableFormats, word); },
          "markdown, csv or latex")
      ->check(CLI::IsMember(words_of(kStudyTableFormats)));
  command
      ->add_option_function<std::vector<std::string>>(
          "--part",
          [flags](const std::vector<std::string>& words) {
            for (const std::string& word : words)
              flags->parts.push_back(value_of(kStudyTableParts, word));
          },
          "results, comparisons, ranks or tries, the expected best of n (default: the first three; "
          "of CSV results)")
      ->check(CLI::IsMember(words_of(kStudyTableParts)));
  add_table_options(*command, flags->options);
  command->footer(
      "Example:\n  graft sweep table studies/few-shot --baseline lora\n  graft sweep table "
      "studies/few-shot --format csv --part comparisons > comparisons.csv");
  command->callback([flags, &action] { action = [flags] { return show_table(*flags); }; });
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
  command->add_option(
      "--together", flags->together,
      "how many members train at once on one model in memory, those that can in one "
      "pass; 1: one after another; the results are the same");
  command->add_option("--memory", flags->memory,
                      "what they may take, such as 8G (default: most of what is free)");
  add_threads(*command, flags->threads);
  command->add_flag("--quiet", flags->is_quiet, "no progress");
  command->require_subcommand(0, 1);
  add_status(*command, action);
  add_table(*command, action);
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

void add_report(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "report", "Studies or runs as one web page: tables, comparisons, charts, settings");
  auto flags = std::make_shared<ReportFlags>();
  command
      ->add_option(
          "studies", flags->files,
          "folders of graft sweep --out or files in them; folders of runs, which become one study")
      ->required();
  command->add_option("--out", flags->out, "the page, which needs no network");
  command->add_option("--tensorboard", flags->tensorboard,
                      "folder for TensorBoard: an event file with the curves of each run");
  command->add_option("--peft-results", flags->peft_results,
                      "folder for PEFT's method comparison: a JSON file of each run");
  add_table_options(*command, flags->options);
  command->footer(
      "Example:\n  graft report studies/few-shot --out few-shot.html\n  graft report runs/* --out "
      "runs.html");
  command->callback([flags, &action] { action = [flags] { return write_report(*flags); }; });
}

}  // namespace graft
