#include "interop/torch_archive.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"

namespace graft {

namespace {

constexpr uint64_t kMaxRecords = uint64_t{1} << 18;

// An unsigned number, little endian. Requires: it lies within `bytes`.
template <typename Number>
Number number_at(std::span<const std::byte> bytes, uint64_t at) {
  Number out{};
  std::memcpy(&out, bytes.data() + at, sizeof out);
  return out;
}

// Numbers of 64 bits for those that have no room in their 32.
void widen(std::span<const std::byte> extra, const std::array<uint64_t*, 3>& numbers) {
  for (uint64_t at = 0; at + 4 <= extra.size();) {
    const uint64_t id = number_at<uint16_t>(extra, at), size = number_at<uint16_t>(extra, at + 2),
                   end = std::min<uint64_t>(at + 4 + size, extra.size());
    uint64_t next = at + 4;
    for (uint64_t* number : numbers) {
      if (id != 1 || *number != 0xffffffff || next + 8 > end) continue;
      *number = number_at<uint64_t>(extra, next);
      next += 8;
    }
    at += 4 + size;
  }
}

}  // namespace

TorchArchive::TorchArchive(std::span<const std::byte> bytes, const std::string& source)
    : bytes_(bytes), source_(source) {
  uint64_t count = 0, total = 0, at = find_directory(count);
  for (uint64_t i = 0; i < count; ++i) at = read_entry(at, total);
}

std::string_view TorchArchive::text(const std::string& name) const {
  const std::span<const std::byte> record = at(name);
  return {reinterpret_cast<const char*>(record.data()), record.size()};
}

void TorchArchive::damaged(const std::string& what) const {
  throw InputError(source_ + ": a damaged archive: " + what);
}

template <typename Number>
Number TorchArchive::read(uint64_t at) const {
  if (at > bytes_.size() || sizeof(Number) > bytes_.size() - at)
    damaged("a header lies outside the file");
  return number_at<Number>(bytes_, at);
}

std::span<const std::byte> TorchArchive::view(uint64_t at, uint64_t size) const {
  if (at > bytes_.size() || size > bytes_.size() - at) damaged("a record lies outside the file");
  return bytes_.subspan(at, size);
}

uint64_t TorchArchive::find_directory(uint64_t& count) const {
  constexpr uint64_t kEnd = 22, kLongestComment = 0xffff, kWideLocator = 20;
  if (bytes_.size() < kEnd) damaged("no directory");
  uint64_t end = bytes_.size() - kEnd;
  const uint64_t first = end > kLongestComment ? end - kLongestComment : 0;
  while (read<uint32_t>(end) != 0x06054b50 ||
         end + kEnd + read<uint16_t>(end + 20) != bytes_.size()) {
    if (end-- == first) damaged("no directory");
  }
  count = read<uint16_t>(end + 10);
  uint64_t directory = read<uint32_t>(end + 16);
  if (end >= kWideLocator && read<uint32_t>(end - kWideLocator) == 0x07064b50) {
    const auto wide = read<uint64_t>(end - kWideLocator + 8);
    if (read<uint32_t>(wide) != 0x06064b50) damaged("no wide directory where one is announced");
    count = read<uint64_t>(wide + 32);
    directory = read<uint64_t>(wide + 48);
  }
  if (count > kMaxRecords) damaged("more than " + std::to_string(kMaxRecords) + " records");
  return directory;
}

uint64_t TorchArchive::read_entry(uint64_t at, uint64_t& total) {
  if (read<uint32_t>(at) != 0x02014b50) damaged("an entry of the directory is none");
  const auto flags = read<uint16_t>(at + 8), method = read<uint16_t>(at + 10);
  uint64_t stored = read<uint32_t>(at + 20), size = read<uint32_t>(at + 24),
           offset = read<uint32_t>(at + 42);
  const uint64_t name_size = read<uint16_t>(at + 28), extra_size = read<uint16_t>(at + 30),
                 comment_size = read<uint16_t>(at + 32);
  const std::span<const std::byte> raw = view(at + 46, name_size);
  const std::string name(reinterpret_cast<const char*>(raw.data()), raw.size());
  widen(view(at + 46 + name_size, extra_size), {&size, &stored, &offset});
  if ((flags & 1) != 0 || method != 0 || stored != size)
    damaged("record " + quote(name) + " is compressed or encrypted, which torch.save never does");
  if (read<uint32_t>(offset) != 0x04034b50) damaged("record " + quote(name) + " has no header");
  const std::span<const std::byte> record =
      view(offset + 30 + read<uint16_t>(offset + 26) + read<uint16_t>(offset + 28), size);
  if ((total += size) > bytes_.size()) damaged("its records are larger than the file");
  const size_t slash = name.find('/');  // all lie in one folder, called as the file was
  if (slash == std::string::npos) damaged("record " + quote(name) + " lies in no folder");
  if (!records_.emplace(name.substr(slash + 1), record).second)
    damaged("record " + quote(name) + " is there twice");
  return at + 46 + name_size + extra_size + comment_size;
}

}  // namespace graft
