// Loading and checking everything a run reads, before its folder is touched.
#include "base/error.h"
#include "data/split.h"
#include "edit/adapter.h"
#include "train/inputs.h"

namespace graft {

namespace {

constexpr uint64_t kSplitSeed = 0;   // the split belongs to the data, not to the run's seed: seeds stay comparable

std::vector<Example> read_training_rows(const RunConfig& config, const Task& task) {
  std::vector<Example> rows = read_examples(config.data.train, task, LabelUse::kRequired);
  if (config.data.rows > 0) {
    const auto count = static_cast<int64_t>(rows.size());
    if (config.data.rows > count) {
      throw InputError("data.rows: '" + config.data.train + "' has " + std::to_string(count) + " rows, " + std::to_string(config.data.rows) + " were asked for");
    }
    rows.resize(static_cast<size_t>(config.data.rows));
  }
  return rows;
}

}  // namespace

RunInputs load_inputs(const RunConfig& config, const Path& tasks_dir) {
  RunInputs in;
  in.config = config;
  in.task = load_task(config.task, tasks_dir);
  std::vector<Example> train = read_training_rows(config, in.task), eval;
  if (!config.data.eval.empty()) {
    eval = read_examples(config.data.eval, in.task, LabelUse::kRequired);
  } else if (config.data.held_out > 0) {
    const Split split = hold_out(static_cast<int64_t>(train.size()), config.data.held_out, kSplitSeed);
    eval = pick(train, split.held_out);
    train = pick(train, split.kept);
  }
  in.model = load_model(config.model, config.precision);
  const RowLayout layout = Adapter(config.adapter, "adapter " + config.adapter_name, {in.model->config, in.model->sites}, in.task).layout();
  const auto tokenizer = Tokenizer::load(Path(config.model) / "tokenizer.json");
  in.tokenizer_digest = tokenizer->digest();
  in.max_length = resolve_max_length(config.max_length, in.model->config, layout);
  const auto encode = [&](std::vector<Example> rows) { return encode_examples(std::move(rows), *tokenizer, in.model->config, in.max_length); };
  in.train = encode(std::move(train));
  if (!eval.empty()) in.eval = encode(std::move(eval));
  if (!config.data.test.empty()) in.test = encode(read_examples(config.data.test, in.task, LabelUse::kRequired));
  return in;
}

}  // namespace graft
