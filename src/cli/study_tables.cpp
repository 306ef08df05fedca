#include "cli/study_tables.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/word_option.h"
#include "study/search_run.h"
#include "study/sweep.h"
#include "study/table_text.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

// A folder without the file of a whole study may have what comes before it.
[[noreturn]] void refuse_folder(const std::string& folder) {
  std::vector<std::string> shards;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("shard-") && name.ends_with(".db")) shards.push_back(name);
  }
  std::sort(shards.begin(), shards.end());
  const std::string what = named(folder) + ": holds no study.db";
  if (!shards.empty())
    throw InputError(what + ", but " + joined_first(shards, 4) +
                     ": name one of them, or put all together with graft sweep join");
  if (fs::exists(Path(folder) / kSearchFile))
    throw InputError(what + ", but search.json, which has the search: no member was trained yet; " +
                     "graft sweep STUDY.yaml --out " + folder + " does that");
  throw InputError(what + ", so no study of graft sweep --out");
}

}  // namespace

Path store_in(const std::string& name) {
  if (!fs::is_directory(name)) return name;
  Path store = store_path(name, {});
  if (!fs::exists(store)) refuse_folder(name);
  return store;
}

namespace {

struct TableFlags {
  std::string file;
  StudyTableOptions options;
  StudyTableFormat format = StudyTableFormat::kMarkdown;
  std::vector<StudyTablePart> parts;
};

int show_table(TableFlags flags) {
  if (flags.parts.empty())
    flags.parts = flags.format == StudyTableFormat::kCsv
                      ? std::vector{StudyTablePart::kResults}
                      : std::vector{StudyTablePart::kResults, StudyTablePart::kComparisons,
                                    StudyTablePart::kRanks};
  if (flags.format == StudyTableFormat::kCsv && flags.parts.size() > 1)
    throw InputError("--part: a CSV file holds one table; give one of " +
                     joined(words_of(kStudyTableParts), "or"));
  const StudyTable table = make_table(StudyStore::read(store_in(flags.file)), flags.options);
  for (size_t i = 0; i < flags.parts.size(); ++i)
    std::printf("%s%s", i == 0 ? "" : "\n", to_text(table, flags.parts[i], flags.format).c_str());
  return 0;
}

}  // namespace

void add_table_options(CLI::App& command, StudyTableOptions& options) {
  command.add_option(
      "--side", options.side,
      "eval, test or a data set of its own (default: test where all members have it)");
  command.add_option("--metric", options.metric, "(default: the task's primary one)");
  command.add_option("--compare", options.compared,
                     "the factor whose values are compared (default: method)");
  command.add_option("--baseline", options.baseline,
                     "compare with this value only (default: every two)");
  command.add_option("--alpha", options.alpha, "of the tests (default: 0.05)")
      ->check(CLI::Range(1e-6, 0.5));
}

void add_study_table(CLI::App& sweep, Action& action) {
  CLI::App* command =
      sweep.add_subcommand("table", "Means with intervals, paired comparisons and ranks");
  auto flags = std::make_shared<TableFlags>();
  command->add_option("study", flags->file, "the folder of --out, or a file in it")->required();
  add_word_option(*command, "--format", kStudyTableFormats, flags->format,
                  "markdown, csv or latex");
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

}  // namespace graft
