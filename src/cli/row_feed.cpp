#include "cli/row_feed.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "base/names.h"
#include "base/printable.h"
#include "base/wording.h"
#include "cli/files.h"
#include "cli/word_option.h"
#include "data/row_stream.h"
#include "infer/records.h"

namespace graft {

namespace {

constexpr int64_t kNamed = 5;  // rows left out that are told one by one

constexpr Name<OnError> kOnErrors[] = {{OnError::kStop, "stop"}, {OnError::kSkip, "skip"}};

TableOptions options_of(const Task& task, OnError on_error) {
  TableOptions options = table_options(task);
  options.keeps_faulty_rows = on_error == OnError::kSkip;
  return options;
}

}  // namespace

void add_error_flags(CLI::App& command, RowFlags& flags) {
  add_word_option(
      command, "--on-error", kOnErrors, flags.on_error,
      "a row that cannot be read or encoded: stop (default) before anything is answered, or "
      "skip it, with a note");
  accept_standard_output(*command.add_option(
      "--skipped", flags.skipped,
      "with --on-error skip: also write id, line and reason of every row left out (JSONL)"));
}

void add_resume_flag(CLI::App& command, RowFlags& flags) {
  command.add_flag("--resume", flags.goes_on,
                   "go on where the same command was cut: behind the rows that it had written; "
                   "from the first row where it had none");
}

void check_skipped(const RowFlags& flags) {
  if (!flags.skipped.empty() && flags.on_error == OnError::kStop)
    throw InputError("--skipped: no row is left out; give --on-error skip, or leave it out");
}

const char* on_error_name(OnError on_error) { return word_of(kOnErrors, on_error); }

RowFeed::RowFeed(Options options, const RowFlags& flags, const Task& task, Encode encode)
    : options_(std::move(options)), flags_(flags), task_(task), encode_(std::move(encode)) {
  check_skipped(flags_);
  encode_({});  // a fault of the task is none of its rows
  if (!graft::comes_in_pieces(options_.data))
    file_.emplace(options_.data, options_of(task_, flags_.on_error));
  if (!flags_.skipped.empty()) skipped_file_.emplace(flags_.skipped);
}

bool RowFeed::lasts() const { return file_ && !named_descriptor(options_.data); }

void RowFeed::check(const std::function<void(const Table&, const Dataset&)>& see) {
  if (!file_) return;
  Progress progress("row read", num_rows(), 0, options_.verbosity);
  file_->for_each_window(options_.window, 0, [&](const Table& table) {
    std::vector<Fault> faults;
    const Dataset data = encode(table, faults);
    add_cut(data);
    add_faults(faults);
    see(table, data);
    const int64_t done = table.first_row + std::ssize(table.rows);
    if (done < num_rows()) progress.update(done, "");
  });
  progress.finish();
  for (const std::string& reason : reasons_) tell_fault(reason);
  finish_notes(num_rows());
}

void RowFeed::for_each(int64_t first, const std::function<void(const Window&)>& use) {
  int64_t num_read = 0;
  const auto use_window = [&](const Table& table) {
    std::vector<Fault> faults;
    Dataset data = encode(table, faults);
    num_read = table.first_row + std::ssize(table.rows);
    if (!file_) {
      add_cut(data);
      add_faults(faults);
    }
    use({table, data, num_read});
  };
  if (file_) return file_->for_each_window(options_.window, first, use_window);
  for_each_piece([&](const Table& piece) { for_each_part(piece, options_.window, use_window); });
  finish_notes(num_read);
}

std::string RowFeed::skipped_text() const {
  return num_skipped_ == 0 ? "" : "; " + counted(num_skipped_, "row") + " skipped";
}

void RowFeed::for_each_piece(const std::function<void(const Table&)>& use) const {
  RowStream stream(options_.data, options_of(task_, flags_.on_error));
  while (const std::optional<Table> table = stream.next()) use(*table);
}

Dataset RowFeed::encode(const Table& table, std::vector<Fault>& faults) {
  try {
    std::vector<Example> examples = to_examples(table, task_, options_.use);
    check_embeddings(examples);
    return encode_(std::move(examples));
  } catch (const InputError&) {
    if (flags_.on_error == OnError::kStop) throw;
  }
  return encode_one_by_one(table, faults);
}

Dataset RowFeed::encode_one_by_one(const Table& table, std::vector<Fault>& faults) {
  Dataset all = encode_({});
  Table single = table;
  for (size_t r = 0; r < table.rows.size(); ++r) {
    single.rows = {table.rows[r]};
    single.first_row = table.first_row + static_cast<int64_t>(r);
    try {
      std::vector<Example> examples = to_examples(single, task_, options_.use);
      check_embeddings(examples);
      append_rows(encode_(std::move(examples)), all);
    } catch (const InputError& fault) {
      faults.push_back({named_example(single, 0, task_), fault.what()});
    }
  }
  return all;
}

// As wide in every window as in the first row that has one.
void RowFeed::check_embeddings(const std::vector<Example>& examples) {
  for (const Example& example : examples) {
    const size_t size = example.embedding.size();
    if (!embedding_size_) embedding_size_ = size;
    if (size == *embedding_size_) continue;
    throw InputError(example.where() + "expected an embedding of " +
                     std::to_string(*embedding_size_) + " numbers as in the first row, found " +
                     std::to_string(size));
  }
}

// Of rows that come: the first that are cut at once, the count of all at the end.
void RowFeed::add_cut(const Dataset& data) {
  cut_.add(data);
  if (!file_ && num_cut_told_ == 0) tell_cut();
}

void RowFeed::tell_cut() {
  if (cut_.count() == num_cut_told_ || options_.cut_name.empty()) return;
  std::fprintf(stderr, "graft: %s: %s\n", bare_name(options_.cut_name).c_str(),
               message_text(cut_.message()).c_str());
  num_cut_told_ = cut_.count();
}

void RowFeed::add_faults(const std::vector<Fault>& faults) {
  for (const Fault& fault : faults) {
    if (++num_skipped_ <= kNamed) {
      reasons_.push_back(fault.reason);
      if (!file_) tell_fault(fault.reason);
    }
    if (!skipped_file_) continue;
    const Node line =
        Node::map({{"id", id_node(fault.row)},
                   {"line", fault.row.line > 0 ? Node::integer(fault.row.line) : Node::null()},
                   {"reason", Node::text(fault.reason)}});
    skipped_file_->write(to_json(line, -1) + "\n");
  }
}

void RowFeed::tell_fault(const std::string& reason) const {
  std::fprintf(stderr, "graft: skipped: %s\n", message_text(reason).c_str());
}

void RowFeed::finish_notes(int64_t num_rows) {
  tell_cut();
  if (skipped_file_) skipped_file_->finish();  // what it holds is told below
  if (num_skipped_ == num_rows) {
    throw InputError("--on-error skip: of " + counted(num_rows, "row") +
                     " none can be answered; the first: " + reasons_.front() +
                     (skipped_file_ ? "; all are in " + named(flags_.skipped) : ""));
  }
  if (const int64_t more = num_skipped_ - kNamed; more > 0) {
    std::fprintf(stderr, "graft: skipped: %s more %s; %s\n", count_text(more).c_str(),
                 plural(more, "row").c_str(),
                 skipped_file_ ? ("all are in " + bare_name(flags_.skipped)).c_str()
                               : "--skipped FILE lists all");
  }
}

}  // namespace graft
