// What torch.save keeps tensors in: storages, one record of the archive each, of which tensors are
// views.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "interop/torch_archive.h"

namespace graft {

// Of a class of storages, "FloatStorage"; none of another name.
std::optional<at::ScalarType> type_of_storage(std::string_view name);

// [numel]. The record must have exactly its bytes: else throws InputError, opened by `source`.
at::Tensor read_storage(const TorchArchive& archive, const std::string& source,
                        const std::string& record_name, at::ScalarType dtype, int64_t numel);

// None where the sizes and strides from `offset` on do not lie in the storage, or the tensor has
// more elements than that, or no elements but sizes whose product is none.
std::optional<at::Tensor> view_of_storage(const at::Tensor& storage, int64_t offset,
                                          const std::vector<int64_t>& sizes,
                                          const std::vector<int64_t>& strides);

}  // namespace graft
