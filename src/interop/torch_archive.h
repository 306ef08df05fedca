// The zip archive that torch.save writes: records without compression, read as views of the file's
// bytes.
//
// libtorch's own reader is not used: it allocates what a damaged directory says before the size can
// be checked. Nothing here allocates by what the file says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace graft {

class TorchArchive {
 public:
  // `bytes` must outlive the object. Throws InputError "source: ..." for whatever is wrong in the
  // directory.
  TorchArchive(std::span<const std::byte> bytes, const std::string& source);

  bool has(const std::string& name) const { return records_.contains(name); }
  // A record, by its name without the archive's folder: "data.pkl". Requires: it is there.
  std::span<const std::byte> at(const std::string& name) const { return records_.at(name); }
  std::string_view text(const std::string& name) const;

 private:
  [[noreturn]] void damaged(const std::string& what) const;
  template <typename Number>
  Number read(uint64_t at) const;
  std::span<const std::byte> view(uint64_t at, uint64_t size) const;
  // Offset of the directory, from the record at the end of the file or its wide form (zip64), which
  // torch writes beside it.
  uint64_t find_directory(uint64_t& count) const;
  // Reads one entry of the directory; returns where the next one begins. `total`: bytes of all
  // records so far.
  uint64_t read_entry(uint64_t at, uint64_t& total);

  std::span<const std::byte> bytes_;
  std::string source_;
  std::map<std::string, std::span<const std::byte>> records_;
};

}  // namespace graft
