#include "tensor/fingerprint.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "tensor/safetensors.h"

namespace graft {

namespace {

constexpr int64_t kPieceBytes = int64_t{16} << 20;

}  // namespace

struct PiecewiseFingerprint::State {
  XXH3_state_t hash;
};

PiecewiseFingerprint::PiecewiseFingerprint() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(&state_->hash);
}
PiecewiseFingerprint::PiecewiseFingerprint(PiecewiseFingerprint&&) noexcept = default;
PiecewiseFingerprint::~PiecewiseFingerprint() = default;

void PiecewiseFingerprint::add(const at::Tensor& piece) {
  XXH3_128bits_update(&state_->hash, piece.const_data_ptr(), piece.nbytes());
}

// The content's hash is hashed once more together with the dtype's name and the shape.
std::string PiecewiseFingerprint::text(at::ScalarType dtype, at::IntArrayRef shape) const {
  XXH128_canonical_t content;
  XXH128_canonicalFromHash(&content, XXH3_128bits_digest(&state_->hash));
  std::string text = safetensors_dtype(dtype) + shape_text(shape) + ":";
  text.append(reinterpret_cast<const char*>(content.digest), sizeof content.digest);
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  char hex[33];
  std::snprintf(hex, sizeof hex, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return hex;
}

std::string fingerprint(const at::Tensor& tensor, const std::function<void()>& after_piece) {
  ensure(tensor.defined() && tensor.device().is_cpu(),
         "fingerprint: expected a defined CPU tensor");
  const at::Tensor values = tensor.contiguous().view(-1);
  const int64_t most = kPieceBytes / static_cast<int64_t>(values.element_size());
  PiecewiseFingerprint whole;
  for (int64_t done = 0; done < values.numel(); done += most) {
    whole.add(values.narrow(0, done, std::min(most, values.numel() - done)));
    if (after_piece) after_piece();
  }
  return whole.text(tensor.scalar_type(), tensor.sizes());
}

std::map<std::string, std::string> fingerprints(const NamedTensors& tensors,
                                                const std::function<void()>& after_piece) {
  std::map<std::string, std::string> out;
  for (const auto& [name, tensor] : tensors) out.emplace(name, fingerprint(tensor, after_piece));
  return out;
}

}  // namespace graft
