// What the columns of a table seem to be: label and text, prompt and target, chats.
// Internal to src/data.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/column_values.h"
#include "data/reader.h"

namespace graft::detail {

// Answers point to columns of the proposer; null, or nothing, where none is such. A name is found
// whatever its case.
class Proposer {
 public:
  using Pair = std::optional<std::pair<const Column*, const Column*>>;

  explicit Proposer(const Table& table);  // The table must outlive it.
  const std::vector<Column>& columns() const { return columns_; }

  const Column* named(const std::string& name) const;
  // A usual name, and another value in every row.
  const Column* id() const;
  // By a usual name, else the one with the fewest values that come again.
  const Column* label() const;
  // By a usual name, else the longest.
  const Column* text(const Column& label) const;
  // Both of the first pair of usual names that is there: two texts; a prompt and its target; the
  // same where the prompt is a list of turns, and the target one or a text.
  Pair texts() const;
  Pair prompt() const;
  Pair turns_and_target() const;
  // The text that some instructions of Alpaca's form have beside them: its pair is instruction and
  // output.
  const Column* alpaca_input() const;
  // Lists of turns: messages, else the first column of such.
  const Column* messages() const;
  const Column* turns() const;
  // Whether the turns are what the rows are about: by their column's name, or beside no label that
  // has a usual name.
  bool is_chat() const;

  // Throws InputError: no column is a label, with what each holds.
  [[noreturn]] void refuse() const;

 private:
  const Table& table_;
  std::vector<Column> columns_;
};

}  // namespace graft::detail
