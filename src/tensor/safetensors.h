// Safetensors files: 8 bytes of header length (little endian), a JSON header, then the tensors'
// bytes end to end.
//
// Reading is zero-copy: tensors are views into a read-only mapping that lives as long as any of
// them. Nothing in a file is believed: every statement of the header is checked before a tensor is
// made. dtypes: F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/files.h"
#include "tensor/named_tensors.h"

namespace graft {

// Caps of the reader. The first is that of the reference implementation.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr size_t kMaxSafetensorsTensors = size_t{1} << 18;
inline constexpr size_t kMaxSafetensorsNameBytes = 1024;
inline constexpr size_t kMaxSafetensorsDimensions = 16;

struct SafetensorsFile {
  NamedTensors tensors;  // row-major CPU tensors. READ-ONLY memory: clone() before writing into one
  std::map<std::string, std::string> metadata;           // "__metadata__"
  std::vector<std::shared_ptr<const MappedFile>> files;  // what the tensors are views into
  // Of a sharded model: tensors that the index gives to a shard which does not hold them -> that
  // shard.
  std::map<std::string, std::string> absent = {};
};

// Reads one file. A tensor whose bytes are not aligned for its dtype is copied, all others are
// views. Throws InputError, opening with the path, for whatever is wrong in the file, IoError if
// the system refuses.
SafetensorsFile load_safetensors(const Path& path);

// Reads `folder`/model.safetensors, or all shards that `folder`/model.safetensors.index.json lists.
// A shard must hold no tensor that the index does not give to it; writers list tensors, too, that
// no shard holds (the second name of a tied one): see `absent`. metadata: the entries that all
// shards agree on. Throws as load_safetensors, and InputError when the folder holds neither, or
// both and the index does not use the single file.
SafetensorsFile load_sharded(const Path& folder);

// Reads a file's bytes; `owner` keeps them alive and is held by every tensor that is a view.
// `source` opens the messages.
SafetensorsFile parse_safetensors(std::span<const std::byte> bytes,
                                  std::shared_ptr<const void> owner, const std::string& source);

// Replaces `path` atomically. Equal content gives equal bytes: tensors are laid out by item size
// (widest first, so that all are aligned) and then by name. Throws IoError if the system refuses
// (the old file stays); InternalError unless every tensor is a contiguous CPU tensor of a dtype
// above under a UTF-8 name of 1..1024 bytes other than "__metadata__".
void save_safetensors(const Path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata = {});

// "BF16" for at::kBFloat16, and so on. Throws InternalError for a dtype that the format or this
// reader does not know.
std::string safetensors_dtype(at::ScalarType dtype);

}  // namespace graft
