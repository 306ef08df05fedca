// Named tensors: what every file format is read into and written from, and what trunks and edits
// are functions over.
//
// Not a container class: a plain ordered map, so that iteration (and with it every file) is in the
// byte order of the names.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace graft {

using NamedTensors = std::map<std::string, at::Tensor>;

// "[8, 768]"; "[]" for a 0-d tensor.
inline std::string shape_text(at::IntArrayRef sizes) {
  std::string out = "[";
  for (size_t i = 0; i < sizes.size(); ++i) out += (i == 0 ? "" : ", ") + std::to_string(sizes[i]);
  return out + "]";
}

// The tensor called `name`. Throws InputError "source: tensor \"name\" is missing (did you mean
// ...?)".
inline const at::Tensor& tensor_at(const NamedTensors& tensors, const std::string& name,
                                   std::string_view source) {
  const auto found = tensors.find(name);
  if (found != tensors.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [other, tensor] : tensors) names.push_back(other);
  throw InputError(std::string(source) + ": tensor " + quote(name) + " is missing" +
                   did_you_mean(name, names));
}

}  // namespace graft
