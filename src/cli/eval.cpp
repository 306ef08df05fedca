// graft eval: an adapter, or a bare model, scored on labelled rows.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/files.h"
#include "cli/out_of_memory.h"
#include "cli/progress.h"
#include "cli/records.h"
#include "cli/report.h"
#include "cli/row_feed.h"
#include "cli/subject.h"

namespace graft {

namespace {

struct EvalFlags {
  SubjectFlags subject;
  RowFlags rows;
  std::string json, records;
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
    rows.push_back(Node::map(
        {{"id", example.id_is_number ? Node::plain(example.id_text) : Node::text(example.id_text)},
         {"tokens", Node::integer(cut.tokens)}}));
  }
  return Node::list(std::move(rows));
}

// All rows, encoded; `num_skipped`: those that cannot be and are left out.
EvalData read_eval_data(const EvalFlags& flags, const AskedSubject& asked, int64_t& num_skipped) {
  const auto encode = [&](std::vector<Example> examples) {
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

int evaluate_file(const EvalFlags& flags) {
  check_not_rows("--json", flags.json, flags.subject.data);
  check_not_rows("--records", flags.records, flags.subject.data);
  check_not_rows("--skipped", flags.rows.skipped, flags.subject.data);
  check_apart({"--json", flags.json}, {"--records", flags.records});
  check_apart({"--json", flags.json}, {"--skipped", flags.rows.skipped});
  check_apart({"--records", flags.records}, {"--skipped", flags.rows.skipped});
  const AskedSubject asked = load_asked(flags.subject);
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
  const LoadedAdapter& loaded = asked.subject.loaded;
  const BoundAdapter bound(asked.model(), loaded.adapter, loaded.tensors,
                           experts_of(asked.route.routing));
  Progress progress("row", data.rows.size(), 0,
                    flags.subject.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal);
  EvaluateOptions options;
  options.predict.route = asked.route;
  options.predict.keep_records = !flags.records.empty();
  options.predict.progress = [&](int64_t done, int64_t) { progress.update(done, ""); };
  if (data.prompts) {
    options.generate = generation_of(flags.subject.generate, asked.opened, flags.subject.is_quiet);
  }
  const Evaluation evaluation =
      evaluate(asked.model(), bound, asked.task(), data, asked.opened.text, options);
  progress.finish();
  Node json = Node::map({{"version", Node::integer(1)}, {"rows", Node::integer(data.rows.size())}});
  if (flags.rows.on_error == OnError::kSkip) json["skipped"] = Node::integer(num_skipped);
  put_scores(json, evaluation);
  json["texts_cut"] = Node::integer(data.rows.num_cut());
  json["cut"] = cut_node(data.rows);
  json["tokens"] = Node::integer(evaluation.num_tokens);
  json["seconds"] = Node::number(evaluation.seconds);
  std::optional<Report> report;
  if (flags.reports) report = make_report(asked.task(), data, evaluation, flags.mistakes);
  if (report) json["report"] = to_node(*report);
  if (!flags.records.empty())
    write_file_atomically(flags.records, record_lines(data.rows, evaluation.records));
  if (!flags.json.empty()) write_file_atomically(flags.json, to_json(json));
  std::FILE* const out = messages_beside({flags.json, flags.records, flags.rows.skipped});
  print_scores(out, evaluation, data.rows, num_skipped);
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
  accept_standard_output(*command->add_option(
      "--records", flags->records,
      "also write what gates and routers did, a line per row and site (JSONL): means over its "
      "tokens, in the "
      "last block over those read there alone (that predict, or the one that a classifier reads)"));
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
