// graft eval and graft predict: an adapter on data, as scores or as one line a row.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "edit/adapter_file.h"
#include "infer/predict.h"
#include "infer/uncertainty.h"
#include "train/progress.h"

namespace graft {

namespace {

struct EvalFlags {
  std::string model, adapter, data, json, out, records;
  RouteOptions route;
  Precision precision = Precision::kFloat32;
  int64_t threads = 0;
  bool is_quiet = false;
};

struct Scored {
  LoadedAdapter loaded;
  Dataset data;
  Predictions predictions;
};

const std::map<std::string, Routing> kRoutings = {{"merged", Routing::kMerged},
                                                  {"random", Routing::kRandom},
                                                  {"fixed", Routing::kFixed},
                                                  {"ensemble-logits", Routing::kEnsembleLogits},
                                                  {"ensemble-probabilities", Routing::kEnsembleProbabilities}};

void check_routing(const Adapter& adapter, const EvalFlags& flags) {
  const auto& parts = adapter.parts();
  const bool is_stochastic = std::any_of(parts.begin(), parts.end(), [](const Adapter::Part& part) { return part.spec.traits.is_stochastic; });
  if (flags.route.routing == Routing::kMerged || is_stochastic) return;
  throw InputError("--routing: the adapter in '" + flags.adapter + "' has no stochastic mixture to route through; leave the flag out");
}

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
                                 resolve_max_length(loaded.provenance.max_length, model->config, loaded.adapter.layout()));
  check_routing(loaded.adapter, flags);
  const Bound bound(*model, loaded.adapter, loaded.tensors, experts_of(flags.route.routing));
  Progress progress("row", data.size(), 0, flags.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal);
  PredictOptions options;
  options.route = flags.route;
  options.keep_records = !flags.records.empty();
  options.progress = [&](int64_t done, int64_t) { progress.update(done, ""); };
  Predictions predictions = predict(*model, bound, data, options);
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

Node number_list(const at::Tensor& values) {
  std::vector<Node> items;
  for (int64_t i = 0; i < values.numel(); ++i) items.push_back(Node::number(values[i].item<float>()));
  return Node::list(std::move(items));
}

Node id_node(const Example& example) { return example.id_is_number ? Node::plain(example.id_text) : Node::text(example.id_text); }

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

// One line per row and place: what gates and routers did there.
std::string record_lines(const Scored& scored) {
  std::string lines;
  for (int64_t i = 0; i < scored.data.size(); ++i) {
    const auto row = static_cast<size_t>(i);
    const auto tokens = static_cast<int64_t>(scored.data.sequences[row].ids.size());
    for (const auto& [name, values] : scored.predictions.records) {
      lines += to_json(Node::map({{"id", id_node(scored.data.examples[row])}, {"tokens", Node::integer(tokens)}, {"name", Node::text(name)}, {"values", number_list(values[i])}}), -1) + "\n";
    }
  }
  return lines;
}

int predict_file(const EvalFlags& flags) {
  const Scored scored = run_adapter(flags, LabelUse::kOptional);
  const Task& task = *scored.loaded.adapter.task();
  const at::Tensor& by_route = scored.predictions.by_route;
  const Uncertainty uncertainty = by_route.defined() ? uncertainty_of(task.kind, by_route) : Uncertainty{};
  std::string lines;
  for (int64_t i = 0; i < scored.data.size(); ++i) {
    Node line = prediction_node(scored.data.examples[static_cast<size_t>(i)], scored.predictions.logits[i], task);
    for (const auto& [name, values] : {std::pair{"entropy", &uncertainty.entropy}, std::pair{"information", &uncertainty.information},
                                       std::pair{"disagreement", &uncertainty.disagreement}}) {
      if (values->defined()) line[name] = Node::number((*values)[i].item<float>());
    }
    lines += to_json(line, -1) + "\n";
  }
  if (!flags.records.empty()) write_file_atomically(flags.records, record_lines(scored));
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
  command->add_option("--routing", flags->route.routing, "experts of a stochastic mixture: merged (default), random, fixed, ensemble-logits, ensemble-probabilities")
      ->transform(CLI::CheckedTransformer(kRoutings));
  command->add_option("--routes", flags->route.routes, "random routes of an ensemble (default 4)")->check(CLI::Range(2, 1024));
  command->add_option("--route-seed", flags->route.seed, "draws the routes")->check(CLI::NonNegativeNumber);
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
  command->add_option("--records", flags->records, "also write what gates and routers did, a line per row and site (JSONL)");
  command->footer("Example:\n  graft predict --model models/minilm --adapter runs/sst2/adapter --data rows.jsonl --out predictions.jsonl\n"
                  "Rows need no label; one that is there must be a known one.");
  command->callback([flags, &action] { action = [flags] { return predict_file(*flags); }; });
}

}  // namespace graft
