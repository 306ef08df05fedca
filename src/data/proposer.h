// What the columns of a table seem to be: label and text, prompt and target, options, chats.
// Internal to src/data.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/column_values.h"
#include "data/reader.h"
#include "data/usual_names.h"

namespace graft::detail {

// Answers point to columns of the proposer; null, or nothing, where none is such. A name is found
// whatever its case.
class Proposer {
 public:
  using Pair = std::optional<std::pair<const Column*, const Column*>>;

  struct Asked {
    const Column* question;
    std::vector<const Column*> options;  // one that holds lists or objects, or a text each
    const Column* right;
  };

  struct Answered {
    const Column *prompt, *target, *references;  // the last may be null
  };

  explicit Proposer(const Table& file);  // The table must outlive it.
  Proposer(const Proposer&) = delete;    // Answers point into it.
  Proposer& operator=(const Proposer&) = delete;
  const std::vector<Column>& columns() const { return columns_; }

  // Whether it is a usual path into another column. Such a one is no label and no text of a
  // classification by guess, and may hold nothing.
  bool is_inner(const Column& column) const { return column.index >= file_.columns.size(); }

  const Column* named(std::string_view name) const;
  // By a usual name, and another value in every row.
  const Column* id() const { return id_; }
  // By a usual name, else the one with the fewest values that come again.
  const Column* label() const;
  // Whether it is one by its name, also beside a prompt and its target.
  static bool is_named_label(const Column& column);
  // What could be the label as well, where no name tells.
  std::vector<const Column*> other_labels() const;
  // By a usual name, else the longest.
  const Column* text(const Column& label) const;
  // Two texts that are labelled together, by the first pair of usual names that is there: a pair of
  // texts, a title and its text, a prompt and what was answered.
  Pair texts(const Column& label) const;
  // A prompt and its target, likewise; the target may be a number.
  Pair prompt() const;
  // A prompt with the first of its answers, and a list of all.
  std::optional<Answered> answered() const;
  // A text in two languages, the first two of those that a row has.
  Pair translation() const;
  // A prompt and its target where the prompt is a list of turns, and the target one or a text.
  Pair turns_and_target() const;
  // What a prompt speaks of: the input of an instruction, the passage of a question.
  const Column* context(const Column& prompt) const;
  // What the system says before a prompt or a chat.
  const Column* system() const;
  std::optional<Asked> choice() const;
  // Lists of turns: messages, else the first column of such.
  const Column* messages() const;
  const Column* turns() const;
  // Whether the turns are what the rows are about: by their column's name, or beside no label that
  // has a usual name.
  bool is_chat() const;

  // Throws InputError: no column is a label, with what each holds.
  [[noreturn]] void refuse() const;

 private:
  // The first of the names that is there and fits.
  template <class Fits>
  const Column* first_named(std::span<const std::string_view> names, const Fits& fits) const;
  // The first column whose name's last word is one of these, and that fits.
  template <class Fits>
  const Column* first_ending(std::span<const std::string_view> words, const Fits& fits) const;
  template <class Fits>
  Pair first_pair(std::span<const NamePair> names, const Fits& fits) const;
  // By its name alone: what is surely a label; a value; these or a topic.
  const Column* named_label() const;
  const Column* named_value() const;
  const Column* label_by_name() const;
  // What comes again, the fewest values first.
  std::vector<const Column*> guessed_labels() const;
  // At least so many texts whose names are a stem and a number or letter that counts on.
  std::vector<const Column*> counted_on(std::string_view stem, size_t least) const;
  std::vector<const Column*> options() const;

  const Table& file_;
  std::vector<Column> columns_;
  std::vector<std::string> names_;  // folded, of each column
  const Column* id_ = nullptr;
};

}  // namespace graft::detail
