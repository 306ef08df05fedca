// graft eval: an adapter, or a bare model, scored on labelled rows.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/records.h"
#include "cli/subject.h"
#include "train/progress.h"

namespace graft {

namespace {

struct EvalFlags {
  SubjectFlags subject;
  std::string json, records;
};

int evaluate_file(const EvalFlags& flags) {
  Subject subject = load_subject(flags.subject, LabelUse::kRequired);
  if (!flags.records.empty() && subject.task.kind == TaskKind::kChoice) throw InputError("--records: not kept where options share a prompt; take a task of kind generation");
  const Judged data = encode_judged(std::move(subject.examples), subject.task, subject.text, subject.model->config, subject.max_length);
  const Bound bound(*subject.model, subject.loaded.adapter, subject.loaded.tensors, experts_of(flags.subject.route.routing));
  Progress progress("row", data.rows.size(), 0, flags.subject.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal);
  EvaluateOptions options;
  options.predict.route = flags.subject.route;
  options.predict.keep_records = !flags.records.empty();
  options.predict.progress = [&](int64_t done, int64_t) { progress.update(done, ""); };
  options.generate = flags.subject.generate;
  const Evaluation evaluation = evaluate(*subject.model, bound, subject.task, data, subject.text, options);
  progress.finish();
  Node json = Node::map({{"version", Node::integer(1)}, {"rows", Node::integer(data.rows.size())}, {"loss", metric_node(evaluation.loss)}});
  for (const Score& score : evaluation.scores) json[score.name] = metric_node(score.value);
  json["texts_cut"] = Node::integer(data.rows.num_cut);
  json["tokens"] = Node::integer(evaluation.num_tokens);
  json["seconds"] = Node::number(evaluation.seconds);
  if (!flags.records.empty()) write_file_atomically(flags.records, record_lines(data.rows, evaluation.records));
  if (!flags.json.empty()) write_file_atomically(flags.json, to_json(json));
  for (const auto& [name, value] : json.members) {
    if (name != "version") std::printf("%-12s %s\n", name.c_str(), value.kind == Node::Kind::kNull ? "undefined" : value.scalar.c_str());
  }
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("eval", "Score an adapter, or a bare model, on labelled rows");
  auto flags = std::make_shared<EvalFlags>();
  add_subject(*command, flags->subject);
  command->add_option("--json", flags->json, "also write the scores to this file");
  command->add_option("--records", flags->records, "also write what gates and routers did, a line per row and site (JSONL)");
  command->footer("Examples:\n  graft eval --model models/minilm --adapter runs/sst2/adapter --data glue/SST-2/dev.tsv --json scores.json\n"
                  "  graft eval --model SmolLM2-135M-Instruct.gguf --task arc-easy --data ARC-Easy/test.json");
  command->callback([flags, &action] { action = [flags] { return evaluate_file(*flags); }; });
}

}  // namespace graft
