// graft eval: an adapter, or a bare model, scored on labelled rows.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
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
    // A score may be named after a group of the data.
    std::fprintf(out, "%-12s %s\n", printable(name, 300).c_str(), value.c_str());
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
  for (const auto& [flag, path] : files) check_writable(path);
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

Dataset read_others(const EvalFlags& flags, const AskedSubject& asked) {
  const Task& task = asked.task();
  const bool is_text = task.kind() == TaskKind::kGeneration;
  const LabelUse use =  // rows of another kind may have labels of their own
      is_text ? LabelUse::kRequired : LabelUse::kIgnored;
  std::vector<Example> examples = read_examples(flags.out_of_domain, task, use);
  asked.check_rows(examples);
  Dataset rows = encode_examples(std::move(examples), task, asked.opened.text, asked.model().config,
                                 asked.subject.max_length,
                                 is_text ? TargetUse::kFollow : TargetUse::kLeaveOut);
  tell_cut(rows, "out-of-domain data");
  return rows;
}

// All that is read before anything is computed.
struct EvalInputs {
  EvalData data;
  int64_t num_skipped = 0;             // rows of --data
  std::optional<Dataset> plain = {};   // of --forgetting
  std::optional<Dataset> others = {};  // of --out-of-domain
};

EvalInputs read_inputs(const EvalFlags& flags, const AskedSubject& asked) {
  EvalInputs in;
  in.data = read_eval_data(flags, asked, in.num_skipped);
  tell_cut(in.data.rows, "data");
  if (in.data.prompts) tell_cut(*in.data.prompts, "prompts");
  if (!flags.forgetting.empty()) {
    check_forgetting(asked.subject.loaded.adapter);
    in.plain = plain_texts(flags.forgetting, asked.opened.text, asked.model().config,
                           asked.subject.max_length);
  }
  if (!flags.out_of_domain.empty()) in.others = read_others(flags, asked);
  return in;
}

RowDoubts doubts_of(const AskedSubject& asked, const BoundSubject& bound, const Dataset& rows,
                    const PredictOptions& options) {
  if (asked.task().kind() == TaskKind::kGeneration)
    return row_doubts(*text_losses(asked.model(), bound.first(), rows, options).uncertainty);
  return row_doubts(asked.task(), predict(asked.model(), bound.first(), rows, options));
}

void put_trust(const EvalFlags& flags, const AskedSubject& asked, const BoundSubject& bound,
               const EvalInputs& in, const Evaluation& evaluation, PredictOptions options,
               Node& json) {
  if (flags.calibrates)
    json["calibration"] = to_node(trust_of(in.data.rows, evaluation.logits, flags.binning));
  const bool tells_doubt = asked.has_samples() || in.others;
  if (!tells_doubt) return;
  Predictions answers;
  answers.logits = evaluation.logits;
  answers.by_sample = evaluation.by_sample;
  const RowDoubts own =
      evaluation.texts ? row_doubts(*evaluation.texts) : row_doubts(asked.task(), answers);
  Node& uncertainty = json["uncertainty"] = means_node(own);
  uncertainty["samples"] = Node::integer(num_samples(bound.samples()));
  if (!in.others) return;
  options.progress = {};
  options.keep_records = false;
  const RowDoubts others = doubts_of(asked, bound, *in.others, options);
  json["out_of_domain"] = Node::map({{"data", Node::text(flags.out_of_domain)},
                                     {"rows", Node::integer(in.others->size())},
                                     {"auroc", aurocs_node(own, others)}});
}

// Rounded for the eye.
void print_trust(std::FILE* out, const Node& json) {
  const auto line = [&](const std::string& name, const Node& map) {
    std::string text;
    for (const auto& [key, value] : map.members) {
      const std::optional<double> number = value.as_number();
      if (!number || key == "bins") continue;
      text += (text.empty() ? "" : "  ") + key + " " + number_text(*number);
    }
    std::fprintf(out, "%-12s %s\n", name.c_str(), text.c_str());
  };
  if (const Node* own = json.find("calibration")) line("calibration", *own);
  if (const Node* own = json.find("uncertainty")) line("uncertainty", *own);
  if (const Node* own = json.find("out_of_domain")) line("told apart", *own->find("auroc"));
  if (const Node* own = json.find("forgetting")) line("forgetting", *own);
}

// What is asked for must be there.
void check_asked(const EvalFlags& flags, const AskedSubject& asked) {
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
}

Node results_node(const EvalFlags& flags, const EvalInputs& in, const Evaluation& evaluation) {
  const Dataset& rows = in.data.rows;
  Node json = Node::map({{"version", Node::integer(1)}, {"rows", Node::integer(rows.size())}});
  if (flags.rows.on_error == OnError::kSkip) json["skipped"] = Node::integer(in.num_skipped);
  put_scores(json, evaluation);
  json["texts_cut"] = Node::integer(rows.num_cut());
  json["cut"] = cut_node(rows);
  json["tokens"] = Node::integer(evaluation.num_tokens);
  json["seconds"] = Node::number(evaluation.seconds);
  return json;
}

int evaluate_file(const EvalFlags& flags) {
  check_files(flags);
  const AskedSubject asked = load_asked(flags.subject);
  check_asked(flags, asked);
  const EvalInputs in = read_inputs(flags, asked);
  const EvalData& data = in.data;
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
  Node json = results_node(flags, in, evaluation);
  put_trust(flags, asked, bound, in, evaluation, options.predict, json);
  if (in.plain)
    json["forgetting"] = to_node(measure_forgetting(asked.model(), bound.first(), *in.plain));
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
  print_scores(out, evaluation, data.rows, in.num_skipped);
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
