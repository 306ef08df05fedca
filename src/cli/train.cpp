// graft train: one training run, or the rest of an interrupted one.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/generation.h"
#include "cli/rates.h"
#include "cli/training.h"
#include "data/metrics.h"
#include "edit/adapter.h"
#include "session/run_request.h"
#include "train/length.h"
#include "train/lengthen.h"
#include "train/loop.h"
#include "train/out_of_memory.h"
#include "train/plan.h"

namespace graft {

namespace {

struct TrainFlags {
  RunRequest request;
  std::string resume;
  int64_t threads = 0;
  bool is_quiet = false, finds_rate = false;
};

// A setting may be longer than any path: only a word without = is looked up.
bool is_run_file(const std::string& word) {
  if (word.find('=') != std::string::npos) return false;
  std::error_code ignored;  // a word that cannot be looked up is no file
  return word.ends_with(".yaml") || word.ends_with(".yml") ||
         std::filesystem::is_regular_file(word, ignored);
}

// --set takes all words up to the next flag, so a run.yaml that stands behind its settings is among
// them.
void take_run_file(RunRequest& request) {
  const auto found = std::find_if(request.settings.begin(), request.settings.end(), is_run_file);
  if (!request.file.empty() || found == request.settings.end()) return;
  request.file = *found;
  request.settings.erase(found);
}

// A setting that lost its --set stands where the run.yaml does.
void refuse_setting_as_file(const std::string& word) {
  std::error_code ignored;
  if (!key_and_value(word) || std::filesystem::exists(word, ignored)) return;
  throw InputError(named(word) + ": no such file; a setting stands behind --set (did you mean '" +
                   setting_text(word) + "'?)");
}

// The settings of a resumed run are those of its run.yaml: a flag that would say otherwise is
// refused.
void refuse_other_flags(const TrainFlags& flags) {
  const RunRequest& request = flags.request;
  std::vector<std::string> given;
  for (const auto& [name, value] :
       {std::pair{"run.yaml", &request.file}, std::pair{"--model", &request.model},
        std::pair{"--task", &request.task}, std::pair{"--data", &request.data},
        std::pair{"--eval", &request.eval}, std::pair{"--test", &request.test},
        std::pair{"--adapter", &request.adapter}, std::pair{"--out", &request.out}}) {
    if (!value->empty()) given.emplace_back(name);
  }
  if (!request.ignored_keys.empty()) given.emplace_back("--ignore-config-key");
  if (given.empty()) return;
  throw InputError("--resume goes on with the settings in " +
                   (Path(flags.resume) / "run.yaml").string() + ": leave out " + joined(given) +
                   ", or start a new run (start_from takes an adapter to begin with)");
}

constexpr size_t kNameBytes = 300;  // of a score, which may be named after a group of the data

// "  rows 30  loss 0.61  accuracy 0.7" of {rows, loss, each metric}; texts and what lies deeper are
// left out.
std::string numbers_text(const Node& scores) {
  std::string out;
  for (const auto& [name, value] : scores.members) {
    const std::optional<double> number = value.as_number();
    if (name == "only_answer" || (!number && value.kind != Node::Kind::kNull)) continue;
    const std::string shown = !number          ? "undefined"
                              : name == "rows" ? value.scalar
                                               : number_text(*number);
    out += "  " + printable(name, kNameBytes) + " " + shown;
  }
  return out;
}

// What metrics.json says is wrong with the run, also under --quiet.
void print_warnings(const Node& metrics) {
  const Node* warnings = metrics.find("warnings");
  if (warnings == nullptr) return;
  for (const Node& warning : warnings->items)
    std::fprintf(stderr, "warning: %s\n", message_text(warning.scalar).c_str());
}

void print_summary(const RunConfig& config, TaskKind kind, const Node& metrics) {
  for (const char* side : {"eval", "test"}) {
    const Node* scores = metrics.find(side);
    if (scores == nullptr) continue;
    std::printf("%s:%s\n", side, numbers_text(*scores).c_str());
    for (const auto& [name, value] : scores->members) {
      if (value.kind != Node::Kind::kMap) continue;
      if (name == "majority")
        std::printf("  always %s:%s\n", quote(value.find("label")->scalar).c_str(),
                    numbers_text(value).c_str());
      else if (is_score_key(name))
        std::printf(
            "  %s\n",
            message_text(name + ": " + to_json(value, -1)).c_str());  // of a task of its own
    }
  }
  const auto count = [&](const char* key) { return count_text(metrics.find_integer(key).value()); };
  std::printf("kept: step %s of %s\n", count("step").c_str(), count("steps").c_str());
  const std::string adapter = bare_name((Path(config.out) / "adapter").string());
  const bool writes = kind == TaskKind::kGeneration;
  std::printf("adapter: %s\nnext: graft %s --model %s --adapter %s --data FILE --out %s\n",
              adapter.c_str(), writes ? "generate" : "predict", bare_name(config.model).c_str(),
              adapter.c_str(), writes ? "answers.jsonl" : "predictions.jsonl");
}

// Where the settings leave the length to the data.
void tell_length(const RunConfig& given, const RunInputs& inputs) {
  if (given.epochs || given.max_steps > 0) return;
  const LengthRule rule = length_rule(inputs.task.is_answered_in_words());
  std::fprintf(
      stderr,
      "epochs: %s, %s steps (auto: at least %lld steps, %lld to %lld epochs); learning_rate: %s\n",
      number_text(*inputs.config.epochs).c_str(),
      count_text(epochs_of(inputs).total_steps()).c_str(), static_cast<long long>(rule.least_steps),
      static_cast<long long>(rule.least_epochs), static_cast<long long>(rule.most_epochs),
      number_text(inputs.config.learning_rate).c_str());
}

// Trains to the end or to a signal.
int run_to_end(RunInputs inputs, StartMode mode, Verbosity verbosity) {
  const RunConfig config = inputs.config;
  const TaskKind kind = inputs.task.kind();
  TrainingProgress progress(verbosity);
  Run run(std::move(inputs), mode, &progress);
  const StopSignals signals;
  if (drive(run) == RunEnd::kStopped) {
    std::fprintf(stderr, "\nstopped at step %s; go on with: graft train --resume %s\n",
                 count_text(run.steps_done()).c_str(), bare_name(config.out).c_str());
    return 128 + StopSignals::caught();
  }
  const Path file = Path(config.out) / "metrics.json";
  const Node metrics = parse_json(read_file(file), file.string());
  if (verbosity == Verbosity::kNormal) print_summary(config, kind, metrics);
  print_warnings(metrics);
  return 0;
}

void tell_cuts(const RunInputs& inputs) {
  tell_cut(*inputs.train, "training data");
  if (inputs.eval) tell_cut(inputs.eval->rows, "evaluation data");
  if (inputs.test) tell_cut(inputs.test->rows, "test data");
  for (const EvalTaskData& each : inputs.eval_tasks) tell_cut(each.data->rows, each.name);
}

RunConfig resolve(const TrainFlags& flags) {
  RunRequest request = flags.request;
  request.source = "command line";
  if (flags.finds_rate && request.out.empty()) request.out = "-";  // nothing is written
  return resolve_run(request, share(), [&](const std::string& line) {
    if (!flags.is_quiet) std::fprintf(stderr, "%s\n", message_text(line).c_str());
  });
}

int train(const TrainFlags& flags) {
  set_threads(flags.threads);
  refuse_setting_as_file(flags.request.file);
  const bool is_resume = !flags.resume.empty();
  if (is_resume) refuse_other_flags(flags);
  if (is_resume && flags.finds_rate)
    throw InputError(
        "--find-rate: a run that goes on has its rate; leave --resume or --find-rate out");
  const RunConfig config = is_resume ? read_run(flags.resume) : resolve(flags);
  for (const std::string& note : config.notes) {
    if (!flags.is_quiet) std::fprintf(stderr, "note: %s\n", message_text(note).c_str());
  }
  const std::vector<std::string>& settings = flags.request.settings;
  const bool lengthens = is_resume && !settings.empty();
  if (is_resume && !lengthens && Run::is_finished(flags.resume)) {
    Run::clear_finished(config, flags.resume);
    std::printf("%s is finished; nothing is left to do%s\n", bare_name(flags.resume).c_str(),
                keeps_last_state(config) ? " (--set epochs=N makes it longer)" : "");
    return 0;
  }
  const Verbosity verbosity = flags.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal;
  if (is_resume) check_paths(config);
  RunInputs inputs = load_inputs(config, share().tasks());
  if (lengthens) lengthen(inputs, settings);
  if (!flags.is_quiet) {
    const bool is_head_only =
        inputs.adapter->parts().empty() && !inputs.task.is_answered_in_words();
    std::fprintf(stderr, "%s on %s: %s %s (%s tokens)%s\n", bare_name(config.adapter_name).c_str(),
                 bare_name(config.model).c_str(), count_text(inputs.train->size()).c_str(),
                 plural(inputs.train->size(), "row").c_str(),
                 count_text(inputs.train->num_tokens).c_str(), is_head_only ? ", head only" : "");
    if (!inputs.head_note.empty())
      std::fprintf(stderr, "%s\n", message_text(inputs.head_note).c_str());
    if (!inputs.generation_note.empty())
      std::fprintf(stderr, "%s\n", message_text(inputs.generation_note).c_str());
    tell_length(config, inputs);
    if (!inputs.eval && inputs.eval_tasks.empty())
      std::fprintf(stderr, "no evaluation data: give --eval, or --set data.held_out=0.1\n");
  }
  if (flags.finds_rate) return find_rate(std::move(inputs), verbosity);
  tell_cuts(inputs);
  const StartMode mode = lengthens   ? StartMode::kLengthen
                         : is_resume ? StartMode::kResume
                                     : StartMode::kFresh;
  const int64_t needed = make_plan(inputs).memory.peak();
  return with_memory_need({needed, kLowerMemory},
                          [&] { return run_to_end(std::move(inputs), mode, verbosity); });
}

}  // namespace

void add_train(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("train", "Train an adapter");
  auto flags = std::make_shared<TrainFlags>();
  command->add_option("config", flags->request.file,
                      "run.yaml with the same keys as --set; flags win over it");
  command->add_option("--model", flags->request.model, setting_help("model"));
  add_ignored_keys(*command, flags->request.ignored_keys);
  command->add_option("--task", flags->request.task, setting_help("task"));
  command->add_option("--data", flags->request.data,
                      "training rows (TSV, CSV, JSONL, JSON), or a folder with train.* and dev.*");
  command->add_option("--eval", flags->request.eval, setting_help("data.eval"));
  command->add_option("--test", flags->request.test, setting_help("data.test"));
  command->add_option("--adapter", flags->request.adapter,
                      "what to train: a preset (lora, full, bitfit, head, ...) or a YAML file");
  command->add_option("--out", flags->request.out, setting_help("out"));
  command->add_option("--set", flags->request.settings,
                      "key=value, such as epochs=5 learning_rate=1e-4 data.held_out=0.1 "
                      "adapter.rank=4; may be given several times");
  command->add_flag("--find-rate", flags->finds_rate,
                    "train 100 steps at rising rates instead, print the losses and a rate to begin "
                    "with, and keep nothing");
  command->add_option("--resume", flags->resume,
                      "go on with an interrupted run; with --set epochs=N or max_steps=N make one "
                      "of a constant schedule longer");
  add_threads(*command, flags->threads);
  add_ignore_generation_config(*command, flags->request.ignores_model_generation);
  command->add_flag("--quiet", flags->is_quiet, "no progress, no summary; warnings stay");
  command->footer(
      "Example:\n  graft train --model models/minilm --task sst2 --data glue/SST-2 --adapter lora "
      "--out runs/sst2 --set "
      "epochs=2\n"
      "Keys of --set: graft inspect settings; options of an edit: graft inspect method. Ctrl-C "
      "finishes the step and writes a checkpoint.");
  command->callback([flags, &action] {
    take_run_file(flags->request);
    action = [flags] { return with_memory_need({0, kLowerMemory}, [&] { return train(*flags); }); };
  });
}

}  // namespace graft
