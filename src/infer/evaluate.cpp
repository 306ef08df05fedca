#include "infer/evaluate.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/timer.h"
#include "base/wording.h"
#include "data/text_score.h"
#include "infer/text_losses.h"

namespace graft {

namespace {

constexpr const char* kPerplexity = "perplexity";
constexpr int64_t kTogether =
    32;  // prompts that are written at once: each keeps its keys and values

// The metrics of a task that are of texts, not of the loss.
Task without_perplexity(Task task) {
  std::erase(task.metrics, kPerplexity);
  return task;
}

Evaluation evaluate_texts(const Model& model, const BoundAdapter& bound, const Task& task,
                          const EvalData& data, const ModelText& text,
                          const EvaluateOptions& options) {
  const Timer timer;
  if (data.prompts) {  // told before the losses of all rows are computed
    check_generation(options.generate, model.config);
    check_prompts(model.config, bound.adapter().layout(), *data.prompts, options.generate);
  }
  TextLosses losses = text_losses(model, bound, data.rows, options.predict);
  Evaluation out;
  out.loss = losses.mean;
  out.num_tokens = losses.num_tokens;
  out.records = std::move(losses.records);
  out.texts = std::move(losses.uncertainty);
  std::vector<Score> of_texts;
  if (data.prompts) {
    ensure(num_samples(options.predict.samples) == 1, "texts are written by one sample");
    WriteOptions writing;
    writing.generate = options.generate;
    writing.chat = task.at<Generation>().chat;
    writing.stop = task.at<Generation>().stop;
    writing.batch = kTogether;
    Written written =
        write_texts(model, {&bound, {}}, data.prompts->sequences, text, std::move(writing));
    for (WrittenText& each : written.texts) out.outputs.push_back(std::move(each.text));
    out.num_tokens += written.num_tokens;
    of_texts = score_texts(without_perplexity(task), data.prompts->examples, out.outputs);
  }
  auto next = of_texts.begin();
  for (const std::string& metric : task.metrics)
    out.scores.push_back(metric == kPerplexity ? Score{metric, std::exp(losses.mean)} : *next++);
  out.seconds = timer.seconds();
  return out;
}

Evaluation evaluate_choices(const Model& model, const BoundAdapter& bound, const Task& task,
                            const EvalData& data, const EvaluateOptions& options) {
  Choices choices = choose(model, bound, task, data.rows, options.predict);
  Evaluation out;
  out.loss = choices.loss;
  out.scores = score_choices(task, data.rows.examples, choices.chosen);
  out.answers.assign(choices.chosen.begin(), choices.chosen.end());
  out.option_scores = std::move(choices.scores);
  out.num_tokens = choices.num_tokens;
  out.seconds = choices.seconds;
  return out;
}

// What the scores are to be seen beside.
void compare_with_majority(const Task& task, const Dataset& rows, Evaluation& evaluation) {
  std::vector<double> truth;
  for (const Example& example : rows.examples) truth.push_back(*example.label);
  evaluation.majority = majority_of(task, truth);
  evaluation.only_answer = only_answer(task, evaluation.answers);
}

Evaluation evaluate_labels(const Model& model, const BoundAdapter& bound, const Task& task,
                           const EvalData& data, const EvaluateOptions& options) {
  Predictions predictions = predict(model, bound, data.rows, options.predict);
  Evaluation out;
  out.loss = mean_loss(task, data.rows, predictions.logits);
  out.scores = score_predictions(task, data.rows, predictions.logits);
  out.answers = answers_of(task, predictions.logits);
  out.logits = std::move(predictions.logits);
  out.by_sample = std::move(predictions.by_sample);
  out.records = std::move(predictions.records);
  out.num_tokens = predictions.num_tokens;
  out.seconds = predictions.seconds;
  return out;
}

}  // namespace

void put_scores(Node& out, const Evaluation& evaluation) {
  out["loss"] = metric_node(evaluation.loss);
  for (const Score& score : evaluation.scores) out[score.name] = metric_node(score.value);
  if (!evaluation.majority) return;
  Node& majority = out["majority"] = Node::map({{"label", Node::text(evaluation.majority->label)}});
  for (const Score& score : evaluation.majority->scores)
    majority[score.name] = metric_node(score.value);
  out["only_answer"] = evaluation.only_answer ? Node::text(*evaluation.only_answer) : Node::null();
}

std::string scores_text(const Evaluation& evaluation) {
  std::string out = "loss " + number_text(evaluation.loss);
  for (const Score& score : evaluation.scores) {
    out += "  " + score.name + " " + number_text(score.value);
    if (!evaluation.majority) continue;
    for (const Score& majority : evaluation.majority->scores)
      if (majority.name == score.name) out += " (majority " + number_text(majority.value) + ")";
  }
  return out +
         (evaluation.only_answer ? "; every answer is " + quote(*evaluation.only_answer) : "");
}

bool writes_texts(const Task& task) {
  return task.kind() == TaskKind::kGeneration && !without_perplexity(task).metrics.empty();
}

EvalData encode_eval_data(std::vector<Example> examples, const Task& task, const ModelText& text,
                          const ModelConfig& config, int64_t max_length) {
  EvalData out;
  if (writes_texts(task)) {
    out.prompts = encode_examples(join_references(examples, task), task, text, config, max_length,
                                  TargetUse::kLeaveOut);
  }
  const TargetUse targets =
      task.kind() == TaskKind::kChoice ? TargetUse::kLeaveOut : TargetUse::kFollow;
  out.rows = encode_examples(std::move(examples), task, text, config, max_length, targets);
  return out;
}

Evaluation evaluate(const Model& model, const BoundAdapter& bound, const Task& task,
                    const EvalData& data, const ModelText& text, const EvaluateOptions& options) {
  const at::NoGradGuard no_grad;
  if (task.kind() == TaskKind::kGeneration)
    return evaluate_texts(model, bound, task, data, text, options);
  Evaluation out = task.kind() == TaskKind::kChoice
                       ? evaluate_choices(model, bound, task, data, options)
                       : evaluate_labels(model, bound, task, data, options);
  compare_with_majority(task, data.rows, out);
  return out;
}

}  // namespace graft
