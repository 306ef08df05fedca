// What several commands share: where presets and tasks lie, how an adapter is named, --set, data
// folders.
#pragma once

#include <string>
#include <vector>

#include "base/document.h"
#include "base/files.h"
#include "edit/adapter_file.h"
#include "edit/registry.h"
#include "infer/dataset.h"
#include "infer/model_text.h"
#include "train/config.h"

namespace CLI {
class App;
class Validator;
}  // namespace CLI

namespace graft {

// The folder with presets/ and tasks/: $GRAFT_SHARE, beside an installed program, or the source
// tree of a built one.
Path share_dir();

// A preset (presets/NAME.yaml) or a YAML file of one's own: {about, edits, head, train, published}.
// `published` holds those of the settings that the method's paper has otherwise; NAME:published
// puts them over `train`.
struct AdapterPreset {
  Node definition;  // {edits, head}
  Node train;       // defaults for the run; may be null
  std::string about;
  std::string source;
};
AdapterPreset load_preset(const std::string& name_or_path);
std::vector<std::string> preset_names();

// Applies key=value settings of the adapter ("adapter.rank=4", or "rank=4" where only one edit has
// it; "head.pooler=trained") to `definition`, with every default of every edit filled in first;
// `source` then says so, for messages. Others go to `run`
// ("epochs=5", "data.rows=100"). Returns a note for each setting of the run beside which an edit
// has an option of that name.
std::vector<std::string> apply_settings(const std::vector<std::string>& settings,
                                        const EditTarget& target, std::string& source,
                                        Node& definition, Node& run);

// What the declaration of a setting of the run ("data.eval") says it is, for the flag that stands
// for it.
std::string setting_help(const std::string& key);

// Throws InputError where --out of a command that writes an adapter holds one already, or is the
// folder of a run.
void check_free_for_adapter(const std::string& out);

// `path` itself, or the train/dev/test files of a folder.
DataConfig find_data(const std::string& path);

// --precision fp32|bf16, read straight into `value`.
void add_precision(CLI::App& command, Precision& value);

// Throws InputError when an adapter was trained with another tokenizer than the model has.
// `adapter`, `model`: as the user named them.
void check_tokenizer(const Provenance& provenance, const ModelText& text,
                     const std::string& adapter, const std::string& model);

// --ignore-config-key NAME, of every command that reads a model's config.json.
void add_ignored_keys(CLI::App& command, std::vector<std::string>& keys);

// What the user names, and what the adapters in these folders were trained with. A folder that
// holds no adapter is left for those who load it; so is an empty name.
IgnoredKeys ignored_keys(const std::vector<std::string>& named,
                         const std::vector<std::string>& adapters);

// Of a flag's number.
CLI::Validator above_zero();
CLI::Validator not_negative();

// Tells on standard error which rows max_length shortened, also under --quiet; `what`: "training
// data".
void tell_cut(const Dataset& data, const std::string& what);

// --max-length N: tokens of a row; 0, the default, is what training saw.
void add_max_length(CLI::App& command, int64_t& value);

// --threads N; 0, the default, is as many as the machine has cores.
void add_threads(CLI::App& command, int64_t& value);
void set_threads(int64_t threads);  // of this process, for matrix products

}  // namespace graft
