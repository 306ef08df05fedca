#include "train/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/spelling.h"
#include "base/version.h"
#include "base/wording.h"
#include "infer/forgetting.h"
#include "train/digests.h"
#include "train/lengthen.h"
#include "train/loss_course.h"
#include "train/memory.h"
#include "train/plan.h"
#include "train/recording.h"
#include "train/schedule.h"
#include "train/start_from.h"
#include "train/task_scores.h"

namespace graft {

namespace {

// A tensor behind one that starts at zero needs a step or two before a gradient reaches it: shorter
// runs tell nothing.
constexpr int64_t kStillSteps = 10;

using at::Tensor;
namespace fs = std::filesystem;

// A process that was killed while it replaced a file left the temp file behind.
void remove_temp_files(const Path& dir) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename().string();
    for (const char* file : {"run.yaml", "records.json", "metrics.json", "adapter.json",
                             "adapter.safetensors"}) {
      const std::string start = "." + std::string(file) + ".";
      std::error_code ignored;
      if (name.starts_with(start) && name.size() == start.size() + 6)
        fs::remove(entry.path(), ignored);
    }
  }
}

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

// Of each part its rows, and its share of the rows drawn.
Node mixture_event(const RunInputs& inputs) {
  const DrawnParts& parts = *inputs.parts;
  const double sum = std::accumulate(parts.rates.begin(), parts.rates.end(), 0.0);
  Node out = Node::map();
  for (size_t i = 0; i < parts.sizes.size(); ++i) {
    out[inputs.config.data.mixture[i].name] = Node::map(
        {{"rows", Node::integer(parts.sizes[i])}, {"share", Node::number(parts.rates[i] / sum)}});
  }
  return out;
}

// Of a head that has not learned to tell the labels apart.
std::string one_answer_warning(const std::string& side, const EvalData& data,
                               const Evaluation& evaluation) {
  return side + ": all " + counted(data.rows.size(), "row") + " are answered " +
         quote(*evaluation.only_answer);
}

// What the adapter says that it was trained on.
std::string data_text(const DataConfig& data) {
  std::vector<std::string> files;
  for (const MixturePart& part : data.mixture) files.push_back(part.data);
  return files.empty() ? data.train : "a mixture of " + joined(files);
}

Observer& nobody() {
  static Observer silent;
  return silent;
}

}  // namespace

Run::Run(RunInputs inputs, StartMode mode, Observer* observer)
    : inputs_(std::move(inputs)),
      observer_(observer != nullptr ? *observer : nobody()),
      dir_(inputs_.config.out),
      adapter_(inputs_.config.adapter, "adapter " + inputs_.config.adapter_name,
               {inputs_.model->config, inputs_.model->sites}, inputs_.task),
      tensors_(start_values(inputs_, adapter_)),
      optimizer_(make_optimizer(adapter_.params(), inputs_.config)),
      epochs_(epochs_of(inputs_)) {
  {
    const at::NoGradGuard no_grad;
    adapter_.rewritten(adapter_.derive(tensors_, inputs_.model->weights),
                       inputs_.model->weights);  // refuses parts that train the same tensor
  }
  open_folder(mode);
  observer_.started(step_, epochs_.total_steps());
}

void Run::open_folder(StartMode mode) {
  const Path run_yaml = dir_ / "run.yaml";
  if (mode == StartMode::kFresh) {
    if (fs::exists(run_yaml))
      throw InputError("'" + dir_.string() + "' holds a run already: go on with " +
                       option_name("resume") + " " + dir_.string() + ", or choose another " +
                       option_name("out"));
    make_directories(dir_ / "checkpoints");
    write_file_atomically(run_yaml, to_yaml(run_config_node(inputs_.config)));
  }
  log_ = std::make_unique<EventLog>(
      dir_ / "log.jsonl");  // before anything is read or changed that another process may write
  remove_temp_files(dir_);
  remove_temp_files(dir_ / "adapter");
  const std::optional<Checkpoint> newest = load_newest_checkpoint(dir_);
  if (newest) restore(*newest);  // checks it, before a file is touched
  if (mode == StartMode::kLengthen) take_new_length(newest);
  log_->keep(newest ? newest->log_bytes : 0);
  if (!newest) return log_start();
  if (newest->config == digest_of(inputs_.config)) return;
  log_->write(Node::map({{"event", Node::text("lengthen")},
                         {"step", Node::integer(step_)},
                         {"total_steps", Node::integer(epochs_.total_steps())}}));
}

// From here on the run is one of the new length that has stopped at step_. The end of the shorter
// one goes first: without it a resume comes to that end again.
void Run::take_new_length(const std::optional<Checkpoint>& newest) {
  if (!newest) {
    throw InputError("'" + dir_.string() +
                     "': no checkpoint is left to go on from; a run keeps its last one where "
                     "checkpoint_every is not never");
  }
  if (is_done()) {
    throw InputError("'" + dir_.string() + "': the run ended by early_stop, after " +
                     std::to_string(best_.stale) +
                     " evaluations without improvement; more steps would end it again");
  }
  fs::remove(dir_ / "metrics.json");
  sync_directory(dir_);
  write_file_atomically(dir_ / "run.yaml", to_yaml(run_config_node(inputs_.config)));
}

void Run::log_start() {
  const Plan plan = make_plan(adapter_, *inputs_.model, inputs_.config, inputs_.train);
  Node start = Node::map({{"event", Node::text("start")},
                          {"total_steps", Node::integer(epochs_.total_steps())},
                          {"train_rows", Node::integer(inputs_.train.size())},
                          {"train_tokens", Node::integer(inputs_.train.num_tokens)},
                          {"train_texts_cut", Node::integer(inputs_.train.num_cut())},
                          {"edit_parameters", Node::integer(plan.edit_parameters)},
                          {"head_parameters", Node::integer(plan.head_parameters)},
                          {"predicted_peak_bytes", Node::integer(plan.peak_bytes)}});
  if (inputs_.parts) start["mixture"] = mixture_event(inputs_);
  log_->write(std::move(start));
}

void Run::restore(const Checkpoint& checkpoint) {
  const std::vector<RunConfig> stages = stages_of(inputs_.config);
  const auto is_its_own = [&](const RunConfig& stage) {
    return digest_of(stage) == checkpoint.config;
  };
  if (std::none_of(stages.begin(), stages.end(), is_its_own)) {
    throw InputError(
        "'" + dir_.string() + "': run.yaml is not the one that the checkpoint at step " +
        std::to_string(checkpoint.step) + " was made with; restore run.yaml, or start a new run");
  }
  for (const auto& [what, digest] : input_digests()) {
    const auto then = checkpoint.inputs.find(what);
    if (then != checkpoint.inputs.end() && then->second == digest) continue;
    throw InputError("'" + dir_.string() + "': " + what + " is not what the checkpoint at step " +
                     std::to_string(checkpoint.step) +
                     " was made with; restore it, or start a new run");
  }
  for (auto& [name, tensor] : tensors_) {
    const Tensor& saved = tensor_at(checkpoint.tensors, name, "checkpoint");
    if (saved.sizes() != tensor.sizes())
      throw InputError("checkpoint: tensor '" + name + "': expected " + shape_text(tensor.sizes()) +
                       ", found " + shape_text(saved.sizes()));
    const at::NoGradGuard no_grad;
    tensor.copy_(saved);
  }
  optimizer_->restore(checkpoint.optimizer);
  step_ = checkpoint.step;
  tokens_ = checkpoint.tokens;
  seconds_ = checkpoint.seconds;
  best_ = checkpoint.best;
}

const std::map<std::string, std::string>& Run::input_digests() {
  if (digests_.empty()) digests_ = digests_of(inputs_);
  return digests_;
}

bool Run::is_finished(const Path& dir) { return fs::exists(dir / "metrics.json"); }

bool Run::is_done() const {
  const bool is_stale = inputs_.config.early_stop > 0 && best_.stale >= inputs_.config.early_stop;
  return step_ >= epochs_.total_steps() || is_stale;
}

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

void Run::step() {
  const auto start = std::chrono::steady_clock::now();
  StepWork work = draw();
  run_passes({&work});
  update(work, seconds_since(start));
}

StepWork Run::draw() { return {inputs_, adapter_, tensors_, epochs_.batches_of(step_), step_}; }

void Run::update(StepWork& work, double seconds) {
  const auto start = std::chrono::steady_clock::now();
  const RunConfig& config = inputs_.config;
  const double rate =
      config.learning_rate * rate_factor(config.schedule, step_,
                                         warmup_steps(config.warmup, epochs_.total_steps()),
                                         epochs_.total_steps());
  const auto [loss, tokens] = work.finish();
  const double norm = gradient_norm(tensors_);
  check_finite(loss, norm, rate);
  Node event = Node::map({{"event", Node::text("step")},
                          {"step", Node::integer(step_ + 1)},
                          {"loss", Node::number(loss)},
                          {"learning_rate", Node::number(rate)},
                          {"gradient_norm", Node::number(norm)},
                          {"tokens", Node::integer(tokens)}});
  if (config.record.gradients) event["gradient_norms"] = gradient_norms(adapter_, tensors_);
  if (work.drawn() != nullptr) event["routes"] = drawn_node(*work.drawn());
  if (step_ == 0) check_first_gradients();
  clip_gradients(tensors_, norm, config.clip);
  optimizer_->step(tensors_, rate);
  ++step_;
  tokens_ += tokens;
  seconds += seconds_since(start);
  seconds_ += seconds;
  event["seconds"] = Node::number(seconds);
  log_->write(std::move(event));
  name_still_tensors();
  observer_.stepped({.step = step_,
                     .total_steps = epochs_.total_steps(),
                     .loss = loss,
                     .learning_rate = rate,
                     .gradient_norm = norm,
                     .tokens = tokens,
                     .seconds = seconds});

  const bool is_last = step_ == epochs_.total_steps(),
             is_due = epochs_.falls_due(config.evaluate_every, step_);
  if (has_eval() && (is_last || is_due)) evaluate(is_due);
  if (!is_done() && epochs_.falls_due(config.checkpoint_every, step_)) checkpoint();
}

void Run::check_finite(double loss, double norm, double rate) {
  if (std::isfinite(loss) && std::isfinite(norm)) return;
  std::string ids;
  for (const Batch& batch : epochs_.batches_of(step_)) {
    for (const int64_t row : batch) {
      if (ids.size() > 200) break;
      ids += (ids.empty() ? "" : ", ") + inputs_.train.examples[static_cast<size_t>(row)].id_text;
    }
  }
  throw InputError(
      "step " + std::to_string(step_ + 1) + ": the loss is " + number_text(loss) +
      " and the gradient norm " + number_text(norm) + " at learning rate " + number_text(rate) +
      "; examples " + ids +
      ". Lower learning_rate or set clip; the run stopped before this step changed anything");
}

// A tensor without a gradient is out of the loss's reach. (An expert may wait for a route that
// draws it.)
void Run::check_first_gradients() const {
  std::vector<std::string> unreached;
  for (const ParamSpec& param : adapter_.params()) {
    if (param.role != Role::kTrained || param.expert || tensors_.at(param.name).grad().defined())
      continue;
    unreached.push_back("'" + param.name + "'");
  }
  if (unreached.empty()) return;
  throw InputError("step 1: no gradient for " + joined_first(unreached, 5) +
                   ": the loss does not reach these tensors, so they would never train; take their "
                   "sites out of the adapter");
}

// Once, after the warm-up: what every gradient so far has left where it was.
void Run::name_still_tensors() {
  const int64_t warmup = warmup_steps(inputs_.config.warmup, epochs_.total_steps());
  if (step_ != std::max(warmup + 1, kStillSteps)) return;
  std::vector<Node> names;
  std::vector<std::string> quoted;
  for (const std::string& name : optimizer_->still_tensors()) {
    names.push_back(Node::text(name));
    quoted.push_back("'" + name + "'");
  }
  if (names.empty()) return;
  log_->write(Node::map({{"event", Node::text("still")},
                         {"step", Node::integer(step_)},
                         {"tensors", Node::list(std::move(names))}}));
  observer_.warned("every gradient of the first " + count_text(step_) + " steps was zero for " +
                   joined_first(quoted, 3) + ": nothing trains there");
}

// `is_due`: by evaluate_every. One that the run's end alone asks for does not count towards
// early_stop: made longer, the run goes on behind it.
void Run::evaluate(bool is_due) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*inputs_.model, adapter_, tensors_);
  EvaluateOptions options = evaluate_options();
  options.predict.keep_records = true;
  Node event = Node::map({{"event", Node::text("evaluate")},
                          {"step", Node::integer(step_)},
                          {"epoch", Node::number(epochs_.epochs_done(step_))}});
  EvaluationReport report;
  report.step = step_;
  report.epoch = epochs_.epochs_done(step_);
  double primary = 0, seconds = 0;
  std::vector<double> losses;
  NamedTensors records;
  if (inputs_.eval) {
    Evaluation evaluation =
        graft::evaluate(*inputs_.model, bound, inputs_.task, *inputs_.eval, inputs_.text, options);
    put_scores(event, evaluation);
    report.text = scores_text(evaluation);
    report.scores.emplace_back("loss", evaluation.loss);
    for (const Score& score : evaluation.scores) {
      report.scores.emplace_back(score.name, score.value);
      if (score.name == inputs_.task.primary_metric) primary = goodness(score.name, score.value);
    }
    seconds += evaluation.seconds;
    losses = {evaluation.loss};
    records = std::move(evaluation.records.rows);
  }
  if (!inputs_.eval_tasks.empty()) {  // they are what the run is judged by
    const TaskScores scores =
        score_tasks(*inputs_.model, bound, inputs_.eval_tasks, inputs_.text, options);
    event["eval"] = scores.node(inputs_.eval_tasks);
    report.text += (report.text.empty() ? "" : "  ") + std::string("mean of ") +
                   std::to_string(inputs_.eval_tasks.size()) + " tasks " + number_text(scores.mean);
    report.scores.emplace_back("mean", scores.mean);
    primary = scores.goodness;
    losses.clear();
    for (const Evaluation& evaluation : scores.evaluations) {
      seconds += evaluation.seconds;
      losses.push_back(evaluation.loss);
    }
  }
  event["seconds"] = Node::number(seconds);
  log_->write(std::move(event));
  if (inputs_.config.record.experts) records.merge(expert_cosines(adapter_, tensors_));
  if (!records.empty()) log_->write(records_event(step_, records));
  const bool is_improved =
      best_.step < 0 || primary > best_.value;  // a lower loss alone is no improvement
  const int64_t stale = is_improved ? 0 : best_.stale + (is_due ? 1 : 0);
  const BestSoFar now{step_, primary, mean(losses)};
  report.is_best = now.is_better_than(best_);
  observer_.evaluated(report);
  if (report.is_best) {
    best_ = now;
    if (inputs_.config.keep_best) save_adapter_folder();
  }
  best_.stale = stale;
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
  save_adapter(dir_ / "adapter", adapter_, tensors_, *inputs_.model, provenance());
}

void Run::checkpoint() {
  Checkpoint checkpoint;
  checkpoint.step = step_;
  checkpoint.log_bytes = log_->sync();
  checkpoint.tokens = tokens_;
  checkpoint.seconds = seconds_;
  checkpoint.config = digest_of(inputs_.config);
  checkpoint.inputs = input_digests();
  checkpoint.best = best_;
  checkpoint.tensors = tensors_;
  checkpoint.optimizer = optimizer_->state();
  save_checkpoint(dir_, checkpoint);
  observer_.checkpointed(step_);
}

void Run::finish() {
  if (keeps_last_state(inputs_.config)) checkpoint();
  const bool has_best = has_eval() && inputs_.config.keep_best;
  if (!has_best) save_adapter_folder();
  optimizer_.reset();  // neither is needed any more, and the scores below need room of their own
  tensors_.clear();
  release_free_memory();
  // What is scored and reported is what lies on disk, read back the way every user reads it.
  const LoadedAdapter kept = load_adapter(dir_ / "adapter", *inputs_.model);
  std::vector<std::string> warnings;
  Node metrics = Node::map(
      {{"version", Node::integer(1)}, {"step", Node::integer(has_best ? best_.step : step_)}});
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*inputs_.model, kept.adapter, kept.tensors);
  EvaluateOptions options = evaluate_options();
  ask_for(inputs_.config.record, options.predict);
  Node recorded = Node::map({{"version", Node::integer(1)}});
  for (const auto& [name, data] :
       {std::pair{"eval", &inputs_.eval}, std::pair{"test", &inputs_.test}}) {
    if (!*data) continue;
    const Evaluation evaluation =
        graft::evaluate(*inputs_.model, bound, inputs_.task, **data, inputs_.text, options);
    metrics[name] = scores_node(**data, evaluation);
    write_records(dir_, name, (*data)->rows, evaluation.records, recorded);
    if (evaluation.only_answer) warnings.push_back(one_answer_warning(name, **data, evaluation));
  }
  if (!inputs_.eval_tasks.empty()) {
    const TaskScores by_task =
        score_tasks(*inputs_.model, bound, inputs_.eval_tasks, inputs_.text, options);
    const Node scores = by_task.node(inputs_.eval_tasks);
    for (const auto& [name, value] : scores.members) metrics["eval"][name] = value;
    for (size_t i = 0; i < inputs_.eval_tasks.size(); ++i)
      write_records(dir_, inputs_.eval_tasks[i].name, inputs_.eval_tasks[i].data.rows,
                    by_task.evaluations[i].records, recorded);
  }
  if (inputs_.plain)
    metrics["forgetting"] =
        to_node(measure_forgetting(*inputs_.model, bound, *inputs_.plain));
  const LossCourse course = loss_course(logged_losses(dir_ / "log.jsonl"),
                                        blind_loss(inputs_.task, inputs_.train.examples));
  if (has_hardly_fallen(course)) warnings.push_back(flat_loss_warning(course, inputs_.config));
  metrics["loss"] = to_node(course);
  metrics["warnings"] = Node::texts(warnings);
  const Plan plan = make_plan(adapter_, *inputs_.model, inputs_.config, inputs_.train);
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
                         {"predicted_peak_bytes", Node::integer(plan.peak_bytes)},
                         {"peak_bytes", Node::integer(peak)}}));
  log_->sync();
  if (inputs_.config.record.of_rows())
    write_file_atomically(dir_ / "records.json", to_json(recorded));
  write_file_atomically(dir_ / "metrics.json",
                        to_json(metrics));  // from here on the run is finished
  if (!keeps_last_state(inputs_.config)) remove_checkpoints(dir_);
  observer_.finished(warnings);
}

}  // namespace graft
