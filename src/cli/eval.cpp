// graft eval: an adapter, or a bare model, scored on labelled rows.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/eval_report.h"
#include "cli/files.h"
#include "cli/progress.h"
#include "cli/row_feed.h"
#include "cli/subject.h"
#include "cli/word_option.h"
#include "infer/forgetting.h"
#include "infer/records.h"
#include "infer/trust.h"
#include "train/out_of_memory.h"

namespace graft {

namespace {

struct EvalFlags {
  SubjectFlags subject;
  RowFlags rows;
  std::string json, records, tokens, out_of_domain, forgetting;
  bool calibrates = false;
  BinningOptions binning;
  bool reports = false;
  int64_t mistakes = 10;
  std::vector<std::string> writing = {};  // flags given that say how texts are written
};

std::vector<std::string> given_in(const std::string& group, const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group() == group && option->count() > 0) names.push_back(option->get_name());
  }
  return names;
}

// Rounded for the eye; --json has every digit.
void print_scores(std::FILE* out, const Evaluation& evaluation, const Dataset& rows,
                  int64_t num_skipped) {
  const auto line = [out](const std::string& name, const std::string& value) {
    std::fprintf(out, "%-12s %s\n", name.c_str(), value.c_str());
  };
  const auto score = [&](const std::string& name, double value) {
    line(name, std::isfinite(value) ? number_text(value) : "undefined");
  };
  line("rows", count_text(rows.size()));
  if (num_skipped > 0) line("skipped", count_text(num_skipped));
  score("loss", evaluation.loss);
  for (const Score& each : evaluation.scores) score(each.name, each.value);
  if (evaluation.majority) {
    std::string beside = "always " + quote(evaluation.majority->label) + ":";
    for (const Score& each : evaluation.majority->scores)
      beside += "  " + each.name + " " + number_text(each.value);
    line("majority", beside);
  }
  if (evaluation.only_answer)
    line("answers", "every row is answered " + quote(*evaluation.only_answer));
  line("texts_cut", count_text(rows.num_cut()));
  line("tokens", count_text(evaluation.num_tokens));
  line("seconds", number_text(evaluation.seconds));
}

// The rows that max_length shortened, by how many tokens.
Node cut_node(const Dataset& data) {
  std::vector<Node> rows;
  for (const CutRow& cut : data.cut) {
    const Example& example = data.examples[static_cast<size_t>(cut.row)];
    rows.push_back(Node::map({{"id", id_node(example)}, {"tokens", Node::integer(cut.tokens)}}));
  }
  return Node::list(std::move(rows));
}

// All rows, encoded; `num_skipped`: those that cannot be and are left out.
EvalData read_eval_data(const EvalFlags& flags, const AskedSubject& asked, int64_t& num_skipped) {
  const auto encode = [&](std::vector<Example> examples) {
    asked.check_rows(examples);
    return encode_eval_data(std::move(examples), asked.task(), asked.opened.text,
                            asked.model().config, asked.subject.max_length);
  };
  check_skipped(flags.rows);
  if (flags.rows.on_error == OnError::kStop)
    return encode(read_examples(flags.subject.data, asked.task(), LabelUse::kRequired));
  RowFeed feed({.data = flags.subject.data, .use = LabelUse::kRequired, .cut_name = ""}, flags.rows,
               asked.task(),
               [&](std::vector<Example> examples) { return encode(std::move(examples)).rows; });
  std::vector<Example> examples;
  const auto keep = [&](const Dataset& data) {
    examples.insert(examples.end(), data.examples.begin(), data.examples.end());
  };
  feed.check([&](const Table&, const Dataset& data) { keep(data); });
  if (feed.comes_in_pieces())
    feed.for_each(0, [&](const RowFeed::Window& window) { keep(window.data); });
  num_skipped = feed.num_skipped();
  return encode(std::move(examples));
}

void check_files(const EvalFlags& flags) {
  const std::vector<std::pair<std::string, std::string>> files = {
      {"--json", flags.json},
      {"--records", flags.records},
      {"--tokens", flags.tokens},
      {"--skipped", flags.rows.skipped}};
  for (size_t i = 0; i < files.size(); ++i) {
    check_not_rows(files[i].first.c_str(), files[i].second, flags.subject.data);
    for (size_t j = 0; j < i; ++j)
      check_apart({files[j].first.c_str(), files[j].second},
                  {files[i].first.c_str(), files[i].second});
  }
}

// What is asked for must be of this kind of task.
void check_trust(const EvalFlags& flags, const AskedSubject& asked) {
  const Task& task = asked.task();
  const auto refuse = [&](const char* flag, const std::string& expected) {
    throw InputError(std::string(flag) + ": " + expected + ", and task " + quote(task.name) +
                     " is none; leave it out");
  };
  if (flags.calibrates && task.kind() != TaskKind::kClassification)
    refuse("--calibration", "probabilities are those of a classification");
  if (!flags.tokens.empty() && task.kind() != TaskKind::kGeneration)
    refuse("--tokens", "targets of several tokens are those of a generation");
  const bool is_one = !asked.has_samples() && asked.samples.route.routing == Routing::kMerged &&
                      asked.samples.forced_gates == nullptr;
  if (!flags.forgetting.empty() && !is_one)
    throw InputError(
        "--forgetting: measured of one adapter with its experts merged and gates of its own; leave "
        "out --routing, --dropout-passes, --beside and --gate");
  if (flags.out_of_domain.empty()) return;
  if (task.kind() == TaskKind::kChoice)
    refuse("--out-of-domain", "doubt is told of a classification, a regression or a generation");
  if (task.kind() == TaskKind::kRegression && !asked.has_samples())
    throw InputError(
        "--out-of-domain: one value tells no doubt; of a regression give several "
        "samples: --routing, --dropout-passes or --beside");
}

// Rows of another kind. A column of labels is not read: theirs may be of their own kind.
std::vector<Example> read_others(const EvalFlags& flags, const Task& task) {
  Table table = read_table(flags.out_of_domain, table_options(task));
  const std::optional<size_t> label = table.find_column(task.labelled()->label_column);
  if (label) {
    const auto at = static_cast<std::ptrdiff_t>(*label);
    table.columns.erase(table.columns.begin() + at);
    for (Row& row : table.rows) {
      row.cells.erase(row.cells.begin() + at);
      if (!row.kinds.empty()) row.kinds.erase(row.kinds.begin() + at);
    }
  }
  return to_examples(table, task, LabelUse::kOptional);
}

// Doubts of rows of another kind, which need no label.
RowDoubts doubts_of_others(const EvalFlags& flags, const AskedSubject& asked,
                           const BoundSubject& bound, const PredictOptions& options,
                           int64_t& num_rows) {
  const Task& task = asked.task();
  const bool is_text = task.kind() == TaskKind::kGeneration;
  std::vector<Example> examples =
      is_text ? read_examples(flags.out_of_domain, task, LabelUse::kRequired)
              : read_others(flags, task);
  asked.check_rows(examples);
  const Dataset rows = encode_examples(std::move(examples), task, asked.opened.text,
                                       asked.model().config, asked.subject.max_length,
                                       is_text ? TargetUse::kFollow : TargetUse::kLeaveOut);
  tell_cut(rows, "out-of-domain data");
  num_rows = rows.size();
  if (is_text)
    return row_doubts(*text_losses(asked.model(), bound.first(), rows, options).uncertainty);
  return row_doubts(task, predict(asked.model(), bound.first(), rows, options));
}

void put_trust(const EvalFlags& flags, const AskedSubject& asked, const BoundSubject& bound,
               const Dataset& rows, const Evaluation& evaluation, PredictOptions options,
               Node& json) {
  if (flags.calibrates)
    json["calibration"] = to_node(trust_of(rows, evaluation.logits, flags.binning));
  const bool tells_doubt = asked.has_samples() || !flags.out_of_domain.empty();
  if (!tells_doubt) return;
  Predictions answers;
  answers.logits = evaluation.logits;
  answers.by_sample = evaluation.by_sample;
  const RowDoubts own =
      evaluation.texts ? row_doubts(*evaluation.texts) : row_doubts(asked.task(), answers);
  Node& uncertainty = json["uncertainty"] = means_node(own);
  uncertainty["samples"] = Node::integer(num_samples(bound.samples()));
  if (flags.out_of_domain.empty()) return;
  int64_t num_rows = 0;
  options.progress = {};
  options.keep_records = false;
  const RowDoubts others = doubts_of_others(flags, asked, bound, options, num_rows);
  json["out_of_domain"] = Node::map({{"data", Node::text(flags.out_of_domain)},
                                     {"rows", Node::integer(num_rows)},
                                     {"auroc", aurocs_node(own, others)}});
}

// Rounded for the eye.
void print_trust(std::FILE* out, const Node& json) {
  const auto line = [&](const std::string& name, const Node& map) {
    std::string text;
    for (const auto& [key, value] : map.members) {
      if (value.kind != Node::Kind::kScalar || value.is_string || key == "bins") continue;
      text += (text.empty() ? "" : "  ") + key + " " +
              number_text(std::strtod(value.scalar.c_str(), nullptr));
    }
    std::fprintf(out, "%-12s %s\n", name.c_str(), text.c_str());
  };
  if (const Node* own = json.find("calibration")) line("calibration", *own);
  if (const Node* own = json.find("uncertainty")) line("uncertainty", *own);
  if (const Node* own = json.find("out_of_domain")) line("told apart", *own->find("auroc"));
  if (const Node* own = json.find("forgetting")) line("forgetting", *own);
}

int evaluate_file(const EvalFlags& flags) {
  check_files(flags);
  const AskedSubject asked = load_asked(flags.subject);
  check_trust(flags, asked);
  if (!flags.records.empty() && asked.task().kind() == TaskKind::kChoice)
    throw InputError(
        "--records: not kept where options share a prompt; take a task of kind generation");
  check_records(asked, flags.subject, flags.records);
  if (!flags.writing.empty() && !writes_texts(asked.task())) {
    throw InputError(joined(flags.writing) + ": scoring task " + quote(asked.task().name) +
                     " writes no texts; leave such flags out, or take a task of kind generation "
                     "with a metric of texts");
  }
  int64_t num_skipped = 0;
  const EvalData data = read_eval_data(flags, asked, num_skipped);
  tell_cut(data.rows, "data");
  if (data.prompts) tell_cut(*data.prompts, "prompts");
  std::optional<Dataset> plain;  // read before anything is computed
  if (!flags.forgetting.empty()) {
    check_forgetting(asked.subject.loaded.adapter);
    plain = plain_texts(flags.forgetting, asked.opened.text, asked.model().config,
                        asked.subject.max_length);
  }
  const BoundSubject bound(asked);
  Progress progress("row", data.rows.size(), 0,
                    flags.subject.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal);
  EvaluateOptions options;
  options.predict.samples = bound.samples();
  options.predict.keep_tokens = !flags.tokens.empty() || !flags.out_of_domain.empty();
  options.predict.keep_records = !flags.records.empty();
  options.predict.recording = recording_of(flags.subject);
  options.predict.progress = [&](int64_t done, int64_t) { progress.update(done, ""); };
  if (data.prompts) {
    options.generate = generation_of(flags.subject.generate, asked.opened, flags.subject.is_quiet);
  }
  const Evaluation evaluation =
      evaluate(asked.model(), bound.first(), asked.task(), data, asked.opened.text, options);
  progress.finish();
  Node json = Node::map({{"version", Node::integer(1)}, {"rows", Node::integer(data.rows.size())}});
  if (flags.rows.on_error == OnError::kSkip) json["skipped"] = Node::integer(num_skipped);
  put_scores(json, evaluation);
  json["texts_cut"] = Node::integer(data.rows.num_cut());
  json["cut"] = cut_node(data.rows);
  json["tokens"] = Node::integer(evaluation.num_tokens);
  json["seconds"] = Node::number(evaluation.seconds);
  put_trust(flags, asked, bound, data.rows, evaluation, options.predict, json);
  if (plain) json["forgetting"] = to_node(measure_forgetting(asked.model(), bound.first(), *plain));
  std::optional<Report> report;
  if (flags.reports) report = make_report(asked.task(), data, evaluation, flags.mistakes);
  if (report) json["report"] = to_node(*report);
  if (!flags.records.empty())
    write_file_atomically(flags.records, record_lines(data.rows, evaluation.records));
  if (!flags.tokens.empty())
    write_file_atomically(flags.tokens, token_lines(data.rows, *evaluation.texts));
  if (!flags.json.empty()) write_file_atomically(flags.json, to_json(json));
  std::FILE* const out =
      messages_beside({flags.json, flags.records, flags.tokens, flags.rows.skipped});
  print_scores(out, evaluation, data.rows, num_skipped);
  print_trust(out, json);
  if (report) print_report(out, *report);
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("eval", "Score an adapter, or a bare model, on labelled rows");
  auto flags = std::make_shared<EvalFlags>();
  add_subject(*command, flags->subject);
  add_generation(*command, flags->subject.generate);
  add_error_flags(*command, flags->rows);
  accept_standard_output(*command->add_option(
      "--json", flags->json, "also write the scores to this file; -: the standard output"));
  CLI::Option* const report =
      command->add_flag("--report", flags->reports,
                        "also scores of every class and the confusion matrix, errors of values, "
                        "and the worst mistakes with their "
                        "texts; in --json too");
  command->add_option("--mistakes", flags->mistakes, "mistakes in the report (default 10)")
      ->check(CLI::Range(0, 1 << 30))
      ->needs(report);
  add_records(*command, flags->subject, flags->records);
  CLI::Option* const calibration = command->add_flag(
      "--calibration", flags->calibrates,
      "also how far its probabilities can be trusted: NLL, Brier score, expected calibration error "
      "with its bins, and accuracy by coverage; in --json too");
  command->add_option("--bins", flags->binning.bins, "of the calibration error (default 15)")
      ->check(CLI::Range(1, 1000))
      ->needs(calibration);
  add_word_option(*command, "--binning", kBinnings, flags->binning.binning,
                  "width: bins of one width (default); mass: of as many rows each")
      ->needs(calibration);
  accept_standard_output(*command->add_option(
      "--tokens", flags->tokens,
      "also write what is known of each target of a text, a line per row (JSONL): loss and "
      "entropies in nats"));
  command->add_option(
      "--out-of-domain", flags->out_of_domain,
      "rows of another kind: also how well doubt tells them from those of --data, as the area "
      "under the curve (0.5: not at all)");
  command->add_option(
      "--forgetting", flags->forgetting,
      "plain text, a line each: also the model's loss on it without the adapter and with it");
  command->footer(
      "Examples:\n  graft eval --model models/minilm --adapter runs/sst2/adapter --data "
      "glue/SST-2/dev.tsv --json scores.json\n"
      "  graft eval --model SmolLM2-135M-Instruct.gguf --task arc-easy --data ARC-Easy/test.json");
  command->callback([flags, command, &action] {
    flags->writing = given_in(kGenerationGroup, *command);
    action = [flags] {
      return with_memory_need({0, "Give --precision bf16"}, [&] { return evaluate_file(*flags); });
    };
  });
}

}  // namespace graft
