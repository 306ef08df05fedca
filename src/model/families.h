// The table of model families: per family, how its checkpoint names our tensors and which config keys it has.
//
// Read by loading, counting, export and interop alike. Adding a family = one entry here (and, where its blocks differ, blocks).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/config.h"

namespace graft {

// How the head of a sequence classifier reads the first token: BERT puts a pretrained pooler under it, RoBERTa a new dense layer.
// kMask: the head that the family's checkpoints fill masks in with. kNone: the family answers in words.
enum class HeadStyle { kPooler, kDense, kMask, kNone };

struct TensorSlot {
  std::string name;            // canonical: "enc.3.attn.q.weight"
  std::vector<int64_t> shape;  // of a linear layer: [out, in]
  bool is_optional = false;    // absent from some checkpoints: the pooler
};

// In names, '#' stands for the layer; "name[1/3]" for the second of three equal pieces of a tensor, along its outputs.
struct Family {
  std::string model_type;
  bool has_gated_ffn = false;  // a model_type with both kinds has two entries
  HeadStyle head_style = HeadStyle::kNone;
  std::vector<std::string> prefixes;                       // of checkpoint names, tried in order: "bert.", ""
  std::vector<std::pair<std::string, std::string>> names;  // canonical pattern -> checkpoint pattern, in canonical order
  std::vector<std::string> unused;    // checkpoint names that start so ('#': any layer) are read by nobody here
  std::string classifier_class = {};  // of the library that the folder format comes from: the trunk with a head
  std::vector<std::pair<std::string, std::string>> head_names = {};  // of its head: our layer -> checkpoint layer
  std::vector<std::pair<std::string, std::string>> mask_names =
      {};                              // of the head that fills masks in, where the checkpoint may hold one
  std::vector<std::string> zero = {};  // checkpoint tensors that are left out, and must be zero for that
  bool stores_transposed = false;      // the checkpoint holds weights of linear layers as [in, out]
};

const std::vector<Family>& all_families();
const Family& family_of(const std::string& model_type);  // Its first entry. Throws InputError naming the known families.
const Family& family_of(const ModelConfig& config);
std::vector<std::string> known_families();

// Every tensor of the trunk, in canonical order; with the vocabulary's output layer ("lm.weight") where it is not the word table.
std::vector<TensorSlot> tensor_slots(const ModelConfig& config);

// Those of the head that fills masks in: "mask.dense.weight", ..., "mask.bias". Empty for a family without one.
std::vector<TensorSlot> mask_head_slots(const ModelConfig& config);

// A part of a checkpoint's tensor: "h.#.attn.c_attn.weight[1/3]" is the second third of its outputs.
struct CheckpointPiece {
  std::string tensor;
  int64_t index = 0, count = 1;
};
CheckpointPiece piece_of(const std::string& checkpoint_name);

// "enc.3.attn.q.weight" -> "encoder.layer.3.attention.self.query.weight" (without prefix); nothing for an unknown name.
std::optional<std::string> checkpoint_name(const Family& family, const std::string& canonical);

}  // namespace graft
