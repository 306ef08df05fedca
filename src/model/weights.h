// The tensors a trunk computes with.
//
// The checkpoint stays memory-mapped and untouched; linear layers are packed for the matrix kernels
// on first use. After that a layer is found by its place, without a lock. A set of weights with
// some tensors replaced (full fine-tuning, BitFit) shares everything else with the set it came
// from.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/names.h"
#include "model/place.h"
#include "tensor/named_tensors.h"
#include "tensor/vocabulary_loss.h"

namespace graft {

enum class Precision {
  kFloat32,
  kBFloat16,
  kFloat64
};  // of the trunk; kFloat64 is for gradient checks
inline constexpr Name<Precision> kPrecisions[] = {{Precision::kFloat32, "fp32"},
                                                  {Precision::kBFloat16, "bf16"}};

at::ScalarType scalar_type(Precision precision);

// Tensors of the trunk that take the place of the checkpoint's.
using TrunkTensors = std::map<TensorId, at::Tensor>;

// Thread-safe.
class Weights {
 public:
  // `base`: every slot of the family's table, canonical names. Throws InputError for a missing,
  // surplus or misshapen tensor. `files`: what the base's tensors are views into, if they are.
  Weights(const ModelConfig& config, NamedTensors base, Precision precision,
          std::vector<std::shared_ptr<const MappedFile>> files = {});

  bool has(const TensorId& tensor) const;
  // The stored tensor in its own dtype, never replaced: what a training starts from, what a merge
  // adds to. Throws InputError for one that the checkpoint lacks.
  const at::Tensor& base(const TensorId& tensor) const;
  // All of them by canonical name, for files.
  const NamedTensors& all_base() const;
  // The fingerprint of each of them, by name: hashed when first asked for.
  const std::map<std::string, std::string>& base_fingerprints() const;
  // The tensor computed with, in the trunk's dtype: the replacement where there is one.
  at::Tensor at(const TensorId& tensor) const;
  // y = x W^T + b of a linear layer. x: [T, in].
  at::Tensor linear(const Place& layer, const at::Tensor& x) const;
  // The same for layers that read one x, in one product over their outputs side by side: for passes
  // over few rows, which cost a read of the weights and a call each. Nothing is differentiated, and
  // where tensors are replaced each layer goes alone. Same bits. Requires: the same layers whenever
  // the first is the same.
  std::vector<at::Tensor> linears(std::span<const Place> layers, const at::Tensor& x) const;
  // The output layer over the vocabulary: "lm" where the model has one, else its word table. Throws
  // InputError where a classifier's folder lacks it.
  OutputLayer output_layer(const ModelConfig& config) const;
  // Rows of a table, in the trunk's dtype. index: [T] int64.
  at::Tensor rows(const TensorId& table, const at::Tensor& index) const;

  // Replaced tensors keep their graph; they must have the base's shapes. An optional one (the
  // pooler) may be new.
  Weights with(TrunkTensors replaced) const;

  // Whether any tensor of a block is replaced.
  bool replaces_in(StackId stack, int64_t layer) const;

  at::ScalarType dtype() const;
  // Of what must not be rounded to bfloat16: float32, float64 beside a float64 trunk.
  at::ScalarType wide_dtype() const { return dtype() == at::kDouble ? at::kDouble : at::kFloat; }
  // Gives pages of the files that were read once (to check, hash or pack them) back to the system.
  void release_pages() const;

 private:
  struct Frozen;
  using Replaced = std::array<at::Tensor, 2>;  // by TensorKind; undefined where not replaced

  const at::Tensor* replacement(const TensorId& tensor) const;

  std::shared_ptr<Frozen> frozen_;
  std::vector<Replaced> replaced_;  // [place]; empty where nothing is replaced
};

}  // namespace graft
