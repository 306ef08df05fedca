#include "tensor/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <tuple>

#include "base/document.h"
#include "base/error.h"
#include "base/options.h"
#include "base/printable.h"
#include "tensor/safetensors_header.h"

namespace graft {

namespace {

static_assert(std::endian::native == std::endian::little,
              "the format is little endian and tensors are read in place");

constexpr uint64_t kHeaderLengthBytes = 8;

// Any byte but 0 and 1 would be undefined behaviour once read as a bool.
void check_booleans(const std::byte* bytes, size_t count, const std::string& about) {
  const auto* const wrong = std::find_if(
      bytes, bytes + count, [](std::byte b) { return std::to_integer<unsigned>(b) > 1; });
  if (wrong == bytes + count) return;
  throw InputError(about + "BOOL data: expected 0 or 1, found " +
                   std::to_string(std::to_integer<int>(*wrong)) + " at byte " +
                   std::to_string(wrong - bytes));
}

at::Tensor make_tensor(const SafetensorsEntry& entry, const std::byte* data,
                       const std::shared_ptr<const void>& owner, const std::string& source) {
  const auto options = at::TensorOptions().dtype(entry.dtype);
  const size_t count = entry.end - entry.begin;
  if (count == 0) return at::empty(entry.shape, options);
  const std::byte* const begin = data + entry.begin;
  if (entry.dtype == at::kBool)
    check_booleans(begin, count, source + ": tensor " + quote(entry.name) + ": ");
  if (reinterpret_cast<uintptr_t>(begin) % c10::elementSize(entry.dtype) != 0) {
    at::Tensor copy = at::empty(entry.shape, options);
    std::memcpy(copy.data_ptr(), begin, count);
    return copy;
  }
  // from_blob wants a mutable pointer; the header says that the memory is read-only.
  return at::from_blob(
      const_cast<std::byte*>(begin), entry.shape, [owner](void*) {}, options);
}

}  // namespace

SafetensorsFile parse_safetensors(std::span<const std::byte> bytes,
                                  std::shared_ptr<const void> owner, const std::string& source) {
  if (bytes.size() < kHeaderLengthBytes) {
    throw InputError(source + ": expected a safetensors file of at least 8 bytes, found " +
                     std::to_string(bytes.size()));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kHeaderLengthBytes);
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    throw InputError(source + ": expected a header of at most " +
                     std::to_string(kMaxSafetensorsHeaderBytes) + " bytes, found " +
                     std::to_string(header_bytes) + "; is this a safetensors file?");
  }
  if (header_bytes > bytes.size() - kHeaderLengthBytes) {
    throw InputError(source + ": the header's " + std::to_string(header_bytes) +
                     " bytes reach beyond the end of the file (" + std::to_string(bytes.size()) +
                     " bytes); is the file cut short?");
  }
  const std::span<const std::byte> data = bytes.subspan(kHeaderLengthBytes + header_bytes);
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + kHeaderLengthBytes,
                              header_bytes);
  SafetensorsHeader header = parse_safetensors_header(json, data.size(), source);
  SafetensorsFile file;
  file.metadata = std::move(header.metadata);
  for (const SafetensorsEntry& entry : header.entries)
    file.tensors.emplace(entry.name, make_tensor(entry, data.data(), owner, source));
  return file;
}

SafetensorsFile load_safetensors(const Path& path) {
  const auto mapping = std::make_shared<const MappedFile>(path);
  SafetensorsFile file = parse_safetensors(mapping->bytes(), mapping, path.string());
  file.files.push_back(mapping);
  return file;
}

namespace {

// tensor name -> shard file name
std::map<std::string, std::string> read_weight_map(const Path& index) {
  const std::string source = index.string();
  const Node root = parse_json(read_file(index), source);
  Options options(root, source);
  options.ignore("metadata");  // total_size, which writers do not agree on
  const Node* const map = options.raw("weight_map");
  if (map == nullptr)
    options.fault("weight_map", "missing; expected a section of tensor names and files");
  options.finish();
  if (map == nullptr || map->kind != Node::Kind::kMap || map->members.empty()) {
    throw InputError(source + ": /weight_map: expected a section of tensor names and files");
  }
  std::map<std::string, std::string> out;
  for (const auto& [name, file] : map->members) {
    const bool is_plain = file.kind == Node::Kind::kScalar && file.is_string &&
                          file.scalar.find_first_of("/\\") == std::string::npos &&
                          file.scalar.ends_with(".safetensors");
    if (!is_plain) {
      throw InputError(
          source + ": /weight_map: " + quote(name) +
          ": expected a file name such as \"model-00001-of-00002.safetensors\", found " +
          quote(file.scalar));
    }
    out.emplace(name, file.scalar);
  }
  return out;
}

// Moves the tensors of one shard into `all`; each must be given to this shard by the index.
void add_shard(SafetensorsFile shard, const std::string& file,
               const std::map<std::string, std::string>& weight_map, const Path& index,
               NamedTensors& all) {
  for (auto& [name, tensor] : shard.tensors) {
    const auto listed = weight_map.find(name);
    if (listed == weight_map.end()) {
      throw InputError(index.string() + ": shard " + named(file) + " holds tensor " + quote(name) +
                       ", which the index does not list");
    }
    if (listed->second != file) {
      throw InputError(index.string() + ": shard " + named(file) + " holds tensor " + quote(name) +
                       ", which the index gives to '" + listed->second + "'");
    }
    all.emplace(name, std::move(tensor));
  }
}

void keep_common(std::map<std::string, std::string>& metadata,
                 const std::map<std::string, std::string>& other) {
  std::erase_if(metadata, [&](const auto& entry) {
    const auto found = other.find(entry.first);
    return found == other.end() || found->second != entry.second;
  });
}

SafetensorsFile load_by_index(const Path& folder, const Path& index,
                              const std::map<std::string, std::string>& weight_map) {
  std::set<std::string> files;
  for (const auto& [name, file] : weight_map) files.insert(file);
  SafetensorsFile all;
  bool is_first = true;
  for (const std::string& file : files) {
    if (!std::filesystem::exists(folder / file))
      throw InputError(index.string() + ": shard " + named(file) + " is missing from the folder");
    SafetensorsFile shard = load_safetensors(folder / file);
    if (is_first) all.metadata = shard.metadata;
    else keep_common(all.metadata, shard.metadata);
    is_first = false;
    all.files.insert(all.files.end(), shard.files.begin(), shard.files.end());
    add_shard(std::move(shard), file, weight_map, index, all.tensors);
  }
  for (const auto& [name, file] : weight_map) {
    if (!all.tensors.contains(name)) all.absent.emplace(name, file);
  }
  return all;
}

}  // namespace

SafetensorsFile load_sharded(const Path& folder) {
  const Path single = folder / "model.safetensors", index = folder / "model.safetensors.index.json";
  if (!std::filesystem::exists(index)) {
    if (std::filesystem::exists(single)) return load_safetensors(single);
    const bool has_pickle = std::filesystem::exists(folder / "pytorch_model.bin");
    throw InputError(
        "'" + folder.string() +
        "': expected model.safetensors or model.safetensors.index.json, found neither" +
        (has_pickle
             ? "; pytorch_model.bin is a pickle, which is never run: convert it to safetensors"
             : ""));
  }
  const std::map<std::string, std::string> weight_map = read_weight_map(index);
  const bool uses_single = std::any_of(weight_map.begin(), weight_map.end(), [](const auto& e) {
    return e.second == "model.safetensors";
  });
  if (std::filesystem::exists(single) && !uses_single) {
    throw InputError("'" + folder.string() +
                     "': holds model.safetensors and an index that does not use it: remove the one "
                     "that does not belong");
  }
  return load_by_index(folder, index, weight_map);
}

void save_safetensors(const Path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata) {
  SafetensorsHeader header;
  header.metadata = metadata;
  for (const auto& [name, tensor] : tensors) {
    const std::string about = "save_safetensors: tensor " + quote(name) + ": ";
    ensure(!name.empty() && name.size() <= kMaxSafetensorsNameBytes && name != "__metadata__",
           about + "not a name for a tensor");
    ensure(tensor.defined() && tensor.layout() == at::kStrided && tensor.device().is_cpu() &&
               tensor.is_contiguous() && !tensor.is_conj() && !tensor.is_neg(),
           about + "expected a contiguous CPU tensor");
    header.entries.push_back({name, tensor.scalar_type(), tensor.sizes().vec(), 0, 0});
  }
  std::sort(header.entries.begin(), header.entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              const size_t width_a = c10::elementSize(a.dtype), width_b = c10::elementSize(b.dtype);
              return std::tie(width_b, a.name) < std::tie(width_a, b.name);
            });
  uint64_t place = 0;
  for (SafetensorsEntry& entry : header.entries) {
    entry.begin = place;
    place += tensors.at(entry.name).nbytes();
    entry.end = place;
  }
  const std::string text = write_safetensors_header(header);
  const uint64_t length = text.size();
  replace_file(path, [&](int descriptor) {
    write_all(descriptor, {reinterpret_cast<const char*>(&length), sizeof length}, path);
    write_all(descriptor, text, path);
    for (const SafetensorsEntry& entry : header.entries) {
      const at::Tensor& tensor = tensors.at(entry.name);
      if (tensor.numel() > 0)
        write_all(descriptor, {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()},
                  path);
    }
  });
}

}  // namespace graft
