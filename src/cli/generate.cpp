// graft generate: what a model writes after a prompt, as it comes, or after the prompts of a file,
// a row each.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <optional>

#include "base/digest.h"
#include "base/error.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/files.h"
#include "cli/generation.h"
#include "cli/progress.h"
#include "cli/row_feed.h"
#include "cli/row_output.h"
#include "data/row_writer.h"
#include "infer/records.h"
#include "train/out_of_memory.h"

namespace graft {

namespace {

constexpr int64_t kBatches = 4;  // that are read at once: among these lengths are sorted

struct GenerateFlags {
  std::string model, adapter, prompt, data, data_format, task, chat, out, format;
  GenerationRequest generate;
  RowFlags rows;
  std::vector<std::string> stop, ignored_keys;
  int64_t batch = 16, threads = 0, max_length = 0;
  Precision precision = Precision::kFloat32;
  bool has_prompt = false, shows_prompt = false, is_json = false, is_quiet = false;
};

// A loaded model with its adapter, and the task whose prompts are continued.
struct Writer {
  OpenedModel opened;
  LoadedAdapter loaded;
  Task task;
  PromptUse use;

  const Model& model() const { return *opened.model; }
};

Writer load_writer(const GenerateFlags& flags) {
  set_threads(flags.threads);
  OpenedModel opened =
      open_model(flags.model, flags.precision, ignored_keys(flags.ignored_keys, {flags.adapter}));
  check_writes(opened);
  LoadedAdapter loaded = load_for_writing(flags.adapter, opened);
  const PromptUse use = flags.has_prompt ? PromptUse::kAlone : PromptUse::kOfRows;
  Task task =
      with_format(writing_task(find_task(flags.task), loaded, use, flags.chat), flags.data_format);
  return {std::move(opened), std::move(loaded), std::move(task), use};
}

// Throws InputError for the first row that cannot be encoded, or has no room for its answer.
Dataset prompts_of(std::vector<Example> examples, const GenerateFlags& flags, const Writer& writer,
                   const GenerateOptions& generate) {
  Dataset data = encode_prompts(std::move(examples), writer.task, writer.opened, writer.loaded,
                                writer.use, flags.max_length);
  check_prompts(writer.model().config, writer.loaded.adapter.layout(), data, generate);
  return data;
}

// The text, or the turns of a chat up to the answer that is asked for.
Node prompt_node(const Example& example) {
  const std::vector<Turn>& all = example.at<GenerationRow>().turns;
  if (all.empty()) return Node::text(example.text);
  std::vector<Node> turns;
  for (const Turn& turn : all)
    turns.push_back(
        Node::map({{"role", Node::text(turn.role)}, {"content", Node::text(turn.content)}}));
  if (all.back().role == "assistant") turns.pop_back();
  return Node::list(std::move(turns));
}

// `format`: CSV and TSV have the column `cut` in every row.
Node output_node(const Dataset& data, size_t row, const WrittenText& written, bool shows_prompt,
                 TableFormat format) {
  const Example& example = data.examples[row];
  Node line = Node::map({{"id", id_node(example)}});
  if (shows_prompt) line["prompt"] = prompt_node(example);
  if (const CutRow* cut = cut_of(data, static_cast<int64_t>(row)))
    line["cut"] = Node::integer(cut->tokens);
  else if (is_delimited(format)) line["cut"] = Node::null();
  line["output"] = Node::text(written.text);
  line["tokens"] = Node::integers(written.generated.tokens);
  line["logprob"] = Node::number(written.generated.log_probability);
  line["finish"] = Node::text(word_of(kFinishes, written.generated.finish));
  return line;
}

struct Totals {
  int64_t read = 0, written = 0;  // tokens
  double seconds = 0;

  void add(const std::vector<Sequence>& prompts, const Written& texts) {
    for (const Sequence& prompt : prompts) read += prompt.num_tokens();
    written += texts.num_tokens;
    seconds += texts.seconds;
  }
};

void tell_speed(const Totals& totals, const std::string& skipped) {
  std::fprintf(stderr, "%s %s read, %s written in %.2f s, %.1f tokens/s%s\n",
               count_text(totals.read).c_str(), plural(totals.read, "token").c_str(),
               count_text(totals.written).c_str(), totals.seconds,
               static_cast<double>(totals.written) / std::max(totals.seconds, 1e-9),
               skipped.c_str());
}

WriteOptions write_options(const GenerateFlags& flags, const Writer& writer) {
  WriteOptions options;
  options.generate = generation_of(flags.generate, writer.opened, flags.is_quiet);
  options.chat = writer.task.at<Generation>().chat;
  options.stop = flags.stop.empty() ? writer.task.at<Generation>().stop : flags.stop;
  options.batch = flags.batch;
  return options;
}

// The answer to --prompt as it comes, on the standard output.
void stream_answer(const Dataset& data, const Writer& writer, const BoundAdapter& bound,
                   WriteOptions options, Totals& totals) {
  bool has_text = false;
  options.on_text = [&](int64_t, const std::string& piece) {
    has_text = true;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  const Written written = write_texts(writer.model(), {&bound, {}}, data.sequences,
                                      writer.opened.text, std::move(options));
  if (!has_text) std::fputs(written.texts.front().text.c_str(), stdout);  // of beam search
  std::fputs("\n", stdout);
  totals.add(data.sequences, written);
}

std::string path_of(const GenerateFlags& flags) {
  return flags.out.empty() ? "/dev/stdout" : flags.out;
}

TableFormat format_of(const GenerateFlags& flags) {
  return written_format(path_of(flags), flags.format);
}

// Answers to rows, written window by window in the order of the file.
class AnswerFile {
 public:
  AnswerFile(const GenerateFlags& flags, const Writer& writer, const BoundAdapter& bound,
             WriteOptions options)
      : flags_(flags),
        writer_(writer),
        bound_(bound),
        options_(std::move(options)),
        format_(format_of(flags)) {}

  // The answer to --prompt.
  void answer(const Dataset& data, Totals& totals) {
    open(/*can_go_on=*/false, [] { return Node::null(); });
    write_window(data, options_, totals);
    finish();
  }

  void answer(RowFeed& feed, Totals& totals) {
    WriteOptions options = options_;
    feed.check([](const Table&, const Dataset&) {});
    const auto open_once = [&] { open(feed.lasts(), [&] { return about(); }); };
    if (!feed.comes_in_pieces()) open_once();
    const bool shows_progress = !flags_.is_quiet && !feed.comes_in_pieces();
    Progress progress("prompt", feed.num_rows(), done_.num_read,
                      shows_progress ? Verbosity::kNormal : Verbosity::kQuiet);
    const auto answer_window = [&](const RowFeed::Window& window) {
      open_once();
      options.progress = [&](int64_t done, int64_t) {
        progress.update(window.table.first_row + done, "");
      };
      if (window.data.size() > 0) write_window(window.data, options, totals);
      done_.num_read = window.num_read;
      output_->commit(done_);
    };
    const auto answer_rest = [&] {
      feed.for_each(done_.num_read, answer_window);
      finish();
    };
    if (!output_) answer_rest();  // of rows that come in pieces nothing is kept
    else if (!output_->is_finished()) output_->guard(answer_rest);
    progress.finish();
  }

 private:
  // The file is made when all that can be wrong with the first rows has been told.
  void open(bool can_go_on, const std::function<Node()>& about) {
    if (output_) return;
    output_.emplace(std::vector<std::string>{path_of(flags_)}, can_go_on, flags_.rows.goes_on,
                    about);
    done_ = output_->state().value_or(RowOutput::State{});
    if (output_->is_finished()) return;
    std::vector<std::string> columns = {"id",     "cut",     "output",
                                        "tokens", "logprob", "finish"};  // of CSV and TSV
    if (flags_.shows_prompt) columns.insert(columns.begin() + 1, "prompt");
    rows_.emplace(output_->file(0), format_, columns,
                  output_->state() ? std::optional(done_.num_written) : std::nullopt);
  }

  void write_window(const Dataset& data, const WriteOptions& options, Totals& totals) {
    const Written written =
        write_texts(writer_.model(), {&bound_, {}}, data.sequences, writer_.opened.text, options);
    for (size_t i = 0; i < written.texts.size(); ++i) {
      rows_->write(output_node(data, i, written.texts[i], flags_.shows_prompt, format_),
                   data.examples[i].where());
    }
    totals.add(data.sequences, written);
    done_.num_answered = done_.num_written = rows_->num_rows();
  }

  void finish() {
    rows_->end();
    output_->finish(done_);
  }

  // What the texts depend on.
  Node about() const {
    Node about = about_answers({.model = flags_.model,
                                .adapter = flags_.adapter,
                                .data = flags_.data,
                                .task = &writer_.task,
                                .precision = flags_.precision,
                                .max_length = flags_.max_length,
                                .format = format_,
                                .on_error = flags_.rows.on_error});
    about["what says how texts are written"] =
        Node::text(sha256(to_json(flags_.generate.given, -1)));
    about["--seed"] = Node::text(std::to_string(flags_.generate.seed));
    about["--ignore-generation-config"] = Node::text(flags_.generate.ignores_model ? "given" : "");
    about["--stop"] = Node::text(list_text(options_.stop));
    about["--batch"] = Node::text(std::to_string(flags_.batch));
    about["--show-prompt"] = Node::text(flags_.shows_prompt ? "given" : "");
    return about;
  }

  const GenerateFlags& flags_;
  const Writer& writer_;
  const BoundAdapter& bound_;
  WriteOptions options_;
  TableFormat format_;
  std::optional<RowOutput> output_;
  std::optional<RowWriter> rows_;
  RowOutput::State done_;
};

// The value of --prompt; "-" is all of the standard input but the line end that echo and editors
// put behind it.
std::string prompt_text(const std::string& prompt) {
  if (prompt != "-") return prompt;
  std::string text = read_file("/dev/stdin");
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

// A text may hold whatever its format cannot: told before hours of writing.
void check_format(const GenerateFlags& flags) {
  const TableFormat format = format_of(flags);
  if (format == TableFormat::kTsv)
    throw InputError(
        "--out and --format: TSV cannot hold a tab or a line break, which a written text may have; "
        "write jsonl, json or csv");
  if (!flags.is_json) return;
  if (!flags.has_prompt)
    throw InputError(
        "--json: shows the answer to --prompt; those to --data are JSON lines where --out and "
        "--format say nothing else; leave it out");
  if (format != TableFormat::kJsonl)
    throw InputError(std::string("--json: shows a JSON line, and --out or --format asks for ") +
                     word_of(kTableFormats, format) + "; leave it out");
}

void check_flags(const GenerateFlags& flags) {
  if (flags.has_prompt != flags.data.empty())
    throw InputError("give one of --prompt TEXT and --data FILE");
  if (std::any_of(flags.stop.begin(), flags.stop.end(),
                  [](const std::string& text) { return text.empty(); })) {
    throw InputError(
        "--stop: expected a text, found an empty one, which would end every answer before its "
        "first letter; leave the flag out");
  }
  check_format(flags);
  check_not_rows("--out", flags.out, flags.data);
  check_not_rows("--skipped", flags.rows.skipped, flags.data);
  check_apart({"--out", path_of(flags)}, {"--skipped", flags.rows.skipped});
  const bool is_of_rows =
      flags.rows.goes_on || flags.rows.on_error == OnError::kSkip || !flags.rows.skipped.empty();
  if (flags.has_prompt && is_of_rows)
    throw InputError("--on-error, --skipped and --resume: expected with --data; leave them out");
  if (flags.rows.goes_on) check_resumable({path_of(flags)}, flags.data);
}

int generate_texts(GenerateFlags flags) {
  check_flags(flags);
  if (flags.has_prompt) flags.prompt = prompt_text(flags.prompt);
  const Writer writer = load_writer(flags);
  const BoundAdapter bound(writer.model(), writer.loaded.adapter, writer.loaded.tensors);
  if (!writer.loaded.adapter.rewrites_trunk()) warm_up(writer.model());
  const WriteOptions options = write_options(flags, writer);
  check_generation(options.generate, writer.model().config);
  AnswerFile answers(flags, writer, bound, options);
  Totals totals;
  std::string skipped;
  if (flags.has_prompt) {
    const Dataset data =
        prompts_of({prompt_example(flags.prompt, 0, "--prompt")}, flags, writer, options.generate);
    tell_cut(data, "prompts");
    if (!flags.is_json && flags.out.empty() && flags.format.empty()) {
      stream_answer(data, writer, bound, options, totals);
    } else {
      answers.answer(data, totals);
    }
  } else {
    RowFeed feed({.data = flags.data,
                  .window = kBatches * flags.batch,
                  .cut_name = "prompts",
                  .verbosity = flags.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal},
                 flags.rows, writer.task, [&](std::vector<Example> examples) {
                   return prompts_of(std::move(examples), flags, writer, options.generate);
                 });
    answers.answer(feed, totals);
    skipped = feed.skipped_text();
  }
  if (!flags.is_quiet) tell_speed(totals, skipped);
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("generate", "Write on after a prompt, or after each prompt of a file");
  auto flags = std::make_shared<GenerateFlags>();
  command->add_option("--model", flags->model, "the frozen model: a folder or a GGUF file")
      ->required();
  add_ignored_keys(*command, flags->ignored_keys);
  command->add_option("--adapter", flags->adapter,
                      "adapter folder (RUN/adapter); without it the bare model");
  CLI::Option* prompt = command->add_option(
      "--prompt", flags->prompt,
      "a text to go on from, - for the standard input; its answer is shown as it comes");
  add_rows(*command, flags->data, flags->data_format, "or rows with prompts");
  command->add_option("--task", flags->task,
                      "where a row's prompt stands: a task name or file; default: what the adapter "
                      "was trained for");
  command->add_option("--chat", flags->chat,
                      "put prompts as a user's turn into a chat format: its name, model (the "
                      "model's own) or none; default: the "
                      "task's, else none");
  command->add_option("--stop", flags->stop,
                      "an answer ends before this text; may be given several times");
  command
      ->add_option("--batch", flags->batch,
                   "prompts of --data that are written at once (default 16)")
      ->check(CLI::Range(1, 4096));
  add_written_rows(*command, flags->out, flags->format,
                   "write answers to this file (.jsonl, .json or .csv) instead of the terminal");
  add_max_length(*command, flags->max_length, "what the model serves; of --prompt always that");
  command->add_flag("--json", flags->is_json, "show the answer to --prompt as a JSON line");
  command->add_flag("--show-prompt", flags->shows_prompt, "also put prompts into JSON lines");
  add_precision(*command, flags->precision);
  add_threads(*command, flags->threads);
  add_generation(*command, flags->generate);
  add_error_flags(*command, flags->rows);
  add_resume_flag(*command, flags->rows);
  command->add_flag("--quiet", flags->is_quiet, "no progress, no speed");
  command->footer(
      "Examples:\n  graft generate --model SmolLM2-135M-Instruct --chat model --prompt \"Name "
      "three birds.\"\n"
      "  graft generate --model gpt2 --prompt \"Once upon a time\" --max-new-tokens 60 "
      "--temperature 0.8 --top-p 0.95 --seed 1\n"
      "  graft generate --model gpt2 --adapter runs/e2e/adapter --data e2e/test.jsonl --beams 10 "
      "--out answers.jsonl\n"
      "Flags win over the model's own settings; where neither draws tokens, the most probable one "
      "is taken each time. The answer goes to the standard output, all else to "
      "standard error.");
  command->callback([flags, prompt, &action] {
    flags->has_prompt = prompt->count() > 0;
    action = [flags] {
      return with_memory_need(
          {0, "Lower --batch, --beams or --max-new-tokens, or give --precision bf16"},
          [&] { return generate_texts(*flags); });
    };
  });
}

}  // namespace graft
