// What graft predict writes of a row: its answer, and columns of the file that was read.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/inner_columns.h"
#include "data/row_writer.h"
#include "feed/dataset.h"
#include "infer/choices.h"
#include "infer/predict.h"
#include "infer/uncertainty.h"

namespace graft {

// Which columns a row of predictions has. Graft's own are, by the kind of task:
//   all             id, text, second (of pairs), gold (the row's own answer, or null), prediction
//   classification  probability (of the prediction), probabilities (by label), logits; of several
//                   samples also entropy, expected_entropy, information, disagreement, variances
//                   (by label)
//   regression      logits; of several samples also information
//   choice          chosen (the option's index), scores, options
// Any other name is a column of the file, or a path into one; "input.NAME" is one, too, where Graft
// has a column of that name. CSV and TSV have a column for each label in the place of probabilities
// and variances: "probabilities.LABEL".
class PredictionColumns {
 public:
  // names: of --columns, or empty for id, prediction and all numbers. Throws InputError where two
  // columns of the file would have one name, and where the format cannot hold a label.
  PredictionColumns(std::vector<std::string> names, const Task& task, TableFormat format,
                    bool has_samples);

  std::vector<std::string> header() const;

  // Finds the columns of a file; `file`, of which `data` are the rows that can be answered, must
  // outlive them. Throws InputError for a name that neither has, and where the format cannot hold a
  // cell that is known before rows are answered: TSV a tab or a line break.
  void bind(const Table& file, const Dataset& data);

  // Throws InputError for a path into a column that led nowhere in all rows so far.
  void check_found() const;

  // `own`: all of Graft's columns of the row `example`.
  Node row(const Node& own, const Example& example) const;

 private:
  struct Column {
    std::string name;
    std::string input;              // of the file; empty: Graft's own
    std::optional<size_t> index;    // in the table
    bool is_found = false;          // a row has it
    std::string hint;               // for a path that no row has so far
    std::vector<std::string> keys;  // a column each in the place of this one

    bool is_own() const { return input.empty(); }
    bool is_answer() const { return is_own() && (name == "gold" || name == "prediction"); }
    std::vector<std::string> header() const;
  };

  Column column_of(const std::string& name, const Task& task) const;
  void check_cells(const Table& table, const Dataset& data) const;
  static void find_in_rows(const Table& table, size_t num_own, Column& column);

  std::vector<Column> columns_;
  std::vector<std::string> own_;
  TableFormat format_;
  const Table* table_ = nullptr;
  std::optional<Table> opened_;  // the table with columns inside others, where one is asked for
};

// Graft's columns of a row, and whether its prediction is not the row's own answer; of a row
// without one, or a regression, nothing.
struct PredictedRow {
  Node own;
  std::optional<bool> is_wrong;
};

// One a row of `data`, in order.
std::vector<PredictedRow> predicted_rows(const Task& task, const Dataset& data,
                                         const Predictions& predictions);
std::vector<PredictedRow> chosen_rows(const Dataset& data, const Choices& choices);

// A cell of a file as it was there.
Node cell_node(const Table& table, size_t row, size_t column);

}  // namespace graft
