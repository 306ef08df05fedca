// The table of model families: per family, how its checkpoint names our tensors and which config
// keys it has.
//
// Read by loading, counting, export and interop alike. A family is a file in model/families/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/config_keys.h"
#include "model/place.h"

namespace graft {

struct TensorSlot {
  TensorId id;
  std::vector<int64_t> shape;  // of a linear layer: [out, in]
  bool is_optional = false;    // absent from some checkpoints: the pooler

  std::string name() const { return to_name(id); }  // canonical: "enc.3.attn.q.weight"
};

// Our tensors and how a checkpoint calls them, '#' in the place of the layer; a tensor of the first
// block stands for all blocks'.
using CheckpointNames = std::vector<std::pair<TensorId, std::string>>;

// How GGUF files hold a family's models.
struct GgufForm {
  std::string architecture;       // general.architecture
  bool pairs_neighbours = false;  // rows of q and k lie in the order of rotary pairs (2i, 2i + 1)
  bool lacks_output_bias =
      false;  // attn.o has none beside the biases of q, k and v: ours are zero then
};

// The layers that PEFT chooses when a config says nothing. Its versions 0.1 to 0.21 agree, but for
// families that early ones lack; empty for a family that it does not know: a config names them.
struct PeftDefaults {
  std::vector<std::string> lora = {}, ia3 = {}, ia3_feedforward = {};
};

// In checkpoint names "name[1/3]" is the second of three equal pieces of a tensor, along its
// outputs.
struct Family {
  std::string model_type;
  void (*read_config)(Options& options,
                      ModelConfig& config) = nullptr;  // config.json; faults go into options
  std::vector<KeyRule> keys = {};     // of config.json that read_config does not read
  bool has_gated_ffn = false;         // a model_type with both kinds has two entries
  std::vector<std::string> prefixes;  // of checkpoint names, tried in order: "bert.", ""
  std::string plain_prefix =
      {};  // that of a model without a classifier, as it is written; with one it is the first
  CheckpointNames names;  // in canonical order
  // Second names of tensors, read where the file holds the tensor under such a name alone. (The
  // output layer over the vocabulary is another one of the word table in every family, while the
  // config ties the two.)
  CheckpointNames copies = {};
  std::vector<std::string>
      unused;  // checkpoint names that start so ('#': any layer) are read by nobody here
  std::string classifier_class =
      {};  // of the library that the folder format comes from: the trunk with a head
  std::vector<std::pair<std::string, std::string>> head_names =
      {};  // of its head: our layer -> checkpoint layer
  CheckpointNames mask_names =
      {};  // of the head that fills masks in, where the checkpoint may hold one
  std::vector<std::string> zero =
      {};  // checkpoint tensors that are left out, and must be zero for that
  bool stores_transposed = false;  // see is_stored_transposed
  std::vector<GgufForm> gguf = {};
  // Puts the settings of generation that the family has by itself, where config.json does not say
  // them, beside those that it says.
  void (*add_generation)(const Node& config_json, Node& settings) = nullptr;
  PeftDefaults peft = {};
  bool is_in_adapterhub = false;  // its folders are read and written
  // A linear layer of the class without a head, which checkpoints of the family lack and nothing
  // here reads.
  std::string bare_layer = {};

  // What stands before the trunk's names in a folder of the class with a classifier, or without.
  const std::string& trunk_prefix(bool has_head) const {
    return has_head ? prefixes.front() : plain_prefix;
  }
};

const std::vector<Family>& all_families();
const Family& family_of(const std::string& model_type);  // Its first entry. Throws InputError
                                                         // naming the known families.
const Family& family_of(const ModelConfig& config);
bool has_pooler(
    const ModelConfig& config);  // a layer under its classifier, which some checkpoints lack
std::vector<std::string> known_families();

// Every tensor of the trunk, in canonical order; with the vocabulary's output layer ("lm.weight")
// where it is not the word table.
std::vector<TensorSlot> tensor_slots(const ModelConfig& config);

// Those of the head that fills masks in: "mask.dense.weight", ..., "mask.bias", with the output
// layer where it is not the word table. Empty for a family without one.
std::vector<TensorSlot> mask_head_slots(const ModelConfig& config);

// Both lists.
std::vector<TensorSlot> all_slots(const ModelConfig& config);

// Whether the checkpoint holds a matrix as [in, out]: never a table, nor the output layer over the
// vocabulary.
bool is_stored_transposed(const Family& family, const TensorId& tensor);

// Where a checkpoint has the family's blocks, without prefix: "encoder.layer". Of two stacks the
// first's.
std::string blocks_path(const Family& family);

// A part of a checkpoint's tensor: "h.#.attn.c_attn.weight[1/3]" is the second third of its
// outputs.
struct CheckpointPiece {
  std::string tensor;
  int64_t index = 0, count = 1;
};
CheckpointPiece piece_of(const std::string& checkpoint_name);

// Of enc.3.attn.q.weight "encoder.layer.3.attention.self.query.weight" (without prefix); nothing
// for a tensor that the family does not have.
std::optional<std::string> checkpoint_name(const Family& family, const TensorId& tensor);

}  // namespace graft
