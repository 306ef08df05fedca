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
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  return text.starts_with("GGUF");
}

size_t at_kind(TensorKind kind) { return static_cast<size_t>(kind); }

}  // namespace

// Outside the unnamed namespace, since Weights::Frozen, which others see, holds them.

// Made once, by whichever thread asks first.
template <class T>
class Once {
 public:
  template <class Make>
  const T& get(Make make) {
    std::call_once(flag_, [&] { value_.emplace(make()); });
    return *value_;
  }

 private:
  std::once_flag flag_;
  std::optional<T> value_;
};

// What the checkpoint holds at one place, and what is made of it.
struct FrozenPlace {
  std::array<Tensor, 2> base;  // by TensorKind, in the file's dtype; undefined where it lacks one
  std::array<Once<Tensor>, 2> converted;  // norms and biases, in the trunk's dtype
  Once<FrozenLinear> layer, layer_without_bias;
  Once<std::optional<JoinedLinears>>
      joined;  // of the layers that begin here; none where only some have a bias
};

struct Weights::Frozen {
  ModelConfig config;
  PlaceIndex index;
  std::vector<FrozenPlace> places;
  NamedTensors base;
  std::vector<std::shared_ptr<const MappedFile>> files;
  at::ScalarType dtype = at::kFloat;
  Once<std::map<std::string, std::string>> digests;  // of the base

  explicit Frozen(const ModelConfig& given) : config(given), index(given), places(index.size()) {}

  FrozenPlace& at(const Place& place) { return places[index.of(place).value()]; }

  const Tensor* find(const TensorId& tensor) const {
    const std::optional<size_t> cell = index.of(tensor.place);
    const Tensor* found = cell ? &places[*cell].base[at_kind(tensor.kind)] : nullptr;
    return found != nullptr && found->defined() ? found : nullptr;
  }

  // Requires: the checkpoint has it.
  const Tensor& converted(const TensorId& tensor) {
    FrozenPlace& place = at(tensor.place);
    const size_t kind = at_kind(tensor.kind);
    return place.converted[kind].get([&] { return place.base[kind].to(dtype); });
  }

  // As the files have it, whatever the trunk's dtype. All of them is read for it; their pages go
  // back on the way, or they would make the peak of every run.
  std::map<std::string, std::string> hashed_base() const {
    const bool is_rounded =
        dtype == at::kBFloat16 && files.size() == 1 && begins_as_gguf(*files.front());
    const auto release = [this] { release_pages(); };
    if (!is_rounded) return fingerprints(base, release);
    return gguf_fingerprints(GgufFile(files.front()->bytes(), files.front(), "the base model"),
                             config, release);
  }

  void release_pages() const {
    for (const auto& file : files) file->release_pages();
  }

  const FrozenLinear& layer(const Place& at_place, bool with_bias) {
    FrozenPlace& place = at(at_place);
    return (with_bias ? place.layer : place.layer_without_bias).get([&] {
      const auto& [weight, bias] = place.base;
      FrozenLinear made(weight.to(dtype), with_bias && bias.defined() ? bias.to(dtype) : Tensor());
      // A copy in another dtype was made: the file's own pages will not be read again.
      // (Each call costs microseconds, once a layer.)
      if (weight.scalar_type() != dtype) release_pages();
      return made;
    });
  }

  const std::optional<JoinedLinears>& joined_layers(std::span<const Place> layers) {
    return at(layers.front()).joined.get([&]() -> std::optional<JoinedLinears> {
      std::vector<Tensor> matrices, biases;
      for (const Place& layer : layers) {
        const auto& [weight, bias] = at(layer).base;
        matrices.push_back(weight.to(dtype));
        if (bias.defined()) biases.push_back(bias.to(dtype));
      }
      if (!biases.empty() && biases.size() != layers.size()) return std::nullopt;
      JoinedLinears made(matrices, biases);
      release_pages();  // nothing reads the plain matrices in a forward pass
      return made;
    });
  }
};

Weights::Weights(const ModelConfig& config, NamedTensors base, Precision precision,
                 std::vector<std::shared_ptr<const MappedFile>> files)
    : frozen_(std::make_shared<Frozen>(config)) {
  std::vector<std::string> known;
  for (const TensorSlot& slot : all_slots(config)) {
    const std::string& name = known.emplace_back(slot.name());
    const auto found = base.find(name);
    if (found == base.end()) {
      if (slot.is_optional) continue;
      throw InputError("tensor '" + name + "' is missing");
    }
    if (found->second.sizes() != at::IntArrayRef(slot.shape)) {
      throw InputError("tensor '" + name + "': expected " + shape_text(slot.shape) + ", found " +
                       shape_text(found->second.sizes()));
    }
    if (!found->second.is_floating_point()) {
      throw InputError("tensor '" + name + "': expected floating-point numbers, found " +
                       safetensors_dtype(found->second.scalar_type()));
    }
    frozen_->at(slot.id.place).base[at_kind(slot.id.kind)] = found->second;
  }
  for (const auto& [name, tensor] : base) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw InputError("tensor " + named(name) + " is none of this model's" +
                       did_you_mean(name, known));
    }
  }
  frozen_->base = std::move(base);
  frozen_->files = std::move(files);
  frozen_->dtype = scalar_type(precision);
}

bool Weights::has(const TensorId& tensor) const { return frozen_->find(tensor) != nullptr; }

const Tensor& Weights::base(const TensorId& tensor) const {
  const Tensor* found = frozen_->find(tensor);
  return found != nullptr ? *found : tensor_at(frozen_->base, to_name(tensor), "base model");
}

const NamedTensors& Weights::all_base() const { return frozen_->base; }

const std::map<std::string, std::string>& Weights::base_fingerprints() const {
  return frozen_->digests.get([this] { return frozen_->hashed_base(); });
}

bool Weights::replaces_in(StackId stack, int64_t layer) const {
  if (replaced_.empty()) return false;
  const size_t first = frozen_->index.of({stack, static_cast<int16_t>(layer), Part{}}).value();
  return std::any_of(
      replaced_.begin() + static_cast<std::ptrdiff_t>(first),
      replaced_.begin() + static_cast<std::ptrdiff_t>(first + kBlockParts),
      [](const Replaced& at_place) { return at_place[0].defined() || at_place[1].defined(); });
}

at::ScalarType Weights::dtype() const { return frozen_->dtype; }

void Weights::release_pages() const { frozen_->release_pages(); }

const Tensor* Weights::replacement(const TensorId& tensor) const {
  if (replaced_.empty()) return nullptr;
  const Tensor& found = replaced_[frozen_->index.of(tensor.place).value()][at_kind(tensor.kind)];
  return found.defined() ? &found : nullptr;
}

Tensor Weights::at(const TensorId& tensor) const {
  const Tensor* replaced = replacement(tensor);
  if (replaced == nullptr) return frozen_->converted(tensor);
  if (frozen_->dtype != at::kBFloat16 || replaced->dim() != 1 || !has(tensor))
    return replaced->to(frozen_->dtype);
  return frozen_->converted(tensor).to(at::kFloat) + (*replaced - base(tensor).to(at::kFloat));
}

Tensor Weights::linear(const Place& layer, const Tensor& x) const {
  const TensorId weight = weight_of(layer), bias = bias_of(layer);
  const Tensor* replaced_bias = replacement(bias);
  if (replacement(weight) != nullptr) {
    const bool has_bias = has(bias) || replaced_bias != nullptr;
    const Tensor added = has_bias ? at(bias) : Tensor();
    if (!has_bias || added.scalar_type() == frozen_->dtype)
      return graft::linear(x, at(weight), added);
    return scale_and_shift(graft::linear(x, at(weight), Tensor()), {}, added);  // not rounded
  }
  const Tensor y = frozen_->layer(layer, true)(x);
  if (replaced_bias == nullptr) return y;
  return scale_and_shift(
      y, {},
      has(bias) ? *replaced_bias - base(bias).to(replaced_bias->scalar_type()) : *replaced_bias);
}

std::vector<Tensor> Weights::linears(std::span<const Place> layers, const Tensor& x) const {
  const auto is_replaced = [&](const Place& layer) {
    return replacement(weight_of(layer)) != nullptr || replacement(bias_of(layer)) != nullptr;
  };
  if (std::none_of(layers.begin(), layers.end(), is_replaced)) {
    if (const auto& joined = frozen_->joined_layers(layers)) return (*joined)(x);
  }
  std::vector<Tensor> out;
  for (const Place& layer : layers) out.push_back(linear(layer, x));
  return out;
}

OutputLayer Weights::output_layer(const ModelConfig& config) const {
  if (!config.has_output_layer())
    throw InputError(
        "the model's folder holds a classifier, which has no layer over the vocabulary and answers "
        "no text");
  const TensorId table = config.has_tied_output ? kWordTable : kOutputTable;
  OutputLayer out;
  out.scale = config.output_scale;
  if (replacement(table) != nullptr) out.weight = at(table);
  else out.frozen = frozen_->layer(table.place, false);
  return out;
}

Tensor Weights::rows(const TensorId& table, const Tensor& index) const {
  const Tensor* replaced = replacement(table);
  const Tensor& source = replaced != nullptr ? *replaced : base(table);
  return source.index_select(0, index).to(
      frozen_->dtype);  // [T, C]: only the rows read are converted
}

Weights Weights::with(TrunkTensors replaced) const {
  Weights out = *this;
  if (!replaced.empty()) out.replaced_.resize(frozen_->index.size());
  for (auto& [id, tensor] : replaced) {
    // A tensor that the checkpoint may lack (the pooler) can be given here; those who read it check
    // its shape.
    ensure(!has(id) || base(id).sizes() == tensor.sizes(),
           "a replaced tensor keeps its shape: " + to_name(id));
    out.replaced_[frozen_->index.of(id.place).value()][at_kind(id.kind)] = std::move(tensor);
  }
  return out;
}

}  // namespace graft
