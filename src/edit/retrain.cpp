// Full fine-tuning, BitFit and top-layer tuning: copies of the trunk's own tensors are trained and
// take their places.
//
//   full        every tensor
//   bitfit      every bias: of linear layers, of norms, of the pooler (Ben Zaken et al. 2022,
//               arXiv:2106.10199)
//   top-layers  every tensor of the last K blocks, of the decoder where there is one
//
// The copies are float32 masters whatever the trunk's dtype.
#include <algorithm>
#include <functional>

#include "base/error.h"
#include "edit/initial.h"
#include "edit/registry.h"
#include "model/families.h"

namespace graft {

namespace {

bool is_bias(const TensorId& tensor) { return tensor.kind == TensorKind::kBias; }

// Of full and bitfit.
struct PoolerOptions {
  bool with_pooler = true;

  void visit(OptionVisitor& v) {
    v.boolean("pooler", with_pooler, "whether the model's pooler is trained, too");
  }
};

struct TopLayersOptions {
  int64_t layers = INT64_MAX;  // of the model
  int64_t count = 2;
  bool with_pooler = false;

  void visit(OptionVisitor& v) {
    v.integer("count", count, {1, layers},
              {"blocks K, counted from the last; at most all of them", "2"});
    v.boolean("pooler", with_pooler, "whether the model's pooler is trained, too");
  }
};

class Retrain final : public Edit {
 public:
  Retrain(const Method& method, Node options, std::vector<TensorSlot> slots)
      : method_(method), options_(std::move(options)), slots_(std::move(slots)) {
    for (const TensorSlot& slot : slots_) {
      params_.push_back(declare({.name = slot.name(),
                                 .shape = slot.shape,
                                 .label = std::string(part_name(slot.id.place.part)),
                                 .replaces = slot.id,
                                 .decays = !is_bias(slot.id) && !is_norm(slot.id.place.part),
                                 .initial = copied(slot.id)}));
    }
    spec_.traits = {.acts = Acts::kReplacesWeights, .identity_at_init = true};
  }

  std::string method() const override { return method_.name; }
  Node describe_options() const override { return options_; }

  TensorList init(const Weights& weights, RandomKey key) const override {
    for (const TensorSlot& slot : slots_) {
      if (weights.has(slot.id)) continue;
      throw InputError("the model has no '" + slot.name() + "' to train: set " + method() +
                       ".pooler to false and head.pooler to trained");
    }
    return Edit::init(weights, key);
  }

  TrunkTensors rewrite(const Params& derived, const Weights&) const override {
    TrunkTensors out;
    for (size_t i = 0; i < slots_.size(); ++i) out[slots_[i].id] = derived[params_[i]];
    return out;
  }

 private:
  const Method& method_;
  Node options_;
  std::vector<TensorSlot> slots_;
  std::vector<ParamId> params_;  // of each
};

std::unique_ptr<Edit> make_retrain(const Method& method, Node options, const EditTarget& target,
                                   const std::function<bool(const TensorId&)>& is_trained) {
  std::vector<TensorSlot> slots;
  for (TensorSlot& slot : tensor_slots(target.config)) {
    if (is_trained(slot.id)) slots.push_back(std::move(slot));
  }
  return std::make_unique<Retrain>(method, std::move(options), std::move(slots));
}

std::unique_ptr<Edit> make_full(Options& options, const EditTarget& target) {
  const auto own = read_options(options, PoolerOptions{});
  return make_retrain(kFull, options_node(own), target, [own](const TensorId& tensor) {
    return own.with_pooler || tensor.place != kPoolerPlace;
  });
}

std::unique_ptr<Edit> make_bitfit(Options& options, const EditTarget& target) {
  const auto own = read_options(options, PoolerOptions{});
  const std::vector<TensorSlot> slots = tensor_slots(target.config);
  if (std::none_of(slots.begin(), slots.end(),
                   [](const TensorSlot& slot) { return is_bias(slot.id); })) {
    options.fault("", target.config.model_type + " models have no biases to train");
  }
  return make_retrain(kBitfit, options_node(own), target, [own](const TensorId& tensor) {
    return is_bias(tensor) && (own.with_pooler || tensor.place != kPoolerPlace);
  });
}

std::unique_ptr<Edit> make_top_layers(Options& options, const EditTarget& target) {
  const StackId stack = target.config.last_stack();
  const int64_t layers = target.config.last().layers;
  const auto own = read_options(
      options, TopLayersOptions{.layers = layers, .count = std::min<int64_t>(2, layers)});
  const int64_t first = layers - own.count;
  return make_retrain(kTopLayers, options_node(own), target, [=](const TensorId& tensor) {
    const Place& place = tensor.place;
    if (place == kPoolerPlace) return own.with_pooler;
    return place.stack == stack && place.layer >= first;
  });
}

}  // namespace

const Method kFull = {.name = "full",
                      .about = "full fine-tuning: every tensor of the trunk",
                      .options = [] { return option_rows(PoolerOptions{}); },
                      .nesting = kNestsNowhere,
                      .make = make_full};
const Method kBitfit = {.name = "bitfit",
                        .about = "every bias of the trunk",
                        .options = [] { return option_rows(PoolerOptions{}); },
                        .nesting = kNestsNowhere,
                        .make = make_bitfit};
const Method kTopLayers = {.name = "top-layers",
                           .about = "every tensor of the last blocks",
                           .options = [] { return option_rows(TopLayersOptions{}); },
                           .nesting = kNestsNowhere,
                           .make = make_top_layers};

}  // namespace graft
