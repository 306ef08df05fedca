// An adapter on disk: adapter.json + adapter.safetensors (doc/adapter_file.md). Loading is strict:
// every key is read, every slot filled, and the base model must be the one the adapter was trained
// on.
#pragma once

#include <string>
#include <string_view>

#include "base/files.h"
#include "edit/adapter.h"
#include "model/trunk.h"

namespace graft {

inline constexpr int64_t kAdapterFormatVersion = 1;

// Where an adapter comes from; shown by `graft inspect adapter`, never read by the maths.
struct Provenance {
  std::string graft_version;
  std::string model;       // the folder as the user wrote it
  std::string tokenizer;   // digest of its tokenizer.json
  int64_t max_length = 0;  // tokens a text was cut to in training
  int64_t seed = 0;
  int64_t steps = 0;
  std::string data;
  std::string origin = {};  // of an imported adapter: "peft 0.21.2 (LORA), FOLDER"
  std::vector<std::string> ignored_config_keys =
      {};  // of the base: IgnoredKeys::remembered. Written from the model itself
};

struct LoadedAdapter {
  Adapter adapter;
  NamedTensors tensors;  // float32 leaves
  Provenance provenance;
};

// What adapter.json says without the tensors being read: for `graft inspect adapter`.
struct AdapterHeader {
  Node definition;  // {edits, head}
  std::optional<Task> task;
  std::string model_type;
  std::vector<std::pair<std::string, std::string>> base;  // canonical tensor name, fingerprint
  Provenance provenance;
};

// Writes into folder `dir` (made if missing); adapter.json comes last, so that a half-written
// folder is no adapter.
void save_adapter(const Path& dir, const Adapter& adapter, const NamedTensors& tensors,
                  const Model& model, const Provenance& provenance);

// Throws InputError naming every difference of the base, each missing, surplus or misshapen tensor.
LoadedAdapter load_adapter(const Path& dir, const Model& model);

// adapter.json of folder `dir`, or its text. Throws InputError listing every fault.
AdapterHeader read_adapter_header(const Path& dir);
AdapterHeader parse_adapter_header(std::string_view text, const std::string& source);

}  // namespace graft
