// An adapter on disk: adapter.json and adapter.safetensors (doc/adapter_file.md). Loading is
// strict: every key is read, every tensor must be there, and the base model must be the one that
// the adapter was trained on.
#pragma once

#include <string>
#include <string_view>

#include "base/files.h"
#include "edit/adapter.h"
#include "model/trunk.h"

namespace graft {

inline constexpr int64_t kAdapterFormatVersion = 1;

// Where an adapter comes from. `graft inspect adapter` shows it; nothing is computed from it.
struct Provenance {
  std::string graft_version;
  std::string model;       // the folder as the user wrote it
  std::string tokenizer;   // digest of its tokenizer.json
  int64_t max_length = 0;  // to which texts were cut in training, in tokens
  int64_t seed = 0;
  int64_t steps = 0;
  std::string data;
  std::string origin = {};  // if it was imported: "peft 0.21.2 (LORA), FOLDER"
  // Those of the base model's config.json (IgnoredKeys::remembered); taken from the model.
  std::vector<std::string> ignored_config_keys = {};
};

struct LoadedAdapter {
  Adapter adapter;
  NamedTensors tensors;  // float32 leaves
  Provenance provenance;
};

// What adapter.json says; the tensors are not read.
struct AdapterHeader {
  Node definition;  // {edits, head}
  std::optional<Task> task;
  std::string model_type;
  std::vector<std::pair<std::string, std::string>> base;  // canonical tensor name, fingerprint
  Provenance provenance;
};

// Writes into the folder `dir`, which is made if it is missing. adapter.json is written last, so
// that a new folder is no adapter before it is whole. Where it replaces one of the same definition
// (a run's new best), an end between the two files leaves the new tensors, whole, beside the old
// provenance; of another definition, beside one that may not be theirs.
void save_adapter(const Path& dir, const Adapter& adapter, const NamedTensors& tensors,
                  const Model& model, const Provenance& provenance);

// Throws InputError that names every difference of the base model, and every tensor that is
// missing, unknown or of another shape.
LoadedAdapter load_adapter(const Path& dir, const Model& model);

// adapter.json of folder `dir`, or its text. Throws InputError listing every fault.
AdapterHeader read_adapter_header(const Path& dir);
AdapterHeader parse_adapter_header(std::string_view text, const std::string& source);

}  // namespace graft
