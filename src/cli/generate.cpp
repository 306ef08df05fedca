// graft generate: what a model writes after a prompt, as it comes, or after the prompts of a file, a line each.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "edit/adapter_file.h"
#include "infer/dataset.h"
#include "infer/texts.h"
#include "train/progress.h"

namespace graft {

namespace {

struct GenerateFlags {
  std::string model, adapter, prompt, data, task, chat, out;
  GenerateOptions options;
  std::vector<std::string> stop;
  int64_t batch = 16, threads = 0;
  Precision precision = Precision::kFloat32;
  bool has_prompt = false, shows_prompt = false, is_json = false, is_quiet = false;
};

// All that writes.
struct Writer {
  std::shared_ptr<const Model> model;
  LoadedAdapter loaded;
  ModelText text;
};

Writer load_writer(const GenerateFlags& flags) {
  set_threads(flags.threads);
  auto model = load_model(flags.model, flags.precision);
  if (!model->config.has_decoder())
    throw InputError("--model: " + flags.model + " is a " + model->config.model_type +
                     " model, an encoder, and writes no text; take a decoder");
  const EditTarget target{model->config, model->sites};
  LoadedAdapter loaded = flags.adapter.empty() ? LoadedAdapter{Adapter(Node::map(), "no adapter", target, std::nullopt), {}, {}}
                                               : load_adapter(flags.adapter, *model);
  ModelText text = load_model_text(flags.model);
  check_tokenizer(loaded.provenance, text, flags.adapter, flags.model);
  return {std::move(model), std::move(loaded), std::move(text)};
}

// --task, or the adapter's own; for a single prompt any other is left aside but for its chat format.
Task task_of(const GenerateFlags& flags, const Writer& writer) {
  std::optional<Task> task = flags.task.empty() ? writer.loaded.adapter.task() : load_task(flags.task, share_dir() / "tasks");
  if (task && task->kind != TaskKind::kGeneration) {
    if (!flags.has_prompt || !flags.task.empty())
      throw InputError("--task: " + quote(task->name) + " has no texts to write; expected a task of kind: generation");
    task.reset();
  }
  if (!task) {
    if (!flags.has_prompt)
      throw InputError("--data: which column is the prompt? Give --task, a task of kind: generation (doc/data.md)");
    task.emplace();
    task->name = "prompt";
    task->kind = TaskKind::kGeneration;
    task->generation.emplace();
  }
  if (!flags.chat.empty()) task->generation->chat = flags.chat;
  return *task;
}

Dataset prompts_of(const GenerateFlags& flags, const Writer& writer, const Task& task) {
  std::vector<Example> examples;
  if (flags.has_prompt) {
    examples.emplace_back();
    examples.back().text = flags.prompt;
    examples.back().id_text = "0";
  } else {
    examples = read_examples(flags.data, task, LabelUse::kOptional);
  }
  const ModelConfig& config = writer.model->config;
  const RowLayout layout = writer.loaded.adapter.layout();
  const int64_t longest = std::min<int64_t>(config.max_positions - layout.virtual_rows - layout.first_position, 1 << 20);
  const int64_t asked = flags.has_prompt ? 0 : writer.loaded.provenance.max_length;  // what training saw of a row
  Dataset data = encode_examples(std::move(examples), task, writer.text, config,
                                 resolve_max_length(asked > 0 ? asked : longest, config, layout), TargetUse::kLeaveOut);
  if (flags.has_prompt && data.num_cut > 0)
    throw InputError("--prompt: longer than the " + std::to_string(longest) + " tokens that " + flags.model +
                     " serves; shorten it");
  if (flags.has_prompt && data.num_tokens == 0) {
    throw InputError((flags.prompt.empty() ? "--prompt is empty" : "--prompt: " + quote(flags.prompt) + " has no tokens") +
                     ", and the tokenizer of " + flags.model + " puts none before a text; give a word to go on from");
  }
  if (data.num_cut > 0 && !flags.is_quiet) {
    std::fprintf(stderr, "graft: %s cut to %s tokens, as in training\n",
                 data.num_cut == 1 ? "1 prompt was" : (count_text(data.num_cut) + " prompts were").c_str(),
                 count_text(asked).c_str());
  }
  return data;
}

const char* finish_name(Finish finish) { return finish == Finish::kEnd ? "end" : finish == Finish::kLength ? "length" : "stop"; }

Node output_node(const Example& example, const WrittenText& written, bool shows_prompt) {
  Node line = Node::map({{"id", example.id_is_number ? Node::plain(example.id_text) : Node::text(example.id_text)}});
  if (shows_prompt) line["prompt"] = Node::text(example.text);
  line["output"] = Node::text(written.text);
  std::vector<Node> tokens;
  for (const int64_t token : written.generated.tokens) tokens.push_back(Node::integer(token));
  line["tokens"] = Node::list(std::move(tokens));
  line["logprob"] = Node::number(written.generated.log_probability);
  line["finish"] = Node::text(finish_name(written.generated.finish));
  return line;
}

void tell_speed(const Written& written, const Dataset& data) {
  std::fprintf(stderr, "%s %s read, %s written in %.2f s, %.1f tokens/s\n", count_text(data.num_tokens).c_str(),
               plural(data.num_tokens, "token").c_str(), count_text(written.num_tokens).c_str(), written.seconds,
               static_cast<double>(written.num_tokens) / std::max(written.seconds, 1e-9));
}

int generate_texts(GenerateFlags flags) {
  if (flags.has_prompt != flags.data.empty()) throw InputError("give one of --prompt TEXT and --data FILE");
  if (std::any_of(flags.stop.begin(), flags.stop.end(), [](const std::string& text) { return text.empty(); })) {
    throw InputError(
        "--stop: expected a text, found an empty one, which would end every answer before its first letter; leave the flag out");
  }
  check_not_rows("--out", flags.out, flags.data);
  const Writer writer = load_writer(flags);
  const Task task = task_of(flags, writer);
  const Dataset data = prompts_of(flags, writer, task);
  const Bound bound(*writer.model, writer.loaded.adapter, writer.loaded.tensors);
  if (!writer.loaded.adapter.rewrites_trunk()) warm_up(*writer.model);
  WriteOptions options;
  options.generate = flags.options;
  options.stop = flags.stop.empty() ? task.generation->stop : flags.stop;
  options.batch = flags.batch;
  const bool streams = flags.has_prompt && !flags.is_json && flags.out.empty();
  bool has_text = false;
  if (streams) {
    options.on_text = [&](int64_t, const std::string& piece) {
      has_text = true;
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    };
  }
  Progress progress("prompt", data.size(), 0, flags.is_quiet || flags.has_prompt ? Verbosity::kQuiet : Verbosity::kNormal);
  options.progress = [&](int64_t done, int64_t) { progress.update(done, ""); };
  const Written written = write_texts(*writer.model, {&bound, {}}, data.sequences, writer.text, std::move(options));
  progress.finish();
  std::string lines;
  for (size_t i = 0; i < written.texts.size(); ++i)
    lines += to_json(output_node(data.examples[i], written.texts[i], flags.shows_prompt), -1) + "\n";
  if (streams) {
    if (!has_text) std::fputs(written.texts.front().text.c_str(), stdout);  // of beam search
    std::fputs("\n", stdout);
  } else if (flags.out.empty()) {
    std::fputs(lines.c_str(), stdout);
  } else {
    write_file_atomically(flags.out, lines);
  }
  if (!flags.is_quiet) tell_speed(written, data);
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("generate", "Write on after a prompt, or after each prompt of a file");
  auto flags = std::make_shared<GenerateFlags>();
  command->add_option("--model", flags->model, "the frozen model: a folder or a GGUF file")->required();
  command->add_option("--adapter", flags->adapter, "adapter folder (RUN/adapter); without it the bare model");
  CLI::Option* prompt = command->add_option("--prompt", flags->prompt, "a text to go on from; its answer is shown as it comes");
  command->add_option("--data", flags->data, "or rows with prompts: TSV, CSV, JSONL or JSON; answers become JSON lines");
  command->add_option("--task", flags->task,
                      "where a row's prompt stands: a task name or file; default: what the adapter was trained for");
  command->add_option("--chat", flags->chat,
                      "put prompts as a user's turn into a chat format: its name, model (the model's own) or none; default: the "
                      "task's, else none");
  command->add_option("--stop", flags->stop, "an answer ends before this text; may be given several times");
  command->add_option("--batch", flags->batch, "prompts of --data that are written at once (default 16)")
      ->check(CLI::Range(1, 4096));
  command->add_option("--out", flags->out, "write JSON lines to this file instead of the terminal");
  command->add_flag("--json", flags->is_json, "show the answer to --prompt as a JSON line");
  command->add_flag("--show-prompt", flags->shows_prompt, "also put prompts into JSON lines");
  add_precision(*command, flags->precision);
  add_threads(*command, flags->threads);
  add_generation(*command, flags->options);
  command
      ->add_option_function<std::string>(
          "--early-stopping",
          [flags](const std::string& name) {
            flags->options.early_stopping = name == "never" ? EarlyStopping::kNever
                                            : name == "yes" ? EarlyStopping::kYes
                                                            : EarlyStopping::kNo;
          },
          "of beam search: no (default), when no better text is likely; yes, when as many texts as beams are done; never, when "
          "no better one is possible")
      ->check(CLI::IsMember({"no", "yes", "never"}))
      ->group("Writing texts");
  command->add_flag("--quiet", flags->is_quiet, "no progress, no speed");
  command->footer(
      "Examples:\n  graft generate --model SmolLM2-135M-Instruct --chat model --prompt \"Name three birds.\"\n"
      "  graft generate --model gpt2 --prompt \"Once upon a time\" --max-new-tokens 60 --temperature 0.8 --top-p 0.95 --seed 1\n"
      "  graft generate --model gpt2 --adapter runs/e2e/adapter --data e2e/test.jsonl --beams 10 --out answers.jsonl\n"
      "Without a temperature the most probable token is taken each time. The answer goes to the standard output, all else to "
      "standard error.");
  command->callback([flags, prompt, command, &action] {
    flags->has_prompt = prompt->count() > 0;
    action = [flags] { return generate_texts(*flags); };
  });
}

}  // namespace graft
