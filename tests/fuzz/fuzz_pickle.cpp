// Fuzz target: any bytes as a file of torch.save, or, where they do not begin as a zip archive, as
// the pickle in a sound one. Only InputError may escape, and every tensor that is read must lie in
// memory.
#include <ATen/ops/clone.h>
#include <caffe2/serialize/inline_container.h>

#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "interop/pickle.h"

namespace {

// An archive with this pickle and one storage of 64 bytes.
std::string archive_of(const uint8_t* data, size_t size) {
  std::string out;
  caffe2::serialize::PyTorchStreamWriter writer([&](const void* bytes, size_t count) {
    out.append(static_cast<const char*>(bytes), count);
    return count;
  });
  writer.writeRecord("data.pkl", data, size);
  const std::string storage(64, '\1');
  writer.writeRecord("data/0", storage.data(), storage.size());
  writer.writeEndOfFile();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const bool is_archive = size >= 4 && std::memcmp(data, "PK\x03\x04", 4) == 0;
  const std::string bytes =
      is_archive ? std::string(reinterpret_cast<const char*>(data), size) : archive_of(data, size);
  try {
    for (const auto& [name, tensor] :
         graft::parse_torch_file(std::as_bytes(std::span(bytes)), "fuzz")) {
      if (tensor.nbytes() <= bytes.size())
        tensor.clone(at::MemoryFormat::Contiguous);  // touches every element
    }
  } catch (const graft::InputError&) {
  }
  return 0;
}
