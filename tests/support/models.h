// Models, batches and adapters for tests: the golden models, tiny random ones made in memory, and
// one forward pass over either.
//
// Nothing here is a judge: expected values come from tests/golden or from an independent formula in
// the test itself.
#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edit/lane_results.h"
#include "model/trunk.h"

namespace graft::testing {

Path golden_dir(const std::string& folder);       // tests/golden/<folder>
Node golden_manifest(const std::string& folder);  // its manifest.json
double number_of(const Node& node);               // Requires: a number

// A model of tests/golden/models, or of another folder there; loaded once per folder, name and
// precision.
std::shared_ptr<const Model> golden_model(const std::string& name,
                                          Precision precision = Precision::kFloat32,
                                          const std::string& folder = "models");

// One name for each kind of trunk: the families, and "t5-gated" for T5 version 1.1.
const std::vector<std::string>& tiny_names();
// config.json text of a tiny model of such a name; `changes` are merged over it ({"hidden_act":
// "relu"}).
Node tiny_config(const std::string& model_type, const Node& changes = {});
// L 2, C 8, H 2, F 12, V 13, 10 positions, pooler where the family has one; weights N(0, 0.4^2),
// norm weights 1 + that.
std::shared_ptr<const Model> tiny_model(const std::string& model_type, Precision precision,
                                        uint64_t seed = 1);
TensorId tensor_id(const std::string& name);  // Requires: a name
NamedTensors random_base(const ModelConfig& config, uint64_t seed);

// `count` sequences of 1 .. longest tokens, the first of `longest`, the second of 1 token; never
// the pad id.
std::vector<Sequence> random_sequences(const ModelConfig& config, int64_t count, int64_t longest,
                                       uint64_t seed, int64_t first_example = 0);
// The same with targets: in an encoder-decoder 1 to 5 target ids each, else all tokens behind a
// prompt of 1 to 3 (the sequence of one token has none).
std::vector<Sequence> random_texts(const ModelConfig& config, int64_t count, int64_t longest,
                                   uint64_t seed, int64_t first_example = 0);
// Sequences cut from end-to-end ids and types, as the golden files hold them.
std::vector<Sequence> cut_sequences(const at::Tensor& ids, const at::Tensor& types,
                                    const at::Tensor& lengths);

// `pass` tells lanes over the same sequences apart: they draw different dropout.
LaneInput lane_of(const std::vector<Sequence>& sequences, int64_t pass = 0);
Pack pack_of(const Model& model, const std::vector<LaneInput>& lanes, int64_t round_rows_to = 1);

// Names a test by its parameter: "bert-tiny" -> "bert_tiny".
std::string parameter_name(const ::testing::TestParamInfo<std::string>& parameter);

// Tensors by name as the edit numbers them; undefined where there is none.
TensorList listed(const Edit& edit, const NamedTensors& tensors);

Node yaml(const std::string& text);
Task class_task(int64_t labels);
Task regression_task();
std::vector<double> class_labels(int64_t rows, int64_t labels);  // 0, 1, 2, 0, ... in a mixed order

// An adapter with its tensors. `definition`: "{edits: [...], head: {...}}".
struct Rig {
  std::shared_ptr<const Model> model;
  std::shared_ptr<const Adapter> adapter;
  NamedTensors tensors;

  Rig(std::shared_ptr<const Model> model, const std::string& definition,
      const std::optional<Task>& task = class_task(3), uint64_t seed = 7);
  Rig(std::shared_ptr<const Model> model, Adapter adapter, uint64_t seed = 7);
  // Every trained tensor moves by N(0, deviation^2), so that none is zero, one or as the trunk has
  // it.
  void shake(double deviation, uint64_t seed = 11);
  // The same rig with float64 leaves, for gradient checks on a float64 model.
  void widen();
};

struct Pass {
  double dropout = 0.0;  // of the trunk; edits and head use their own, while `is_training`
  bool is_training = false;
  bool keep_hidden = false;
  uint64_t seed = 5;
};

// What the rows of a lane draw by in a pass: a key of its own, the rates of dropout.
template <class Lane>  // LaneInput or LaneRows
void draw_by(Lane& lane, const ModelConfig& config, const Pass& pass) {
  lane.key = RandomKey{pass.seed}.with("pass").in_stream(lane.key.stream);
  if (pass.is_training) lane.dropout = trunk_dropout(config, pass.dropout);
}
LaneAdapter adapter_of(const BoundAdapter& bound, const Pass& pass);

// A lane with the rows that the rig's adapter needs; what a pass makes of stochastic mixtures.
LaneInput lane_of(const Rig& rig, const std::vector<Sequence>& sequences, int64_t pass = 0);
Experts experts_in(const Pass& pass);
std::vector<LaneResult> run_lanes(const Model& model, const Pack& pack,
                                  const std::vector<const BoundAdapter*>& bounds,
                                  const Pass& pass = {});
// One lane, nothing differentiated: logits [N, outputs].
at::Tensor logits_of(const Rig& rig, const std::vector<Sequence>& sequences, const Pass& pass = {},
                     int64_t round_rows_to = 1);
// The gradients of the rig's tensors, which then have none.
NamedTensors taken_gradients(Rig& rig);
// Sum of the losses of `sequences`, and the gradient of every trained tensor that has one.
struct LossAndGradients {
  double loss = 0;
  NamedTensors gradients;
};
LossAndGradients gradients_of(Rig& rig, const std::vector<Sequence>& sequences,
                              const std::vector<double>& labels, const Pass& pass = {},
                              int64_t round_rows_to = 1);

// Of a decoder: logits [R, V] of the rows that predict a target; sum of the targets' losses and its
// gradients.
at::Tensor text_logits_of(const Rig& rig, const std::vector<Sequence>& texts, const Pass& pass = {},
                          int64_t round_rows_to = 1);
LossAndGradients text_gradients_of(Rig& rig, const std::vector<Sequence>& texts,
                                   const Pass& pass = {}, int64_t round_rows_to = 1);

}  // namespace graft::testing
