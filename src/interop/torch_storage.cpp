#include "interop/torch_storage.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace graft {

using at::Tensor;

namespace {

constexpr std::pair<std::string_view, at::ScalarType> kStorages[] = {
    {"FloatStorage", at::kFloat},       {"DoubleStorage", at::kDouble}, {"HalfStorage", at::kHalf},
    {"BFloat16Storage", at::kBFloat16}, {"LongStorage", at::kLong},     {"IntStorage", at::kInt},
    {"ShortStorage", at::kShort},       {"CharStorage", at::kChar},     {"ByteStorage", at::kByte},
    {"BoolStorage", at::kBool}};

// No elements, but sizes that need not fit together: [0, 2^62, 2^62].
std::optional<Tensor> empty_tensor(const std::vector<int64_t>& sizes, const Tensor& storage) {
  int64_t product = 1;
  for (const int64_t size : sizes) {
    if (__builtin_mul_overflow(product, std::max<int64_t>(size, 1), &product)) return std::nullopt;
  }
  return at::empty(sizes, storage.options());
}

}  // namespace

std::optional<at::ScalarType> type_of_storage(std::string_view name) {
  for (const auto& [storage, dtype] : kStorages) {
    if (name == storage) return dtype;
  }
  return std::nullopt;
}

Tensor read_storage(const TorchArchive& archive, const std::string& source,
                    const std::string& record_name, at::ScalarType dtype, int64_t numel) {
  const std::string what = source + ": storage " + quote(record_name);
  if (!archive.has(record_name)) throw InputError(what + " is missing");
  const std::span<const std::byte> record = archive.at(record_name);
  const auto item = static_cast<uint64_t>(c10::elementSize(dtype));
  if (static_cast<uint64_t>(numel) != record.size() / item || record.size() % item != 0) {
    throw InputError(what + ": expected " + std::to_string(numel) + " elements of " +
                     std::to_string(item) + " bytes, found " + std::to_string(record.size()) +
                     " bytes");
  }
  const auto wrong = std::find_if(record.begin(), record.end(), [&](std::byte byte) {
    return dtype == at::kBool && byte > std::byte{1};
  });
  if (wrong != record.end())
    throw InputError(what + ": expected truth values 0 and 1, found " +
                     std::to_string(std::to_integer<int>(*wrong)));
  Tensor out = at::empty({numel}, dtype);
  if (numel > 0) std::memcpy(out.mutable_data_ptr(), record.data(), record.size());
  return out;
}

std::optional<Tensor> view_of_storage(const Tensor& storage, int64_t offset,
                                      const std::vector<int64_t>& sizes,
                                      const std::vector<int64_t>& strides) {
  int64_t count = 1, last = offset;
  bool is_sound = offset >= 0;
  for (size_t d = 0; d < sizes.size() && is_sound; ++d) {
    int64_t reach = 0;
    is_sound = sizes[d] >= 0 && strides[d] >= 0 &&
               !__builtin_mul_overflow(count, sizes[d], &count) &&
               !__builtin_mul_overflow(std::max<int64_t>(sizes[d] - 1, 0), strides[d], &reach) &&
               !__builtin_add_overflow(last, reach, &last);
  }
  if (!is_sound) return std::nullopt;
  if (count == 0) return offset <= storage.numel() ? empty_tensor(sizes, storage) : std::nullopt;
  if (last >= storage.numel() || count > storage.numel()) return std::nullopt;
  return storage.as_strided(sizes, strides, offset);
}

}  // namespace graft
