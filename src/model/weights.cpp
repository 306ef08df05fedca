#include "model/weights.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "model/families.h"
#include "model/gguf_model.h"
#include "tensor/fingerprint.h"
#include "tensor/linear.h"
#include "tensor/safetensors.h"

namespace graft {

using at::Tensor;

at::ScalarType scalar_type(Precision precision) {
  switch (precision) {
    case Precision::kFloat32: return at::kFloat;
    case Precision::kBFloat16: return at::kBFloat16;
    case Precision::kFloat64: return at::kDouble;
  }
  throw InternalError("unknown precision");
}

namespace {

std::vector<TensorSlot> all_slots(const ModelConfig& config) {
  std::vector<TensorSlot> slots = tensor_slots(config);
  for (TensorSlot& slot : mask_head_slots(config)) slots.push_back(std::move(slot));
  return slots;
}

}  // namespace

struct Weights::Frozen {
  NamedTensors base;
  std::vector<std::shared_ptr<const MappedFile>> files;
  at::ScalarType dtype = at::kFloat;
  std::mutex mutex;                                            // guards the caches below
  std::map<std::string, FrozenLinear> layers;                  // packed on first use; with and without bias are different entries
  std::map<std::string, std::optional<JoinedLinears>> joined;  // by the names of the layers; none where only some have a bias
  std::map<std::string, std::string> digests;                  // of the base; empty until asked for
  NamedTensors small;                                          // norms and biases in the trunk's dtype

  Tensor converted(const std::string& name) {
    const std::lock_guard lock(mutex);
    const auto found = small.find(name);
    if (found != small.end()) return found->second;
    return small.emplace(name, base.at(name).to(dtype)).first->second;
  }

  void release_pages() const {
    for (const auto& file : files) file->release_pages();
  }

  FrozenLinear layer(const std::string& name, bool with_bias) {
    const std::string key = with_bias ? name : name + " without bias";
    const std::lock_guard lock(mutex);
    const auto found = layers.find(key);
    if (found != layers.end()) return found->second;
    const auto bias = base.find(name + ".bias");
    const bool has_bias = with_bias && bias != base.end();
    FrozenLinear made(base.at(name + ".weight").to(dtype), has_bias ? bias->second.to(dtype) : Tensor());
    // A copy in another dtype was made: the file's own pages will not be read again.
    // (Each call costs microseconds, once a layer.)
    if (base.at(name + ".weight").scalar_type() != dtype) release_pages();
    return layers.emplace(key, std::move(made)).first->second;
  }

  const std::optional<JoinedLinears>& joined_layers(const std::vector<std::string>& names) {
    std::string key;
    for (const std::string& name : names) key.append(name).push_back(' ');
    const std::lock_guard lock(mutex);
    const auto found = joined.find(key);
    if (found != joined.end()) return found->second;
    std::vector<Tensor> matrices, biases;
    for (const std::string& name : names) {
      matrices.push_back(base.at(name + ".weight").to(dtype));
      if (const auto bias = base.find(name + ".bias"); bias != base.end()) biases.push_back(bias->second.to(dtype));
    }
    std::optional<JoinedLinears>& made = joined[key];
    if (!biases.empty() && biases.size() != names.size()) return made;
    made.emplace(matrices, biases);
    release_pages();  // nothing reads the plain matrices in a forward pass
    return made;
  }
};

Weights::Weights(const ModelConfig& config, NamedTensors base, Precision precision,
                 std::vector<std::shared_ptr<const MappedFile>> files)
    : frozen_(std::make_shared<Frozen>()) {
  std::vector<std::string> known;
  for (const TensorSlot& slot : all_slots(config)) {
    known.push_back(slot.name);
    const auto found = base.find(slot.name);
    if (found == base.end()) {
      if (slot.is_optional) continue;
      throw InputError("tensor '" + slot.name + "' is missing");
    }
    if (found->second.sizes() != at::IntArrayRef(slot.shape)) {
      throw InputError("tensor '" + slot.name + "': expected " + shape_text(slot.shape) + ", found " +
                       shape_text(found->second.sizes()));
    }
    if (!found->second.is_floating_point()) {
      throw InputError("tensor '" + slot.name + "': expected floating-point numbers, found " +
                       safetensors_dtype(found->second.scalar_type()));
    }
  }
  for (const auto& [name, tensor] : base) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw InputError("tensor '" + name + "' is none of this model's" + did_you_mean(name, known));
    }
  }
  frozen_->base = std::move(base);
  frozen_->files = std::move(files);
  frozen_->dtype = scalar_type(precision);
}

bool Weights::has(const std::string& name) const { return frozen_->base.contains(name); }

const Tensor& Weights::base(const std::string& name) const { return tensor_at(frozen_->base, name, "base model"); }

const NamedTensors& Weights::all_base() const { return frozen_->base; }

const std::map<std::string, std::string>& Weights::base_fingerprints() const {
  const std::lock_guard lock(frozen_->mutex);
  // All of the files is read for it; their pages go back on the way, or they would make the peak of every run.
  if (frozen_->digests.empty()) frozen_->digests = fingerprints(frozen_->base, [this] { frozen_->release_pages(); });
  return frozen_->digests;
}

bool Weights::replaces_below(const std::string& beginning) const {
  const auto found = replaced_.lower_bound(beginning);
  return found != replaced_.end() && found->first.starts_with(beginning);
}

at::ScalarType Weights::dtype() const { return frozen_->dtype; }

void Weights::release_pages() const { frozen_->release_pages(); }

Tensor Weights::at(const std::string& name) const {
  const auto found = replaced_.find(name);
  if (found != replaced_.end()) return found->second.to(frozen_->dtype);
  return frozen_->converted(name);
}

Tensor Weights::linear(const std::string& layer, const Tensor& x) const {
  const std::string bias = layer + ".bias";
  if (replaced_.contains(layer + ".weight")) {
    return graft::linear(x, at(layer + ".weight"), has(bias) || replaced_.contains(bias) ? at(bias) : Tensor());
  }
  if (replaced_.contains(bias)) return frozen_->layer(layer, false)(x) + at(bias);
  return frozen_->layer(layer, true)(x);
}

std::vector<Tensor> Weights::linears(const std::vector<std::string>& layers, const Tensor& x) const {
  const auto is_replaced = [&](const std::string& layer) {
    return replaced_.contains(layer + ".weight") || replaced_.contains(layer + ".bias");
  };
  if (replaced_.empty() || std::none_of(layers.begin(), layers.end(), is_replaced)) {
    if (const auto& joined = frozen_->joined_layers(layers)) return (*joined)(x);
  }
  std::vector<Tensor> out;
  for (const std::string& layer : layers) out.push_back(linear(layer, x));
  return out;
}

OutputLayer Weights::output_layer(const ModelConfig& config) const {
  const std::string layer = config.has_tied_output ? "embed.word" : "lm";
  OutputLayer out;
  out.scale = config.output_scale;
  if (replaced_.contains(layer + ".weight")) out.weight = at(layer + ".weight");
  else out.frozen = frozen_->layer(layer, false);
  return out;
}

Tensor Weights::rows(const std::string& table, const Tensor& index) const {
  const auto found = replaced_.find(table);
  const Tensor& source = found != replaced_.end() ? found->second : frozen_->base.at(table);
  return source.index_select(0, index).to(frozen_->dtype);  // [T, C]: only the rows read are converted
}

Weights Weights::with(NamedTensors replaced) const {
  Weights out = *this;
  for (auto& [name, tensor] : replaced) {
    // A tensor that the checkpoint may lack (the pooler) can be given here; those who read it check its shape.
    ensure(!has(name) || base(name).sizes() == tensor.sizes(), "a replaced tensor keeps its shape: " + name);
    out.replaced_.insert_or_assign(name, std::move(tensor));
  }
  return out;
}

namespace {

// Old BERT checkpoints call the norm's tensors gamma and beta.
std::string modern_name(std::string name) {
  if (name.ends_with("LayerNorm.gamma")) return name.replace(name.size() - 5, 5, "weight");
  if (name.ends_with("LayerNorm.beta")) return name.replace(name.size() - 4, 4, "bias");
  return name;
}

void check_finite(const std::string& name, const Tensor& tensor, const std::string& source) {
  if (at::isfinite(tensor).all().item<bool>()) return;
  throw InputError(source + ": tensor '" + name +
                   "' holds numbers that are not finite: the file is damaged or half-written; copy or download it again");
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
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) { return starts_as(name, pattern); });
}

// The part of a checkpoint's tensor that is ours, as [out, in]. Views stay views where nothing has to move.
Tensor part_of(const Tensor& stored, const CheckpointPiece& piece, bool is_transposed, const std::string& name) {
  const int64_t outputs = is_transposed && stored.dim() == 2 ? 1 : 0;
  if (stored.dim() == 0 || stored.size(outputs) % piece.count != 0) {
    throw InputError("tensor '" + name + "': expected " + std::to_string(piece.count) + " equal parts, found " +
                     shape_text(stored.sizes()));
  }
  const int64_t size = stored.size(outputs) / piece.count;
  const Tensor part = piece.count == 1 ? stored : stored.slice(outputs, piece.index * size, (piece.index + 1) * size);
  return outputs == 1 ? part.t().contiguous() : part;
}

std::string without_prefix(std::string name, const Family& family) {
  for (const std::string& prefix : family.prefixes) {
    if (!prefix.empty() && name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return name;
}

}  // namespace

NamedTensors load_base(const Path& model_dir, const ModelConfig& config, at::ScalarType dtype,
                       std::vector<std::shared_ptr<const MappedFile>>* files) {
  if (is_gguf(model_dir)) {
    GgufModel model = load_gguf_model(model_dir, dtype == at::kDouble ? at::kFloat : dtype);
    if (files != nullptr) *files = std::move(model.files);
    return std::move(model.tensors);
  }
  const Family& family = family_of(config);
  const SafetensorsFile file = load_sharded(model_dir);
  if (files != nullptr) *files = file.files;
  std::map<std::string, std::vector<std::pair<std::string, CheckpointPiece>>>
      canonical;  // checkpoint name without prefix -> ours
  for (const TensorSlot& slot : all_slots(config)) {
    const CheckpointPiece piece = piece_of(checkpoint_name(family, slot.name).value());
    canonical[piece.tensor].emplace_back(slot.name, piece);
  }
  NamedTensors base;
  std::vector<std::string> unknown;
  for (const auto& [stored_name, tensor] : file.tensors) {
    const std::string bare = without_prefix(modern_name(stored_name), family);
    if (const auto found = canonical.find(bare); found != canonical.end()) {
      if (tensor.is_floating_point()) check_finite(stored_name, tensor, model_dir.string());
      for (const auto& [name, piece] : found->second) {
        const bool is_transposed = family.stores_transposed && !name.starts_with("embed.");
        if (base.emplace(name, part_of(tensor, piece, is_transposed, stored_name)).second) continue;
        throw InputError(model_dir.string() + ": tensor '" + stored_name +
                         "' is stored twice, under two spellings of its name; leave one of them out");
      }
      continue;
    }
    if (is_among(family.zero, bare)) {
      if (tensor.count_nonzero().item<int64_t>() == 0) continue;
      throw InputError(model_dir.string() + ": tensor '" + stored_name +
                       "' is not zero, which graft does not add to logits; models that use it are not supported");
    }
    const bool is_tied_copy =
        config.has_tied_output && bare == checkpoint_name(family, "lm.weight");  // the word table under a second name
    if (!is_tied_copy && !is_among(family.unused, bare)) unknown.push_back(stored_name);
  }
  if (!unknown.empty()) {
    throw InputError(model_dir.string() + ": " + std::to_string(unknown.size()) + " tensors belong to no part of a " +
                     config.model_type + " model with " + std::to_string(std::max(config.layers, config.decoder_layers)) +
                     " layers: " + joined_first(unknown, 5));
  }
  return base;
}

}  // namespace graft
