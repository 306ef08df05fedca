// graft report: studies, or folders of runs, as one page, and in the forms of other tools.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/study_tables.h"
#include "study/exports.h"
#include "study/report.h"
#include "study/runs.h"
#include "study/search_run.h"

namespace graft {

namespace {

struct ReportFlags {
  std::vector<std::string> files;
  std::string out, tensorboard, peft_results;
  StudyTableOptions options;
};

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
      searches.push_back(read_searches(file));
    }
  }
  if (!runs.empty()) stores.push_back(study_of_runs(runs));
  std::vector<ReportedStudy> studies;
  for (const StudyStore& store : stores) studies.push_back({&store, flags.options});
  for (size_t i = 0; i < searches.size(); ++i) studies[i].search = std::move(searches[i]);
  if (!flags.out.empty()) write_file_atomically(flags.out, report_page(studies));
  std::set<std::string> taken;
  for (const StudyStore& store : stores) {
    const Path own = stores.size() > 1 ? Path(file_name(store.plan().name, taken)) : Path();
    if (!flags.tensorboard.empty()) write_event_files(store, Path(flags.tensorboard) / own);
    if (!flags.peft_results.empty()) write_peft_results(store, Path(flags.peft_results) / own);
  }
  return 0;
}

}  // namespace

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
