#include "graft/session.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "base/error.h"
#include "base/options.h"
#include "data/metrics.h"
#include "edit/own_head.h"
#include "infer/choices.h"
#include "infer/evaluate.h"
#include "infer/side_by_side.h"
#include "session/public_errors.h"
#include "session/questions.h"
#include "session/requests.h"
#include "session/state.h"
#include "session/subject.h"
#include "session/writing.h"

namespace graft {

namespace {

// What lowers the need of memory.
constexpr const char* kOpenLess = "Open the model with precision bf16";
constexpr const char* kAskLess =
    "Ask fewer questions at once, or open the model with precision bf16";
constexpr const char* kWriteLess =
    "Ask for fewer new tokens (max_new_tokens), beams or texts at once, or open the model with "
    "precision bf16";

// Nothing of a session is ever differentiated.
BoundAdapter bind(const Model& model, const LoadedAdapter& loaded) {
  const at::NoGradGuard no_grad;
  return {model, loaded.adapter, loaded.tensors};
}

bool writes(const ModelConfig& config) { return config.has_decoder() && config.has_output_layer(); }

bool has_task(const std::string& adapter, const Model& model, const std::string& path) {
  if (!adapter.empty()) return read_adapter_header(adapter).task.has_value();
  return !writes(model.config) || read_own_head(path, model.config).has_value();
}

const AdapterState& member(const std::shared_ptr<const AdapterState>& state,
                           const std::shared_ptr<const SessionState>& session) {
  if (state->session != session)
    throw InputError(subject_name(state->path) +
                     " was loaded by another session; load it with this one");
  return *state;
}

// Those of equal key together, in the order in which they came first.
template <typename Key, typename Items, typename KeyOf>
std::vector<std::pair<Key, std::vector<size_t>>> grouped(const Items& items, KeyOf key_of) {
  std::vector<std::pair<Key, std::vector<size_t>>> groups;
  for (size_t i = 0; i < items.size(); ++i) {
    const Key key = key_of(items[i]);
    const auto is_same = [&](const auto& group) { return group.first == key; };
    auto found = std::find_if(groups.begin(), groups.end(), is_same);
    if (found == groups.end()) found = groups.insert(groups.end(), {key, {}});
    found->second.push_back(i);
  }
  return groups;
}

// By several samples or by a route: each adapter by itself.
Predictions predict_sampled(const AdapterState& held, const Dataset& rows,
                            const SampleOptions& samples) {
  const Model& model = *held.session->opened.model;
  const PredictOptions options{.samples = samples};
  const Experts experts = experts_of(samples.route.routing);
  if (experts == held.bound.experts()) return predict(model, held.bound, rows, options);
  const at::NoGradGuard no_grad;
  const BoundAdapter apart(model, held.loaded.adapter, held.loaded.tensors, experts);
  return predict(model, apart, rows, options);
}

void check_samples(const AdapterState& held, const SampleOptions& samples) {
  if (held.task->kind() == TaskKind::kChoice)
    throw InputError(subject_name(held.path) +
                     ": options of a choice are scored by one sample; ask for no others");
  check_routing(held.loaded, *held.task, held.path, samples.route.routing);
}

// Of all questions those that an adapter is asked, by index, as rows of its task.
Dataset rows_of(const AdapterState& held, const std::vector<Question>& questions,
                const std::vector<size_t>& asked) {
  if (!held.task || held.task->kind() == TaskKind::kGeneration)
    throw InputError(subject_name(held.path) + " answers by a text; generate it");
  const OpenedModel& opened = held.session->opened;
  std::vector<Example> examples = examples_of(questions, asked, *held.task);
  held.loaded.adapter.check_subspaces(examples);
  return encode_examples(std::move(examples), *held.task, opened.text, opened.model->config,
                         held.max_length, TargetUse::kLeaveOut);
}

std::vector<Answer> head_answers(const Task& task, const at::Tensor& logits) {
  std::vector<Answer> out;
  for (int64_t row = 0; row < logits.size(0); ++row) out.push_back(answer_of(task, logits[row]));
  return out;
}

std::vector<Answer> sampled_answers(const AdapterState& held, const Dataset& rows,
                                    const SampleOptions& samples) {
  const Predictions found = predict_sampled(held, rows, samples);
  std::vector<Answer> out = head_answers(*held.task, found.logits);
  if (!found.by_sample.defined()) return out;
  std::vector<AnswerUncertainty> all = uncertainties_of(*held.task, found.by_sample);
  for (size_t i = 0; i < out.size(); ++i) out[i].uncertainty = std::move(all[i]);
  return out;
}

std::vector<Answer> chosen_answers(const AdapterState& held, const Dataset& rows) {
  const Choices choices = choose(*held.session->opened.model, held.bound, *held.task, rows);
  std::vector<Answer> out;
  for (size_t i = 0; i < rows.examples.size(); ++i)
    out.push_back(answer_of(rows.examples[i], choices.scores[i], choices.chosen[i]));
  return out;
}

// Each adapter with its questions, by index.
using AskedAdapters = std::vector<std::pair<const AdapterState*, std::vector<size_t>>>;

std::vector<Answer> answers_to(const std::vector<Question>& questions, const AskedAdapters& groups,
                               const SampleOptions& sampling, const Model& model) {
  const bool is_sampled = num_samples(sampling) > 1 || sampling.route.routing != Routing::kMerged;
  std::vector<Answer> answers(questions.size());
  const auto put = [&](const std::vector<size_t>& members, std::vector<Answer> own) {
    for (size_t i = 0; i < members.size(); ++i) answers[members[i]] = std::move(own[i]);
  };
  std::vector<Dataset> rows(groups.size());
  std::vector<AdapterRows> side_by_side;
  std::vector<size_t> of_heads;  // groups
  for (size_t g = 0; g < groups.size(); ++g) {
    const auto& [held, members] = groups[g];
    rows[g] = rows_of(*held, questions, members);
    if (is_sampled) {
      check_samples(*held, sampling);
      put(members, sampled_answers(*held, rows[g], sampling));
    } else if (held->task->kind() == TaskKind::kChoice) {
      put(members, chosen_answers(*held, rows[g]));
    } else {
      side_by_side.push_back({&held->bound, &rows[g]});
      of_heads.push_back(g);
    }
  }
  const std::vector<at::Tensor> logits = predict_side_by_side(model, side_by_side);
  for (size_t k = 0; k < of_heads.size(); ++k) {
    const auto& [held, members] = groups[of_heads[k]];
    put(members, head_answers(*held->task, logits[k]));
  }
  return answers;
}

Scores scores_of(const AdapterState& held, const std::string& data) {
  const OpenedModel& opened = held.session->opened;
  if (!held.task)
    throw InputError(subject_name(held.path) + " has no task to be scored by; load it with one");
  std::vector<Example> examples = read_examples(data, *held.task, LabelUse::kRequired);
  held.loaded.adapter.check_subspaces(examples);
  const EvalData rows = encode_eval_data(std::move(examples), *held.task, opened.text,
                                         opened.model->config, held.max_length);
  EvaluateOptions options;
  if (rows.prompts) options.generate = resolve_generation({}, opened, "request").options;
  const Evaluation evaluation =
      evaluate(*opened.model, held.bound, *held.task, rows, opened.text, options);
  Scores scores{rows.rows.size(), evaluation.loss, {}};
  for (const Score& score : evaluation.scores) scores.metrics.emplace_back(score.name, score.value);
  return scores;
}

}  // namespace

AdapterState::AdapterState(std::shared_ptr<const SessionState> owner, std::string folder,
                           LoadedAdapter adapter)
    : session(std::move(owner)),
      path(std::move(folder)),
      loaded(std::move(adapter)),
      bound(bind(*session->opened.model, loaded)) {}

const std::string& AdapterHandle::path() const { return state_->path; }

std::optional<TaskInfo> AdapterHandle::task() const {
  return state_->task ? std::optional(info_of(*state_->task)) : std::nullopt;
}

int64_t AdapterHandle::max_length() const { return state_->max_length; }

const std::string& AdapterHandle::note() const { return state_->note; }

Session Session::open(const std::string& model, const ModelOptions& options) {
  return with_public_errors(kOpenLess, [&] {
    const Node given = Node::map({{"precision", Node::text(options.precision)}});
    Options checked(given, "model options");
    const Precision precision = checked.choice("precision", Precision::kFloat32, kPrecisions);
    checked.finish();
    const IgnoredKeys ignored = ignored_keys(options.ignored_keys, options.adapters);
    return Session(std::make_shared<const SessionState>(
        SessionState{open_model(model, precision, ignored), Share{options.share}}));
  });
}

ModelInfo Session::info() const {
  const ModelConfig& config = state_->opened.model->config;
  return {state_->opened.path, config.model_type,    config.width,
          config.vocabulary,   config.max_positions, writes(config)};
}

AdapterHandle Session::load(const std::string& adapter, const std::string& task) const {
  if (adapter.empty()) throw InputError("adapter: expected a folder, found an empty name");
  return with_public_errors(kOpenLess, [&] { return hold(adapter, task); });
}

AdapterHandle Session::bare(const std::string& task) const {
  return with_public_errors(kOpenLess, [&] { return hold("", task); });
}

AdapterHandle Session::hold(const std::string& adapter, const std::string& task) const {
  const OpenedModel& opened = state_->opened;
  if (task.empty() && !has_task(adapter, *opened.model, opened.path)) {
    LoadedAdapter loaded = load_for_writing(adapter, opened);
    return AdapterHandle(std::make_shared<const AdapterState>(state_, adapter, std::move(loaded)));
  }
  SubjectRequest request;
  request.adapter = adapter;
  if (!task.empty()) request.task = load_task(task, state_->share.tasks());
  Subject subject = load_subject(opened, request);
  auto held = std::make_shared<AdapterState>(state_, adapter, std::move(subject.loaded));
  held->task = std::move(subject.task);
  held->max_length = subject.max_length;
  held->note = std::move(subject.note);
  return AdapterHandle(std::move(held));
}

std::vector<Answer> Session::predict(const std::vector<Question>& questions,
                                     const SampleRequest& samples) const {
  return with_public_errors(kAskLess, [&] {
    const SampleOptions sampling = sample_options(samples);
    const AskedAdapters groups = grouped<const AdapterState*>(
        questions,
        [&](const Question& question) { return &member(question.adapter.state_, state_); });
    return answers_to(questions, groups, sampling, *state_->opened.model);
  });
}

Scores Session::score(const AdapterHandle& adapter, const std::string& data) const {
  return with_public_errors(kOpenLess,
                            [&] { return scores_of(member(adapter.state_, state_), data); });
}

std::vector<GeneratedText> Session::generate(const std::vector<TextRequest>& requests,
                                             const WritingOptions& options) const {
  return with_public_errors(kWriteLess, [&] {
    for (const TextRequest& request : requests) member(request.adapter.state_, state_);
    check_writes(state_->opened);
    std::vector<AdapterPrompt> prompts;
    for (size_t i = 0; i < requests.size(); ++i)
      prompts.push_back({requests[i].adapter.state_.get(), &requests[i].prompt});
    return write_side_by_side(state_->opened, prompts, options);
  });
}

}  // namespace graft
