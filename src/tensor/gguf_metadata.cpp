#include "tensor/gguf_metadata.h"

#include <array>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/utf8.h"

namespace graft {

namespace {

struct KindName {
  std::string_view name;
  uint64_t bytes;
};

// By the file's numbers.
constexpr std::array<KindName, 13> kKinds{{{"uint8", 1},
                                           {"int8", 1},
                                           {"uint16", 2},
                                           {"int16", 2},
                                           {"uint32", 4},
                                           {"int32", 4},
                                           {"float32", 4},
                                           {"bool", 1},
                                           {"string", 0},
                                           {"array", 0},
                                           {"uint64", 8},
                                           {"int64", 8},
                                           {"float64", 8}}};

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

bool is_integer(GgufKind kind) {
  return kind != GgufKind::kFloat32 && kind != GgufKind::kFloat64 && kind != GgufKind::kBool &&
         kind != GgufKind::kString && kind != GgufKind::kArray;
}

bool is_number(GgufKind kind) { return kind == GgufKind::kFloat32 || kind == GgufKind::kFloat64; }

// Nothing for a uint64 that int64 does not hold.
std::optional<int64_t> integer_at(GgufKind kind, const std::byte* from) {
  switch (kind) {
    case GgufKind::kUint8: return load<uint8_t>(from);
    case GgufKind::kInt8: return load<int8_t>(from);
    case GgufKind::kUint16: return load<uint16_t>(from);
    case GgufKind::kInt16: return load<int16_t>(from);
    case GgufKind::kUint32: return load<uint32_t>(from);
    case GgufKind::kInt32: return load<int32_t>(from);
    case GgufKind::kInt64: return load<int64_t>(from);
    default: break;
  }
  const auto value = load<uint64_t>(from);
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<int64_t>(value);
}

double number_at(GgufKind kind, const std::byte* from) {
  return kind == GgufKind::kFloat32 ? double{load<float>(from)} : load<double>(from);
}

// The text at the front of `bytes`: 8 bytes of length, then the text.
std::string_view text_at(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()) + sizeof(uint64_t),
          load<uint64_t>(bytes.data())};
}

std::string number_text(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%g", value);
  return buffer;
}

}  // namespace

std::string_view gguf_kind_name(GgufKind kind) {
  const auto index = static_cast<size_t>(kind);
  return index < kKinds.size() ? kKinds[index].name : "";
}

uint64_t gguf_kind_bytes(GgufKind kind) { return kKinds.at(static_cast<size_t>(kind)).bytes; }

std::string shown(const GgufValue& value) {
  const std::string kind(gguf_kind_name(value.kind));
  if (value.is_list) return "a list of " + std::to_string(value.count) + " " + kind + " values";
  if (value.kind == GgufKind::kString) return "the text " + quote(text_at(value.bytes));
  if (value.kind == GgufKind::kBool)
    return load<uint8_t>(value.bytes.data()) != 0 ? "true" : "false";
  if (is_number(value.kind))
    return number_text(number_at(value.kind, value.bytes.data())) + " (" + kind + ")";
  const std::optional<int64_t> integer = integer_at(value.kind, value.bytes.data());
  return integer ? std::to_string(*integer) : std::to_string(load<uint64_t>(value.bytes.data()));
}

void GgufMetadata::fail(const std::string& key, const std::string& message) const {
  throw InputError(source_ + ": " + quote(key) + ": " + message);
}

void GgufMetadata::expected(const std::string& key, const std::string& what,
                            const GgufValue& found) const {
  fail(key, "expected " + what + ", found " + shown(found));
}

const GgufValue* GgufMetadata::find(const std::string& key, bool is_required) const {
  const auto found = values_.find(key);
  if (found != values_.end()) return &found->second;
  if (is_required) throw InputError(source_ + ": the metadata lacks " + quote(key));
  return nullptr;
}

int64_t GgufMetadata::integer(const std::string& key, std::optional<int64_t> fallback,
                              int64_t least, int64_t most) const {
  const GgufValue* const value = find(key, !fallback);
  if (value == nullptr) return *fallback;
  const bool fits = !value->is_list && is_integer(value->kind);
  const std::optional<int64_t> found =
      fits ? integer_at(value->kind, value->bytes.data()) : std::nullopt;
  if (!found || *found < least || *found > most)
    expected(key, "an integer in " + std::to_string(least) + ".." + std::to_string(most), *value);
  return *found;
}

double GgufMetadata::number(const std::string& key, std::optional<double> fallback, double least,
                            double most) const {
  const GgufValue* const value = find(key, !fallback);
  if (value == nullptr) return *fallback;
  const bool fits = !value->is_list && is_number(value->kind);
  const double found = fits ? number_at(value->kind, value->bytes.data()) : 0;
  if (!fits || !(found >= least && found <= most))
    expected(key, "a number in " + number_text(least) + ".." + number_text(most), *value);
  return found;
}

bool GgufMetadata::boolean(const std::string& key, std::optional<bool> fallback) const {
  const GgufValue* const value = find(key, !fallback);
  if (value == nullptr) return *fallback;
  if (value->is_list || value->kind != GgufKind::kBool) expected(key, "true or false", *value);
  return load<uint8_t>(value->bytes.data()) != 0;
}

std::string GgufMetadata::text(const std::string& key, std::optional<std::string> fallback) const {
  const GgufValue* const value = find(key, !fallback);
  if (value == nullptr) return *fallback;
  if (value->is_list || value->kind != GgufKind::kString) expected(key, "a text", *value);
  const std::string_view found = text_at(value->bytes);
  if (const size_t at = find_invalid_utf8(found); at != std::string_view::npos)
    fail(key, "the text is not UTF-8 at its byte " + std::to_string(at));
  return std::string(found);
}

const GgufValue& GgufMetadata::list(const std::string& key, uint64_t most, const std::string& what,
                                    const std::function<bool(GgufKind)>& fits) const {
  const GgufValue& value = *find(key, true);
  if (!value.is_list || !fits(value.kind)) expected(key, "a list of " + what, value);
  if (value.count > most)
    expected(key, "a list of at most " + std::to_string(most) + " " + what, value);
  return value;
}

std::vector<std::string_view> GgufMetadata::texts(const std::string& key, uint64_t most) const {
  const GgufValue& value =
      list(key, most, "texts", [](GgufKind kind) { return kind == GgufKind::kString; });
  std::vector<std::string_view> out;
  out.reserve(value.count);
  std::span<const std::byte> rest = value.bytes;
  for (uint64_t i = 0; i < value.count; ++i) {
    out.push_back(text_at(rest));
    if (find_invalid_utf8(out.back()) != std::string_view::npos)
      fail(key, "item " + std::to_string(i) + " is not UTF-8: " + quote(out.back()));
    rest = rest.subspan(sizeof(uint64_t) + out.back().size());
  }
  return out;
}

std::vector<int64_t> GgufMetadata::integers(const std::string& key, uint64_t most) const {
  const GgufValue& value = list(key, most, "integers", is_integer);
  const uint64_t width = gguf_kind_bytes(value.kind);
  std::vector<int64_t> out;
  out.reserve(value.count);
  for (uint64_t i = 0; i < value.count; ++i) {
    const std::optional<int64_t> item = integer_at(value.kind, value.bytes.data() + i * width);
    if (!item) fail(key, "item " + std::to_string(i) + " does not fit 64 bits with a sign");
    out.push_back(*item);
  }
  return out;
}

std::vector<double> GgufMetadata::numbers(const std::string& key, uint64_t most) const {
  const GgufValue& value = list(key, most, "numbers", is_number);
  const uint64_t width = gguf_kind_bytes(value.kind);
  std::vector<double> out;
  out.reserve(value.count);
  for (uint64_t i = 0; i < value.count; ++i)
    out.push_back(number_at(value.kind, value.bytes.data() + i * width));
  return out;
}

}  // namespace graft
