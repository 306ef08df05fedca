#include "tensor/fingerprint.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <ATen/ATen.h>

#include <cstdio>

#include "base/error.h"
#include "tensor/safetensors.h"

namespace graft {

std::string fingerprint(const at::Tensor& tensor) {
  ensure(tensor.defined() && tensor.device().is_cpu(), "fingerprint: expected a defined CPU tensor");
  const at::Tensor dense = tensor.contiguous();
  const XXH128_canonical_t content = [&] {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(dense.numel() == 0 ? "" : dense.data_ptr(), dense.nbytes()));
    return canonical;
  }();
  // The content's hash is hashed once more together with the dtype's name and the shape: no streaming state, one pass over the bytes.
  std::string text = safetensors_dtype(tensor.scalar_type()) + shape_text(tensor.sizes()) + ":";
  text.append(reinterpret_cast<const char*>(content.digest), sizeof content.digest);
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  char hex[33];
  std::snprintf(hex, sizeof hex, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return hex;
}

std::map<std::string, std::string> fingerprints(const NamedTensors& tensors) {
  std::map<std::string, std::string> out;
  for (const auto& [name, tensor] : tensors) out.emplace(name, fingerprint(tensor));
  return out;
}

}  // namespace graft
