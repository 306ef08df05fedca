// Full fine-tuning, BitFit and top-layer tuning: copies of the trunk's own tensors are trained and take their places.
//
//   full        every tensor
//   bitfit      every bias: of linear layers, of norms, of the pooler (Ben Zaken et al. 2022, arXiv:2106.10199)
//   top-layers  every tensor of the last K blocks, of the decoder where there is one
//
// The copies are float32 masters whatever the trunk's dtype.
#include <algorithm>
#include <functional>

#include "base/error.h"
#include "edit/registry.h"
#include "model/families.h"

namespace graft {

namespace {

bool is_bias(const TensorId& tensor) { return tensor.kind == TensorKind::kBias; }

class Retrain final : public Edit {
 public:
  Retrain(std::string kind, Node options, std::vector<TensorSlot> slots)
      : kind_(std::move(kind)), options_(std::move(options)), slots_(std::move(slots)) {
    EditSpec spec;
    for (const TensorSlot& slot : slots_)
      spec.params.push_back(
          {.name = slot.name(),
           .shape = slot.shape,
           .label = std::string(part_name(slot.id.place.part)),
           .replaces = slot.id,
           .decays = !is_bias(slot.id) && !is_norm(slot.id.place.part)});
    spec.traits = {.acts = Acts::kReplacesWeights, .identity_at_init = true};
    declare(std::move(spec));
  }

  Node describe() const override { return Node::map({{kind_, options_}}); }

  NamedTensors init(const Weights& weights, RandomKey) const override {
    NamedTensors out;
    for (const TensorSlot& slot : slots_) {
      if (!weights.has(slot.id)) {
        throw InputError("the model has no '" + slot.name() + "' to train: set " + kind_ +
                         ".pooler to false and head.pooler to trained");
      }
      out[slot.name()] = weights.base(slot.id).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    }
    return out;
  }

  TrunkTensors rewrite(const Params& derived, const Weights&) const override {
    TrunkTensors out;
    for (const TensorSlot& slot : slots_) out[slot.id] = derived.at(slot.name());
    return out;
  }

 private:
  std::string kind_;
  Node options_;
  std::vector<TensorSlot> slots_;
};

std::unique_ptr<Edit> make_retrain(const std::string& kind, Node options, const EditTarget& target,
                                   const std::function<bool(const TensorId&)>& is_trained) {
  std::vector<TensorSlot> slots;
  for (TensorSlot& slot : tensor_slots(target.config)) {
    if (is_trained(slot.id)) slots.push_back(std::move(slot));
  }
  return std::make_unique<Retrain>(kind, std::move(options), std::move(slots));
}

std::unique_ptr<Edit> make_full(Options& options, const EditTarget& target) {
  const bool with_pooler = options.boolean("pooler", true);
  return make_retrain("full", Node::map({{"pooler", Node::boolean(with_pooler)}}), target,
                      [with_pooler](const TensorId& tensor) { return with_pooler || tensor.place != kPooler; });
}

std::unique_ptr<Edit> make_bitfit(Options& options, const EditTarget& target) {
  const bool with_pooler = options.boolean("pooler", true);
  const std::vector<TensorSlot> slots = tensor_slots(target.config);
  if (std::none_of(slots.begin(), slots.end(), [](const TensorSlot& slot) { return is_bias(slot.id); })) {
    options.fault("", target.config.model_type + " models have no biases to train");
  }
  return make_retrain("bitfit", Node::map({{"pooler", Node::boolean(with_pooler)}}), target,
                      [with_pooler](const TensorId& tensor) { return is_bias(tensor) && (with_pooler || tensor.place != kPooler); });
}

std::unique_ptr<Edit> make_top_layers(Options& options, const EditTarget& target) {
  const StackId stack = target.config.last_stack();
  const int64_t layers = target.config.last().layers;
  const int64_t count = options.integer("count", std::min<int64_t>(2, layers), 1, layers);
  const bool with_pooler = options.boolean("pooler", false);
  const int64_t first = layers - count;
  return make_retrain("top-layers", Node::map({{"count", Node::integer(count)}, {"pooler", Node::boolean(with_pooler)}}), target,
                      [=](const TensorId& tensor) {
                        const Place& place = tensor.place;
                        if (place == kPooler) return with_pooler;
                        return place.stack == stack && place.layer >= first;
                      });
}

}  // namespace

const Method kFull = {"full", kNestsNowhere, make_full};
const Method kBitfit = {"bitfit", kNestsNowhere, make_bitfit};
const Method kTopLayers = {"top-layers", kNestsNowhere, make_top_layers};

}  // namespace graft
