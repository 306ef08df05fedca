#include "cli/study_members.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <filesystem>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "cli/study_forecast.h"
#include "edit/adapter_file.h"
#include "infer/evaluate.h"
#include "study/harvest.h"
#include "train/out_of_memory.h"
#include "train/plan.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

// A run that an earlier process began must be this one.
void check_same_run(const RunConfig& config, const Path& folder) {
  const Path file = folder / "run.yaml";
  Node found = parse_yaml(read_file(file), file.string());
  found["out"] = Node::text(config.out);  // a study's folder may have moved
  if (found == run_config_node(config)) return;
  throw IoError("'" + folder.string() +
                "': holds another run than the study's; move it away, or give another --out");
}

std::string label_text(const Task& task, double value) {
  if (task.kind() == TaskKind::kClassification) return task.labels().at(static_cast<size_t>(value));
  return Node::number(value).scalar;
}

// What a row was answered, and what is right.
void add_answers(const std::string& side, const Task& task, const EvalData& data,
                 const Evaluation& evaluation, MemberResult& out) {
  const bool is_text = task.kind() == TaskKind::kGeneration;
  if (is_text && evaluation.outputs.empty()) return;  // judged by the loss alone
  const Dataset& rows = is_text ? *data.prompts : data.rows;
  for (size_t i = 0; i < rows.examples.size(); ++i) {
    const Example& example = rows.examples[i];
    RowAnswer answer{side, static_cast<int64_t>(i), example.id_text, "", ""};
    if (is_text) {
      answer.truth = example.at<GenerationRow>().truth();
      answer.answer = evaluation.outputs[i];
    } else {
      answer.truth = example.label ? label_text(task, *example.label) : "";
      answer.answer = label_text(task, evaluation.answers[i]);
    }
    out.answers.push_back(std::move(answer));
  }
}

}  // namespace

StudyMembers::StudyMembers(const std::vector<StudyRun>& runs, StudyEnds& ends, StudyInputs& inputs,
                           StudyLimits limits)
    : runs_(runs), ends_(ends), inputs_(inputs), limits_(limits) {}

// What goes wrong in `f` is the member's: it has failed, and the others go on.
template <class F>
bool StudyMembers::guarded(size_t member, F f) {
  try {
    with_memory_need<InputError>({0, kLowerMemory}, f);
    return true;
  } catch (const InputError& error) {
    ends_.failed(member, error.what());
    return false;
  }
}

void StudyMembers::step() {
  admit();
  members_.step();
  settle();
  double done = 0;
  for (const Loaded& each : under_way_) {
    const Members::Status& status = members_.status(each.place);
    done += each.steps_share * static_cast<double>(status.steps_done) /
            static_cast<double>(status.total_steps);
  }
  ends_.advanced(done);
}

void StudyMembers::stop() {
  members_.checkpoint();
  for (const Loaded& each : under_way_) {
    if (const std::exception_ptr error = members_.status(each.place).error)
      std::rethrow_exception(error);
  }
}

void StudyMembers::admit() {
  while (next_ < runs_.size() && under_way_.size() < limits_.together) {
    const StudyRun& run = runs_[next_];
    if (!waiting_) {
      std::optional<Loaded> loaded;
      const bool is_loaded = guarded(run.member, [&] { loaded = load(run); });
      if (is_loaded && !loaded) return;
      if (!is_loaded) {
        ++next_;
        continue;
      }
      waiting_ = std::move(loaded);
    }
    if (!has_room_for(*waiting_)) return;
    ++next_;
    Loaded taken = std::move(*waiting_);
    waiting_.reset();
    start(std::move(taken));
  }
}

// One alone always has: what it needs was foretold before anything ran.
bool StudyMembers::has_room_for(const Loaded& loaded) const {
  if (under_way_.empty()) return true;
  std::vector<Footprint> all;
  for (const Loaded& each : under_way_) all.push_back(each.footprint);
  all.push_back(loaded.footprint);
  return peak_bytes_together(all, Members::kPassTokens) <= limits_.memory;
}

// Nothing where its model is another than that of the members under way, for whose end it waits.
std::optional<StudyMembers::Loaded> StudyMembers::load(const StudyRun& run) {
  const RunConfig config = config_of(*run.planned, run.folder);
  if (!inputs_.shares_model(config)) {
    if (!under_way_.empty()) return std::nullopt;
    members_ = Members();
  }
  Loaded out;
  out.run = run;
  out.inputs = inputs_.load(config);
  out.footprint = make_plan(*out.inputs).memory;
  const MemberWork work = work_of(*out.inputs);
  out.steps_share = work.steps / std::max(work.steps + work.last, 1.0);
  out.task = out.inputs->task;
  out.text = out.inputs->text;
  out.eval = out.inputs->eval;
  out.test = out.inputs->test;
  out.generation = out.inputs->config.generation;
  if (fs::exists(run.folder / "run.yaml")) check_same_run(out.inputs->config, run.folder);
  return out;
}

void StudyMembers::start(Loaded loaded) {
  RunInputs inputs = std::move(*loaded.inputs);
  loaded.inputs.reset();
  ends_.started(loaded.run.member);
  if (Run::is_finished(loaded.run.folder)) {
    Run::clear_finished(inputs.config, loaded.run.folder);
    return tell_end(loaded, [&] { return evaluate_kept(loaded); });
  }
  const bool goes_on = fs::exists(loaded.run.folder / "run.yaml");
  const StartMode mode = goes_on ? StartMode::kResume : StartMode::kFresh;
  const bool has_joined =
      guarded(loaded.run.member, [&] { loaded.place = members_.join(std::move(inputs), mode); });
  if (has_joined) under_way_.push_back(std::move(loaded));
}

void StudyMembers::settle() {
  std::vector<Loaded> go_on;
  for (Loaded& each : under_way_) {
    const Members::Status& status = members_.status(each.place);
    switch (status.state) {
      case Members::State::kTraining:
      case Members::State::kLeft: go_on.push_back(std::move(each)); break;
      case Members::State::kDone:
        tell_end(each, [&] { return members_.take_evaluations(each.place); });
        break;
      case Members::State::kFailed:
        guarded(each.run.member, [&] { std::rethrow_exception(status.error); });
    }
  }
  under_way_ = std::move(go_on);
}

// A study's file that cannot be written is no failure of the member.
template <class F>
void StudyMembers::tell_end(const Loaded& loaded, F evaluations) {
  std::optional<MemberResult> result;
  guarded(loaded.run.member, [&] { result = result_of(loaded, evaluations()); });
  if (result) ends_.finished(loaded.run.member, *result);
}

MemberResult StudyMembers::result_of(const Loaded& loaded, const FinalEvaluations& evaluations) {
  MemberResult result = read_run_folder(loaded.run.folder, loaded.task.primary_metric);
  for (const auto& [side, data, evaluation] :
       {std::tuple("eval", &loaded.eval, &evaluations.eval),
        std::tuple("test", &loaded.test, &evaluations.test)}) {
    if (*evaluation) add_answers(side, loaded.task, **data, **evaluation, result);
  }
  return result;
}

// Of a run that an earlier process finished, and did not come to tell.
FinalEvaluations StudyMembers::evaluate_kept(const Loaded& loaded) const {
  const at::NoGradGuard no_grad;
  const Model& model = inputs_.model();
  const LoadedAdapter kept = load_adapter(loaded.run.folder / "adapter", model);
  const BoundAdapter bound(model, kept.adapter, kept.tensors);
  EvaluateOptions options;
  options.generate = loaded.generation;
  FinalEvaluations out;
  const auto score = [&](const std::shared_ptr<const EvalData>& data) -> std::optional<Evaluation> {
    if (data == nullptr) return std::nullopt;
    return evaluate(model, bound, loaded.task, *data, loaded.text, options);
  };
  out.eval = score(loaded.eval);
  out.test = score(loaded.test);
  return out;
}

}  // namespace graft
