// What a run reports and keeps: its evaluations, its adapter and, at the end, metrics.json.
#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "base/version.h"
#include "base/wording.h"
#include "infer/forgetting.h"
#include "train/lengthen.h"
#include "train/loss_course.h"
#include "train/memory.h"
#include "train/plan.h"
#include "train/recording.h"
#include "train/run.h"
#include "train/task_scores.h"

namespace graft {

namespace {

using at::Tensor;

// Means over the rows of what gates and routers did.
Node records_event(int64_t step, const NamedTensors& records) {
  Node means = Node::map();
  for (const auto& [name, values] : records) {
    const Tensor mean = values.mean(0);  // [K]
    std::vector<Node> numbers;
    for (int64_t k = 0; k < mean.numel(); ++k)
      numbers.push_back(Node::number(mean[k].item<float>()));
    means[name] = Node::list(std::move(numbers));
  }
  return Node::map({{"event", Node::text("records")},
                    {"step", Node::integer(step)},
                    {"means", std::move(means)}});
}

// Of a head that has not learned to tell the labels apart.
std::string one_answer_warning(const std::string& side, const EvalData& data,
                               const Evaluation& evaluation) {
  return side + ": all " + counted(data.rows.size(), "row") + " are answered " +
         quote(*evaluation.only_answer);
}

std::string no_row_warning(const std::string& side, const std::vector<std::string>& labels) {
  std::vector<std::string> shown;
  for (const std::string& label : labels) shown.push_back(quote(label));
  return "no " + side + " row has the " + plural(std::ssize(labels), "label") + " " +
         joined_first(shown, 10);
}

// Labels that cannot be learned, and those learned ones that no score tells of.
std::vector<std::string> label_warnings(const RunInputs& inputs) {
  std::vector<std::string> warnings;
  const std::vector<std::string> untrained = unseen_labels(inputs.task, inputs.train->examples);
  if (!untrained.empty()) warnings.push_back(no_row_warning("training", untrained));
  if (!inputs.eval) return warnings;
  std::vector<std::string> unscored = unseen_labels(inputs.task, inputs.eval->rows.examples);
  std::erase_if(unscored, [&](const std::string& label) {
    return std::find(untrained.begin(), untrained.end(), label) != untrained.end();
  });
  if (!unscored.empty())
    warnings.push_back(no_row_warning("evaluation", unscored) + ", which training rows have");
  return warnings;
}

// What the adapter says that it was trained on.
std::string data_text(const DataConfig& data) {
  std::vector<std::string> files;
  for (const MixturePart& part : data.mixture) files.push_back(part.data);
  return files.empty() ? data.train : "a mixture of " + joined(files);
}

EvaluateOptions with_kept(EvaluateOptions options, const std::shared_ptr<KeptRows>& kept) {
  options.predict.kept = kept.get();
  return options;
}

// An evaluation during training.
struct Scored {
  Node event;
  EvaluationReport report;
  double primary = 0, seconds = 0;
  std::vector<double> losses = {};
  NamedTensors records = {};
};

void score_own_rows(const RunInputs& inputs, const BoundAdapter& bound,
                    const EvaluateOptions& options, Scored& out) {
  Evaluation evaluation = evaluate(*inputs.model, bound, inputs.task, *inputs.eval, inputs.text,
                                   with_kept(options, inputs.kept_eval));
  put_scores(out.event, evaluation);
  out.report.text = scores_text(evaluation);
  out.report.scores.emplace_back("loss", evaluation.loss);
  for (const Score& score : evaluation.scores) {
    out.report.scores.emplace_back(score.name, score.value);
    if (score.name == inputs.task.primary_metric) out.primary = goodness(score.name, score.value);
  }
  out.seconds += evaluation.seconds;
  out.losses = {evaluation.loss};
  out.records = std::move(evaluation.records.rows);
}

// They are what the run is judged by.
void score_eval_tasks(const RunInputs& inputs, const BoundAdapter& bound,
                      const EvaluateOptions& options, Scored& out) {
  const TaskScores scores =
      score_tasks(*inputs.model, bound, inputs.eval_tasks, inputs.text, options);
  out.event["eval"] = scores.node(inputs.eval_tasks);
  out.report.text += (out.report.text.empty() ? "" : "  ") + std::string("mean of ") +
                     std::to_string(inputs.eval_tasks.size()) + " tasks " +
                     number_text(scores.mean);
  out.report.scores.emplace_back("mean", scores.mean);
  out.primary = scores.goodness;
  out.losses.clear();
  for (const Evaluation& evaluation : scores.evaluations) {
    out.seconds += evaluation.seconds;
    out.losses.push_back(evaluation.loss);
  }
}

}  // namespace

// `is_due`: by evaluate_every. One that the run's end alone asks for does not count towards
// early_stop: made longer, the run goes on behind it.
void Run::evaluate(bool is_due) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*inputs_.model, adapter_, state_.tensors);
  EvaluateOptions options = evaluate_options();
  options.predict.keep_records = true;
  Scored scored{.event = Node::map({{"event", Node::text("evaluate")},
                                    {"step", Node::integer(step_)},
                                    {"epoch", Node::number(epochs_.epochs_done(step_))}}),
                .report = {.step = step_, .epoch = epochs_.epochs_done(step_)}};
  if (inputs_.eval) score_own_rows(inputs_, bound, options, scored);
  if (!inputs_.eval_tasks.empty()) score_eval_tasks(inputs_, bound, options, scored);
  scored.event["seconds"] = Node::number(scored.seconds);
  log_->write(std::move(scored.event));
  if (inputs_.config.record.experts) scored.records.merge(expert_cosines(adapter_, state_.tensors));
  if (!scored.records.empty()) log_->write(records_event(step_, scored.records));
  if (is_due) best_.count(scored.primary);
  const BestSoFar now{step_, scored.primary, mean(scored.losses), best_.counted, best_.stale};
  scored.report.is_best = now.is_better_than(best_);
  observer_.evaluated(scored.report);
  if (!scored.report.is_best) return;
  best_ = now;
  if (inputs_.config.keep_best) save_adapter_folder();
}

EvaluateOptions Run::evaluate_options() const {
  EvaluateOptions options;
  options.generate = inputs_.config.generation;
  return options;
}

Provenance Run::provenance() const {
  return {.graft_version = kVersionText,
          .model = inputs_.config.model,
          .tokenizer = inputs_.tokenizer_digest,
          .max_length = inputs_.max_length,
          .seed = inputs_.config.seed,
          .steps = step_,
          .data = data_text(inputs_.config.data)};
}

void Run::save_adapter_folder() {
  save_adapter(dir_ / "adapter", adapter_, state_.tensors, *inputs_.model, provenance());
}

// Nothing is trained any more: what follows needs room of its own. The adapter lies on disk then.
void Run::end_training(bool has_best) {
  state_.optimizer.reset();
  inputs_.kept_train.reset();
  release_free_memory();
  if (!has_best) save_adapter_folder();
  state_.tensors.clear();
  release_free_memory();
}

FinalEvaluations Run::score(const BoundAdapter& bound, FinalReport& report) const {
  EvaluateOptions options = evaluate_options();
  ask_for(inputs_.config.record, options.predict);
  FinalEvaluations out;
  for (const auto& [name, data, rows, evaluation] :
       {std::tuple("eval", &inputs_.eval, inputs_.kept_eval, &out.eval),
        std::tuple("test", &inputs_.test, std::shared_ptr<KeptRows>(), &out.test)}) {
    if (!*data) continue;
    *evaluation = graft::evaluate(*inputs_.model, bound, inputs_.task, **data, inputs_.text,
                                  with_kept(options, rows));
    report.metrics[name] = scores_node(**data, **evaluation);
    write_records(dir_, name, (*data)->rows, (*evaluation)->records, report.recorded);
    if ((*evaluation)->only_answer)
      report.warnings.push_back(one_answer_warning(name, **data, **evaluation));
  }
  if (!inputs_.eval_tasks.empty()) {
    const TaskScores by_task =
        score_tasks(*inputs_.model, bound, inputs_.eval_tasks, inputs_.text, options);
    const Node scores = by_task.node(inputs_.eval_tasks);
    for (const auto& [name, value] : scores.members) report.metrics["eval"][name] = value;
    for (size_t i = 0; i < inputs_.eval_tasks.size(); ++i)
      write_records(dir_, inputs_.eval_tasks[i].name, inputs_.eval_tasks[i].data->rows,
                    by_task.evaluations[i].records, report.recorded);
  }
  if (inputs_.plain)
    report.metrics["forgetting"] =
        to_node(measure_forgetting(*inputs_.model, bound, *inputs_.plain));
  return out;
}

// How the losses went, and what the run cost.
void Run::report_course(FinalReport& report) {
  Node& metrics = report.metrics;
  const LossCourse course = loss_course(logged_losses(dir_ / "log.jsonl"),
                                        blind_loss(inputs_.task, inputs_.train->examples));
  if (has_hardly_fallen(course))
    report.warnings.push_back(flat_loss_warning(course, inputs_.config));
  metrics["loss"] = to_node(course);
  metrics["warnings"] = Node::texts(report.warnings);
  const Plan plan = make_plan(inputs_);
  const int64_t peak = peak_resident_bytes();
  metrics["edit_parameters"] = Node::integer(plan.edit_parameters);
  metrics["head_parameters"] = Node::integer(plan.head_parameters);
  metrics["steps"] = Node::integer(step_);
  metrics["tokens"] = Node::integer(tokens_);
  metrics["seconds"] = Node::number(seconds_);
  metrics["peak_bytes"] = Node::integer(peak);
  log_->write(Node::map({{"event", Node::text("done")},
                         {"steps", Node::integer(step_)},
                         {"tokens", Node::integer(tokens_)},
                         {"seconds", Node::number(seconds_)},
                         {"predicted_peak_bytes", Node::integer(plan.memory.peak())},
                         {"peak_bytes", Node::integer(peak)}}));
  log_->sync();
}

FinalEvaluations Run::finish() {
  if (keeps_last_state(inputs_.config)) checkpoint();
  const bool has_best = has_eval() && inputs_.config.keep_best;
  end_training(has_best);
  // What is scored and reported is what lies on disk, read back the way every user reads it.
  const LoadedAdapter kept = load_adapter(dir_ / "adapter", *inputs_.model);
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*inputs_.model, kept.adapter, kept.tensors);
  FinalReport report{.metrics = Node::map({{"version", Node::integer(1)},
                                           {"step", Node::integer(has_best ? best_.step : step_)}}),
                     .recorded = Node::map({{"version", Node::integer(1)}}),
                     .warnings = label_warnings(inputs_)};
  FinalEvaluations out = score(bound, report);
  report_course(report);
  if (inputs_.config.record.of_rows())
    write_file_atomically(dir_ / "records.json", to_json(report.recorded));
  write_file_atomically(dir_ / "metrics.json",
                        to_json(report.metrics));  // from here on the run is finished
  clear_finished(inputs_.config, dir_);
  observer_.finished(report.warnings);
  return out;
}

}  // namespace graft
