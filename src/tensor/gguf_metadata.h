// The metadata of a GGUF file: keys with typed values, read strictly. Values stay in the file's
// memory until they are asked for.
//
// Every getter throws InputError "source: key: expected ..., found ..." at once: in a foreign file
// the first fault already says that the file is not for us.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

// Types of values as the file numbers them.
enum class GgufKind : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

// "uint32"; "" for a number that no type has.
std::string_view gguf_kind_name(GgufKind kind);
// Bytes of one value; 0 for texts and lists, whose size differs from value to value.
uint64_t gguf_kind_bytes(GgufKind kind);

// One value, or a list of `count` values of one type. `bytes` were checked: they hold exactly
// `count` values.
struct GgufValue {
  GgufKind kind = GgufKind::kUint8;
  bool is_list = false;
  uint64_t count = 1;
  std::span<const std::byte> bytes;
};

class GgufMetadata {
 public:
  explicit GgufMetadata(std::string source) : source_(std::move(source)) {}

  // Returns false when the key is there already.
  bool add(std::string key, const GgufValue& value) {
    return values_.emplace(std::move(key), value).second;
  }

  bool has(const std::string& key) const { return values_.contains(key); }
  const std::map<std::string, GgufValue>& values() const { return values_; }

  // Each returns `fallback` when the key is absent; without one (std::nullopt) absence is a fault.
  // An integer may have any integer type, a number either floating type; one never stands for the
  // other.
  int64_t integer(const std::string& key, std::optional<int64_t> fallback, int64_t least,
                  int64_t most) const;
  double number(const std::string& key, std::optional<double> fallback, double least,
                double most) const;
  bool boolean(const std::string& key, std::optional<bool> fallback) const;
  std::string text(const std::string& key, std::optional<std::string> fallback) const;  // UTF-8
  // Lists; views into the file. Throws when the key is absent.
  std::vector<std::string_view> texts(const std::string& key, uint64_t most) const;  // each UTF-8
  std::vector<int64_t> integers(const std::string& key, uint64_t most) const;
  std::vector<double> numbers(const std::string& key, uint64_t most) const;

  [[noreturn]] void fail(const std::string& key, const std::string& message) const;
  const std::string& source() const { return source_; }

 private:
  const GgufValue* find(const std::string& key, bool is_required) const;
  const GgufValue& list(const std::string& key, uint64_t most, const std::string& what,
                        const std::function<bool(GgufKind)>& fits) const;
  [[noreturn]] void expected(const std::string& key, const std::string& what,
                             const GgufValue& found) const;

  std::string source_;
  std::map<std::string, GgufValue> values_;
};

// "7", "a list of 3 string values", ...: a value in a message.
std::string shown(const GgufValue& value);

}  // namespace graft
