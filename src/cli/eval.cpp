// graft eval and graft predict: an adapter on data, as scores or as one line a row.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "edit/adapter_file.h"
#include "infer/predict.h"
#include "train/progress.h"

namespace graft {

namespace {

struct EvalFlags {
  std::string model, adapter, data, json, out;
  Precision precision = Precision::kFloat32;
  int64_t threads = 0;
  bool is_quiet = false;
};

struct Scored {
  LoadedAdapter loaded;
  Dataset data;
  Predictions predictions;
};

Scored run_adapter(const EvalFlags& flags, LabelUse use) {
  set_threads(flags.threads);
  const auto model = load_model(flags.model, flags.precision);
  LoadedAdapter loaded = load_adapter(flags.adapter, *model);
  if (!loaded.adapter.task()) throw InputError("'" + flags.adapter + "': the adapter has no task, so nothing to predict");
  const auto tokenizer = Tokenizer::load(Path(flags.model) / "tokenizer.json");
  if (!loaded.provenance.tokenizer.empty() && tokenizer->digest() != loaded.provenance.tokenizer) {
    throw InputError("'" + flags.adapter + "': trained with another tokenizer.json than " + flags.model + " has; give the model folder it was trained with");
  }
  Dataset data = encode_examples(read_examples(flags.data, *loaded.adapter.task(), use), *tokenizer, model->config,
                                 resolve_max_length(loaded.provenance.max_length, model->config));
  const Bound bound(*model, loaded.adapter, loaded.tensors);
  Progress progress("row", data.size(), 0, flags.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal);
  Predictions predictions = predict(*model, bound, data, {.progress = [&](int64_t done, int64_t) { progress.update(done, ""); }});
  progress.finish();
  return {std::move(loaded), std::move(data), std::move(predictions)};
}

int evaluate(const EvalFlags& flags) {
  const Scored scored = run_adapter(flags, LabelUse::kRequired);
  const Task& task = *scored.loaded.adapter.task();
  Node json = Node::map({{"version", Node::integer(1)},
                         {"rows", Node::integer(scored.data.size())},
                         {"loss", metric_node(mean_loss(task, scored.data, scored.predictions.logits))}});
  for (const Score& score : score_predictions(task, scored.data, scored.predictions.logits)) json[score.name] = metric_node(score.value);
  json["texts_cut"] = Node::integer(scored.data.num_cut);
  json["tokens"] = Node::integer(scored.predictions.num_tokens);
  json["seconds"] = Node::number(scored.predictions.seconds);
  if (!flags.json.empty()) write_file_atomically(flags.json, to_json(json));
  for (const auto& [name, value] : json.members) {
    if (name != "version") std::printf("%-12s %s\n", name.c_str(), value.kind == Node::Kind::kNull ? "undefined" : value.scalar.c_str());
  }
  return 0;
}

Node prediction_node(const Example& example, const at::Tensor& logits, const Task& task) {
  const auto list = [](const at::Tensor& values) {
    std::vector<Node> items;
    for (int64_t i = 0; i < values.numel(); ++i) items.push_back(Node::number(values[i].item<float>()));
    return Node::list(std::move(items));
  };
  Node line = Node::map({{"id", example.id_is_number ? Node::plain(example.id_text) : Node::text(example.id_text)}, {"logits", list(logits)}});
  if (task.kind == TaskKind::kRegression) {
    line["label"] = Node::number(logits[0].item<float>());
    return line;
  }
  line["label"] = Node::text(task.labels[static_cast<size_t>(logits.argmax().item<int64_t>())]);
  line["probabilities"] = list(logits.softmax(0));
  return line;
}

int predict_file(const EvalFlags& flags) {
  const Scored scored = run_adapter(flags, LabelUse::kOptional);
  const Task& task = *scored.loaded.adapter.task();
  std::string lines;
  for (int64_t i = 0; i < scored.data.size(); ++i) {
    lines += to_json(prediction_node(scored.data.examples[static_cast<size_t>(i)], scored.predictions.logits[i], task), -1) + "\n";
  }
  write_file_atomically(flags.out, lines);
  if (!flags.is_quiet) std::printf("%s predictions in %s\n", count_text(scored.data.size()).c_str(), flags.out.c_str());
  return 0;
}

std::shared_ptr<EvalFlags> add_common(CLI::App* command) {
  auto flags = std::make_shared<EvalFlags>();
  command->add_option("--model", flags->model, "folder of the frozen model the adapter was trained on")->required();
  command->add_option("--adapter", flags->adapter, "adapter folder (RUN/adapter)")->required();
  command->add_option("--data", flags->data, "rows: TSV, CSV, JSONL or JSON")->required();
  add_precision(*command, flags->precision);
  add_threads(*command, flags->threads);
  command->add_flag("--quiet", flags->is_quiet, "no progress");
  return flags;
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("eval", "Score an adapter on labelled rows");
  auto flags = add_common(command);
  command->add_option("--json", flags->json, "also write the scores to this file");
  command->footer("Example:\n  graft eval --model models/minilm --adapter runs/sst2/adapter --data glue/SST-2/dev.tsv --json scores.json");
  command->callback([flags, &action] { action = [flags] { return evaluate(*flags); }; });
}

void add_predict(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("predict", "Label rows: one JSON line each with id, logits, label, probabilities");
  auto flags = add_common(command);
  command->add_option("--out", flags->out, "file to write (JSONL)")->required();
  command->footer("Example:\n  graft predict --model models/minilm --adapter runs/sst2/adapter --data rows.jsonl --out predictions.jsonl\n"
                  "Rows need no label; one that is there must be a known one.");
  command->callback([flags, &action] { action = [flags] { return predict_file(*flags); }; });
}

}  // namespace graft
