// graft predict: what an adapter or a bare model answers to each row, in the order of the file.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>

#include "base/error.h"
#include "base/printable.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/files.h"
#include "cli/prediction_rows.h"
#include "cli/progress.h"
#include "cli/row_feed.h"
#include "cli/row_output.h"
#include "cli/subject.h"
#include "infer/records.h"
#include "train/out_of_memory.h"

namespace graft {

namespace {

struct PredictFlags {
  SubjectFlags subject;
  RowFlags rows;
  std::string out, format, records;
  std::vector<std::string> columns;
  bool only_errors = false;
};

// Answers rows and writes them as they come.
class Predictor {
 public:
  Predictor(const PredictFlags& flags, const AskedSubject& asked, TableFormat format)
      : flags_(flags),
        asked_(asked),
        format_(format),
        columns_(flags.columns, asked.task(), format, asked.has_samples()),
        bound_(asked),
        feed_({.data = flags.subject.data,
               .use = flags.only_errors ? LabelUse::kRequired : LabelUse::kOptional,
               .verbosity = flags.subject.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal},
              flags.rows, asked.task(), [this](std::vector<Example> examples) {
                asked_.check_rows(examples);
                return encode_examples(std::move(examples), asked_.task(), asked_.opened.text,
                                       asked_.model().config, asked_.subject.max_length,
                                       TargetUse::kLeaveOut);
              }) {
    options_.samples = bound_.samples();
    options_.keep_records = !flags.records.empty();
    options_.recording = recording_of(flags.subject);
  }

  void answer() {
    feed_.check([&](const Table& table, const Dataset& data) { columns_.bind(table, data); });
    columns_.check_found();
    if (!feed_.comes_in_pieces()) open();
    const bool shows_progress = !flags_.subject.is_quiet && !feed_.comes_in_pieces();
    Progress progress("row", feed_.num_rows(), done_.num_read,
                      shows_progress ? Verbosity::kNormal : Verbosity::kQuiet);
    const auto answer_window = [&](const RowFeed::Window& window) {
      columns_.bind(window.table, window.data);
      open();
      options_.progress = [&](int64_t done, int64_t) {
        progress.update(window.table.first_row + done, "");
      };
      if (window.data.size() > 0) write_window(window.data);
      done_.num_read = window.num_read;
      output_->commit(done_);
    };
    const auto answer_rest = [&] {
      feed_.for_each(done_.num_read, answer_window);
      writer_->end();
      output_->finish(done_);
    };
    if (!output_ || !output_->is_finished()) guarded(answer_rest);
    progress.finish();
  }

  void tell() const {
    if (flags_.subject.is_quiet) return;
    std::FILE* out = messages_beside({flags_.out, flags_.records, flags_.rows.skipped});
    const std::string skipped = feed_.skipped_text();
    if (flags_.only_errors)
      std::fprintf(out, "%s of %s %s wrong, in %s%s\n", count_text(done_.num_written).c_str(),
                   count_text(done_.num_answered).c_str(),
                   done_.num_answered == 1 ? "prediction is" : "predictions are",
                   bare_name(flags_.out).c_str(), skipped.c_str());
    else
      std::fprintf(out, "%s %s in %s%s\n", count_text(done_.num_answered).c_str(),
                   plural(done_.num_answered, "prediction").c_str(), bare_name(flags_.out).c_str(),
                   skipped.c_str());
  }

 private:
  // Files are made when all that can be wrong with the first rows has been told.
  void open() {
    if (output_) return;
    std::vector<std::string> paths = {flags_.out};
    if (!flags_.records.empty()) paths.push_back(flags_.records);
    output_.emplace(std::move(paths), feed_.lasts(), flags_.rows.goes_on, [&] { return about(); });
    done_ = output_->state().value_or(RowOutput::State{});
    if (output_->is_finished()) return;
    writer_.emplace(output_->file(0), format_, columns_.header(),
                    output_->state() ? std::optional(done_.num_written) : std::nullopt);
  }

  // What the predictions depend on.
  Node about() const {
    const SubjectFlags& subject = flags_.subject;
    Node about = about_answers({.model = subject.model,
                                .adapter = subject.adapter,
                                .data = subject.data,
                                .beside = subject.others,
                                .task = &asked_.task(),
                                .precision = subject.precision,
                                .max_length = asked_.subject.max_length,
                                .format = format_,
                                .on_error = flags_.rows.on_error});
    about["--columns"] = Node::text(list_text(flags_.columns));
    about["--errors"] = Node::text(flags_.only_errors ? "given" : "");
    about["--records"] = Node::text(flags_.records);
    if (!flags_.subject.recording.empty())
      about["--record"] = Node::text(list_text(flags_.subject.recording));
    if (!flags_.subject.gates.empty())
      about["--gate"] = Node::text(list_text(flags_.subject.gates));
    put_samples(about);
    return about;
  }

  void put_samples(Node& about) const {
    const RouteOptions& route = asked_.samples.route;
    about["--routing"] = Node::text(word_of(kRoutings, route.routing));
    if (is_ensemble(route)) about["--routes"] = Node::text(std::to_string(route.routes));
    if (route.unit != RouteUnit::kPass)
      about["--route-unit"] = Node::text(word_of(kRouteUnits, route.unit));
    about["--route-seed"] = Node::text(std::to_string(route.seed));
    const DropoutPasses& dropout = asked_.samples.dropout;
    if (dropout.passes > 0) {
      about["--dropout-passes"] = Node::text(std::to_string(dropout.passes));
      about["--dropout-seed"] = Node::text(std::to_string(dropout.seed));
      about["--dropout-rate"] =
          Node::text(dropout.rate ? Node::number(*dropout.rate).scalar : "the model's");
    }
  }

  void guarded(const std::function<void()>& f) {
    if (output_) output_->guard(f);
    else f();  // of rows that come in pieces nothing is kept
  }

  void write_window(const Dataset& data) {
    std::vector<PredictedRow> rows;
    if (asked_.task().kind() == TaskKind::kChoice) {
      rows =
          chosen_rows(data, choose(asked_.model(), bound_.first(), asked_.task(), data, options_));
    } else {
      const Predictions predictions = predict(asked_.model(), bound_.first(), data, options_);
      rows = predicted_rows(asked_.task(), data, predictions);
      if (options_.keep_records) output_->file(1).write(record_lines(data, predictions.records));
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      const Example& example = data.examples[i];
      if (flags_.only_errors && !rows[i].is_wrong.value_or(false)) continue;
      writer_->write(columns_.row(rows[i].own, example), example.where());
    }
    done_.num_answered += std::ssize(rows);
    done_.num_written = writer_->num_rows();
  }

  const PredictFlags& flags_;
  const AskedSubject& asked_;
  TableFormat format_;
  PredictionColumns columns_;
  BoundSubject bound_;
  PredictOptions options_;
  RowFeed feed_;
  std::optional<RowOutput> output_;
  std::optional<RowWriter> writer_;
  RowOutput::State done_;
};

int predict_file(const PredictFlags& flags) {
  check_not_rows("--out", flags.out, flags.subject.data);
  check_not_rows("--records", flags.records, flags.subject.data);
  check_not_rows("--skipped", flags.rows.skipped, flags.subject.data);
  check_apart({"--out", flags.out}, {"--records", flags.records});
  check_apart({"--out", flags.out}, {"--skipped", flags.rows.skipped});
  check_apart({"--records", flags.records}, {"--skipped", flags.rows.skipped});
  if (flags.rows.goes_on) check_resumable({flags.out, flags.records}, flags.subject.data);
  const TableFormat format = written_format(flags.out, flags.format);
  const AskedSubject asked = load_asked(flags.subject);
  const Task& task = asked.task();
  if (task.kind() == TaskKind::kGeneration)
    throw InputError("task " + quote(task.name) +
                     " is answered by a text: write it with graft generate --data");
  if (flags.only_errors && task.kind() == TaskKind::kRegression)
    throw InputError("--errors: task " + quote(task.name) +
                     " is a regression, whose predictions are not right or wrong; take --columns");
  if (!flags.records.empty() && asked.subject.loaded.adapter.head() == nullptr)
    throw InputError(
        "--records: only for tasks with a head; of a task of kind generation graft eval writes "
        "them");
  check_records(asked, flags.subject, flags.records);
  Predictor predictor(flags, asked, format);
  predictor.answer();
  predictor.tell();
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace

void add_predict(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "predict", "Answer rows: a label, a value or an option for each, with its numbers");
  auto flags = std::make_shared<PredictFlags>();
  add_subject(*command, flags->subject);
  add_written_rows(*command, flags->out, flags->format)->required();
  command
      ->add_option("--columns", flags->columns,
                   "what to write of a row, divided by commas: id, text, gold, prediction, "
                   "probability, probabilities, logits (of a "
                   "choice chosen, scores, options), or any column of --data, also one inside "
                   "another (meta.url); default: id, prediction and the numbers")
      ->delimiter(',');
  command->add_flag("--errors", flags->only_errors,
                    "write only rows whose prediction is wrong; each needs a label");
  add_records(*command, flags->subject, flags->records);
  add_error_flags(*command, flags->rows);
  add_resume_flag(*command, flags->rows);
  command->footer(
      "Examples:\n  graft predict --model models/minilm --adapter runs/sst2/adapter --data "
      "rows.jsonl --out predictions.jsonl\n"
      "  graft predict --model models/minilm --adapter runs/sst2/adapter --data dev.tsv --errors "
      "--columns id,text,gold,prediction,"
      "probability --out errors.csv\n"
      "  tail -f mail.jsonl | graft predict --model models/minilm --adapter runs/mail/adapter "
      "--data - --out -\n"
      "  graft predict --model models/minilm --adapter runs/mail/adapter --data mails.jsonl --out "
      "answers.jsonl --on-error skip --resume\n"
      "Rows need no label; one that is there must be a known one.");
  command->callback([flags, &action] {
    action = [flags] {
      return with_memory_need({0, "Give --precision bf16"}, [&] { return predict_file(*flags); });
    };
  });
}

}  // namespace graft
