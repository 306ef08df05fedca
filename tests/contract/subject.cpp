#include "tests/contract/subject.h"

#include <ATen/ops/cat.h>
#include <torch/csrc/autograd/autograd.h>

#include <map>

#include "edit/lane_results.h"
#include "model/classified.h"
#include "model/families.h"
#include "model/language_batch.h"
#include "tensor/vocabulary_loss.h"
#include "train/objective.h"

namespace graft::testing {

using at::Tensor;

namespace {

constexpr const char* kLabels = "-labels";

// More positions than tiny_config has; LLaMA with heads of keys that are shared, and its word table
// as output layer.
std::shared_ptr<const Model> made(const std::string& given, Precision precision) {
  const std::string family = given.substr(0, given.find(kLabels));
  Node changes = Node::map();
  if (family != given) {
    const std::string type = tiny_config(family).find("model_type")->scalar;
    changes["architectures"] = Node::list({Node::text(family_of(type).classifier_class)});
  }
  if (family == "gpt2") changes["n_positions"] = Node::integer(40);
  if (family == "bart" || family == "llama" || family == "modernbert")
    changes["max_position_embeddings"] = Node::integer(40);
  if (family == "llama") changes["tie_word_embeddings"] = Node::boolean(true);
  ModelConfig config = parse_config(tiny_config(family, changes), "tiny");
  Sites sites(config);
  NamedTensors base = random_base(config, 1);
  for (auto& [name, tensor] : base) {
    if (tensor.dim() == 2)
      tensor.mul_(0.5);  // attention that is not all on one token, whose loss differences follow
  }
  Weights weights(config, std::move(base), precision);
  return std::make_shared<const Model>(
      Model{"tiny " + family, std::move(config), std::move(sites), std::move(weights)});
}

std::vector<LaneAdapter> adapters_of(const std::vector<const BoundAdapter*>& bounds,
                                     const Pass& pass) {
  std::vector<LaneAdapter> lanes;
  for (const BoundAdapter* bound : bounds) lanes.push_back(adapter_of(*bound, pass));
  return lanes;
}

PackOptions packing_of(const Model& model, int64_t round_rows_to) {
  PackOptions options = pack_options(model);
  options.round_rows_to = round_rows_to;
  return options;
}

std::vector<LaneOutcome> run_classes(const Model& model, const std::vector<LaneInput>& lanes,
                                     const std::vector<const BoundAdapter*>& bounds,
                                     const Pass& pass, int64_t round_rows_to) {
  const std::vector<LaneResult> result =
      run_lanes(model, pack_of(model, lanes, round_rows_to), bounds, pass);
  std::vector<LaneOutcome> out;
  for (size_t i = 0; i < lanes.size(); ++i) {
    const std::vector<double> all = class_labels(64, result[i].logits.size(1));
    std::vector<double> labels;
    for (const Sequence* text : lanes[i].sequences)
      labels.push_back(all.at(static_cast<size_t>(text->example)));
    out.push_back({result[i].logits,
                   summed_loss(TaskKind::kClassification, result[i].logits, labels),
                   std::vector<int64_t>(labels.size(), 1)});
  }
  return out;
}

std::vector<LaneOutcome> run_words(const Model& model, const std::vector<LaneInput>& lanes,
                                   const std::vector<const BoundAdapter*>& bounds, const Pass& pass,
                                   int64_t round_rows_to) {
  std::vector<LaneInput> drawn = lanes;
  for (LaneInput& lane : drawn) draw_by(lane, model.config, pass);
  const LanguageBatch batch = make_language_batch(model, drawn, packing_of(model, round_rows_to));
  const std::vector<LaneStates> states =
      predicting_states(model, batch, adapters_of(bounds, pass), {});  // [R, C] each
  std::vector<LaneOutcome> out;
  int64_t row = 0;
  for (size_t i = 0; i < lanes.size(); ++i) {
    LaneOutcome lane;
    const int64_t first = row;
    for (const Sequence* text : lanes[i].sequences) {
      lane.rows.push_back(num_targets(*text));
      row += lane.rows.back();
    }
    const Tensor& own = states[i].rows;
    const OutputLayer layer = bounds[i]->weights().output_layer(model.config);
    lane.loss =
        vocabulary_loss(own, layer, {batch.targets.begin() + first, batch.targets.begin() + row})
            .sum;
    lane.outputs = whole_logits(own.detach(), layer);
    out.push_back(std::move(lane));
  }
  return out;
}

std::vector<StackStates> states(const Model& model, const LaneInput& lane,
                                const std::vector<const BoundAdapter*>& bounds) {
  const at::NoGradGuard no_grad;
  ForwardOptions options{.keep_hidden = true};
  std::optional<LanguageBatch> batch;
  std::optional<Pack> pack;
  std::optional<ClassifiedPack> texts;
  if (is_classified(model)) {
    pack = pack_of(model, {lane});
    texts = classified_pack(model, *pack);
  } else {
    batch = make_language_batch(model, {lane}, packing_of(model, 1));
  }
  const ModelInput input = batch ? batch->input() : texts->input(model.config);
  NoHooks nothing;
  ForwardResult result = bounds.empty()
                             ? forward(model, model.weights, input, nothing, options)
                             : forward_lanes(model, input, adapters_of(bounds, {}), options);
  std::vector<StackStates> out;
  out.push_back({std::move(result.hidden),
                 (input.encoder != nullptr ? input.encoder : input.decoder)->sequences});
  if (!result.decoder_hidden.empty())
    out.push_back({std::move(result.decoder_hidden), input.decoder->sequences});
  return out;
}

}  // namespace

const std::vector<std::string>& contract_families() {
  static const std::vector<std::string> names = {"bert",         "roberta",         "gpt2",
                                                 "llama",        "t5-gated",        "bart",
                                                 "llama-labels", "t5-gated-labels", "modernbert"};
  return names;
}

std::shared_ptr<const Model> contract_model(const std::string& family, Precision precision,
                                            bool is_small) {
  static std::map<std::tuple<std::string, Precision, bool>, std::shared_ptr<const Model>> kept;
  const bool is_encoder = family == "bert" || family == "roberta";
  if (is_encoder && !is_small) return golden_model(family + "-tiny", precision);
  auto& model = kept[{family, precision, is_encoder}];
  if (model == nullptr)
    model = is_encoder ? tiny_model(family, precision) : made(family, precision);
  return model;
}

std::optional<Task> contract_task(const Model& model, int64_t labels) {
  return is_classified(model) ? std::optional(class_task(labels)) : std::nullopt;
}

bool is_classified(const Model& model) {
  return !model.config.has_decoder() || model.config.is_classifier;
}

std::vector<Sequence> contract_texts(const Model& model, int64_t count, int64_t longest,
                                     uint64_t seed, int64_t first_example) {
  std::vector<Sequence> texts = random_sequences(model.config, count, longest, seed, first_example);
  for (Sequence& text : texts) {
    if (is_classified(model) && model.config.end_id >= 0) text.ids.back() = model.config.end_id;
  }
  if (is_classified(model)) return texts;
  if (model.config.has_encoder()) {
    const std::vector<Sequence> targets = random_sequences(model.config, count, 4, seed + 1);
    for (size_t n = 0; n < texts.size(); ++n) texts[n].asked = TargetIds{targets[n].ids};
    return texts;
  }
  for (Sequence& text : texts) {
    text.type_ids.clear();
    if (text.ids.size() == 1) text.ids.push_back(text.ids.front());
    std::vector<bool> is_target(text.ids.size(), false);
    for (size_t t = std::max<size_t>(1, text.ids.size() * 2 / 3); t < text.ids.size(); ++t)
      is_target[t] = true;
    text.asked = TargetMarks{std::move(is_target)};
  }
  return texts;
}

std::vector<LaneOutcome> run_texts(const Model& model, const std::vector<LaneInput>& lanes,
                                   const std::vector<const BoundAdapter*>& bounds, const Pass& pass,
                                   int64_t round_rows_to) {
  return is_classified(model) ? run_classes(model, lanes, bounds, pass, round_rows_to)
                              : run_words(model, lanes, bounds, pass, round_rows_to);
}

LaneOutcome outcome_of(const Rig& rig, const std::vector<Sequence>& texts, const Pass& pass,
                       int64_t round_rows_to) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors, experts_in(pass));
  return run_texts(*rig.model, {lane_of(rig, texts)}, {&bound}, pass, round_rows_to).front();
}

LossAndGradients contract_gradients(Rig& rig, const std::vector<Sequence>& texts, const Pass& pass,
                                    int64_t round_rows_to) {
  LossAndGradients out;
  BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors, experts_in(pass));
  const Tensor loss =
      run_texts(*rig.model, {lane_of(rig, texts)}, {&bound}, pass, round_rows_to).front().loss;
  out.loss = loss.item<double>();
  torch::autograd::backward({loss}, {});
  bound.add_gradients_to_stored();
  out.gradients = taken_gradients(rig);
  return out;
}

std::vector<SideOutput> records_of(const Rig& rig, const std::vector<Sequence>& texts) {
  const at::NoGradGuard no_grad;
  const Model& model = *rig.model;
  const BoundAdapter bound(model, *rig.adapter, rig.tensors);
  const std::vector<LaneAdapter> lanes = {{&bound, {.keeps_records = true}}};
  const LaneInput input = lane_of(rig, texts);
  if (is_classified(model))
    return compute_logits(model, pack_of(model, {input}), lanes, {}).front().side.records;
  const LanguageBatch batch = make_language_batch(model, {input}, packing_of(model, 1));
  return predicting_states(model, batch, lanes, {}).front().side.records;
}

std::vector<Tensor> by_sequence(const LaneOutcome& outcome) {
  return outcome.outputs.split_with_sizes(outcome.rows, 0);
}

std::vector<StackStates> states_of(const Rig& rig, const std::vector<Sequence>& texts) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  return states(*rig.model, lane_of(rig, texts), {&bound});
}

std::vector<StackStates> bare_states_of(const Model& model, const std::vector<Sequence>& texts) {
  return states(model, lane_of(texts), {});
}

}  // namespace graft::testing
