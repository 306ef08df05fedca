// What the fuzz targets of foreign adapter folders share: any text as the config of a sound folder,
// beside tensors that a peer wrote.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "base/error.h"
#include "interop/foreign.h"
#include "model/trunk.h"

namespace graft {

class ForeignFolder {
 public:
  // `golden`: a folder of tests/golden, whose files are copied but for `config` and the head's,
  // which would need a task.
  ForeignFolder(const std::string& golden, std::string config, const std::set<std::string>& head)
      : config_(std::move(config)),
        dir_(std::filesystem::temp_directory_path() / ("graft-fuzz-" + std::to_string(getpid()))),
        model_(load_model(source() / "models/bert-tiny", Precision::kFloat32)) {
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
    for (const auto& entry : std::filesystem::directory_iterator(source() / golden)) {
      const std::string name = entry.path().filename();
      if (name != config_ && !head.contains(name)) std::filesystem::copy(entry.path(), dir_ / name);
    }
  }
  ForeignFolder(const ForeignFolder&) = delete;
  ForeignFolder& operator=(const ForeignFolder&) = delete;
  ~ForeignFolder() { std::filesystem::remove_all(dir_); }

  // Reads the folder with `bytes` as its config, and makes an adapter of what was read. Only
  // InputError may escape `read`.
  template <class Read>
  void read(const uint8_t* bytes, size_t size, Read read) const {
    std::ofstream(dir_ / config_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes), static_cast<std::streamsize>(size));
    try {
      const LoadedAdapter loaded = assemble(read(dir_, *model_), *model_, std::nullopt, dir_);
      ensure(!loaded.adapter.parts().empty(), "an imported adapter has an edit");
    } catch (const InputError&) {
    }
  }

 private:
  static Path source() { return Path(GRAFT_SOURCE_DIR) / "tests/golden"; }

  std::string config_;
  Path dir_;
  std::shared_ptr<const Model> model_;
};

}  // namespace graft
