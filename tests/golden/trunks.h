// The model folders of tests/golden/trunks with what they must compute, for the tests that read
// them.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "tensor/named_tensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"

namespace graft::testing {

inline constexpr Tolerance kTrunkFloat{1e-5, 1e-4};
inline constexpr Tolerance kTrunkDouble{1e-7, 1e-6};  // expected values are rounded to float32

const Node& trunk_manifest();
const Node& trunk_entry(const std::string& name);  // under "models"
// Folders that can be loaded; those with a training.safetensors.
std::vector<std::string> trunk_names();
std::vector<std::string> trained_trunk_names();

std::vector<int64_t> integers_of(const at::Tensor& tensor);

// A folder. Sequences longer than the model serves are left out.
struct GoldenTrunk {
  std::string name;
  std::shared_ptr<const Model> model;
  NamedTensors expected;            // expected.safetensors
  std::vector<Sequence> sequences;  // of the only stack, or of the encoder
  std::vector<Sequence> targets;    // of an encoder-decoder's decoder: what it reads
  at::Tensor rows, target_rows;     // those of the expected tensors that these sequences stand for

  GoldenTrunk(const std::string& name, Precision precision);

  bool has_two_stacks() const { return model->config.is_encoder_decoder(); }
  // What the last stack reads.
  const std::vector<Sequence>& answered() const { return has_two_stacks() ? targets : sequences; }
  // An expected tensor that holds a row a token of the last stack: "logits", "dec.hidden.1", of a
  // lone stack all.
  bool is_of_targets(const std::string& tensor) const;
  // Its rows, of all sequences or of sequence n.
  at::Tensor rows_of(const std::string& tensor, int64_t n = -1) const;
  // The name of the last stack's last states.
  std::string last_states() const;
  // Every expected tensor but the inputs, and a masked model's logits, in the model's dtype.
  NamedTensors outputs(int64_t n = -1) const;
};

// The packs of one lane of sequences: of the only stack, or of both.
struct TrunkPacks {
  Pack first, second;
  ModelInput input;

  TrunkPacks(const Model& model, const std::vector<Sequence>& sequences,
             const std::vector<Sequence>& targets, int64_t round_rows_to);
  TrunkPacks(const TrunkPacks&) = delete;  // `input` points into it
  TrunkPacks& operator=(const TrunkPacks&) = delete;
};

}  // namespace graft::testing
