#include "infer/samples.h"

#include "base/error.h"

namespace graft {

int64_t num_samples(const SampleOptions& options) {
  ensure(options.dropout.passes == 0 || options.route.routing == Routing::kMerged,
         "either routes or passes with dropout");
  const int64_t own = is_ensemble(options.route)   ? options.route.routes
                      : options.dropout.passes > 0 ? options.dropout.passes
                                                   : 1;
  return own * (1 + std::ssize(options.others));
}

LaneInput Sample::rows() const {
  return {.layout = adapter.bound->adapter().layout(), .key = key, .dropout = dropout};
}

namespace {

Context context_of_route(const RouteOptions& route, int64_t index) {
  Context context;
  context.route = RandomKey{}
                      .with("route")
                      .with(static_cast<uint64_t>(route.seed))
                      .with(static_cast<uint64_t>(index));
  context.route_unit = route.unit;
  context.draws_shares = route.routing == Routing::kRandom || is_ensemble(route);
  if (route.routing == Routing::kFixed) context.fixed_expert = 0;
  return context;
}

}  // namespace

std::vector<Sample> samples_of(const Model& model, const BoundAdapter& bound,
                               const SampleOptions& options, bool keeps_records,
                               const Recording& recording) {
  std::vector<const BoundAdapter*> adapters = {&bound};
  adapters.insert(adapters.end(), options.others.begin(), options.others.end());
  const int64_t each = num_samples(options) / std::ssize(adapters);
  std::vector<Sample> samples;
  for (const BoundAdapter* own : adapters) {
    ensure(own->experts() == experts_of(options.route.routing),
           "experts apart for routes, merged without");
    for (int64_t i = 0; i < each; ++i) {
      Sample sample{{own, context_of_route(options.route, i)}};
      if (options.dropout.passes > 0) {
        sample.adapter.context.is_training = true;
        sample.key = RandomKey{}
                         .with("dropout")
                         .with(static_cast<uint64_t>(options.dropout.seed))
                         .with(static_cast<uint64_t>(i));
        sample.dropout = trunk_dropout(model.config, options.dropout.rate);
      }
      Context& context = sample.adapter.context;
      context.forced_gates = options.forced_gates;
      if (samples.empty()) {
        context.keeps_records = keeps_records;
        context.records_tokens = recording.tokens;
        context.records_changes = recording.changes;
      }
      samples.push_back(std::move(sample));
    }
  }
  return samples;
}

std::vector<std::pair<size_t, size_t>> shared_passes(const std::vector<Sample>& samples) {
  std::vector<std::pair<size_t, size_t>> passes;
  for (size_t i = 0; i < samples.size(); ++i) {
    const bool joins = i > 0 && can_share_pass(*samples[passes.back().first].adapter.bound,
                                               *samples[i].adapter.bound);
    if (joins) passes.back().second = i + 1;
    else passes.emplace_back(i, i + 1);
  }
  return passes;
}

at::Tensor joined_samples(const at::Tensor& by_sample, const SampleOptions& options) {
  if (by_sample.size(0) == 1) return by_sample[0];
  if (options.route.routing == Routing::kEnsembleLogits || by_sample.size(2) == 1)
    return by_sample.mean(0);
  return by_sample.softmax(2).mean(0).log();
}

}  // namespace graft
