#include "model/checkpoint.h"

#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/printable.h"
#include "model/families.h"
#include "model/gguf_model.h"
#include "tensor/safetensors.h"

namespace graft {

using at::Tensor;

namespace {

// Old BERT checkpoints call the norm's tensors gamma and beta.
std::string modern_name(std::string name) {
  if (name.ends_with("LayerNorm.gamma")) return name.replace(name.size() - 5, 5, "weight");
  if (name.ends_with("LayerNorm.beta")) return name.replace(name.size() - 4, 4, "bias");
  return name;
}

std::string without_prefix(std::string name, const Family& family) {
  for (const std::string& prefix : family.prefixes) {
    if (!prefix.empty() && name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return name;
}

// Whether `name` starts as `pattern`, in which '#' stands for a number.
bool starts_as(std::string_view name, std::string_view pattern) {
  const size_t hole = pattern.find('#');
  if (hole == std::string_view::npos) return name.starts_with(pattern);
  if (!name.starts_with(pattern.substr(0, hole))) return false;
  size_t end = hole;
  while (end < name.size() && name[end] >= '0' && name[end] <= '9') ++end;
  return end > hole && name.substr(end).starts_with(pattern.substr(hole + 1));
}

bool is_among(const std::vector<std::string>& patterns, const std::string& name) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return starts_as(name, pattern); });
}

// The shape of a checkpoint's tensor, of which a slot is one of `count` pieces along its outputs.
std::vector<int64_t> stored_shape(const TensorSlot& slot, int64_t count, bool is_transposed) {
  std::vector<int64_t> shape = slot.shape;
  shape.front() *= count;
  if (is_transposed && shape.size() == 2) std::swap(shape[0], shape[1]);
  return shape;
}

// The piece of a checkpoint's tensor that is ours, as [out, in]. Views stay views where nothing has
// to move.
Tensor piece_of_tensor(const Tensor& stored, const CheckpointPiece& piece, bool is_transposed) {
  const int64_t outputs = is_transposed && stored.dim() == 2 ? 1 : 0;
  const int64_t size = stored.size(outputs) / piece.count;
  const Tensor part = piece.count == 1
                          ? stored
                          : stored.slice(outputs, piece.index * size, (piece.index + 1) * size);
  return outputs == 1 ? part.t().contiguous() : part;
}

class FolderReader {
 public:
  FolderReader(const Path& folder, ModelConfig& config)
      : source_(folder.string()),
        config_(config),
        family_(family_of(config)),
        file_(load_sharded(folder)) {
    for (const auto& [name, tensor] : file_.tensors)
      by_bare_name_[without_prefix(modern_name(name), family_)].push_back(name);
  }

  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return file_.files; }

  NamedTensors read() {
    settle_output();
    for (const TensorSlot& slot : all_slots(config_)) read_slot(slot);
    if (!missing_.empty()) refuse_missing();
    refuse_rest();
    return std::move(base_);
  }

 private:
  // The name in the file of what is called `bare` but for a prefix; nothing where the file does not
  // hold it.
  std::optional<std::string> find(const std::string& bare) const {
    const auto found = by_bare_name_.find(bare);
    if (found == by_bare_name_.end()) return std::nullopt;
    if (found->second.size() == 1) return found->second.front();
    throw InputError(source_ + ": tensor " + named(found->second.back()) +
                     " is stored twice, under two spellings of its name; leave one of them out");
  }

  std::string output_name() const { return checkpoint_name(family_, kOutputTable).value(); }

  // The other names, without prefix, of a slot.
  std::vector<std::string> copies_of(const TensorId& tensor) const {
    std::vector<std::string> names;
    for (const auto& [ours, theirs] : family_.copies) {
      if (ours == tensor) names.push_back(theirs);
    }
    if (tensor == kWordTable && config_.has_tied_output) names.push_back(output_name());
    return names;
  }

  // transformers 5 ties what the config ties only where the file does not hold two different
  // tensors.
  void settle_output() {
    if (!config_.may_be_untied) return;
    const auto table = find(checkpoint_name(family_, kWordTable).value()),
               output = find(output_name());
    if (table && output && !file_.tensors.at(*table).equal(file_.tensors.at(*output)))
      config_.has_tied_output = false;
    for (const auto& [ours, theirs] : family_.copies) {
      const auto copy = find(theirs);
      if (ours != kWordTable || !table || !copy ||
          file_.tensors.at(*table).equal(file_.tensors.at(*copy)))
        continue;
      throw InputError(
          source_ + ": tensor " + named(*copy) + " differs from " + named(*table) +
          ", of which it is a second copy here; a model that reads both is not supported");
    }
  }

  void read_slot(const TensorSlot& slot) {
    const CheckpointPiece piece = piece_of(checkpoint_name(family_, slot.id).value());
    std::vector<std::string> candidates = copies_of(slot.id);
    // The bias of the layer itself comes before the one that it is tied to: where both are stored
    // and differ, it is the one added.
    candidates.insert(slot.id.place.part == Part::kMask ? candidates.end() : candidates.begin(),
                      piece.tensor);
    std::optional<std::string> name;
    for (const std::string& candidate : candidates) {
      if (!name) name = find(candidate);
    }
    if (!name) {
      if (!slot.is_optional) missing_.emplace_back(slot.id, piece.tensor);
      return;
    }
    const Tensor& stored = file_.tensors.at(*name);
    const bool is_transposed = is_stored_transposed(family_, slot.id);
    const std::vector<int64_t> expected = stored_shape(slot, piece.count, is_transposed);
    if (stored.sizes() != at::IntArrayRef(expected)) {
      throw InputError(source_ + ": tensor " + named(*name) + ": expected " + shape_text(expected) +
                       ", found " + shape_text(stored.sizes()));
    }
    if (!stored.is_floating_point()) {
      throw InputError(source_ + ": tensor " + named(*name) +
                       ": expected floating-point numbers, found " +
                       safetensors_dtype(stored.scalar_type()));
    }
    if (read_.insert(*name).second) check_finite(*name, stored);
    base_.emplace(slot.name(), piece_of_tensor(stored, piece, is_transposed));
  }

  void check_finite(const std::string& name, const Tensor& tensor) const {
    if (at::isfinite(tensor).all().item<bool>()) return;
    throw InputError(source_ + ": tensor " + named(name) +
                     " holds numbers that are not finite: the file is damaged or half-written; "
                     "copy or download it again");
  }

  // As the file's other tensors are called.
  std::string name_in_file(const std::string& bare) const {
    if (bare == output_name() || bare.starts_with("cls.")) return bare;
    for (const std::string& prefix : family_.prefixes) {
      const bool is_used =
          std::any_of(file_.tensors.begin(), file_.tensors.end(),
                      [&](const auto& entry) { return entry.first.starts_with(prefix); });
      if (is_used) return prefix + bare;
    }
    return family_.prefixes.front() + bare;
  }

  [[noreturn]] void refuse_missing() const {
    std::vector<std::string> names, unread;
    for (const auto& [tensor, bare] : missing_) {
      if (std::find(names.begin(), names.end(), name_in_file(bare)) == names.end())
        names.push_back(name_in_file(bare));
    }
    for (const auto& [name, tensor] : file_.tensors) {
      if (!read_.contains(name)) unread.push_back(name);
    }
    std::vector<std::string> copies;
    for (const std::string& copy : copies_of(missing_.front().first))
      copies.push_back(name_in_file(copy));
    std::string message =
        source_ + ": " +
        (names.size() == 1
             ? "tensor " + named(names.front()) + " is missing"
             : std::to_string(names.size()) + " tensors are missing: " + joined_first(names, 5));
    if (!copies.empty())
      message += " (" + names.front() + " might be called " + joined(copies, "or") + ", too)";
    message += did_you_mean(names.front(), unread);
    if (const auto shard = file_.absent.find(names.front()); shard != file_.absent.end())
      message += "; the index gives " + named(shard->first) + " to " + named(shard->second) +
                 ", which does not hold it";
    throw InputError(message +
                     "; the folder is incomplete, or config.json is that of another model");
  }

  // What no slot was made of: it has to be known as without effect.
  void refuse_rest() const {
    std::vector<std::string> unknown;
    for (const auto& [bare, names] : by_bare_name_) {
      if (read_.contains(names.front())) continue;
      const bool is_copy =
          std::any_of(family_.copies.begin(), family_.copies.end(),
                      [&own = bare](const auto& copy) { return copy.second == own; });
      if (is_copy ||
          ((config_.has_tied_output || config_.is_classifier) && bare == output_name()) ||
          is_among(family_.unused, bare))
        continue;
      if (!is_among(family_.zero, bare)) {
        unknown.insert(unknown.end(), names.begin(), names.end());
      } else if (file_.tensors.at(names.front()).count_nonzero().item<int64_t>() != 0) {
        throw InputError(source_ + ": tensor " + named(names.front()) +
                         " is not zero, which graft does not add to logits; models that use it are "
                         "not supported");
      }
    }
    if (unknown.empty()) return;
    throw InputError(source_ + ": " + std::to_string(unknown.size()) +
                     " tensors belong to no part of a " + config_.model_type + " model with " +
                     std::to_string(std::max(config_.encoder_layers(), config_.decoder_layers())) +
                     " layers: " + joined_first(unknown, 5));
  }

  std::string source_;
  ModelConfig& config_;
  const Family& family_;
  SafetensorsFile file_;
  std::map<std::string, std::vector<std::string>> by_bare_name_;  // without prefix -> as stored
  NamedTensors base_;
  std::set<std::string> read_;
  std::vector<std::pair<TensorId, std::string>>
      missing_;  // with the checkpoint's name without prefix
};

}  // namespace

NamedTensors load_base(const Path& model, ModelConfig& config, at::ScalarType dtype,
                       std::vector<std::shared_ptr<const MappedFile>>* files) {
  if (is_gguf(model)) {
    GgufModel loaded = load_gguf_model(model, dtype == at::kDouble ? at::kFloat : dtype,
                                       {.remembered = config.ignored_keys});
    if (files != nullptr) *files = std::move(loaded.files);
    return std::move(loaded.tensors);
  }
  FolderReader reader(model, config);
  if (files != nullptr) *files = reader.files();
  return reader.read();
}

}  // namespace graft
