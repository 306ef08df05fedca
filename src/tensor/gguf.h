// GGUF files (version 2 and 3, little endian): ggml's container of metadata and tensors, described
// in doc/gguf.md.
//
// Read-only, from a mapping. Nothing in a file is believed: lengths and counts are compared with
// the bytes that are left before anything is allocated, every tensor's type, shape and place are
// checked, and the tensors must tile the data up to the padding that their alignment asks for.
// Writing is not offered.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/files.h"
#include "tensor/dequantize.h"
#include "tensor/gguf_metadata.h"

namespace graft {

// Caps of the reader. Those of names and dimensions are the format's.
inline constexpr uint64_t kMaxGgufTensors = uint64_t{1} << 18;
inline constexpr uint64_t kMaxGgufKeys = uint64_t{1} << 16;
inline constexpr uint64_t kMaxGgufKeyBytes = 65535;
inline constexpr uint64_t kMaxGgufNameBytes = 64;
inline constexpr uint32_t kMaxGgufDimensions = 4;

struct GgufTensor {
  std::string name;
  const BlockFormat* format = nullptr;
  std::vector<int64_t>
      shape;  // row-major as everywhere here: the file lists the innermost dimension first
  std::span<const std::byte> bytes;  // in the file
};

class GgufFile {
 public:
  // Throws InputError "path: ..." for whatever is wrong in the file, IoError if the system refuses.
  explicit GgufFile(const Path& path);
  // A file's bytes; `owner` keeps them alive and is held by every tensor that is a view. `source`
  // opens the messages.
  GgufFile(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
           const std::string& source);

  const GgufMetadata& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const {
    return tensors_;
  }  // in the order of the file's list; names are unique
  const GgufTensor* find(std::string_view name) const;  // null when absent

  // The numbers of one of `tensors()` in `dtype` (float32 or bfloat16). A view of READ-ONLY memory
  // where the file holds them so, else new memory. Throws InputError for a type that cannot be
  // read.
  at::Tensor read(const GgufTensor& tensor, at::ScalarType dtype) const;
  // The same of `count` rows (along the first of at least two dimensions) from `first` on.
  at::Tensor read_rows(const GgufTensor& tensor, int64_t first, int64_t count,
                       at::ScalarType dtype) const;

  // Gives the memory of pages read so far back to the system.
  void release_pages() const;
  const std::string& source() const { return metadata_.source(); }
  const std::shared_ptr<const MappedFile>& mapping() const {
    return mapping_;
  }  // null for bytes in memory

 private:
  void parse(std::span<const std::byte> bytes);

  std::shared_ptr<const MappedFile> mapping_;
  std::shared_ptr<const void> owner_;
  GgufMetadata metadata_;
  std::vector<GgufTensor> tensors_;
};

}  // namespace graft
