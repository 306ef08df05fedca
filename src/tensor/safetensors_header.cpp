#include "tensor/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "base/error.h"
#include "tensor/named_tensors.h"
#include "tensor/safetensors.h"

namespace graft {

namespace {

struct DtypeName {
  std::string_view name;
  at::ScalarType dtype;
};

constexpr std::array<DtypeName, 10> kDtypes{{{"F64", at::kDouble},
                                             {"F32", at::kFloat},
                                             {"F16", at::kHalf},
                                             {"BF16", at::kBFloat16},
                                             {"I64", at::kLong},
                                             {"I32", at::kInt},
                                             {"I16", at::kShort},
                                             {"I8", at::kChar},
                                             {"U8", at::kByte},
                                             {"BOOL", at::kBool}}};

std::string known_dtypes() {
  std::vector<std::string> names;
  for (const DtypeName& known : kDtypes) names.emplace_back(known.name);
  return joined(names, "or");
}

// Takes nlohmann's events for {"__metadata__": {text: text}, name: {"dtype": text, "shape": [...],
// "data_offsets": [begin, end]}} and refuses all else at once. No tree is built, so memory stays in
// proportion to the entries.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& source) : source_(source) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() override { return unexpected("null"); }
  bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return unexpected(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return unexpected(text); }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::kShape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        fail(about() + "shape overflows at " + std::to_string(value));
      if (entry_.shape.size() == kMaxSafetensorsDimensions) {
        fail(about() + "expected at most " + std::to_string(kMaxSafetensorsDimensions) +
             " dimensions, found more");
      }
      entry_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (place_ == Place::kOffsets) {
      offsets_.push_back(value);
      if (offsets_.size() > 2)
        fail(about() + "data_offsets: expected [begin, end], found more than 2 numbers");
      return true;
    }
    return unexpected(std::to_string(value));
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      header_.metadata.emplace(std::move(key_), std::move(value));
      return true;
    }
    if (place_ == Place::kEntry && key_ == "dtype") {
      const auto known = std::find_if(kDtypes.begin(), kDtypes.end(),
                                      [&](const DtypeName& d) { return d.name == value; });
      if (known == kDtypes.end())
        fail(about() + "dtype " + quote(value) + " is not supported; expected " + known_dtypes());
      entry_.dtype = known->dtype;
      has_dtype_ = true;
      return true;
    }
    return unexpected(quote(value));
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::kStart) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop && key_ == "__metadata__") {
      place_ = Place::kMetadata;
    } else if (place_ == Place::kTop) {
      place_ = Place::kEntry;
      entry_ = {};
      entry_.name = key_;
      offsets_.clear();
      has_dtype_ = has_shape_ = has_offsets_ = false;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTop) place_ = Place::kEnd;
    if (place_ == Place::kEntry) finish_entry();
    if (place_ != Place::kEnd) place_ = Place::kTop;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::kEntry || key_ == "dtype") return unexpected("a list");
    place_ = key_ == "shape" ? Place::kShape : Place::kOffsets;
    return true;
  }

  bool end_array() override {
    (place_ == Place::kShape ? has_shape_ : has_offsets_) = true;
    if (place_ == Place::kOffsets && offsets_.size() != 2) {
      fail(about() + "data_offsets: expected [begin, end], found " +
           std::to_string(offsets_.size()) + " numbers");
    }
    place_ = Place::kEntry;
    return true;
  }

  bool key(string_t& key) override {
    key_ = std::move(key);
    switch (place_) {
      case Place::kTop: top_key(); break;
      case Place::kMetadata:
        if (header_.metadata.contains(key_))
          fail("__metadata__: key " + quote(key_) + " appears twice");
        break;
      default: entry_key(); break;
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    fail("the header is not valid JSON at its byte " + std::to_string(position));
  }

 private:
  enum class Place { kStart, kTop, kMetadata, kEntry, kShape, kOffsets, kEnd };

  [[noreturn]] void fail(const std::string& message) const {
    throw InputError(source_ + ": " + message);
  }

  std::string about() const { return "tensor " + quote(entry_.name) + ": "; }

  void top_key() {
    if (key_ != "__metadata__") {
      if (names_.size() == kMaxSafetensorsTensors)
        fail("expected at most " + std::to_string(kMaxSafetensorsTensors) + " tensors, found more");
      if (key_.empty()) fail("a tensor has an empty name");
      if (key_.size() > kMaxSafetensorsNameBytes) {
        fail("tensor " + quote(key_) + ": expected a name of at most " +
             std::to_string(kMaxSafetensorsNameBytes) + " bytes, found " +
             std::to_string(key_.size()));
      }
    }
    if (!names_.insert(key_).second) fail("tensor " + quote(key_) + " appears twice");
  }

  void entry_key() const {
    const bool repeated = (key_ == "dtype" && has_dtype_) || (key_ == "shape" && has_shape_) ||
                          (key_ == "data_offsets" && has_offsets_);
    if (repeated) fail(about() + "field " + quote(key_) + " appears twice");
    if (key_ != "dtype" && key_ != "shape" && key_ != "data_offsets") {
      fail(about() + "unknown field " + quote(key_) + "; expected dtype, shape and data_offsets");
    }
  }

  bool unexpected(const std::string& found) const {
    switch (place_) {
      case Place::kStart: fail("expected the header to be a JSON object, found " + found);
      case Place::kTop:
        fail((key_ == "__metadata__" ? key_ : "tensor " + quote(key_)) +
             ": expected an object, found " + found);
      case Place::kMetadata:
        fail("__metadata__: " + quote(key_) + ": expected a text, found " + found);
      case Place::kEntry:
        fail(about() + key_ + ": expected " + (key_ == "dtype" ? "a text" : "a list of integers") +
             ", found " + found);
      default: fail(about() + key_ + ": expected integers from 0, found " + found);
    }
  }

  void finish_entry() {
    std::vector<std::string> missing;
    if (!has_dtype_) missing.emplace_back("dtype");
    if (!has_shape_) missing.emplace_back("shape");
    if (!has_offsets_) missing.emplace_back("data_offsets");
    if (!missing.empty()) fail(about() + "without " + joined(missing));
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    header_.entries.push_back(std::move(entry_));
  }

  const std::string& source_;
  SafetensorsHeader header_;
  Place place_ = Place::kStart;
  std::string key_;
  std::unordered_set<std::string> names_;
  SafetensorsEntry entry_;
  std::vector<uint64_t> offsets_;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
};

// product(shape) * item size; nothing if any partial product, zeros aside, leaves int64 (strides
// are such products).
std::optional<uint64_t> checked_bytes(const SafetensorsEntry& entry) {
  int64_t product = static_cast<int64_t>(c10::elementSize(entry.dtype));
  bool is_empty = false;
  for (const int64_t size : entry.shape) {
    is_empty = is_empty || size == 0;
    if (size > 0 && __builtin_mul_overflow(product, size, &product)) return std::nullopt;
  }
  return is_empty ? 0 : static_cast<uint64_t>(product);
}

std::string range_text(const SafetensorsEntry& entry) {
  return "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + ")";
}

void check_entry(const SafetensorsEntry& entry, uint64_t data_bytes, const std::string& source) {
  const std::string about = source + ": tensor " + quote(entry.name) + ": ";
  if (entry.begin > entry.end) {
    throw InputError(about + "data_offsets: begin " + std::to_string(entry.begin) +
                     " lies after end " + std::to_string(entry.end));
  }
  if (entry.end > data_bytes) {
    throw InputError(about + "bytes " + range_text(entry) + " lie beyond the end of the data (" +
                     std::to_string(data_bytes) + " bytes); is the file cut short?");
  }
  const std::optional<uint64_t> bytes = checked_bytes(entry);
  if (!bytes) throw InputError(about + "shape " + shape_text(entry.shape) + " overflows");
  if (*bytes != entry.end - entry.begin) {
    throw InputError(about + safetensors_dtype(entry.dtype) + " " + shape_text(entry.shape) +
                     " takes " + std::to_string(*bytes) + " bytes, found data_offsets of " +
                     std::to_string(entry.end - entry.begin) + " bytes");
  }
}

// The format leaves no room for holes or overlaps: sorted, the entries tile the data.
void check_tiling(const std::vector<SafetensorsEntry>& entries, uint64_t data_bytes,
                  const std::string& source) {
  uint64_t covered = 0;
  const SafetensorsEntry* previous = nullptr;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin < covered) {
      throw InputError(source + ": tensors " + quote(previous->name) + " and " + quote(entry.name) +
                       " overlap: bytes " + range_text(*previous) + " and " + range_text(entry));
    }
    if (entry.begin > covered) {
      throw InputError(source + ": bytes [" + std::to_string(covered) + ", " +
                       std::to_string(entry.begin) + ") before tensor " + quote(entry.name) +
                       " belong to no tensor");
    }
    covered = entry.end;
    previous = &entry;
  }
  if (covered < data_bytes) {
    throw InputError(source + ": " + std::to_string(data_bytes - covered) +
                     " bytes follow the last tensor and belong to none");
  }
}

}  // namespace

std::string safetensors_dtype(at::ScalarType dtype) {
  const auto known = std::find_if(kDtypes.begin(), kDtypes.end(),
                                  [&](const DtypeName& d) { return d.dtype == dtype; });
  ensure(known != kDtypes.end(),
         std::string("dtype ") + c10::toString(dtype) + " has no name in safetensors");
  return std::string(known->name);
}

SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes,
                                           const std::string& source) {
  // The format wants "{" as the first byte; only spaces may follow the object (JSON's other white
  // space is tolerated).
  if (json.empty() || json.front() != '{') {
    throw InputError(source + ": expected the header to be a JSON object, found " +
                     quote(json.substr(0, 16)));
  }
  HeaderReader reader(source);
  nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  SafetensorsHeader header = reader.take();
  for (const SafetensorsEntry& entry : header.entries) check_entry(entry, data_bytes, source);
  std::sort(header.entries.begin(), header.entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
            });
  check_tiling(header.entries, data_bytes, source);
  return header;
}

std::string write_safetensors_header(const SafetensorsHeader& header) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!header.metadata.empty()) json["__metadata__"] = header.metadata;
  std::string text;
  try {
    // Built entry by entry: ordered_json looks a key up linearly.
    text = json.dump();
    for (const SafetensorsEntry& entry : header.entries) {
      nlohmann::ordered_json fields = nlohmann::ordered_json::object();
      fields["dtype"] = safetensors_dtype(entry.dtype);
      fields["shape"] = entry.shape;
      fields["data_offsets"] = {entry.begin, entry.end};
      text.insert(text.size() - 1, (text.size() > 2 ? "," : "") +
                                       nlohmann::ordered_json(entry.name).dump() + ":" +
                                       fields.dump());
    }
  } catch (const nlohmann::json::exception& e) {
    throw InternalError("a safetensors header could not be written: " + std::string(e.what()));
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace graft
