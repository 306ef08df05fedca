#include "session/subject.h"

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "feed/dataset.h"
#include "infer/evaluate.h"

namespace graft {

void check_routing(const LoadedAdapter& loaded, const Task& task, const std::string& dir,
                   Routing routing) {
  if (routing == Routing::kMerged) return;
  const Traits traits = loaded.adapter.traits();
  const bool can_be_drawn =
      traits.is_stochastic || (routing != Routing::kFixed && traits.mixes_by_shares);
  if (!can_be_drawn)
    throw InputError(option_name("routing") + ": " + subject_name(dir) +
                     " has no stochastic mixture to route through" +
                     (routing == Routing::kFixed ? "" : ", and no router") + "; leave it out");
  if (loaded.adapter.head() == nullptr && (task.kind() == TaskKind::kChoice || writes_texts(task)))
    throw InputError(option_name("routing") +
                     ": routes other than merged are for tasks with a head, and for the loss of "
                     "texts (metrics: perplexity); task " +
                     quote(task.name) +
                     (task.kind() == TaskKind::kChoice ? " is a choice" : " writes its answers"));
}

RouteOptions route_options(const RouteRequest& request) {
  RouteOptions route{.routing = request.routing};
  if (request.routes && !is_ensemble(route)) {
    throw InputError(option_name("routes") + ": found " + std::to_string(*request.routes) +
                     ", and there is no ensemble of routes; give " + option_name("routing") +
                     " ensemble-logits or ensemble-probabilities, or leave it out");
  }
  const bool is_drawn = is_ensemble(route) || route.routing == Routing::kRandom;
  const auto refuse = [&](const char* option, const std::string& found) {
    throw InputError(option_name(option) + ": found " + found + ", and no route is drawn; give " +
                     option_name("routing") + " random or that of an ensemble, or leave it out");
  };
  if (request.seed && !is_drawn) refuse("route_seed", std::to_string(*request.seed));
  if (request.unit && !is_drawn) refuse("route_unit", word_of(kRouteUnits, *request.unit));
  route.routes = request.routes.value_or(route.routes);
  route.seed = request.seed.value_or(route.seed);
  route.unit = request.unit.value_or(route.unit);
  return route;
}

Subject load_subject(const OpenedModel& opened, const SubjectRequest& request) {
  const Model& model = *opened.model;
  std::optional<Task> task = request.task;
  if (task) check_task(*task, model.config);
  BareModel answering = request.adapter.empty()
                            ? load_bare(opened, task)
                            : BareModel{load_checked(request.adapter, opened), ""};
  LoadedAdapter& loaded = answering.loaded;
  if (!task) task = loaded.adapter.task();
  if (!task)
    throw InputError("'" + request.adapter +
                     "': the adapter has no task, so nothing to predict; give " +
                     option_name("task"));
  if (loaded.adapter.head() != nullptr && loaded.adapter.task() != task)
    throw InputError(option_name("task") + ": the adapter in '" + request.adapter +
                     "' has a head for its own task; leave it out");
  const int64_t asked = request.max_length > 0 ? request.max_length : loaded.provenance.max_length;
  const int64_t max_length = resolve_max_length(asked, model.config, loaded.adapter.layout());
  check_target_length(*task, model.config, loaded.adapter.layout(), max_length);
  check_routing(loaded, *task, request.adapter, request.routing);
  return {std::move(loaded), std::move(*task), max_length, std::move(answering.note)};
}

DropoutPasses dropout_passes(const DropoutRequest& request, Routing routing) {
  const auto refuse = [&](const char* option, const std::string& found) {
    throw InputError(option_name(option) + ": found " + found + ", and no pass has dropout; give " +
                     option_name("dropout_passes") + ", or leave it out");
  };
  if (!request.passes && request.seed) refuse("dropout_seed", std::to_string(*request.seed));
  if (!request.passes && request.rate) refuse("dropout_rate", Node::number(*request.rate).scalar);
  if (request.passes && routing != Routing::kMerged)
    throw InputError(option_name("dropout_passes") + ": found beside " + option_name("routing") +
                     " " + std::string(word_of(kRoutings, routing)) +
                     ": give either routes or passes with dropout");
  return {
      .passes = request.passes.value_or(0), .seed = request.seed.value_or(0), .rate = request.rate};
}

ForcedGates forced_gates(const std::vector<std::string>& requests, const Adapter& adapter) {
  if (requests.empty()) return nullptr;
  constexpr size_t kShown = 4;
  std::vector<ForcedGate> out;
  std::vector<std::string> gates;  // as records name them
  for (const Adapter::Part& part : adapter.parts()) {
    for (const std::string& name : part.edit->gates()) gates.push_back(part.path + name);
  }
  for (const std::string& request : requests) {
    const size_t equals = request.rfind('=');
    const std::string name = equals == std::string::npos ? "" : request.substr(0, equals);
    const std::string value = equals == std::string::npos ? request : request.substr(equals + 1);
    const std::optional<double> number = finite_number(value);
    if (!number || !(*number >= 0 && *number <= 1))
      throw InputError(option_name("gate") + ": expected a value in 0..1, or NAME=VALUE, found " +
                       quote(request));
    const bool is_known = std::any_of(gates.begin(), gates.end(), [&](const std::string& gate) {
      return gate.starts_with(name);
    });
    if (!is_known)
      throw InputError(
          option_name("gate") + ": no gate has a name that begins with " + quote(name) +
          (gates.empty()
               ? "; the adapter has none"
               : did_you_mean(name, gates) + "; there are " + joined_first(gates, kShown)));
    out.push_back({name, *number});
  }
  return std::make_shared<const std::vector<ForcedGate>>(std::move(out));
}

LoadedAdapter load_beside(const OpenedModel& opened, const Subject& subject,
                          const std::string& adapter, Routing routing) {
  LoadedAdapter loaded = load_checked(adapter, opened);
  const bool has_head = loaded.adapter.head() != nullptr;
  const std::string expected =
      "; adapters that answer together have one task and the same kind of head";
  if (has_head != (subject.loaded.adapter.head() != nullptr))
    throw InputError("'" + adapter + "': " + (has_head ? "has a head" : "has no head") +
                     ", unlike the first adapter" + expected);
  const std::optional<Task>& own = loaded.adapter.task();
  const std::optional<Task>& first = subject.loaded.adapter.task();
  if (own && first && own != first)
    throw InputError("'" + adapter + "': its task is not that of the first adapter" + expected);
  check_routing(loaded, subject.task, adapter, routing);
  return loaded;
}

}  // namespace graft
