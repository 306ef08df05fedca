// The files of tests/golden/generation: what the reference writes and how it ranks options, a file
// a model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/document.h"
#include "base/files.h"
#include "tests/support/models.h"

namespace graft::testing {

inline std::vector<std::string> generation_models() {
  std::vector<std::string> names;
  const Node manifest = golden_manifest("generation");
  for (const auto& [name, entry] : manifest.find("models")->members) names.push_back(name);
  return names;
}

inline Node generation_file(const std::string& name) {
  const Path file = golden_dir("generation") / (name + ".json");
  return parse_json(read_file(file), file.string());
}

inline std::vector<int64_t> ids_of(const Node& list) {
  std::vector<int64_t> ids;
  for (const Node& item : list.items) ids.push_back(std::stoll(item.scalar));
  return ids;
}

}  // namespace graft::testing
