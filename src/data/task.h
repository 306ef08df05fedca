// A task: which columns of a table are text and label, what the labels are called, and how predictions are scored.
//
// Tasks are YAML files (tasks/*.yaml, or the user's own; doc/data.md lists every key), the short form "text:LABEL,LABEL", or
// the "task" section of adapter.json. This file also turns a table into examples; it knows nothing of tokens.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/document.h"
#include "base/files.h"
#include "data/reader.h"

namespace graft {

enum class TaskKind { kClassification, kRegression };

struct Task {
  std::string name;
  TaskKind kind = TaskKind::kClassification;
  std::string text_column;
  std::optional<std::string> second_column;       // text pairs
  std::string label_column;
  std::optional<std::string> id_column;           // used where the file has it; else rows are numbered from 0
  std::optional<std::string> embedding_column;    // numbers with blanks between them: an embedding of the row's text, for routers
  std::vector<std::string> labels;                // classification: the names, in index order; at least two
  std::map<std::string, std::string> spellings;   // how files write a label, besides its name: {"0": "negative"}
  std::vector<std::string> columns;               // TSV, CSV: the file has no header line and these columns; empty: it has one
  std::optional<TableFormat> format;              // where the extension does not tell
  std::vector<std::string> metrics;               // see metrics.h; at least one
  std::string primary_metric;                     // one of them: picks the best checkpoint
  int64_t positive = 1;                           // label index that "f1" counts as found

  int64_t num_labels() const { return static_cast<int64_t>(labels.size()); }   // 0 for regression
  // Index of a label by name or by a file's spelling; nothing when unknown.
  std::optional<int64_t> find_label(std::string_view text) const;

  friend bool operator==(const Task&, const Task&) = default;
};

// `name_or_path`: a ready task by name ("sst2", "SST-2", "CoLA": case, '-', '_' and ' ' do not count), a YAML file (it contains a '/'
// or ends in .yaml or .yml), or "text:LABEL,LABEL". Throws InputError, with a near miss and the list of ready tasks.
Task load_task(const std::string& name_or_path, const Path& tasks_dir);
// The ready tasks of a folder, sorted.
std::vector<std::string> task_names(const Path& tasks_dir);

// Both ways are strict and inverse to each other: parse_task(task_to_node(t), ...) == t. Throws InputError listing all faults.
Task parse_task(const Node& node, const std::string& source);
Node task_to_node(const Task& task);

// One row, ready for a tokenizer.
struct Example {
  int64_t id = 0;                      // index of the row in its file, from 0: the key of everything random
  std::string id_text;                 // what predictions are called: the id column as written, or `id`
  bool id_is_number = true;            // the id was a JSON number, or there was none: written without quotes
  std::string text;
  std::optional<std::string> second;
  std::vector<float> embedding;        // as wide in every row; empty where the task has no such column
  std::optional<double> label;         // class index or value; absent where the file has none
  int64_t line = 0;                    // for messages
};

enum class LabelUse { kRequired, kOptional };   // kOptional: prediction; a label that is there must still be a known one

// All rows as examples. Throws InputError at path:line for an unknown or missing label, a text that is null, missing or not a text.
std::vector<Example> to_examples(const Table& table, const Task& task, LabelUse use);
// read_table with the task's columns and format, then to_examples.
std::vector<Example> read_examples(const Path& path, const Task& task, LabelUse use);

}  // namespace graft
