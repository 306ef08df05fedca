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
enum class HeadStyle { kPooler, kDense };

struct TensorSlot {
  std::string name;              // canonical: "enc.3.attn.q.weight"
  std::vector<int64_t> shape;
  bool is_optional = false;      // absent from some checkpoints: the pooler
};

struct Family {
  std::string model_type;
  HeadStyle head_style;
  std::vector<std::string> prefixes;                            // of checkpoint names, tried in order: "bert.", ""
  std::vector<std::pair<std::string, std::string>> names;       // canonical pattern -> checkpoint pattern; '#' is the layer
  std::vector<std::string> unused;                              // checkpoint names that start so are read by nobody here
};

const Family& family_of(const std::string& model_type);         // Throws InputError naming the known families.
std::vector<std::string> known_families();

// Every tensor of the trunk, in canonical order.
std::vector<TensorSlot> tensor_slots(const ModelConfig& config);

// "enc.3.attn.q.weight" -> "encoder.layer.3.attention.self.query.weight" (without prefix); nothing for an unknown name.
std::optional<std::string> checkpoint_name(const Family& family, const std::string& canonical);

}  // namespace graft
