#include "model/weights.h"

#include <ATen/ops/index_select.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "base/printable.h"
#include "model/families.h"
#include "model/gguf_model.h"
#include "tensor/fingerprint.h"
#include "tensor/gguf.h"
#include "tensor/linear.h"
#include "tensor/safetensors.h"
#include "tensor/scaled.h"

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

// A safetensors file does not: it begins with its header's length, which would be a gigabyte.
bool begins_as_gguf(const MappedFile& file) {
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  return text.starts_with("GGUF");
}

}  // namespace

struct Weights::Frozen {
  ModelConfig config;
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

  // As the files have it, whatever the trunk's dtype. All of them is read for it; their pages go back on the way, or they would
  // make the peak of every run.
  std::map<std::string, std::string> hashed_base() const {
    const auto release = [this] { release_pages(); };
    const bool is_rounded = dtype == at::kBFloat16 && files.size() == 1 && begins_as_gguf(*files.front());
    if (!is_rounded) return fingerprints(base, release);
    std::map<std::string, std::string> out;
    const GgufFile file(files.front()->bytes(), files.front(), "the base model");
    visit_gguf_tensors(file, config,
                       [&](const std::string& name, const Tensor& tensor) { out.emplace(name, fingerprint(tensor, release)); });
    return out;
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
      throw InputError("tensor " + named(name) + " is none of this model's" + did_you_mean(name, known));
    }
  }
  frozen_->config = config;
  frozen_->base = std::move(base);
  frozen_->files = std::move(files);
  frozen_->dtype = scalar_type(precision);
}

bool Weights::has(const std::string& name) const { return frozen_->base.contains(name); }

const Tensor& Weights::base(const std::string& name) const { return tensor_at(frozen_->base, name, "base model"); }

const NamedTensors& Weights::all_base() const { return frozen_->base; }

const std::map<std::string, std::string>& Weights::base_fingerprints() const {
  const std::lock_guard lock(frozen_->mutex);
  if (frozen_->digests.empty()) frozen_->digests = frozen_->hashed_base();
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
  if (found == replaced_.end()) return frozen_->converted(name);
  if (frozen_->dtype != at::kBFloat16 || found->second.dim() != 1 || !has(name)) return found->second.to(frozen_->dtype);
  return frozen_->converted(name).to(at::kFloat) + (found->second - base(name).to(at::kFloat));
}

Tensor Weights::linear(const std::string& layer, const Tensor& x) const {
  const std::string bias = layer + ".bias";
  if (replaced_.contains(layer + ".weight")) {
    return graft::linear(x, at(layer + ".weight"),
                         has(bias) || replaced_.contains(bias) ? at(bias).to(frozen_->dtype) : Tensor());
  }
  const Tensor y = frozen_->layer(layer, true)(x);
  const auto found = replaced_.find(bias);
  if (found == replaced_.end()) return y;
  return scale_and_shift(y, {}, has(bias) ? found->second - base(bias).to(found->second.scalar_type()) : found->second);
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
  if (!config.has_output_layer())
    throw InputError("the model's folder holds a classifier, which has no layer over the vocabulary and answers no text");
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

}  // namespace graft
