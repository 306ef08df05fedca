#include "tests/support/models.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "edit/initial.h"
#include "edit/lane_results.h"
#include "infer/predict.h"
#include "model/families.h"
#include "model/language_batch.h"
#include "train/objective.h"

namespace graft::testing {

using at::Tensor;

namespace {

// Tiny tensors gain nothing from threads, and threads that wait by spinning make a test thirty
// times slower on a busy machine. tests/tensor covers the threaded kernels.
class OneThread final : public ::testing::Environment {
  void SetUp() override { at::set_num_threads(1); }
};
[[maybe_unused]] const auto* const kOneThread = ::testing::AddGlobalTestEnvironment(new OneThread);

}  // namespace

Path golden_dir(const std::string& folder) {
  return Path(GRAFT_SOURCE_DIR) / "tests" / "golden" / folder;
}

Node golden_manifest(const std::string& folder) {
  const Path file = golden_dir(folder) / "manifest.json";
  return parse_json(read_file(file), file.string());
}

double number_of(const Node& node) { return std::stod(node.scalar); }

std::shared_ptr<const Model> golden_model(const std::string& name, Precision precision,
                                          const std::string& folder) {
  static std::map<std::tuple<std::string, std::string, Precision>, std::shared_ptr<const Model>>
      loaded;
  auto& model = loaded[{folder, name, precision}];
  if (model == nullptr) model = load_model(golden_dir(folder) / name, precision);
  return model;
}

namespace {

// The same sizes in the keys of each family.
const char* tiny_json(const std::string& model_type) {
  if (model_type == "bart") {
    return R"({"d_model": 8, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 12,
               "decoder_ffn_dim": 12, "vocab_size": 13, "max_position_embeddings": 10})";
  }
  if (model_type == "t5-gated") {
    return R"({"d_model": 8, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2, "d_kv": 3, "d_ff": 12, "vocab_size": 13, "feed_forward_proj": "gated-gelu",
               "tie_word_embeddings": false, "relative_attention_num_buckets": 4, "relative_attention_max_distance": 8})";
  }
  if (model_type == "t5" || model_type == "mt5") {  // heads that do not fill the width
    return R"({"d_model": 8, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2, "d_kv": 3, "d_ff": 12, "vocab_size": 13,
               "relative_attention_num_buckets": 4, "relative_attention_max_distance": 8})";
  }
  if (model_type == "gpt2")
    return R"({"n_embd": 8, "n_layer": 2, "n_head": 2, "n_inner": 12, "vocab_size": 13, "n_positions": 10})";
  if (model_type == "llama" || model_type == "mistral" || model_type == "qwen2") {
    return R"({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12, "vocab_size": 13,
               "max_position_embeddings": 10})";
  }
  if (model_type == "qwen3") {
    return R"({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6, "intermediate_size": 12,
               "vocab_size": 13, "max_position_embeddings": 10})";
  }
  if (model_type == "modernbert") {  // the second block sees two tokens on each side
    return R"({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, "vocab_size": 13,
               "max_position_embeddings": 10, "global_attn_every_n_layers": 2, "local_attention": 4})";
  }
  return R"({"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, "vocab_size": 13,
             "max_position_embeddings": 10, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-5})";
}

}  // namespace

const std::vector<std::string>& tiny_names() {
  static const std::vector<std::string> names = {"bert", "roberta",  "gpt2", "llama",
                                                 "t5",   "t5-gated", "bart", "modernbert"};
  return names;
}

Node tiny_config(const std::string& model_type, const Node& changes) {
  const bool is_roberta = model_type == "roberta";
  Node config = parse_json(tiny_json(model_type), "tiny");
  config["model_type"] = Node::text(model_type == "t5-gated" ? "t5" : model_type);
  config["pad_token_id"] = Node::integer(is_roberta ? 1 : 0);
  if (is_roberta) config["max_position_embeddings"] = Node::integer(12);
  for (const auto& [key, value] : changes.members) config[key] = value;
  return config;
}

TensorId tensor_id(const std::string& name) {
  const std::optional<TensorId> id = parse_tensor(name);
  if (!id) throw InternalError("no tensor is called " + name);
  return *id;
}

TensorList listed(const Edit& edit, const NamedTensors& tensors) {
  TensorList out;
  for (const ParamSpec& param : edit.spec().params) {
    const auto found = tensors.find(param.name);
    out.append(found == tensors.end() ? Tensor() : found->second);
  }
  return out;
}

NamedTensors random_base(const ModelConfig& config, uint64_t seed) {
  NamedTensors base;
  const bool has_mask_head = config.head_style == HeadStyle::kMaskStates;
  for (const TensorSlot& slot : has_mask_head ? all_slots(config) : tensor_slots(config)) {
    Tensor& tensor = base[slot.name()] =
        normal_tensor(slot.shape, 0.4, RandomKey{seed}.with(slot.name()));
    if (is_norm(slot.id.place.part) && slot.id.kind == TensorKind::kWeight) tensor += 1.0;
  }
  return base;
}

std::shared_ptr<const Model> tiny_model(const std::string& model_type, Precision precision,
                                        uint64_t seed) {
  ModelConfig config = parse_config(tiny_config(model_type), "tiny");
  NamedTensors base = random_base(config, seed);
  Sites sites(config);
  Weights weights(config, std::move(base), precision);
  return std::make_shared<const Model>(
      Model{"tiny " + model_type, std::move(config), std::move(sites), std::move(weights)});
}

std::vector<Sequence> random_sequences(const ModelConfig& config, int64_t count, int64_t longest,
                                       uint64_t seed, int64_t first_example) {
  Random random(RandomKey{seed}.with("sequences"));
  std::vector<Sequence> out;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t length =
        i == 0   ? longest
        : i == 1 ? 1
                 : 1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(longest)));
    Sequence& sequence = out.emplace_back();
    sequence.example = first_example + i;
    for (int64_t p = 0; p < length; ++p) {
      int64_t id = config.pad_id;
      while (id == config.pad_id)
        id = static_cast<int64_t>(random.below(static_cast<uint64_t>(config.vocabulary)));
      sequence.ids.push_back(id);
      sequence.type_ids.push_back(config.type_vocabulary > 1 && p > length / 2 ? 1 : 0);
    }
  }
  return out;
}

std::vector<Sequence> random_texts(const ModelConfig& config, int64_t count, int64_t longest,
                                   uint64_t seed, int64_t first_example) {
  std::vector<Sequence> texts = random_sequences(config, count, longest, seed, first_example);
  const std::vector<Sequence> targets = random_sequences(config, count, 5, seed + 1, first_example);
  for (size_t n = 0; n < texts.size(); ++n) {
    texts[n].type_ids.clear();
    if (config.has_encoder()) {
      texts[n].asked = TargetIds{targets[n].ids};
      continue;
    }
    std::vector<bool> is_target(texts[n].ids.size(), true);
    for (size_t t = 0; t < std::min(n % 3 + 1, texts[n].ids.size()); ++t) is_target[t] = false;
    texts[n].asked = TargetMarks{std::move(is_target)};
  }
  return texts;
}

std::vector<Sequence> cut_sequences(const Tensor& ids, const Tensor& types, const Tensor& lengths) {
  const auto values = [](const Tensor& tensor) {
    const Tensor plain = tensor.to(at::kLong).contiguous();
    return std::vector<int64_t>(plain.const_data_ptr<int64_t>(),
                                plain.const_data_ptr<int64_t>() + plain.numel());
  };
  const std::vector<int64_t> all_ids = values(ids), all_types = values(types);
  std::vector<Sequence> out;
  int64_t begin = 0;
  for (const int64_t length : values(lengths)) {
    const int64_t end = begin + length;
    out.push_back({static_cast<int64_t>(out.size()),
                   {all_ids.begin() + begin, all_ids.begin() + end},
                   {all_types.begin() + begin, all_types.begin() + end}});
    begin = end;
  }
  return out;
}

LaneInput lane_of(const std::vector<Sequence>& sequences, int64_t pass) {
  LaneInput lane;
  for (const Sequence& sequence : sequences) lane.sequences.push_back(&sequence);
  lane.key = RandomKey{}.in_stream(static_cast<uint16_t>(pass));
  return lane;
}

Pack pack_of(const Model& model, const std::vector<LaneInput>& lanes, int64_t round_rows_to) {
  PackOptions options = pack_options(model);
  options.round_rows_to = round_rows_to;
  return make_pack(lanes, options);
}

std::string parameter_name(const ::testing::TestParamInfo<std::string>& parameter) {
  std::string name = parameter.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

Node yaml(const std::string& text) { return parse_yaml(text, "test"); }

Task class_task(int64_t labels) {
  Task task;
  task.name = "test";
  auto& classes = task.at<Classification>();
  classes.text = column_or_template("text");
  classes.label_column = "label";
  for (int64_t i = 0; i < labels; ++i) classes.labels.push_back("label " + std::to_string(i));
  task.metrics = {"accuracy"};
  task.primary_metric = "accuracy";
  return task;
}

Task regression_task() {
  Task task;
  Regression& values = task.question.emplace<Regression>();
  values.text = column_or_template("text");
  values.label_column = "label";
  task.name = "test";
  task.metrics = {"pearson"};
  task.primary_metric = "pearson";
  return task;
}

std::vector<double> class_labels(int64_t rows, int64_t labels) {
  std::vector<double> out;
  for (int64_t i = 0; i < rows; ++i) out.push_back(static_cast<double>((i * i + i / 3) % labels));
  return out;
}

Rig::Rig(std::shared_ptr<const Model> given, const std::string& definition,
         const std::optional<Task>& task, uint64_t seed)
    : Rig(given, Adapter(yaml(definition), "test", {given->config, given->sites}, task), seed) {}

Rig::Rig(std::shared_ptr<const Model> given, Adapter made, uint64_t seed)
    : model(std::move(given)),
      adapter(std::make_shared<const Adapter>(std::move(made))),
      tensors(adapter->init(model->weights, RandomKey{seed})) {}

void Rig::shake(double deviation, uint64_t seed) {
  const at::NoGradGuard no_grad;
  for (const ParamSpec& param : adapter->params()) {
    if (param.role != Role::kTrained) continue;
    tensors.at(param.name)
        .add_(normal_tensor(param.shape, deviation, RandomKey{seed}.with(param.name)));
  }
}

void Rig::widen() {
  for (auto& [name, tensor] : tensors)
    tensor = tensor.detach().to(at::kDouble).requires_grad_(tensor.requires_grad());
}

LaneAdapter adapter_of(const BoundAdapter& bound, const Pass& pass) {
  return {
      &bound,
      {.is_training = pass.is_training, .route = RandomKey{pass.seed}.with("pass").with("route")}};
}

std::vector<LaneResult> run_lanes(const Model& model, const Pack& pack,
                                  const std::vector<const BoundAdapter*>& bounds,
                                  const Pass& pass) {
  Pack drawn = pack;
  for (LaneRows& lane : drawn.lanes) draw_by(lane, model.config, pass);
  std::vector<LaneAdapter> lanes;
  for (const BoundAdapter* bound : bounds) lanes.push_back(adapter_of(*bound, pass));
  ForwardOptions options;
  options.keep_hidden = pass.keep_hidden;
  return compute_logits(model, drawn, lanes, options);
}

Experts experts_in(const Pass& pass) {
  return pass.is_training ? Experts::kApart : Experts::kMerged;
}

LaneInput lane_of(const Rig& rig, const std::vector<Sequence>& sequences, int64_t pass) {
  LaneInput lane = lane_of(sequences, pass);
  lane.layout = rig.adapter->layout();
  return lane;
}

Tensor logits_of(const Rig& rig, const std::vector<Sequence>& sequences, const Pass& pass,
                 int64_t round_rows_to) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors, experts_in(pass));
  return run_lanes(*rig.model, pack_of(*rig.model, {lane_of(rig, sequences)}, round_rows_to),
                   {&bound}, pass)
      .front()
      .logits;
}

NamedTensors taken_gradients(Rig& rig) {
  NamedTensors out;
  for (auto& [name, tensor] : rig.tensors) {
    if (!tensor.grad().defined()) continue;
    out[name] = tensor.grad().clone();
    tensor.mutable_grad().reset();
  }
  return out;
}

LossAndGradients gradients_of(Rig& rig, const std::vector<Sequence>& sequences,
                              const std::vector<double>& labels, const Pass& pass,
                              int64_t round_rows_to) {
  LossAndGradients out;
  {
    BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors, experts_in(pass));
    const LaneResult result =
        run_lanes(*rig.model, pack_of(*rig.model, {lane_of(rig, sequences)}, round_rows_to),
                  {&bound}, pass)
            .front();
    const Tensor loss = summed_loss(rig.adapter->task()->kind(), result.logits, labels);
    out.loss = loss.item<double>();
    torch::autograd::backward({loss}, {});
    bound.add_gradients_to_stored();
  }
  out.gradients = taken_gradients(rig);
  return out;
}

namespace {

// States of the rows that predict, and the batch that says what.
Tensor states_of(const Rig& rig, const BoundAdapter& bound, const std::vector<Sequence>& texts,
                 const Pass& pass, int64_t round_rows_to, LanguageBatch& batch) {
  PackOptions packing = pack_options(*rig.model);
  packing.round_rows_to = round_rows_to;
  LaneInput lane = lane_of(rig, texts);
  draw_by(lane, rig.model->config, pass);
  batch = make_language_batch(*rig.model, {lane}, packing);
  return predicting_states(*rig.model, batch, {adapter_of(bound, pass)}, {}).front().rows;
}

}  // namespace

Tensor text_logits_of(const Rig& rig, const std::vector<Sequence>& texts, const Pass& pass,
                      int64_t round_rows_to) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors, experts_in(pass));
  LanguageBatch batch;
  const Tensor states = states_of(rig, bound, texts, pass, round_rows_to, batch);
  return whole_logits(states, bound.weights().output_layer(rig.model->config));
}

LossAndGradients text_gradients_of(Rig& rig, const std::vector<Sequence>& texts, const Pass& pass,
                                   int64_t round_rows_to) {
  LossAndGradients out;
  BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors, experts_in(pass));
  LanguageBatch batch;
  const Tensor states = states_of(rig, bound, texts, pass, round_rows_to, batch);
  const Tensor loss =
      vocabulary_loss(states, bound.weights().output_layer(rig.model->config), batch.targets).sum;
  out.loss = loss.item<double>();
  torch::autograd::backward({loss}, {});
  bound.add_gradients_to_stored();
  out.gradients = taken_gradients(rig);
  return out;
}

}  // namespace graft::testing
