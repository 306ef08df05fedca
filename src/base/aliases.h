// What other tools call the things that Graft has a name for, so that a message can answer their
// users.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace graft {

// Which of `known` is meant by `name`: that itself, Graft's name for a setting or site that
// transformers, PEFT, AdapterHub or common training scripts call so ("data" stands for all of
// "data.rows"), or "data.held_out" for "held_out"; "" where none is.
std::string setting_called(std::string_view name, const std::vector<std::string>& known);

// " (did you mean 'learning_rate'?)" for "lr", by setting_called; else as did_you_mean.
std::string did_you_mean_setting(std::string_view wrong, const std::vector<std::string>& known);

// Graft's names for `foreign`, the likeliest first; none where it is not in the table. Of a path
// such as "model.layers.0.self_attn.q_proj" the longest end that the table has counts.
std::vector<std::string> own_names(std::string_view foreign);

// The preset that a switch of another tool stands for: "dora" for "use_dora"; "" where none does.
std::string preset_called(std::string_view name);

}  // namespace graft
