// graft predict: what an adapter or a bare model answers to each row, in the order of the file.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iterator>
#include <optional>

#include "base/error.h"
#include "base/output_file.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/files.h"
#include "cli/out_of_memory.h"
#include "cli/prediction_rows.h"
#include "cli/records.h"
#include "cli/subject.h"
#include "data/row_stream.h"
#include "train/progress.h"

namespace graft {

namespace {

constexpr int64_t kWindow = 1024;  // rows that are answered before the first of them is written; among them lengths are sorted

struct PredictFlags {
  SubjectFlags subject;
  std::string out, format, records;
  std::vector<std::string> columns;
  bool only_errors = false;
};

// Rows begin .. end of `data`, moved out of it.
Dataset window_of(Dataset& data, int64_t begin, int64_t end) {
  const auto moved = [&](auto& from, auto& to) {
    if (from.empty()) return;
    to.assign(std::make_move_iterator(from.begin() + begin), std::make_move_iterator(from.begin() + end));
  };
  Dataset window;
  moved(data.examples, window.examples);
  moved(data.sequences, window.sequences);
  moved(data.options, window.options);
  return window;
}

// Answers rows and writes them as they come.
class Predictor {
 public:
  Predictor(const PredictFlags& flags, const Subject& subject, TableFormat format)
      : flags_(flags),
        subject_(subject),
        format_(format),
        columns_(flags.columns, subject.task, format, is_ensemble(flags.subject.route)),
        bound_(*subject.model, subject.loaded.adapter, subject.loaded.tensors, experts_of(flags.subject.route.routing)) {
    options_.route = flags.subject.route;
    options_.keep_records = !flags.records.empty();
  }

  void answer(const Table& table, Verbosity verbosity) {
    const Task& task = subject_.task;
    columns_.bind(table);
    const LabelUse use = flags_.only_errors ? LabelUse::kRequired : LabelUse::kOptional;
    Dataset data = encode_examples(to_examples(table, task, use), task, subject_.text, subject_.model->config, subject_.max_length,
                                   TargetUse::kLeaveOut);
    tell_cut(data, "data");
    open();
    const int64_t total = data.size();
    Progress progress("row", total, 0, verbosity);
    for (int64_t begin = 0; begin < total; begin += kWindow) {
      options_.progress = [&](int64_t done, int64_t) { progress.update(begin + done, ""); };
      answer_window(window_of(data, begin, std::min(begin + kWindow, total)), table);
    }
    progress.finish();
  }

  void finish() {
    writer_->finish();
    if (records_) records_->finish();
    if (flags_.subject.is_quiet) return;
    std::FILE* out = messages_beside({flags_.out, flags_.records});
    if (flags_.only_errors)
      std::fprintf(out, "%s of %s %s wrong, in %s\n", count_text(writer_->num_rows()).c_str(), count_text(num_answered_).c_str(),
                   num_answered_ == 1 ? "prediction is" : "predictions are", flags_.out.c_str());
    else
      std::fprintf(out, "%s %s in %s\n", count_text(num_answered_).c_str(), plural(num_answered_, "prediction").c_str(),
                   flags_.out.c_str());
  }

 private:
  // Files are made when all that can be wrong with the first rows has been told.
  void open() {
    if (file_) return;
    file_.emplace(flags_.out);
    writer_.emplace(*file_, format_, columns_.header());
    if (!flags_.records.empty()) records_.emplace(flags_.records);
  }

  void answer_window(const Dataset& data, const Table& table) {
    std::vector<PredictedRow> rows;
    if (subject_.task.kind == TaskKind::kChoice) {
      rows = chosen_rows(data, choose(*subject_.model, bound_, subject_.task, data, options_));
    } else {
      const Predictions predictions = predict(*subject_.model, bound_, data, options_);
      rows = predicted_rows(subject_.task, data, predictions);
      if (records_) records_->write(record_lines(data, predictions.records));
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      const Example& example = data.examples[i];
      ++num_answered_;
      if (flags_.only_errors && !rows[i].is_wrong.value_or(false)) continue;
      writer_->write(columns_.row(rows[i].own, example), table.source + ":" + std::to_string(example.line) + ": ");
    }
  }

  const PredictFlags& flags_;
  const Subject& subject_;
  TableFormat format_;
  PredictionColumns columns_;
  Bound bound_;
  PredictOptions options_;
  std::optional<OutputFile> file_, records_;
  std::optional<RowWriter> writer_;
  int64_t num_answered_ = 0;
};

int predict_file(const PredictFlags& flags) {
  check_not_rows("--out", flags.out, flags.subject.data);
  check_not_rows("--records", flags.records, flags.subject.data);
  check_apart({"--out", flags.out}, {"--records", flags.records});
  const TableFormat format = flags.format.empty() ? row_format_of(flags.out, "--out") : row_format(flags.format);
  const Subject subject = load_subject(flags.subject);
  const Task& task = subject.task;
  if (task.kind == TaskKind::kGeneration)
    throw InputError("task " + quote(task.name) + " is answered by a text: write it with graft generate --data");
  if (flags.only_errors && task.kind == TaskKind::kRegression)
    throw InputError("--errors: task " + quote(task.name) + " is a regression, whose predictions are not right or wrong; take --columns");
  if (!flags.records.empty() && subject.loaded.adapter.head() == nullptr)
    throw InputError("--records: only for tasks with a head; of a task of kind generation graft eval writes them");
  check_records(subject, flags.subject, flags.records);
  Predictor predictor(flags, subject, format);
  const bool shows_progress = !flags.subject.is_quiet && !comes_in_pieces(flags.subject.data);
  for_each_table(flags.subject.data, task, [&](const Table& table) {
    predictor.answer(table, shows_progress ? Verbosity::kNormal : Verbosity::kQuiet);
  });
  predictor.finish();
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace

void add_predict(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("predict", "Answer rows: a label, a value or an option for each, with its numbers");
  auto flags = std::make_shared<PredictFlags>();
  add_subject(*command, flags->subject);
  accept_standard_output(
      *command->add_option("--out", flags->out, "file to write: .jsonl, .json, .csv or .tsv; -: the standard output")->required());
  command->add_option("--format", flags->format, "of --out where its name does not tell: jsonl (that of the standard output), json, csv or tsv")
      ->check(CLI::IsMember(row_format_names()));
  command
      ->add_option("--columns", flags->columns,
                   "what to write of a row, divided by commas: id, text, gold, prediction, probability, probabilities, logits (of a "
                   "choice chosen, scores, options), or any column of --data; default: id, prediction and the numbers")
      ->delimiter(',');
  command->add_flag("--errors", flags->only_errors, "write only rows whose prediction is wrong; each needs a label");
  accept_standard_output(*command->add_option(
      "--records", flags->records,
      "also write what gates and routers did, a line per row and site (JSONL): means over its tokens, in the "
      "last block over those read there alone (that predict, or the one that a classifier reads)"));
  command->footer(
      "Examples:\n  graft predict --model models/minilm --adapter runs/sst2/adapter --data rows.jsonl --out predictions.jsonl\n"
      "  graft predict --model models/minilm --adapter runs/sst2/adapter --data dev.tsv --errors --columns id,text,gold,prediction,"
      "probability --out errors.csv\n"
      "  tail -f mail.jsonl | graft predict --model models/minilm --adapter runs/mail/adapter --data - --out -\n"
      "Rows need no label; one that is there must be a known one.");
  command->callback([flags, &action] {
    action = [flags] { return with_memory_need({0, "Give --precision bf16"}, [&] { return predict_file(*flags); }); };
  });
}

}  // namespace graft
