#include "session/subject.h"

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"
#include "infer/dataset.h"

namespace graft {

namespace {

void check_routing(const LoadedAdapter& loaded, const Task& task, const SubjectRequest& request) {
  if (request.routing == Routing::kMerged) return;
  const auto& parts = loaded.adapter.parts();
  const bool is_stochastic = std::any_of(parts.begin(), parts.end(), [](const Adapter::Part& part) {
    return part.spec().traits.is_stochastic;
  });
  if (!is_stochastic)
    throw InputError(option_name("routing") + ": the adapter in '" + request.adapter +
                     "' has no stochastic mixture to route through; leave it out");
  if (loaded.adapter.head() == nullptr)
    throw InputError(option_name("routing") +
                     ": routes other than merged are for tasks with a head; task " +
                     quote(task.name) + " is answered in words");
}

bool holds_recorder(const Node& edits) {
  if (edits.kind == Node::Kind::kList)
    return std::any_of(edits.items.begin(), edits.items.end(), holds_recorder);
  if (edits.kind != Node::Kind::kMap) return false;
  const Node* inner = edits.find("of");
  return edits.find("gate") != nullptr || edits.find("router") != nullptr ||
         edits.find("collect") != nullptr || (inner != nullptr && holds_recorder(*inner));
}

}  // namespace

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
  check_routing(loaded, *task, request);
  return {std::move(loaded), std::move(*task), max_length, std::move(answering.note)};
}

bool has_recorder(const Adapter& adapter) {
  const Node definition = adapter.describe();
  const Node* edits = definition.find("edits");
  return edits != nullptr && holds_recorder(*edits);
}

}  // namespace graft
