// Samples of an answer: what several routes, masks of dropout or adapters say of the same rows. A
// sample is a lane of a pass.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "edit/lanes.h"

namespace graft {

// Which experts of a mixture answer. A route is drawn from the seed, for all rows or by example and
// position, so that a row's answer does not depend on its batch. A stochastic mixture draws an
// expert a bank, a router one by its shares.
enum class Routing {
  kMerged,          // the mean of the experts, AdaMix's default; a router mixes by its shares
  kRandom,          // one route
  kFixed,           // the first expert of every bank
  kEnsembleLogits,  // the mean of the logits of several random routes
  kEnsembleProbabilities,  // the mean of their probabilities; its logarithm stands in for the
                           // logits
};

struct RouteOptions {
  Routing routing = Routing::kMerged;
  int64_t routes = 4;  // of an ensemble
  int64_t seed = 0;
  RouteUnit unit = RouteUnit::kPass;  // of every random route
};

inline bool is_ensemble(const RouteOptions& route) {
  return route.routing == Routing::kEnsembleLogits ||
         route.routing == Routing::kEnsembleProbabilities;
}

// What a BoundAdapter must hold for it.
inline Experts experts_of(Routing routing) {
  return routing == Routing::kMerged ? Experts::kMerged : Experts::kApart;
}

// Passes with dropout as in training (Gal and Ghahramani 2016, arXiv:1506.02142), each with masks
// of its own, the same for all batches.
struct DropoutPasses {
  int64_t passes = 0;  // 0: none, and no dropout
  int64_t seed = 0;
  std::optional<double> rate = {};  // of the trunk; unset: the model's own. Edits and heads have
                                    // theirs as options
};

// The samples are those of every adapter: its routes, else its dropout passes, else itself.
// Requires: not both, and experts apart where routes are drawn.
struct SampleOptions {
  RouteOptions route = {};
  DropoutPasses dropout = {};
  // Adapters beside the first, of the same task: an ensemble. They must live as long.
  std::vector<const BoundAdapter*> others = {};
  ForcedGates forced_gates = {};
};

// What is noted beside the answers.
struct Recording {
  bool tokens = false;   // what gates and routers make of each token, before any mean
  bool changes = false;  // how large every edit's change is beside what it changes
};

// Of all adapters together.
int64_t num_samples(const SampleOptions& options);

struct Sample {
  LaneAdapter adapter;
  RandomKey key = {};  // and rates, of its lane
  DropoutRates dropout = {};

  LaneInput rows() const;  // no sequences yet
};

// The first adapter's first. Records, where asked for, come from the first sample.
std::vector<Sample> samples_of(const Model& model, const BoundAdapter& bound,
                               const SampleOptions& options, bool keeps_records = false,
                               const Recording& recording = {});

// Index ranges [begin, end) of samples that share a pass: all of them, unless an adapter replaces
// the trunk's weights.
std::vector<std::pair<size_t, size_t>> shared_passes(const std::vector<Sample>& samples);

// by_sample: [S, N, outputs] -> [N, outputs]: of one sample its own, else the logarithm of the mean
// of probabilities; of an ensemble of logits and of values (one output) the mean.
at::Tensor joined_samples(const at::Tensor& by_sample, const SampleOptions& options);

}  // namespace graft
