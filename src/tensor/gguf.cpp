#include "tensor/gguf.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "base/error.h"
#include "base/utf8.h"
#include "tensor/named_tensors.h"

namespace graft {

namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read in place");

constexpr char kMagic[] = {'G', 'G', 'U', 'F'};
constexpr uint64_t kStringLengthBytes = sizeof(uint64_t);
constexpr uint64_t kLeastKeyBytes =
    kStringLengthBytes + sizeof(uint32_t) + 1;  // no name, a one-byte value
constexpr uint64_t kLeastTensorBytes =
    kStringLengthBytes + 2 * sizeof(uint32_t) + 2 * sizeof(uint64_t);  // no name, one dimension
constexpr uint64_t kDefaultAlignment = 32;
constexpr int64_t kLeastAlignment = 8, kMaxAlignment = 1 << 16;

// A place in the file that only moves forward, and never past the end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& source)
      : bytes_(bytes), source_(source) {}

  uint64_t place() const { return place_; }
  uint64_t left() const { return bytes_.size() - place_; }
  [[noreturn]] void fail(const std::string& message) const {
    throw InputError(source_ + ": " + message);
  }

  std::span<const std::byte> take(uint64_t count, const std::string& what) {
    if (count > left()) {
      fail(what + ": expected " + std::to_string(count) + " bytes at byte " +
           std::to_string(place_) + ", found the end of the file after " + std::to_string(left()) +
           "; is the file cut short?");
    }
    place_ += count;
    return bytes_.subspan(place_ - count, count);
  }

  template <class T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  // A number of items of at least `least_bytes` each: more than the file has room for is refused
  // before anything is allocated.
  uint64_t count(uint64_t most, uint64_t least_bytes, const std::string& what) {
    const auto found = number<uint64_t>(what);
    if (found > most)
      fail(what + ": expected at most " + std::to_string(most) + ", found " +
           std::to_string(found));
    if (found > left() / least_bytes) {
      fail(what + ": the file has no room for " + std::to_string(found) + " of them (" +
           std::to_string(left()) + " bytes left); is it cut short?");
    }
    return found;
  }

  std::string text(uint64_t most, const std::string& what) {
    const auto length = number<uint64_t>(what);
    if (length > most)
      fail(what + ": expected at most " + std::to_string(most) + " bytes, found " +
           std::to_string(length));
    const std::span<const std::byte> found = take(length, what);
    std::string out(reinterpret_cast<const char*>(found.data()), found.size());
    if (find_invalid_utf8(out) != std::string::npos)
      fail(what + ": expected UTF-8, found " + quote(out));
    return out;
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& source_;
  uint64_t place_ = 0;
};

void check_head(Cursor& cursor) {
  const std::span<const std::byte> magic = cursor.take(sizeof kMagic, "the first bytes");
  if (std::memcmp(magic.data(), kMagic, sizeof kMagic) != 0) {
    cursor.fail("expected a GGUF file, which begins with \"GGUF\", found " +
                quote({reinterpret_cast<const char*>(magic.data()), magic.size()}));
  }
  const auto version = cursor.number<uint32_t>("version");
  if (version == 2 || version == 3) return;
  if ((version & 0xFFFF) == 0 && version != 0)
    cursor.fail("a big-endian GGUF file cannot be read; expected little endian");
  cursor.fail("expected GGUF version 2 or 3, found " + std::to_string(version) +
              (version == 1 ? "; convert the model again with a newer converter" : ""));
}

GgufKind read_kind(Cursor& cursor, const std::string& what) {
  const auto kind = static_cast<GgufKind>(cursor.number<uint32_t>(what));
  if (gguf_kind_name(kind).empty())
    cursor.fail(what + ": expected a value type in 0..12, found " +
                std::to_string(static_cast<uint32_t>(kind)));
  return kind;
}

void check_bools(std::span<const std::byte> bytes, const Cursor& cursor, const std::string& what) {
  const auto wrong = std::find_if(bytes.begin(), bytes.end(),
                                  [](std::byte b) { return std::to_integer<unsigned>(b) > 1; });
  if (wrong != bytes.end())
    cursor.fail(what + ": expected a bool of 0 or 1, found " +
                std::to_string(std::to_integer<int>(*wrong)));
}

// Walks over `count` values of one type and returns their bytes.
std::span<const std::byte> read_values(Cursor& cursor, std::span<const std::byte> file,
                                       GgufKind kind, uint64_t count, const std::string& what) {
  const uint64_t begin = cursor.place();
  if (kind == GgufKind::kString) {
    for (uint64_t i = 0; i < count; ++i) cursor.take(cursor.number<uint64_t>(what), what);
    return file.subspan(begin, cursor.place() - begin);
  }
  const std::span<const std::byte> bytes =
      cursor.take(count * gguf_kind_bytes(kind), what);  // `count` was compared with the bytes left
  if (kind == GgufKind::kBool) check_bools(bytes, cursor, what);
  return bytes;
}

GgufValue read_value(Cursor& cursor, std::span<const std::byte> file, const std::string& what) {
  GgufValue value;
  value.kind = read_kind(cursor, what);
  if (value.kind == GgufKind::kArray) {
    value.is_list = true;
    value.kind = read_kind(cursor, what);
    if (value.kind == GgufKind::kArray) cursor.fail(what + ": lists of lists are not supported");
    const uint64_t least_bytes =
        value.kind == GgufKind::kString ? kStringLengthBytes : gguf_kind_bytes(value.kind);
    value.count = cursor.count(std::numeric_limits<int64_t>::max(), least_bytes, what);
  }
  value.bytes = read_values(cursor, file, value.kind, value.count, what);
  return value;
}

void read_metadata(Cursor& cursor, std::span<const std::byte> file, uint64_t count,
                   GgufMetadata& metadata) {
  for (uint64_t i = 0; i < count; ++i) {
    std::string key = cursor.text(kMaxGgufKeyBytes, "the name of key " + std::to_string(i));
    if (key.empty()) cursor.fail("key " + std::to_string(i) + " has an empty name");
    const std::string what = quote(key);
    if (!metadata.add(std::move(key), read_value(cursor, file, what)))
      cursor.fail(what + " appears twice in the metadata");
  }
}

uint64_t read_alignment(const GgufMetadata& metadata) {
  const int64_t found =
      metadata.integer("general.alignment", kDefaultAlignment, kLeastAlignment, kMaxAlignment);
  if (!std::has_single_bit(static_cast<uint64_t>(found))) {
    metadata.fail("general.alignment", "expected a power of two, found " + std::to_string(found));
  }
  return static_cast<uint64_t>(found);
}

// What the file says of a tensor; `begin` counts from the beginning of the data.
struct Entry {
  GgufTensor tensor;
  uint64_t begin = 0, size = 0;
  uint64_t end() const { return begin + size; }
};

std::string range_text(const Entry& e) {
  return "[" + std::to_string(e.begin) + ", " + std::to_string(e.end()) + ")";
}

// Fills in shape and size. No product may leave int64: strides are such products.
void read_shape(Cursor& cursor, Entry& entry, const std::string& about) {
  const auto rank = cursor.number<uint32_t>(about);
  if (rank < 1 || rank > kMaxGgufDimensions) {
    cursor.fail(about + ": expected 1 to " + std::to_string(kMaxGgufDimensions) +
                " dimensions, found " + std::to_string(rank));
  }
  for (uint32_t i = 0; i < rank; ++i) {
    const auto size = cursor.number<uint64_t>(about);
    if (size == 0 || size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      cursor.fail(about + ": expected sizes from 1, found " + std::to_string(size));
    }
    entry.tensor.shape.insert(entry.tensor.shape.begin(), static_cast<int64_t>(size));
  }
}

void check_size(const Cursor& cursor, Entry& entry, const std::string& about) {
  const BlockFormat& format = *entry.tensor.format;
  const std::vector<int64_t>& shape = entry.tensor.shape;
  if (shape.back() % format.values != 0) {
    cursor.fail(about + ": rows of type " + std::string(format.name) + " are made of blocks of " +
                std::to_string(format.values) + " numbers, found rows of " +
                std::to_string(shape.back()));
  }
  int64_t values = 1, bytes = 0;
  bool overflows = false;
  for (const int64_t size : shape)
    overflows = overflows || __builtin_mul_overflow(values, size, &values);
  // 4 bytes a number bound what any of these types is turned into.
  overflows = overflows || __builtin_mul_overflow(values, int64_t{4}, &bytes) ||
              __builtin_mul_overflow(values / format.values, format.bytes, &bytes);
  if (overflows) cursor.fail(about + ": shape " + shape_text(shape) + " overflows");
  entry.size = static_cast<uint64_t>(bytes);
}

Entry read_entry(Cursor& cursor, uint64_t index, uint64_t alignment) {
  Entry entry;
  entry.tensor.name = cursor.text(kMaxGgufNameBytes, "the name of tensor " + std::to_string(index));
  if (entry.tensor.name.empty())
    cursor.fail("tensor " + std::to_string(index) + " has an empty name");
  const std::string about = "tensor " + quote(entry.tensor.name);
  read_shape(cursor, entry, about);
  const auto type = cursor.number<uint32_t>(about);
  entry.tensor.format = find_block_format(type);
  if (entry.tensor.format == nullptr)
    cursor.fail(about + ": no type of weights has the number " + std::to_string(type));
  check_size(cursor, entry, about);
  entry.begin = cursor.number<uint64_t>(about);
  if (entry.begin % alignment != 0) {
    cursor.fail(about + ": expected an offset that is a multiple of " + std::to_string(alignment) +
                ", found " + std::to_string(entry.begin));
  }
  return entry;
}

// Sorted by place, each tensor begins where the padding after the one before it ends; nothing but
// padding follows the last one.
void check_tiling(const std::vector<Entry>& entries, uint64_t data_bytes, uint64_t alignment,
                  const Cursor& cursor) {
  std::vector<const Entry*> sorted;
  for (const Entry& entry : entries) {
    if (entry.size > data_bytes || entry.begin > data_bytes - entry.size) {
      cursor.fail("tensor " + quote(entry.tensor.name) + ": " + std::to_string(entry.size) +
                  " bytes from " + std::to_string(entry.begin) +
                  " lie beyond the end of the data (" + std::to_string(data_bytes) +
                  " bytes); is the file cut short?");
    }
    sorted.push_back(&entry);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const Entry* a, const Entry* b) { return a->begin < b->begin; });
  const auto padded = [&](uint64_t place) {
    return (place + alignment - 1) / alignment * alignment;
  };
  const Entry* previous = nullptr;
  uint64_t covered = 0;
  for (const Entry* entry : sorted) {
    if (previous != nullptr && entry->begin < previous->end()) {
      cursor.fail("tensors " + quote(previous->tensor.name) + " and " + quote(entry->tensor.name) +
                  " overlap: bytes " + range_text(*previous) + " and " + range_text(*entry));
    }
    if (entry->begin > covered) {
      cursor.fail("bytes [" + std::to_string(covered) + ", " + std::to_string(entry->begin) +
                  ") before tensor " + quote(entry->tensor.name) + " belong to no tensor");
    }
    covered = padded(entry->end());
    previous = entry;
  }
  if (data_bytes > covered)
    cursor.fail(std::to_string(data_bytes - covered) +
                " bytes follow the last tensor and belong to none");
}

}  // namespace

void GgufFile::parse(std::span<const std::byte> bytes) {
  Cursor cursor(bytes, metadata_.source());
  check_head(cursor);
  const uint64_t tensors =
      cursor.count(kMaxGgufTensors, kLeastTensorBytes, "the number of tensors");
  const uint64_t keys = cursor.count(kMaxGgufKeys, kLeastKeyBytes, "the number of metadata keys");
  read_metadata(cursor, bytes, keys, metadata_);
  const uint64_t alignment = read_alignment(metadata_);
  std::vector<Entry> entries;
  std::unordered_set<std::string> names;
  for (uint64_t i = 0; i < tensors; ++i) {
    entries.push_back(read_entry(cursor, i, alignment));
    const std::string& name = entries.back().tensor.name;
    if (!names.insert(name).second) cursor.fail("tensor " + quote(name) + " appears twice");
  }
  const uint64_t padding = (alignment - cursor.place() % alignment) % alignment;
  const std::span<const std::byte> data = bytes.subspan(
      cursor.place() + std::min(padding, cursor.left()));  // a file without tensors may end here
  check_tiling(entries, data.size(), alignment, cursor);
  for (Entry& entry : entries) {
    entry.tensor.bytes = data.subspan(entry.begin, entry.size);
    tensors_.push_back(std::move(entry.tensor));
  }
}

GgufFile::GgufFile(const Path& path)
    : mapping_(std::make_shared<const MappedFile>(path)),
      owner_(mapping_),
      metadata_(path.string()) {
  parse(mapping_->bytes());
}

GgufFile::GgufFile(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                   const std::string& source)
    : owner_(std::move(owner)), metadata_(source) {
  parse(bytes);
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                  [&](const GgufTensor& tensor) { return tensor.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

at::Tensor GgufFile::read(const GgufTensor& tensor, at::ScalarType dtype) const {
  const bool is_stored_so = (tensor.format->name == "F32" && dtype == at::kFloat) ||
                            (tensor.format->name == "BF16" && dtype == at::kBFloat16);
  if (is_stored_so &&
      reinterpret_cast<uintptr_t>(tensor.bytes.data()) % c10::elementSize(dtype) == 0) {
    // from_blob wants a mutable pointer; the header says that the memory is read-only.
    return at::from_blob(
        const_cast<std::byte*>(tensor.bytes.data()), tensor.shape, [owner = owner_](void*) {},
        at::TensorOptions().dtype(dtype));
  }
  return dequantize(*tensor.format, tensor.bytes, tensor.shape, dtype,
                    source() + ": tensor " + quote(tensor.name) + ": ");
}

at::Tensor GgufFile::read_rows(const GgufTensor& tensor, int64_t first, int64_t count,
                               at::ScalarType dtype) const {
  ensure(tensor.shape.size() > 1 && first >= 0 && count > 0 && first + count <= tensor.shape[0],
         "read_rows: expected rows of a matrix");
  // Blocks of numbers never go over the end of a row.
  const size_t row = tensor.bytes.size() / static_cast<size_t>(tensor.shape[0]);
  GgufTensor rows = tensor;
  rows.shape[0] = count;
  rows.bytes =
      tensor.bytes.subspan(static_cast<size_t>(first) * row, static_cast<size_t>(count) * row);
  return read(rows, dtype);
}

void GgufFile::release_pages() const {
  if (mapping_) mapping_->release_pages();
}

}  // namespace graft
