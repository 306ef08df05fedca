// The keys of a proposed task whose rows are answered in words. Internal to src/data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/proposer.h"

namespace graft::detail {

struct ProposedKeys {
  std::string yaml;  // from kind to metrics, but for the format
  std::vector<const Column*> used;
  std::string ready;         // the ready task that reads such rows; empty: none does
  std::string remarks = {};  // comments, whole lines
};

// Of chats, choices, and prompts with targets; nothing where the rows are none of these, or rather
// to be labelled.
std::optional<ProposedKeys> keys_in_words(const Proposer& proposer, const Table& table);

// A template of both: an input below its instruction, a passage above its question.
std::string joined_places(const Column& prompt, const Column& context);
// A text as YAML has it, in quotes.
std::string yaml_text(const std::string& text);
// A line with a comment behind it.
std::string noted(const std::string& line, const std::string& note);

}  // namespace graft::detail
