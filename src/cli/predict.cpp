// graft predict: one line a row, with what an adapter or a bare model answers.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/records.h"
#include "cli/subject.h"
#include "infer/uncertainty.h"
#include "train/progress.h"

namespace graft {

namespace {

struct PredictFlags {
  SubjectFlags subject;
  std::string out, records;
};

Node prediction_node(const Example& example, const at::Tensor& logits, const Task& task) {
  Node line = Node::map({{"id", id_node(example)}, {"logits", number_list(logits)}});
  if (task.kind == TaskKind::kRegression) {
    line["label"] = Node::number(logits[0].item<float>());
    return line;
  }
  line["label"] = Node::text(task.labels[static_cast<size_t>(logits.argmax().item<int64_t>())]);
  line["probabilities"] = number_list(logits.softmax(0));
  return line;
}

std::string label_lines(const Task& task, const Dataset& data, const Predictions& predictions) {
  const Uncertainty uncertainty =
      predictions.by_route.defined() ? uncertainty_of(task.kind, predictions.by_route) : Uncertainty{};
  std::string lines;
  for (int64_t i = 0; i < data.size(); ++i) {
    Node line = prediction_node(data.examples[static_cast<size_t>(i)], predictions.logits[i], task);
    for (const auto& [name, values] :
         {std::pair{"entropy", &uncertainty.entropy}, std::pair{"information", &uncertainty.information},
          std::pair{"disagreement", &uncertainty.disagreement}}) {
      if (values->defined()) line[name] = Node::number((*values)[i].item<float>());
    }
    lines += to_json(line, -1) + "\n";
  }
  return lines;
}

std::string choice_lines(const Dataset& data, const Choices& choices) {
  std::string lines;
  for (size_t i = 0; i < data.examples.size(); ++i) {
    std::vector<Node> scores;
    for (const double score : choices.scores[i]) scores.push_back(Node::number(score));
    const auto chosen = static_cast<size_t>(choices.chosen[i]);
    lines += to_json(Node::map({{"id", id_node(data.examples[i])},
                                {"chosen", Node::integer(choices.chosen[i])},
                                {"label", Node::text(data.examples[i].options[chosen])},
                                {"scores", Node::list(std::move(scores))}}),
                     -1) +
             "\n";
  }
  return lines;
}

int predict_file(const PredictFlags& flags) {
  check_not_rows("--out", flags.out, flags.subject.data);
  check_not_rows("--records", flags.records, flags.subject.data);
  const Subject subject = load_subject(flags.subject);
  const Task& task = subject.task;
  if (task.kind == TaskKind::kGeneration)
    throw InputError("task " + quote(task.name) + " is answered by a text: write it with graft generate --data");
  if (!flags.records.empty() && subject.loaded.adapter.head() == nullptr)
    throw InputError("--records: only for tasks with a head; of a task of kind generation graft eval writes them");
  check_records(subject, flags.subject, flags.records);
  const Dataset data = encode_examples(read_examples(flags.subject.data, task, LabelUse::kOptional), task, subject.text,
                                       subject.model->config, subject.max_length, TargetUse::kLeaveOut);
  const Bound bound(*subject.model, subject.loaded.adapter, subject.loaded.tensors, experts_of(flags.subject.route.routing));
  Progress progress("row", data.size(), 0, flags.subject.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal);
  PredictOptions options;
  options.route = flags.subject.route;
  options.keep_records = !flags.records.empty();
  options.progress = [&](int64_t done, int64_t) { progress.update(done, ""); };
  std::string lines;
  if (task.kind == TaskKind::kChoice) {
    lines = choice_lines(data, choose(*subject.model, bound, task, data, options));
  } else {
    const Predictions predictions = predict(*subject.model, bound, data, options);
    lines = label_lines(task, data, predictions);
    if (!flags.records.empty()) write_file_atomically(flags.records, record_lines(data, predictions.records));
  }
  progress.finish();
  write_file_atomically(flags.out, lines);
  if (!flags.subject.is_quiet)
    std::printf("%s %s in %s\n", count_text(data.size()).c_str(), plural(data.size(), "prediction").c_str(), flags.out.c_str());
  return 0;
}

}  // namespace

void add_predict(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("predict", "Label rows: one JSON line each with id, label, and logits or scores");
  auto flags = std::make_shared<PredictFlags>();
  add_subject(*command, flags->subject);
  command->add_option("--out", flags->out, "file to write (JSONL)")->required();
  command->add_option("--records", flags->records,
                      "also write what gates and routers did, a line per row and site (JSONL): means over its tokens, in the "
                      "last block over those read there alone (that predict, or a classifier's first)");
  command->footer(
      "Example:\n  graft predict --model models/minilm --adapter runs/sst2/adapter --data rows.jsonl --out predictions.jsonl\n"
      "Rows need no label; one that is there must be a known one.");
  command->callback([flags, &action] { action = [flags] { return predict_file(*flags); }; });
}

}  // namespace graft
