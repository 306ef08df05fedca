// What several commands share: where presets and tasks lie, flags that many have, notes on rows.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "feed/dataset.h"
#include "model/weights.h"
#include "session/share.h"

namespace CLI {
class App;
class Validator;
}  // namespace CLI

namespace graft {

// The folder with presets/ and tasks/: $GRAFT_SHARE, beside an installed program, or the source
// tree of a built one.
Share share();

// A task by name or file; nothing for an empty name.
std::optional<Task> find_task(const std::string& name);

// What the declaration of a setting of the run ("data.eval") says it is, for the flag that stands
// for it.
std::string setting_help(const std::string& key);

// --precision fp32|bf16, read straight into `value`.
void add_precision(CLI::App& command, Precision& value);

// --ignore-config-key NAME, of every command that reads a model's config.json.
void add_ignored_keys(CLI::App& command, std::vector<std::string>& keys);

// Of a flag's number.
CLI::Validator above_zero();
CLI::Validator not_negative();

// Tells on standard error which rows max_length shortened, also under --quiet; `what`: "training
// data".
void tell_cut(const Dataset& data, const std::string& what);

// --max-length N: tokens of a row; 0, the default, is what training saw. `otherwise`: what it is
// where nothing was trained.
void add_max_length(CLI::App& command, int64_t& value, const std::string& otherwise = "512");

// --threads N; 0, the default, is as many as the machine has cores.
void add_threads(CLI::App& command, int64_t& value);
void set_threads(int64_t threads);  // of this process, for matrix products

}  // namespace graft
