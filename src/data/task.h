// A task: which columns of a table are text and label, or prompt and target; what the labels are
// called; how predictions are scored.
//
// Tasks are YAML files (tasks/*.yaml, or the user's own; doc/data.md lists every key), the short
// form "text:LABEL,LABEL", or the "task" section of adapter.json. This file also turns a table into
// examples; it knows nothing of tokens.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/document.h"
#include "base/files.h"
#include "data/reader.h"
#include "data/text_task.h"
#include "text/chat.h"

namespace graft {

enum class TaskKind {
  kClassification,
  kRegression,
  kGeneration,  // a text after a prompt, or the answers in a chat
  kChoice,      // the most probable of a row's options
};

// What classification and regression share.
struct Labelled {
  Template text;                   // a column, or a text with columns in it
  std::optional<Template> second;  // text pairs: the same of the second text
  std::string label_column;

  friend bool operator==(const Labelled&, const Labelled&) = default;
};

// "1" of "1.0" and "-2" of "-2.00", as pandas writes whole numbers of a column that has empty
// cells; nothing of another text.
std::optional<std::string> without_zero_fraction(std::string_view written);

struct Classification : Labelled {
  std::vector<std::string> labels;  // the names, in index order; at least two
  // How files write a label, besides its name: {"0": "negative"}.
  std::map<std::string, std::string> spellings;
  int64_t positive = 1;        // label index that "f1" counts as found
  std::optional<Cloze> cloze;  // by the word at a mask

  // Index of a label by name or by a file's spelling, else by the whole number that is written;
  // nothing when unknown.
  std::optional<int64_t> find_label(std::string_view written) const;

  friend bool operator==(const Classification&, const Classification&) = default;
};

struct Regression : Labelled {
  std::optional<double> least;  // what is below is answered as this

  // What a model's value is answered as.
  double answered(double value) const { return least ? std::max(value, *least) : value; }

  friend bool operator==(const Regression&, const Regression&) = default;
};

struct Task {
  std::string name;
  // What is asked, by its kind; in the order of TaskKind.
  std::variant<Classification, Regression, Generation, Choice> question;
  std::optional<std::string>
      id_column;  // used where the file has it; else rows are numbered from 0
  std::optional<std::string> embedding_column;  // numbers with blanks between them: an embedding of
                                                // the row's text, for routers
  std::optional<std::string> subspace_column;   // which rows of an edit's subspace act for the row
  std::vector<std::string>
      columns;  // TSV, CSV: the file has no header line and these columns; empty: it has one
  std::vector<std::string>
      headerless;  // TSV, CSV: the columns of a file whose first line names none of these
  std::optional<TableFormat> format;  // where the extension does not tell
  char delimiter = '\0';  // CSV: what separates fields; '\0': as the file's first line shows
  std::vector<std::string> metrics;  // see metrics.h; at least one
  std::string primary_metric;        // one of them: picks the best checkpoint
  TruncationSide truncation_side = TruncationSide::kRight;  // where a text (of texts: a prompt) is
                                                            // cut; a chat loses its oldest turns

  TaskKind kind() const { return static_cast<TaskKind>(question.index()); }
  // The question where it is of that kind, else null.
  template <class Question>
  const Question* find() const {
    return std::get_if<Question>(&question);
  }
  // Requires: it is of that kind.
  template <class Question>
  const Question& at() const {
    return std::get<Question>(question);
  }
  template <class Question>
  Question& at() {
    return std::get<Question>(question);
  }
  // Of a classification or regression, else null.
  const Labelled* labelled() const;
  bool has_second() const { return labelled() != nullptr && labelled()->second; }
  // Of a generation or choice, else null: the model answers in words, not by a head.
  const Prompted* prompted() const;
  bool is_answered_in_words() const { return prompted() != nullptr; }
  // Of a classification, else none.
  const std::vector<std::string>& labels() const;
  int64_t num_labels() const { return static_cast<int64_t>(labels().size()); }
  // Of a classification by the word at a mask, else null.
  const Cloze* cloze() const;

  friend bool operator==(const Task&, const Task&) = default;
};

// The way out where a task or preset is asked for by its name and no folder of them was given.
inline constexpr const char* kGiveShare = "give share, the folder with presets/ and tasks/";

// `name_or_path`: a ready task by name ("sst2", "SST-2", "CoLA": case, '-', '_' and ' ' do not
// count), a YAML file (it contains a
// '/' or ends in .yaml or .yml), or "text:LABEL,LABEL". Throws InputError, with a near miss and the
// list of ready tasks. `tasks_dir`: "" where no task is known by name.
Task load_task(const std::string& name_or_path, const Path& tasks_dir);
// Whether that is a YAML file.
bool is_task_file(const std::string& name_or_path);
// The ready tasks of a folder, sorted.
std::vector<std::string> task_names(const Path& tasks_dir);
// The task with keys of its document changed, {primary: spearman}; null takes a key out, and other
// metrics the primary one. Throws InputError as parse_task.
Task with_options(const Task& task, const Node& changes, const std::string& source);
// What the task file of a ready task says it is.
std::string task_about(const std::string& name, const Path& tasks_dir);

// Both ways are strict and inverse to each other: parse_task(task_to_node(t), ...) == t. Throws
// InputError listing all faults.
Task parse_task(const Node& node, const std::string& source);
Node task_to_node(const Task& task);

// What a row of a classification or regression has beside its text.
struct LabelledRow {
  std::optional<std::string> second = {};
  // Before the mask, the mask (a target without text), after it.
  std::vector<Piece> cloze = {};
};

// What a row of a generation has beside its prompt.
struct GenerationRow {
  std::optional<std::string> target = {};
  // Of a chat: all turns, the last one of the assistant where the row has a target.
  std::vector<Turn> turns = {};
  std::string turns_column = {};  // where they stand as a list; empty where they were made of texts
  std::vector<std::string> references = {};  // what an output is scored against
  std::optional<std::string> answer = {};    // of a task with an answer rule: the right one
  std::string group = {};                    // the template or data set; else the task's name

  // What an output is compared with: the answer, else the first reference, else "".
  const std::string& truth() const;
};

// What a row of a choice has beside its prompt.
struct ChoiceRow {
  // At least two, as they follow the prompt; the example's label is the right one's index.
  std::vector<std::string> options = {};
  std::string group = {};  // as that of a generation
};

// One row, ready for a tokenizer.
struct Example {
  int64_t id = 0;            // index of the row in its file, from 0: the key of everything random
  std::string id_text;       // what predictions are called: the id column as written, or `id`
  bool id_is_number = true;  // the id was a JSON number, or there was none: written without quotes
  std::string text;          // the prompt of a generation or choice; empty for a chat in a list
  std::vector<float> embedding;   // as wide in every row; empty where the task has no such column
  std::vector<int64_t> subspace;  // rows of an edit's subspace that act for this row, ascending;
                                  // empty: all that the edit has
  std::optional<double> label;    // class index or value; absent where the file has none
  std::variant<LabelledRow, GenerationRow, ChoiceRow> row;
  std::shared_ptr<const std::string> source;  // its file
  int64_t line = 0;                           // in that file
  int64_t entry = 0;                          // of a JSON list: its number there, from 1; else 0

  // The row where it is of that kind, else null.
  template <class OfKind>
  const OfKind* find() const {
    return std::get_if<OfKind>(&row);
  }
  // Requires: it is of that kind.
  template <class OfKind>
  const OfKind& at() const {
    return std::get<OfKind>(row);
  }
  template <class OfKind>
  OfKind& at() {
    return std::get<OfKind>(row);
  }
  // The second text of a pair, else null.
  const std::string* second() const;
  // Of a generation or choice, else "".
  const std::string& group() const;
  // "data.jsonl:7: ", to open a message with, as row_place has it; "row 3: " without a file.
  std::string where() const;
};

enum class LabelUse {
  kRequired,
  kOptional,  // prediction; a label that is there must still be a known one
  kIgnored    // as optional, but the label of a classification or regression is not read
};

// All rows as examples. Throws InputError at path:line for an unknown or missing label,
// a text that is null, missing or not a text, and the fault of a row that could not be read.
std::vector<Example> to_examples(const Table& table, const Task& task, LabelUse use);
// Of a row that may hold faults: its id, line and number alone; without an id that can be read its
// number.
Example named_example(const Table& table, size_t row, const Task& task);
// How a file of the task is read.
TableOptions table_options(const Task& task);
// read_table with the task's options, then to_examples.
std::vector<Example> read_examples(const Path& path, const Task& task, LabelUse use);
// What generated texts are scored on: with group_references, rows with equal prompts become the
// first of them with the references of all, in order; else the rows as they are.
std::vector<Example> join_references(std::vector<Example> examples, const Task& task);

}  // namespace graft
