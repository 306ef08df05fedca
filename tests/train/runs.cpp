#include "tests/train/runs.h"

#include <fstream>

namespace graft::testing {

RunInputs run_inputs(const std::string& definition, const Path& out, const std::string& settings,
                     int64_t rows) {
  const std::string least =
      "model: golden\ntask: test\nout: " + out.string() +
      "\ndata: {train: rows}\ndropout: 0\ncheckpoint_every: never\nadapter: " + definition;
  RunInputs inputs;
  inputs.config = parse_run_config(yaml(settings), yaml(least), "test");
  inputs.model = golden_model("bert-tiny", inputs.config.precision);
  inputs.task = class_task(3);
  inputs.adapter = defined_adapter(inputs.config, inputs.model->config, inputs.task);
  Dataset& train = own_rows(inputs);
  train.sequences = random_sequences(inputs.model->config, rows, 20, 17);
  const std::vector<double> labels = class_labels(rows, 3);
  for (int64_t i = 0; i < rows; ++i) {
    Example example;
    example.id = i;
    example.id_text = "row " + std::to_string(i);
    example.label = labels[static_cast<size_t>(i)];
    train.examples.push_back(std::move(example));
    train.num_tokens += static_cast<int64_t>(train.sequences[static_cast<size_t>(i)].ids.size());
  }
  return inputs;
}

void set_task(RunInputs& inputs, const Task& task) {
  inputs.task = task;
  inputs.adapter = defined_adapter(inputs.config, inputs.model->config, task);
}

Dataset& own_rows(RunInputs& inputs) {
  const auto rows = std::make_shared<Dataset>(*inputs.train);
  inputs.train = rows;
  return *rows;
}

void name_subspaces(Dataset& rows) {
  for (size_t i = 0; i < rows.sequences.size(); ++i) {
    if (i % 3 == 0) rows.sequences[i].subspace = {0};
    if (i % 3 == 1) rows.sequences[i].subspace = {1, 2};
  }
}

std::shared_ptr<const EvalData> evaluation_rows(const RunInputs& inputs) {
  return std::make_shared<const EvalData>(EvalData{*inputs.train, std::nullopt});
}

void drive_to(Run& run, int64_t steps) {
  while (!run.is_done() && run.steps_done() < steps) run.step();
}

std::vector<Node> log_events(const Path& run_dir, const std::string& kind) {
  std::vector<Node> out;
  std::ifstream log(run_dir / "log.jsonl");
  for (std::string line; std::getline(log, line);) {
    Node event = parse_json(line, "log.jsonl");
    if (event.find("event")->scalar == kind) out.push_back(std::move(event));
  }
  return out;
}

}  // namespace graft::testing
