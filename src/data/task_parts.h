// The parts of a task file that task.cpp leaves to text_task.cpp. Internal to src/data.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/options.h"
#include "data/task.h"

namespace graft::detail {

// The text at `key`, where there is one.
std::optional<std::string> optional_text(Options& options, std::string_view key);

// A column's name or a template at `key`, which must be there; else a fault and an empty one.
Template column_or_template_at(Options& options, std::string_view key);

// Each reads its keys from `options`, and its faults go there.
std::optional<Cloze> read_cloze(Options& options, const std::vector<std::string>& labels);
// Generation or Choice, but for what the two share beside the chat.
template <class Question>
Question read_question(Options& options);
template <>
Generation read_question<Generation>(Options& options);
template <>
Choice read_question<Choice>(Options& options);

// The word that a task file has for it.
std::string target_form_word(TargetForm form);

// What only a text metric can do wrong; after the metrics.
void check_text_metrics(Options& options, const Task& task);

// Adds the keys of cloze, generation and choice.
void write_text_parts(Node& node, const Task& task);

// The columns that a task names, each with its key.
std::vector<std::pair<std::string, std::string>> named_columns(const Task& task);

}  // namespace graft::detail
