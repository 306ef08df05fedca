// Loading and checking everything a run reads, before its folder is touched.
#include "train/inputs.h"

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"
#include "edit/own_head.h"
#include "infer/forgetting.h"
#include "train/effects.h"
#include "train/length.h"
#include "train/recording.h"
#include "train/run_rows.h"

namespace graft {

namespace {

Epochs epochs_for(const RunInputs& inputs, double epochs, int64_t max_steps) {
  const RunConfig& config = inputs.config;
  std::vector<int64_t> lengths;
  for (const Sequence& sequence : inputs.train->sequences) lengths.push_back(sequence.num_tokens());
  return Epochs(std::move(lengths),
                {config.batch_size, config.token_budget, config.order,
                 key_of(config, Draws::kOrder), inputs.parts},
                config.accumulate, epochs, max_steps);
}

int64_t steps_per_epoch(const RunInputs& inputs) { return epochs_for(inputs, 1, 0).total_steps(); }

// A head that the folder brings is where the run's starts, if its answers are the task's by name:
// of labels that nobody named nobody knows that.
void start_head(RunInputs& in) {
  if (in.task.is_answered_in_words() || in.task.cloze() != nullptr || !in.config.start_from.empty())
    return;
  const std::optional<OwnHead> own = read_own_head(in.config.model, in.model->config);
  if (!own) return;
  const bool has_same_names =
      own->has_names || in.task.labels() == own->task.labels();  // a regression has none
  if (has_same_names && matched_outputs(*own, in.task)) {
    in.head_start = matched_tensors(*own, in.task);
    in.head_note = "the head starts as the model's own: " + matched_text(*own, in.task);
    return;
  }
  in.head_note = "the head starts anew: " +
                 (own->refusal.empty() ? "the model's own answers " + answers_text(own->task)
                                       : "of the model, " + own->refusal);
}

// A preset's max_length that the model does not serve is the longest that it does.
void limit_suggested_length(const RowLayout& layout, const ModelConfig& model, RunInputs& in) {
  const int64_t longest = positions_for_tokens(model, layout);
  if (in.config.is_suggested("max_length") && in.config.max_length > longest)
    in.config.max_length = std::max<int64_t>(0, longest);
}

void check_in_memory(const Model& model, const RunConfig& config) {
  if (is_model_of(model, config)) return;
  if (model.source != config.model)
    throw InputError("model: found " + quote(config.model) + ", and what is in memory is " +
                     quote(model.source) + "; load it, or give that one");
  throw InputError("precision: the model in memory has another; load it anew, or give that one");
}

}  // namespace

std::shared_ptr<const Adapter> defined_adapter(const RunConfig& config, const ModelConfig& model,
                                               const Task& task) {
  const Sites sites(model);
  return std::make_shared<const Adapter>(config.adapter, "adapter " + config.adapter_name,
                                         EditTarget{model, sites}, task);
}

bool is_model_of(const Model& model, const RunConfig& config) {
  return model.source == config.model && model.weights.dtype() == scalar_type(config.precision);
}

RandomKey key_of(const RunConfig& config, Draws draws) {
  const auto key = [&](const std::optional<int64_t>& own, const char* use) {
    return RandomKey{}.with(static_cast<uint64_t>(own.value_or(config.seed))).with(use);
  };
  switch (draws) {
    case Draws::kInitialValues: return key(config.seeds.initial, "init");
    case Draws::kOrder: return key(config.seeds.order, "data");
    case Draws::kSteps: return key(config.seeds.steps, "step");
  }
  throw InternalError("unknown kind of draws");
}

Epochs epochs_of(const RunInputs& inputs) {
  const RunConfig& config = inputs.config;
  const LengthRule rule = length_rule(inputs.task.is_answered_in_words());
  const double epochs = config.epochs
                            ? *config.epochs
                            : static_cast<double>(auto_epochs(rule, steps_per_epoch(inputs)));
  return epochs_for(inputs, epochs, config.max_steps);
}

RunInputs load_inputs(const RunConfig& config, const Path& tasks_dir,
                      std::shared_ptr<const Model> model_in_memory, SharedRows* shared_rows) {
  SharedRows own;
  SharedRows& shared = shared_rows != nullptr ? *shared_rows : own;
  RunInputs in;
  in.config = config;
  in.kept_pool = shared.kept();
  const bool is_mixture = !config.data.mixture.empty();
  in.task = is_mixture || !config.data.eval_tasks.empty()
                ? load_text_task(config.task, "task", tasks_dir)
                : load_task(config.task, tasks_dir);
  if (!config.task_options.members.empty())
    in.task = with_options(in.task, config.task_options, "task_options");
  const ModelConfig model = read_config(config.model, {.named = config.ignored_keys});
  check_task(in.task,
             model);  // what does not go together is refused before rows or weights are read
  in.adapter = defined_adapter(config, model, in.task);
  check_recording(config, *in.adapter);
  const RowLayout layout = in.adapter->layout();
  check_row_seed(config);
  in.text = *shared.get<ModelText>("text of " + config.model,
                                   [&] { return load_model_text(config.model); });
  in.tokenizer_digest = in.text.tokenizer->digest();
  limit_suggested_length(layout, model, in);
  in.max_length = resolve_max_length(in.config.max_length, model, layout);
  check_target_length(in.task, model, layout, in.max_length);
  load_rows(tasks_dir, model, shared, in);
  if (!config.data.forgetting.empty()) {
    check_forgetting(*in.adapter);
    in.plain = plain_texts(config.data.forgetting, in.text, model, in.max_length);
  }
  if (model_in_memory != nullptr) check_in_memory(*model_in_memory, config);
  in.model = model_in_memory != nullptr
                 ? std::move(model_in_memory)
                 : load_model(config.model, config.precision, {.named = config.ignored_keys});
  // Files may have an output layer of their own where config.json leaves that open.
  if (in.model->config.has_tied_output != model.has_tied_output)
    in.adapter = defined_adapter(config, in.model->config, in.task);
  start_head(in);
  settle_length(length_rule(in.task.is_answered_in_words()), steps_per_epoch(in), in.config);
  check_effects(layout, in);
  return in;
}

}  // namespace graft
