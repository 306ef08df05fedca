#include "infer/collect.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "base/spelling.h"
#include "infer/decoding.h"

namespace graft {

using at::Tensor;

namespace {

// What the edits of `lane` record in one pass of the rows of `input`.
std::vector<SideOutput> collect_pass(const Model& model, const LaneInput& input,
                                     const LaneAdapter& lane) {
  const ModelConfig& config = model.config;
  const Pack pack = make_pack({input}, pack_options(model));
  if (!config.is_encoder_decoder())
    return forward_lanes(model, input_of(config, pack), {lane}, {}).side.records;
  const Pack decoder =
      make_decoder_pack({input}, Decoding::starts_of(config, {input}), pack_options(model));
  return forward_lanes(model, {&pack, &decoder}, {lane}, {}).side.records;
}

}  // namespace

Adapter collecting_adapter(const Node& options, const std::string& source,
                           const LoadedAdapter* under, const EditTarget& target) {
  std::vector<Node> edits;
  if (under != nullptr) {
    const Node definition = under->adapter.describe();
    if (const Node* own = definition.find("edits")) edits = own->items;
  }
  edits.push_back(Node::map({{"collect", options}}));
  // The edits of a classifier are those of a trunk under a head, which is not here itself.
  const bool has_head = under != nullptr && under->adapter.head() != nullptr;
  Adapter adapter(Node::map({{"edits", Node::list(std::move(edits))}}), source,
                  {target.config, target.sites, target.has_head || has_head}, std::nullopt);
  for (const Site& site : adapter.parts().back().spec().sites) {
    if (is_under_classifier(site.part))
      throw InputError(option_name("sites") + ": the " + layer_under_head(target.config) +
                       " lies under a head and has no part in a pass without one; choose others, "
                       "such as out");
  }
  return adapter;
}

Tensor collect_states(const Model& model, const BoundAdapter& bound, const Dataset& data,
                      int64_t token_budget) {
  const at::NoGradGuard no_grad;
  const auto cost = [&](int64_t row) {
    return data.sequences[static_cast<size_t>(row)].num_tokens();
  };
  Tensor states;
  for (const std::vector<int64_t>& group : groups_of_rows(data.sequences, token_budget, cost)) {
    LaneInput rows{{}, bound.adapter().layout()};
    for (const int64_t row : group)
      rows.sequences.push_back(&data.sequences[static_cast<size_t>(row)]);
    std::vector<Tensor> sites;
    for (SideOutput& record : collect_pass(model, rows, {&bound, {.keeps_records = true}})) {
      if (record.name.ends_with(".states")) sites.push_back(std::move(record.value));
    }
    ensure(!sites.empty(), "an adapter that collects");
    const Tensor own = at::cat(sites, 1);
    if (!states.defined()) states = at::zeros({data.size(), own.size(1)}, at::kFloat);
    states.index_copy_(0, at::tensor(group, at::kLong), own);
  }
  return states;
}

}  // namespace graft
