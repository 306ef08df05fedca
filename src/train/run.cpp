#include "train/run.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "base/error.h"
#include "base/spelling.h"
#include "base/timer.h"
#include "base/wording.h"
#include "train/digests.h"
#include "train/lengthen.h"
#include "train/memory.h"
#include "train/plan.h"
#include "train/recording.h"
#include "train/row_cache.h"
#include "train/schedule.h"

namespace graft {

namespace {

// A tensor behind one that starts at zero needs a step or two before a gradient reaches it: shorter
// runs tell nothing.
constexpr int64_t kStillSteps = 10;

namespace fs = std::filesystem;

// What a process left that was killed while it replaced `file`.
void remove_temp_files_of(const Path& file) {
  const std::string start = "." + file.filename().string() + ".";
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(file.parent_path(), error)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (name.starts_with(start) && name.size() == start.size() + 6)
      fs::remove(entry.path(), ignored);
  }
}

void remove_temp_files(const Path& dir, const std::vector<EvalTaskData>& eval_tasks) {
  for (const char* file : {"run.yaml", "records.json", "metrics.json", "adapter/adapter.json",
                           "adapter/adapter.safetensors"})
    remove_temp_files_of(dir / file);
  for (const char* side : {"eval", "test"}) remove_temp_files_of(records_file(dir, side));
  for (const EvalTaskData& each : eval_tasks) remove_temp_files_of(records_file(dir, each.name));
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

Observer& nobody() {
  static Observer silent;
  return silent;
}

}  // namespace

void check_no_run(const Path& dir) {
  if (!fs::exists(dir / "run.yaml")) return;
  throw InputError("'" + dir.string() + "' holds a run already: go on with " +
                   option_name("resume") + " " + dir.string() + ", or choose another " +
                   option_name("out"));
}

Run::Run(RunInputs inputs, StartMode mode, Observer* observer)
    : inputs_(std::move(inputs)),
      observer_(observer != nullptr ? *observer : nobody()),
      dir_(inputs_.config.out),
      adapter_(*inputs_.adapter),
      state_(inputs_),
      epochs_(epochs_of(inputs_)) {
  {
    const at::NoGradGuard no_grad;
    adapter_.rewritten(adapter_.derive(state_.tensors, inputs_.model->weights),
                       inputs_.model->weights);  // refuses parts that train the same tensor
  }
  keep_rows(inputs_);
  open_folder(mode);
  observer_.started(step_, epochs_.total_steps());
}

void Run::open_folder(StartMode mode) {
  if (mode == StartMode::kFresh) {
    check_no_run(dir_);
    make_directories(dir_ / "checkpoints");
  }
  log_ = std::make_unique<EventLog>(
      dir_ / "log.jsonl");  // before anything is read or changed that another process may write
  if (mode == StartMode::kFresh) {
    check_no_run(dir_);  // of another process that had the log until now
    write_file_atomically(dir_ / "run.yaml", to_yaml(run_config_node(inputs_.config)));
  }
  remove_temp_files(dir_, inputs_.eval_tasks);
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
  const Plan plan = make_plan(inputs_);
  Node start = Node::map({{"event", Node::text("start")},
                          {"total_steps", Node::integer(epochs_.total_steps())},
                          {"train_rows", Node::integer(inputs_.train->size())},
                          {"train_tokens", Node::integer(inputs_.train->num_tokens)},
                          {"train_texts_cut", Node::integer(inputs_.train->num_cut())},
                          {"edit_parameters", Node::integer(plan.edit_parameters)},
                          {"head_parameters", Node::integer(plan.head_parameters)},
                          {"predicted_peak_bytes", Node::integer(plan.memory.peak())}});
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
  // What it has no digest of, an earlier version did not look at.
  for (const auto& [what, digest] : checkpoint.inputs) {
    const auto now = input_digests().find(what);
    if (now != input_digests().end() && now->second == digest) continue;
    throw InputError("'" + dir_.string() + "': " + what + " is not what the checkpoint at step " +
                     std::to_string(checkpoint.step) +
                     " was made with; restore it, or start a new run");
  }
  state_.restore(checkpoint);
  step_ = checkpoint.step;
  tokens_ = checkpoint.tokens;
  seconds_ = checkpoint.seconds;
  best_ = checkpoint.best;
}

const std::map<std::string, std::string>& Run::input_digests() {
  if (digests_.empty()) {
    release_free_memory();  // a base of a few bits is hashed as numbers, a tensor at a time
    digests_ = digests_of(inputs_);
  }
  return digests_;
}

bool Run::is_finished(const Path& dir) { return fs::exists(dir / "metrics.json"); }

void Run::clear_finished(const RunConfig& config, const Path& dir) {
  if (!keeps_last_state(config)) remove_checkpoints(dir);
}

bool Run::is_done() const {
  const bool is_stale = inputs_.config.early_stop > 0 && best_.stale >= inputs_.config.early_stop;
  return step_ >= epochs_.total_steps() || is_stale;
}

void Run::step() {
  const Timer timer;
  StepWork work = draw();
  run_passes({&work});
  update(work, timer.seconds());
}

StepWork Run::draw() {
  return {inputs_, adapter_, state_.tensors, epochs_.batches_of(step_), step_};
}

void Run::update(StepWork& work, double seconds) {
  const Timer timer;
  const RunConfig& config = inputs_.config;
  const double rate =
      config.learning_rate * rate_factor(config.schedule, step_,
                                         warmup_steps(config.warmup, epochs_.total_steps()),
                                         epochs_.total_steps());
  const auto [loss, tokens] = work.finish();
  const double norm = gradient_norm(state_.tensors);
  check_finite(loss, norm, rate);
  Node event = Node::map({{"event", Node::text("step")},
                          {"step", Node::integer(step_ + 1)},
                          {"loss", Node::number(loss)},
                          {"learning_rate", Node::number(rate)},
                          {"gradient_norm", Node::number(norm)},
                          {"tokens", Node::integer(tokens)}});
  if (config.record.gradients) event["gradient_norms"] = gradient_norms(adapter_, state_.tensors);
  if (config.record.routes) event["routes"] = drawn_node(work.drawn());
  if (step_ == 0) check_first_gradients();
  state_.apply_gradients(norm, rate);
  ++step_;
  tokens_ += tokens;
  seconds += timer.seconds();
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
      ids += (ids.empty() ? "" : ", ") + inputs_.train->examples[static_cast<size_t>(row)].id_text;
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
    if (param.role != Role::kTrained || param.expert ||
        state_.tensors.at(param.name).grad().defined())
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
  for (const std::string& name : state_.optimizer->still_tensors()) {
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

void Run::checkpoint() {
  Checkpoint checkpoint;
  checkpoint.step = step_;
  checkpoint.log_bytes = log_->sync();
  checkpoint.tokens = tokens_;
  checkpoint.seconds = seconds_;
  checkpoint.config = digest_of(inputs_.config);
  checkpoint.inputs = input_digests();
  checkpoint.best = best_;
  checkpoint.tensors = state_.tensors;
  checkpoint.optimizer = state_.optimizer->state();
  save_checkpoint(dir_, checkpoint);
  observer_.checkpointed(step_);
}

}  // namespace graft
