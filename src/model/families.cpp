#include "model/families.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "model/families/all.h"

namespace graft {

namespace {

// Of the stack that a tensor belongs to; of the trunk's own, those of the first.
const StackConfig& stack_of(const TensorId& tensor, const ModelConfig& c) {
  const StackId id = tensor.place.stack;
  return c.stack(id == StackId::kNone ? c.first_stack() : id);
}

bool is_present(const TensorId& tensor, const ModelConfig& c) {
  const Part part = tensor.place.part;
  const StackConfig& s = stack_of(tensor, c);
  if (part == Part::kPooler) return c.head_style == HeadStyle::kPooler;
  if (part == Part::kLm)  // of an encoder it belongs to the head that fills masks in
    return !c.has_tied_output && (c.has_output_layer() || !c.has_decoder());
  if (part == Part::kAttnNorm && !s.has_attention_norm(tensor.place.layer)) return false;
  if (tensor.kind == TensorKind::kWeight) return true;
  if (is_norm(part)) return norm_at(tensor.place, c).has_bias;
  if (part == Part::kMaskDense) return c.mask_head.value().has_dense_bias;
  if (part == Part::kMask) return c.mask_head.value().has_output_bias;
  if (is_attention_output(part)) return s.has_attention_output_bias;
  return is_ffn_layer(part) ? s.has_ffn_bias : s.has_attention_bias;
}

std::vector<int64_t> slot_shape(const TensorId& tensor, const ModelConfig& c) {
  const StackConfig& s = stack_of(tensor, c);
  const auto layer = [&](int64_t out, int64_t in) {
    return tensor.kind == TensorKind::kBias ? std::vector<int64_t>{out}
                                            : std::vector<int64_t>{out, in};
  };
  switch (tensor.place.part) {
    case Part::kAttnQ:
    case Part::kCrossQ: return layer(s.attention_width, c.width);
    case Part::kAttnK:
    case Part::kAttnV:
    case Part::kCrossK:
    case Part::kCrossV: return layer(s.key_width(), c.width);
    case Part::kAttnO:
    case Part::kCrossO: return layer(c.width, s.attention_width);
    case Part::kFfnUp:
    case Part::kFfnGate: return layer(s.ffn_width, c.width);
    case Part::kFfnDown: return layer(c.width, s.ffn_width);
    case Part::kAttnQNorm:
    case Part::kAttnKNorm: return {s.head_width()};
    case Part::kAttnNorm:
    case Part::kCrossNorm:
    case Part::kFfnNorm:
    case Part::kNorm:
    case Part::kEmbedNorm:
    case Part::kMaskNorm: return {c.width};
    case Part::kDistance: return {s.distance_bias()->buckets, s.heads};
    case Part::kEmbedPosition: return {c.max_positions + c.position_offset, c.width};
    case Part::kEmbedType: return {c.type_vocabulary, c.width};
    case Part::kEmbedWord:
    case Part::kLm: return {c.vocabulary, c.width};
    case Part::kPooler:
    case Part::kMaskDense: return layer(c.width, c.width);
    case Part::kMask: return {c.vocabulary};
    default: throw InternalError("no tensor stands at " + to_name(tensor.place));
  }
}

std::string with_layer(std::string pattern, const std::string& layer) {
  const size_t hole = pattern.find('#');
  return hole == std::string::npos ? pattern : pattern.replace(hole, 1, layer);
}

}  // namespace

const std::vector<Family>& all_families() {
  static const std::vector<Family> table = [] {
    std::vector<Family> all;
    for (const auto& make : kFamilies) {
      std::vector<Family> families = make();
      std::move(families.begin(), families.end(), std::back_inserter(all));
    }
    return all;
  }();
  return table;
}

const Family& family_of(const std::string& model_type) {
  for (const Family& family : all_families()) {
    if (family.model_type == model_type) return family;
  }
  throw InputError("model_type " + quote(model_type) + " is not supported" +
                   did_you_mean(model_type, known_families()) +
                   "; known families: " + joined(known_families()));
}

const Family& family_of(const ModelConfig& config) {
  for (const Family& family : all_families()) {
    if (family.model_type == config.model_type &&
        family.has_gated_ffn == config.last().has_gated_ffn)
      return family;
  }
  return family_of(config.model_type);
}

bool has_pooler(const ModelConfig& config) { return config.head_style == HeadStyle::kPooler; }

std::vector<std::string> known_families() {
  std::vector<std::string> names;
  for (const Family& family : all_families()) {
    if (std::find(names.begin(), names.end(), family.model_type) == names.end())
      names.push_back(family.model_type);
  }
  return names;
}

std::vector<TensorSlot> tensor_slots(const ModelConfig& config) {
  const Family& family = family_of(config);
  std::vector<TensorSlot> slots;
  const auto add = [&](TensorId tensor, int64_t layer) {
    tensor.place.layer = static_cast<int16_t>(layer);
    if (!is_present(tensor, config)) return;
    slots.push_back({tensor, slot_shape(tensor, config), tensor.place.part == Part::kPooler});
  };
  for (auto it = family.names.begin();
       it != family.names.end();) {  // those of a block follow each other
    const Place& first = it->first.place;
    const auto end = std::find_if(it, family.names.end(), [&](const auto& name) {
      return is_of_block(name.first.place.part) != is_of_block(first.part) ||
             name.first.place.stack != first.stack;
    });
    const bool is_block = is_of_block(first.part);
    const int64_t times = is_block ? config.stack(first.stack).layers : 1;
    for (int64_t layer = 0; layer < times; ++layer) {
      for (auto each = it; each != end; ++each) add(each->first, is_block ? layer : -1);
    }
    it = end;
  }
  return slots;
}

std::vector<TensorSlot> mask_head_slots(const ModelConfig& config) {
  std::vector<TensorSlot> slots;
  for (const auto& [ours, theirs] : family_of(config).mask_names) {
    if (is_present(ours, config)) slots.push_back({ours, slot_shape(ours, config), true});
  }
  return slots;
}

std::vector<TensorSlot> all_slots(const ModelConfig& config) {
  std::vector<TensorSlot> slots = tensor_slots(config);
  for (TensorSlot& slot : mask_head_slots(config)) slots.push_back(std::move(slot));
  return slots;
}

bool is_stored_transposed(const Family& family, const TensorId& tensor) {
  return family.stores_transposed && !is_embedding(tensor.place) && tensor != kOutputTable;
}

std::string blocks_path(const Family& family) {
  const auto block = std::find_if(family.names.begin(), family.names.end(), [](const auto& name) {
    return is_of_block(name.first.place.part);
  });
  return block->second.substr(0, block->second.find(".#"));
}

CheckpointPiece piece_of(const std::string& checkpoint_name) {
  const size_t open = checkpoint_name.find('[');
  if (open == std::string::npos) return {checkpoint_name};
  const size_t slash = checkpoint_name.find('/', open);
  return {checkpoint_name.substr(0, open),
          std::stoll(checkpoint_name.substr(open + 1, slash - open - 1)),
          std::stoll(checkpoint_name.substr(slash + 1))};
}

std::optional<std::string> checkpoint_name(const Family& family, const TensorId& tensor) {
  TensorId first = tensor;
  if (is_of_block(tensor.place.part)) first.place.layer = 0;
  for (const auto* names : {&family.names, &family.mask_names}) {
    for (const auto& [ours, theirs] : *names) {
      if (ours == first) return with_layer(theirs, std::to_string(tensor.place.layer));
    }
  }
  return std::nullopt;
}

}  // namespace graft
