#include "train/row_cache.h"

namespace graft {

bool drops_nothing(const DropoutRates& rates) {
  return rates.embed == 0 && rates.hidden == 0 && rates.attention == 0 && rates.activation == 0;
}

namespace {

bool pass_again(const RunInputs& inputs) {
  const Epochs epochs = epochs_of(inputs);
  return epochs.epochs_done(epochs.total_steps()) > 1 ||
         inputs.config.objective.needs_two_passes(inputs.task.kind());
}

}  // namespace

RowCache plan_row_cache(const RunInputs& inputs) {
  const RunConfig& config = inputs.config;
  const ModelConfig& model = inputs.model->config;
  int64_t room = config.cache.value_or(kAutoCacheBytes);
  RowCache out;
  if (room == 0) return out;
  out.place = kept_place(*inputs.adapter, model, inputs.task.is_answered_in_words());
  if (!out.place) return out;
  const auto take = [&](const Dataset& data) -> int64_t {
    const int64_t bytes = kept_bytes(*out.place, model, config.precision, data);
    if (bytes > room) return 0;
    room -= bytes;
    return bytes;
  };
  if (drops_nothing(trunk_dropout(model, config.dropout)) && pass_again(inputs))
    out.train_bytes = take(*inputs.train);
  const bool shares_prompts = inputs.task.kind() == TaskKind::kChoice;  // in a way of its own
  if (inputs.eval != nullptr && !shares_prompts) out.eval_bytes = take(inputs.eval->rows);
  return out;
}

void keep_rows(RunInputs& inputs) {
  const RowCache cache = plan_row_cache(inputs);
  if (cache.train_bytes > 0)
    inputs.kept_train = inputs.kept_pool->get(inputs.model, inputs.train, *cache.place);
  if (cache.eval_bytes > 0)
    inputs.kept_eval =
        inputs.kept_pool->get(inputs.model, {inputs.eval, &inputs.eval->rows}, *cache.place);
}

}  // namespace graft
