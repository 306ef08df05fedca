// Fuzz target: any bytes as a GGUF file. Only InputError may escape,
// and what is read must be inside the bytes and of the shape it says.
#include <ATen/ATen.h>

#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "tensor/gguf.h"

namespace {

void require(bool claim) {
  if (!claim) std::abort();
}

// A call that may refuse the input, and nothing else.
template <class F>
void may_refuse(const F& f) {
  try {
    f();
  } catch (const graft::InputError&) {
  }
}

void read_metadata(const graft::GgufMetadata& metadata) {
  for (const auto& entry : metadata.values()) {
    const std::string& key = entry.first;
    const graft::GgufValue& value = entry.second;
    require(!graft::shown(value).empty());
    may_refuse([&] { metadata.integer(key, std::nullopt, 0, 1 << 20); });
    may_refuse([&] { metadata.number(key, std::nullopt, -1, 1); });
    may_refuse([&] { metadata.boolean(key, std::nullopt); });
    may_refuse([&] { metadata.text(key, std::nullopt); });
    may_refuse([&] { require(metadata.texts(key, value.count).size() == value.count); });
    may_refuse([&] { require(metadata.integers(key, value.count).size() == value.count); });
    may_refuse([&] { require(metadata.numbers(key, value.count).size() == value.count); });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto owner = std::make_shared<const std::vector<uint8_t>>(data, data + size);
  may_refuse([&] {
    const graft::GgufFile file(std::as_bytes(std::span(*owner)), owner, "fuzz");
    read_metadata(file.metadata());
    for (const graft::GgufTensor& tensor : file.tensors()) {
      require(file.find(tensor.name) == &tensor);
      for (const auto dtype : {at::kFloat, at::kBFloat16}) {
        may_refuse([&] {
          const at::Tensor read = file.read(tensor, dtype);
          require(read.sizes() == at::IntArrayRef(tensor.shape) && read.scalar_type() == dtype);
          (void)read.sum().item<double>();
        });
      }
    }
  });
  return 0;
}
