#include "cli/subject.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "cli/common.h"
#include "cli/files.h"
#include "edit/own_head.h"

namespace graft {

namespace {

constexpr Name<Routing> kRoutings[] = {{Routing::kEnsembleLogits, "ensemble-logits"},
                                       {Routing::kEnsembleProbabilities, "ensemble-probabilities"},
                                       {Routing::kFixed, "fixed"},
                                       {Routing::kMerged, "merged"},
                                       {Routing::kRandom, "random"}};

constexpr Name<RouteUnit> kRouteUnits[] = {
    {RouteUnit::kPass, "all"}, {RouteUnit::kText, "text"}, {RouteUnit::kToken, "token"}};

void check_routing(const Subject& subject, const SubjectFlags& flags) {
  if (flags.route.routing == Routing::kMerged) return;
  const auto& parts = subject.loaded.adapter.parts();
  const bool is_stochastic = std::any_of(parts.begin(), parts.end(), [](const Adapter::Part& part) {
    return part.spec().traits.is_stochastic;
  });
  if (!is_stochastic)
    throw InputError("--routing: the adapter in '" + flags.adapter +
                     "' has no stochastic mixture to route through; leave the flag out");
  if (subject.loaded.adapter.head() == nullptr)
    throw InputError("--routing: routes other than merged are for tasks with a head; task " +
                     quote(subject.task.name) + " is answered in words");
}

// Flags of routes that are not there.
void check_route_flags(const SubjectFlags& flags) {
  const RouteOptions& route = flags.route;
  if (flags.gives_routes && !is_ensemble(route)) {
    throw InputError("--routes: found " + std::to_string(route.routes) +
                     ", and there is no ensemble of routes; give --routing ensemble-logits or "
                     "ensemble-probabilities, or leave it out");
  }
  if (flags.gives_route_seed && !is_ensemble(route) && route.routing != Routing::kRandom) {
    throw InputError(
        "--route-seed: found " + std::to_string(route.seed) +
        ", and no route is drawn; give --routing random or that of an ensemble, or leave it out");
  }
  if (flags.gives_route_unit && !is_ensemble(route) && route.routing != Routing::kRandom) {
    throw InputError(
        "--route-unit: found " + route_unit_name(route.unit) +
        ", and no route is drawn; give --routing random or that of an ensemble, or leave it out");
  }
}

// Whether a gate or a router is among edits, each alone or around others.
bool has_recorder(const Node& edits) {
  if (edits.kind == Node::Kind::kList)
    return std::any_of(edits.items.begin(), edits.items.end(), has_recorder);
  if (edits.kind != Node::Kind::kMap) return false;
  const Node* inner = edits.find("of");
  return edits.find("gate") != nullptr || edits.find("router") != nullptr ||
         (inner != nullptr && has_recorder(*inner));
}

LoadedAdapter no_adapter(const Model& model, const Task& task) {
  Adapter bare(Node::map(), "no adapter", {model.config, model.sites}, task);
  if (!bare.params().empty()) {
    throw InputError("--adapter: missing; task " + quote(task.name) +
                     " is answered by a trained head, and the model's folder brings none. Without "
                     "an adapter: tasks of kind "
                     "generation or choice, cloze tasks, and folders of classifiers");
  }
  return {std::move(bare), {}, {}};
}

// The head that the model's folder brings, or none where the task needs none.
LoadedAdapter without_adapter(const SubjectFlags& flags, const Model& model,
                              const std::optional<Task>& task) {
  const bool needs_head = !task || !(task->is_answered_in_words() || task->cloze);
  const std::optional<OwnHead> own =
      needs_head ? read_own_head(flags.model, model.config) : std::nullopt;
  if (!own) {
    if (!task)
      throw InputError(
          "give --adapter, or --task for the bare model; its folder brings no head of its own");
    return no_adapter(model, *task);
  }
  const Task& asked = task ? *task : own->task;
  LoadedAdapter loaded = own_head_adapter(*own, model, asked);
  if (!flags.is_quiet)
    std::fprintf(stderr, "the model's own head answers: %s\n",
                 message_text(matched_text(*own, asked)).c_str());
  return loaded;
}

}  // namespace

std::string routing_name(Routing routing) { return word_of(kRoutings, routing); }
std::string route_unit_name(RouteUnit unit) { return word_of(kRouteUnits, unit); }

Subject load_subject(const SubjectFlags& flags) {
  set_threads(flags.threads);
  check_route_flags(flags);
  std::optional<Task> task;
  if (!flags.task.empty()) task = load_task(flags.task, share_dir() / "tasks");
  const auto model =
      load_model(flags.model, flags.precision, ignored_keys(flags.ignored_keys, {flags.adapter}));
  if (task) check_task(*task, model->config);
  LoadedAdapter loaded = flags.adapter.empty() ? without_adapter(flags, *model, task)
                                               : load_adapter(flags.adapter, *model);
  if (!task) task = loaded.adapter.task();
  if (!task)
    throw InputError("'" + flags.adapter +
                     "': the adapter has no task, so nothing to predict; give --task");
  const bool has_own_head = loaded.adapter.head() != nullptr && loaded.adapter.task() != task;
  if (has_own_head)
    throw InputError("--task: the adapter in '" + flags.adapter +
                     "' has a head for its own task; leave the flag out");
  ModelText text = load_model_text(flags.model);
  check_tokenizer(loaded.provenance, text, flags.adapter, flags.model);
  const int64_t asked = flags.max_length > 0 ? flags.max_length : loaded.provenance.max_length;
  const int64_t max_length = resolve_max_length(asked, model->config, loaded.adapter.layout());
  Subject subject{model, std::move(loaded), with_format(*task, flags.data_format), std::move(text),
                  max_length};
  check_routing(subject, flags);
  return subject;
}

void check_records(const Subject& subject, const SubjectFlags& flags, const std::string& path) {
  if (path.empty()) return;
  const Node definition = subject.loaded.adapter.describe();
  const Node* edits = definition.find("edits");
  if (edits != nullptr && has_recorder(*edits)) return;
  throw InputError(
      "--records: " +
      (flags.adapter.empty() ? "the bare model" : "the adapter in '" + flags.adapter + "'") +
      " has neither a gate nor a router, so nothing to record; leave it out");
}

void add_subject(CLI::App& command, SubjectFlags& flags) {
  command.add_option("--model", flags.model, "the frozen model: a folder or a GGUF file")
      ->required();
  command.add_option("--adapter", flags.adapter,
                     "adapter folder (RUN/adapter); without it the head that the model's folder "
                     "brings, or with --task the bare "
                     "model");
  command.add_option(
      "--task", flags.task,
      "task name or file; default: what the adapter or the folder's own head was trained for");
  add_rows(command, flags.data, flags.data_format)->required();
  add_ignored_keys(command, flags.ignored_keys);
  add_max_length(command, flags.max_length);
  add_precision(command, flags.precision);
  add_threads(command, flags.threads);
  command
      .add_option_function<std::string>(
          "--routing",
          [&flags](const std::string& name) { flags.route.routing = value_of(kRoutings, name); },
          "experts of a stochastic mixture (default: merged)")
      ->check(CLI::IsMember(words_of(kRoutings)));
  command
      .add_option_function<int64_t>(
          "--routes",
          [&flags](int64_t routes) {
            flags.route.routes = routes;
            flags.gives_routes = true;
          },
          "random routes of an ensemble (default 4)")
      ->check(CLI::Range(2, 1024));
  command
      .add_option_function<int64_t>(
          "--route-seed",
          [&flags](int64_t seed) {
            flags.route.seed = seed;
            flags.gives_route_seed = true;
          },
          "draws the routes of --routing random or of an ensemble")
      ->check(not_negative());
  command
      .add_option_function<std::string>(
          "--route-unit",
          [&flags](const std::string& name) {
            flags.route.unit = value_of(kRouteUnits, name);
            flags.gives_route_unit = true;
          },
          "who draws an expert for itself: all rows together (default), each text, or each token "
          "(AdaMix's released inference levels 1 and 0)")
      ->check(CLI::IsMember(words_of(kRouteUnits)));
  command.add_flag("--quiet", flags.is_quiet, "no progress");
}

}  // namespace graft
