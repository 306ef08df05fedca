// What answers rows: an adapter or the bare model, a task, and how long a row may be. Its rows come
// after, since any fault of these is told before one of theirs.
#pragma once

#include <optional>
#include <string>

#include "base/names.h"
#include "infer/predict.h"
#include "session/loading.h"

namespace graft {

inline constexpr Name<Routing> kRoutings[] = {
    {Routing::kEnsembleLogits, "ensemble-logits"},
    {Routing::kEnsembleProbabilities, "ensemble-probabilities"},
    {Routing::kFixed, "fixed"},
    {Routing::kMerged, "merged"},
    {Routing::kRandom, "random"}};
inline constexpr Name<RouteUnit> kRouteUnits[] = {
    {RouteUnit::kPass, "all"}, {RouteUnit::kText, "text"}, {RouteUnit::kToken, "token"}};

// Which experts answer, as the user asks for it.
struct RouteRequest {
  Routing routing = Routing::kMerged;
  std::optional<int64_t> routes;  // of an ensemble
  std::optional<int64_t> seed;    // draws the routes
  std::optional<RouteUnit> unit;  // what draws for itself
};

// Throws InputError where routes, a seed or a unit are given and no route is drawn.
RouteOptions route_options(const RouteRequest& request);

// Passes with dropout, as the user asks for them.
struct DropoutRequest {
  std::optional<int64_t> passes, seed;
  std::optional<double> rate;  // of the trunk
};

// Throws InputError where a seed or a rate is given and no passes, or routes are drawn, too.
DropoutPasses dropout_passes(const DropoutRequest& request, Routing routing);

// Of "0.5" (every gate) or "0.gate/enc.3=0.5" each. Throws InputError where no gate of the adapter
// has a name in records that begins so, or the value is none in [0, 1]. Null for no request.
ForcedGates forced_gates(const std::vector<std::string>& requests, const Adapter& adapter);

// Throws InputError where the adapter in folder `dir` (the bare model where that is empty) has
// nothing to route through, or its task is answered in words by one sample.
void check_routing(const LoadedAdapter& loaded, const Task& task, const std::string& dir,
                   Routing routing);

struct SubjectRequest {
  std::string adapter;       // a folder; empty: the bare model
  std::optional<Task> task;  // unset: the adapter's, or that of the folder's own head
  Routing routing = Routing::kMerged;
  int64_t max_length = 0;  // tokens of a row; 0: as in training
};

struct Subject {
  LoadedAdapter loaded;  // of the bare model: no edits, and the folder's head where one is needed
  Task task;
  int64_t max_length = 0;  // tokens of a row
  std::string note;        // as BareModel's
};

// Throws InputError where adapter, task, model and routing do not belong together, or a task needs
// a head and has none.
Subject load_subject(const OpenedModel& opened, const SubjectRequest& request);

// An adapter that answers beside the subject's. Throws InputError where it was made for another
// task or another kind of answer, or cannot be routed so.
LoadedAdapter load_beside(const OpenedModel& opened, const Subject& subject,
                          const std::string& adapter, Routing routing);

}  // namespace graft
