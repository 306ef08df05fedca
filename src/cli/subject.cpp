#include "cli/subject.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "cli/common.h"
#include "cli/files.h"
#include "cli/word_option.h"
#include "infer/evaluate.h"

namespace graft {

AskedSubject load_asked(const SubjectFlags& flags) {
  set_threads(flags.threads);
  const SampleOptions samples{.route = route_options(flags.route),
                              .dropout = dropout_passes(flags.dropout, flags.route.routing)};
  const std::optional<Task> task = find_task(flags.task);
  OpenedModel opened =
      open_model(flags.model, flags.precision, ignored_keys(flags.ignored_keys, {flags.adapter}));
  Subject subject =
      load_subject(opened, {flags.adapter, task, flags.route.routing, flags.max_length});
  if (!subject.note.empty() && !flags.is_quiet)
    std::fprintf(stderr, "%s\n", message_text(subject.note).c_str());
  subject.task = with_format(std::move(subject.task), flags.data_format);
  AskedSubject asked{std::move(opened), std::move(subject), {}, samples};
  asked.samples.forced_gates = forced_gates(flags.gates, asked.subject.loaded.adapter);
  for (const std::string& other : flags.others)
    asked.others.push_back(load_beside(asked.opened, asked.subject, other, flags.route.routing));
  const bool is_plain = asked.task().kind() == TaskKind::kChoice || writes_texts(asked.task());
  if (is_plain && (asked.has_samples() || !flags.gates.empty()))
    throw InputError("task " + quote(asked.task().name) +
                     ": options of a choice are scored, and texts written, by one sample with "
                     "gates of its own; leave out " +
                     joined({"--dropout-passes", "--beside", "--gate"}, "and"));
  return asked;
}

void AskedSubject::check_rows(const std::vector<Example>& examples) const {
  subject.loaded.adapter.check_subspaces(examples);
  for (const LoadedAdapter& other : others) other.adapter.check_subspaces(examples);
}

BoundSubject::BoundSubject(const AskedSubject& asked) : samples_(asked.samples) {
  const auto bind = [&](const LoadedAdapter& loaded) {
    bound_.emplace_back(asked.model(), loaded.adapter, loaded.tensors,
                        experts_of(asked.samples.route.routing));
  };
  bind(asked.subject.loaded);
  for (const LoadedAdapter& other : asked.others) {
    bind(other);
    samples_.others.push_back(&bound_.back());
  }
}

namespace {

constexpr const char* kTokensWord = "tokens";
constexpr const char* kChangesWord = "changes";

bool records(const SubjectFlags& flags, const std::string& word) {
  return std::find(flags.recording.begin(), flags.recording.end(), word) != flags.recording.end();
}

}  // namespace

void add_records(CLI::App& command, SubjectFlags& flags, std::string& path) {
  CLI::Option* const file = command.add_option(
      "--records", path,
      "also write what gates and routers did, a line per row and site (JSONL): means over its "
      "tokens, in the last block over those read there alone (that predict, or the one that a "
      "classifier reads)");
  accept_standard_output(*file);
  command
      .add_option("--record", flags.recording,
                  "what else to write there, divided by commas: tokens (gates and shares of each "
                  "token), changes (how large every edit's change is beside what it changes)")
      ->delimiter(',')
      ->check(CLI::IsMember({kTokensWord, kChangesWord}))
      ->needs(file);
}

Recording recording_of(const SubjectFlags& flags) {
  return {.tokens = records(flags, kTokensWord), .changes = records(flags, kChangesWord)};
}

void check_records(const AskedSubject& asked, const SubjectFlags& flags, const std::string& path) {
  const Adapter& adapter = asked.subject.loaded.adapter;
  const bool records_changes = records(flags, kChangesWord) && adapter.changes_rows();
  if (path.empty() || records_changes || adapter.traits().gives_records) return;
  throw InputError(
      "--records: " +
      (flags.adapter.empty() ? "the bare model" : "the adapter in '" + flags.adapter + "'") +
      " has no gate, no router and no collect, so nothing to record; leave it out");
}

void add_subject(CLI::App& command, SubjectFlags& flags) {
  command.add_option("--model", flags.model, "the frozen model: a folder or a GGUF file")
      ->required();
  command.add_option("--adapter", flags.adapter,
                     "adapter folder (RUN/adapter); without it the head that the model's folder "
                     "brings, or with --task the bare "
                     "model");
  command.add_option(
      "--task", flags.task,
      "task name or file; default: what the adapter or the folder's own head was trained for");
  add_rows(command, flags.data, flags.data_format)->required();
  add_ignored_keys(command, flags.ignored_keys);
  add_max_length(command, flags.max_length);
  add_precision(command, flags.precision);
  add_threads(command, flags.threads);
  add_word_option(
      command, "--routing", kRoutings, flags.route.routing,
      "experts of a mixture (default: merged); a route of a router takes one expert by its "
      "shares");
  command.add_option("--routes", flags.route.routes, "random routes of an ensemble (default 4)")
      ->check(CLI::Range(2, 1024));
  command
      .add_option("--route-seed", flags.route.seed,
                  "draws the routes of --routing random or of an ensemble")
      ->check(not_negative());
  add_word_option(
      command, "--route-unit", kRouteUnits, flags.route.unit,
      "who draws an expert for itself: all rows together (default), each text, or each token "
      "(AdaMix's released inference levels 1 and 0)");
  command
      .add_option("--dropout-passes", flags.dropout.passes,
                  "answer by the mean of so many passes with dropout as in training")
      ->check(CLI::Range(2, 1024));
  command.add_option("--dropout-seed", flags.dropout.seed, "draws the masks of these passes")
      ->check(not_negative());
  command
      .add_option("--dropout-rate", flags.dropout.rate,
                  "of the trunk in these passes (default: the model's own)")
      ->check(CLI::Range(0.0, 0.99));
  command.add_option("--beside", flags.others,
                     "further adapters of the same task (of other seeds, say): the answer is the "
                     "mean of all");
  command.add_option("--gate", flags.gates,
                     "a value that gates have instead of their own: VALUE for all, or NAME=VALUE "
                     "for those whose name in --records begins so");
  command.add_flag("--quiet", flags.is_quiet, "no progress");
}

}  // namespace graft
