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

constexpr size_t kPieceBytes = size_t{16} << 20;

XXH128_hash_t hash_of(const at::Tensor& dense, const std::function<void()>& after_piece) {
  const auto* bytes = static_cast<const std::byte*>(dense.const_data_ptr());
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  for (size_t done = 0; done < dense.nbytes(); done += kPieceBytes) {
    XXH3_128bits_update(&state, bytes + done, std::min(kPieceBytes, dense.nbytes() - done));
    if (after_piece) after_piece();
  }
  return XXH3_128bits_digest(&state);
}

}  // namespace

std::string fingerprint(const at::Tensor& tensor, const std::function<void()>& after_piece) {
  ensure(tensor.defined() && tensor.device().is_cpu(),
         "fingerprint: expected a defined CPU tensor");
  XXH128_canonical_t content;
  XXH128_canonicalFromHash(&content, hash_of(tensor.contiguous(), after_piece));
  // The content's hash is hashed once more together with the dtype's name and the shape.
  std::string text = safetensors_dtype(tensor.scalar_type()) + shape_text(tensor.sizes()) + ":";
  text.append(reinterpret_cast<const char*>(content.digest), sizeof content.digest);
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  char hex[33];
  std::snprintf(hex, sizeof hex, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return hex;
}

std::map<std::string, std::string> fingerprints(const NamedTensors& tensors,
                                                const std::function<void()>& after_piece) {
  std::map<std::string, std::string> out;
  for (const auto& [name, tensor] : tensors) out.emplace(name, fingerprint(tensor, after_piece));
  return out;
}

}  // namespace graft
