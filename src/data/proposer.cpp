#include "data/proposer.h"

#include <algorithm>
#include <array>

#include "base/document.h"
#include "base/error.h"
#include "base/wording.h"
#include "data/cells.h"

namespace graft::detail {

namespace {

using ColumnNames = std::vector<std::string>;
using NamePairs = std::vector<std::array<const char*, 2>>;

const ColumnNames kLabelNames = {"label", "labels", "class",  "category", "sentiment", "intent",
                                 "topic", "tag",    "target", "emotion",  "type",      "y"};
const ColumnNames kValueNames = {"score", "similarity", "rating", "stars", "value", "grade"};
const ColumnNames kTextNames = {"text",        "sentence", "sentence1", "premise",  "question1",
                                "text1",       "content",  "body",      "message",  "review",
                                "comment",     "tweet",    "utterance", "document", "question",
                                "description", "title",    "subject",   "input"};
const ColumnNames kIdNames = {"id", "idx", "index", "uid", "guid", "uuid"};
const NamePairs kTextPairs = {{"sentence1", "sentence2"}, {"premise", "hypothesis"},
                              {"question1", "question2"}, {"text1", "text2"},
                              {"text", "text_pair"},      {"question", "sentence"}};
const NamePairs kPromptPairs = {
    {"prompt", "completion"},  {"prompt", "response"},      {"prompt", "target"},
    {"instruction", "output"}, {"instruction", "response"}, {"question", "answer"},
    {"question", "response"},  {"input", "target"},         {"input", "output"}};

bool are_texts(const Column& a, const Column& b) { return a.is_text() && b.is_text(); }

// Whether its lists are of turns, as the first of them tells.
bool holds_turns(const Column& column) {
  if (!column.first_tree.starts_with("[{")) return false;
  try {
    const Node list = parse_json(column.first_tree, "a cell");
    const Node& turn = list.items.front();
    return (turn.find("role") != nullptr && turn.find("content") != nullptr) ||
           (turn.find("from") != nullptr && turn.find("value") != nullptr);
  } catch (const InputError&) {  // beyond what is read of a tree: no chat
    return false;
  }
}

template <class Fits>
Proposer::Pair pair_in(const NamePairs& names, const Proposer& proposer, const Fits& fits) {
  for (const auto& [first, second] : names) {
    const Column *a = proposer.named(first), *b = proposer.named(second);
    if (a != nullptr && b != nullptr && fits(*a, *b)) return std::pair{a, b};
  }
  return std::nullopt;
}

const std::string& first_cell(const Column& column) {
  return column.groups.front().spellings.front().text;
}

}  // namespace

Proposer::Proposer(const Table& table) : table_(table) {
  for (size_t i = 0; i < table.columns.size(); ++i) columns_.push_back(column_of(table, i));
}

const Column* Proposer::named(const std::string& name) const {
  const auto found = std::find_if(columns_.begin(), columns_.end(),
                                  [&](const Column& c) { return folded(c.name) == name; });
  return found == columns_.end() ? nullptr : &*found;
}

const Column* Proposer::id() const {
  for (const std::string& name : kIdNames) {
    if (const Column* column = named(name);
        column != nullptr && static_cast<int64_t>(column->groups.size()) == column->rows)
      return column;
  }
  return nullptr;
}

const Column* Proposer::label() const {
  for (const std::string& name : kLabelNames) {
    if (const Column* column = named(name); column != nullptr && column->is_label()) return column;
  }
  for (const std::string& name : kValueNames) {
    if (const Column* column = named(name);
        column != nullptr && (column->is_number() || column->is_label()))
      return column;
  }
  const Column* best = nullptr;  // the fewest values
  for (const Column& column : columns_) {
    if (&column == id() || !column.is_label()) continue;
    if (best == nullptr || column.groups.size() < best->groups.size()) best = &column;
  }
  return best;
}

const Column* Proposer::text(const Column& label) const {
  for (const std::string& name : kTextNames) {
    if (const Column* column = named(name);
        column != nullptr && column != &label && column->is_text())
      return column;
  }
  const Column* best = nullptr;  // the longest
  for (const Column& column : columns_) {
    if (&column == &label || &column == id() || !column.is_text()) continue;
    if (best == nullptr || column.characters > best->characters) best = &column;
  }
  return best;
}

Proposer::Pair Proposer::texts() const { return pair_in(kTextPairs, *this, are_texts); }

Proposer::Pair Proposer::prompt() const { return pair_in(kPromptPairs, *this, are_texts); }

Proposer::Pair Proposer::turns_and_target() const {
  return pair_in(kPromptPairs, *this, [](const Column& prompt, const Column& target) {
    return holds_turns(prompt) && (holds_turns(target) || target.is_text());
  });
}

const Column* Proposer::alpaca_input() const {
  const Pair pair = prompt();
  const Column* input = named("input");
  const bool is_alpaca = pair && input != nullptr && input->is_text() &&
                         folded(pair->first->name) == "instruction" &&
                         folded(pair->second->name) == "output";
  return is_alpaca ? input : nullptr;
}

const Column* Proposer::messages() const {
  const Column* column = named("messages");
  return column != nullptr && column->trees > 0 ? column : nullptr;
}

const Column* Proposer::turns() const {
  if (const Column* column = messages()) return column;
  const auto found = std::find_if(columns_.begin(), columns_.end(), holds_turns);
  return found == columns_.end() ? nullptr : &*found;
}

bool Proposer::is_chat() const {
  const Column* column = turns();
  if (column == nullptr) return false;
  const bool is_named_so = column->name == "messages" || column->name == "conversations";
  return is_named_so ||
         std::none_of(kLabelNames.begin(), kLabelNames.end(),
                      [&](const std::string& name) { return named(name) != nullptr; });
}

void Proposer::refuse() const {
  std::string message =
      table_.source +
      ": no column can be told to be a label (a few values that come again) beside a text:";
  for (const Column& column : columns_) {
    message += "\n  " + quote(column.name) + ": " +
               count_text(static_cast<int64_t>(column.groups.size())) + " values in " +
               counted(column.rows, "row");
    if (!column.groups.empty())
      message += ", such as " + quote(first_cell(column)) + decimal_point_hint(first_cell(column));
  }
  throw InputError(message + "\nwrite the task by hand: doc/data.md has every key");
}

}  // namespace graft::detail
