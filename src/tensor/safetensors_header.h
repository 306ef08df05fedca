// The header of a safetensors file: JSON text to checked entries and back. Knows nothing of files,
// mappings or tensors' bytes.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

struct SafetensorsEntry {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes, relative to the end of the header
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // by (begin, end): end to end over all of the data
  std::map<std::string, std::string> metadata;
};

// Parses `json` and checks it against `data_bytes`, the number of bytes that follow the header.
// Throws InputError "source: ...".
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes,
                                           const std::string& source);

// The JSON text of a header, entries in the order given, padded with spaces to a multiple of 8
// bytes.
std::string write_safetensors_header(const SafetensorsHeader& header);

}  // namespace graft
