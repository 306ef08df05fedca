#include "edit/head.h"

#include "base/error.h"
#include "edit/initial.h"
#include "model/trunk.h"
#include "tensor/fused.h"
#include "tensor/linear.h"

namespace graft {

using at::Tensor;

namespace {

constexpr double kInitialDeviation = 0.02;

constexpr Name<HeadTrains> kHeadTrains[] = {
    {HeadTrains::kAll, "all"}, {HeadTrains::kBiases, "biases"}, {HeadTrains::kNothing, "nothing"}};
constexpr Name<bool> kPoolers[] = {{false, "frozen"}, {true, "trained"}};  // trains_pooler

}  // namespace

bool is_under_head(const Place& place, const ModelConfig& config) {
  if (config.head_style == HeadStyle::kPooler) return place == kPoolerPlace;
  return config.head_style == HeadStyle::kMaskStates &&
         (place.part == Part::kMaskDense || place.part == Part::kMaskNorm);
}

std::string layer_under_head(const ModelConfig& config) {
  return config.head_style == HeadStyle::kPooler ? "pooler" : "head for masks";
}

bool has_layer_under_head(const ModelConfig& config, const Weights& weights) {
  switch (config.head_style) {
    case HeadStyle::kPooler: return weights.has(weight_of(kPoolerPlace));
    case HeadStyle::kMaskStates: return weights.has(weight_of({.part = Part::kMaskDense}));
    default: return true;
  }
}

void HeadOptions::visit(OptionVisitor& v) {
  if (has_pooler)
    v.choice("pooler", trains_pooler, kPoolers,
             "the model's pooler, or its head for masks, as it is or trained; where the "
             "head reads one");
  v.choice("trains", trains, kHeadTrains,
           "all of the head, its biases alone, or nothing: it stays as it was drawn, as released "
           "code of UniPELT leaves it beside LoRA or a prefix");
  v.number("dropout", dropout, {0, 0.99}, {"before the last layer of the head", "the model's"});
}

Head::Head(Options& options, const ModelConfig& config, int64_t outputs, bool is_cloze)
    : config_(config), style_(is_cloze ? HeadStyle::kMask : config.head_style), outputs_(outputs) {
  if (is_cloze) {
    if (!config.mask_head)
      throw InputError("head: a cloze needs a model that fills masks in; a " + config.model_type +
                       " model does not");
    return;
  }
  // Of ModernBERT it is written where it was given alone: older adapters have none.
  const bool has_pooler = reads_pooler() || (reads_mask_states() && options.has("pooler"));
  options_ = read_options(
      options, HeadOptions{.has_pooler = has_pooler, .dropout = config.classifier_dropout});
  if (options_.trains_pooler && options_.trains != HeadTrains::kAll)
    options.fault("pooler", "trained, but head.trains leaves the weights of the head as they are");
  if (options_.trains_pooler && reads_pooler()) pooler_ = declare("pooler", config_.width);
  if (options_.trains_pooler && reads_mask_states()) declare_mask_head();
  if (style_ == HeadStyle::kDense) dense_ = declare("dense", config_.width);
  out_ = declare("out", outputs_);
}

bool Head::is_moved(bool is_matrix) const {
  return options_.trains == HeadTrains::kAll ||
         (options_.trains == HeadTrains::kBiases && !is_matrix);
}

Head::Layer Head::declare(const std::string& name, int64_t out) {
  const auto add = [&](const char* tensor, std::vector<int64_t> shape, Initial initial) -> ParamId {
    const bool is_matrix = shape.size() > 1;
    params_.push_back({.name = name + tensor,
                       .shape = std::move(shape),
                       .label = name,
                       .role = is_moved(is_matrix) ? Role::kTrained : Role::kBuffer,
                       .decays = is_matrix,
                       .use = ParamUse::kHead,
                       .initial = std::move(initial)});
    return {static_cast<int32_t>(params_.size() - 1)};
  };
  const ParamId weight = add(".weight", {out, config_.width}, normal(kInitialDeviation));
  return {weight, style_ == HeadStyle::kScore ? ParamId{} : add(".bias", {out}, zeros())};
}

// The model's own layer and norm, under the trunk's names.
void Head::declare_mask_head() {
  for (const TensorSlot& slot : mask_head_slots(config_)) {
    if (!is_under_head(slot.id.place, config_)) continue;
    params_.push_back({.name = slot.name(),
                       .shape = slot.shape,
                       .label = to_name(slot.id.place),
                       .decays = slot.shape.size() > 1,
                       .use = ParamUse::kHead,
                       .initial = copied(slot.id)});
    mask_head_.emplace_back(slot.id, ParamId{static_cast<int32_t>(params_.size() - 1)});
  }
}

Node Head::describe() const {
  return style_ == HeadStyle::kMask ? Node::map() : options_node(options_);
}

TensorList Head::init(const Weights& weights, RandomKey key) const {
  const bool brings_layer = options_.trains_pooler && reads_pooler();
  if (style_ != HeadStyle::kMask && !brings_layer && !has_layer_under_head(config_, weights)) {
    throw InputError("the model has no " + layer_under_head(config_) + " for the head to read: " +
                     (reads_pooler() ? "set head.pooler to trained"
                                     : "take a checkpoint that was saved as a masked language "
                                       "model, or with a classifier"));
  }
  TensorList out;
  for (const ParamSpec& param : params_) out.append(param.initial_value(weights, key));
  if (brings_layer && weights.has(weight_of(kPoolerPlace))) {
    out[pooler_.weight] = weights.base(weight_of(kPoolerPlace)).to(at::kFloat).clone();
    out[pooler_.bias] = weights.base(bias_of(kPoolerPlace)).to(at::kFloat).clone();
  }
  const bool can_fill_masks = weights.has(weight_of({.part = Part::kMaskDense})) &&
                              (config_.has_tied_output || weights.has(kOutputTable));
  if (style_ == HeadStyle::kMask && !can_fill_masks) {
    throw InputError(
        "the checkpoint has no head that fills masks in, which a cloze reads: take one that was "
        "saved as a masked language "
        "model");
  }
  return out;
}

TrunkTensors Head::rewrite(const Params& derived) const {
  TrunkTensors out;
  for (const auto& [id, param] : mask_head_) out[id] = derived[param];
  if (!options_.trains_pooler || !reads_pooler()) return out;
  return {{weight_of(kPoolerPlace), derived[pooler_.weight]},
          {bias_of(kPoolerPlace), derived[pooler_.bias]}};
}

Tensor Head::word_logits(const Weights& weights, const Tensor& mask_rows,
                         const std::vector<int64_t>& words) const {
  ensure(static_cast<int64_t>(words.size()) == outputs_, "a word for every label");
  const Tensor z = mask_states(config_, weights, mask_rows);  // [N, C]
  const auto dtype = z.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor index = at::tensor(words, at::kLong);
  const TensorId output = config_.has_tied_output ? kWordTable : kOutputTable;
  const Tensor bias = config_.mask_head.value().has_output_bias
                          ? weights.rows(bias_of({.part = Part::kMask}), index).to(dtype)
                          : Tensor();
  return graft::linear(z.to(dtype), weights.rows(output, index).to(dtype), bias);
}

Tensor Head::logits(const Params& derived, const Tensor& rows,
                    const std::shared_ptr<const RowIds>& ids, const Context& context,
                    Tensor* pooled) const {
  const auto dtype = rows.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto dropped = [&](const Tensor& x, const char* use) {
    if (!context.is_training || options_.dropout == 0.0) return x;
    return dropout(x, {{{options_.dropout, context.key.with(use)}}, ids});
  };
  if (style_ == HeadStyle::kScore)
    return graft::linear(dropped(rows.to(dtype), "head output"), derived[out_.weight].to(dtype),
                         {});  // [N, outputs]
  Tensor z;                    // [N, C]
  if (style_ == HeadStyle::kPooler) {
    z = at::tanh(rows.to(dtype));
  } else if (style_ == HeadStyle::kMaskStates) {
    z = rows.to(dtype);
  } else {
    const Tensor h = dropped(rows.to(dtype), "head input");
    z = at::tanh(
        graft::linear(h, derived[dense_.weight].to(dtype), derived[dense_.bias].to(dtype)));
  }
  if (pooled != nullptr) *pooled = z;
  return graft::linear(dropped(z, "head output"), derived[out_.weight].to(dtype),
                       derived[out_.bias].to(dtype));  // [N, outputs]
}

}  // namespace graft
