// Fuzz target: any bytes as a safetensors file. Only InputError may escape,
// and what is read must survive being written and read again.
#include <ATen/ATen.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "tensor/safetensors.h"

namespace {

void require(bool claim) {
  if (!claim) std::abort();
}

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         (a.numel() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const graft::Path path =
      graft::Path("/tmp") / ("graft-fuzz-" + std::to_string(::getpid()) + ".safetensors");
  const auto owner = std::make_shared<const std::vector<uint8_t>>(data, data + size);
  graft::SafetensorsFile file;
  try {
    file = graft::parse_safetensors(std::as_bytes(std::span(*owner)), owner, "fuzz");
  } catch (const graft::InputError&) {
    return 0;
  }
  graft::save_safetensors(path, file.tensors, file.metadata);
  const graft::SafetensorsFile again = graft::load_safetensors(path);
  std::filesystem::remove(path);
  require(again.metadata == file.metadata && again.tensors.size() == file.tensors.size());
  for (const auto& [name, tensor] : file.tensors)
    require(same_bytes(tensor, again.tensors.at(name)));
  return 0;
}
