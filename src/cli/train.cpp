// graft train: one training run, or the rest of an interrupted one.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "edit/adapter.h"
#include "train/loop.h"

namespace graft {

namespace {

struct TrainFlags {
  std::string config, model, task, data, eval, test, adapter, out, resume;
  std::vector<std::string> settings;
  int64_t threads = 0;
  bool is_quiet = false;
};

// run.yaml's `adapter:` is a preset's name, a file, or the definition itself.
AdapterPreset preset_of(Node& document, const TrainFlags& flags) {
  if (!flags.adapter.empty()) return load_preset(flags.adapter);
  const Node* own = document.find("adapter");
  if (own == nullptr)
    throw InputError("no adapter: give --adapter with a preset (" + joined(preset_names()) + ") or a YAML file");
  if (own->kind == Node::Kind::kScalar) return load_preset(own->scalar);
  return {*own, Node::null(), "", flags.config};
}

// document[key] as a map, made if missing.
Node& section_of(Node& document, const char* key, const std::string& source) {
  Node& node = document[key];
  if (node.kind != Node::Kind::kMap && node.kind != Node::Kind::kNull) {
    throw InputError(source + ": /" + key + ": expected a section of keys and values, such as " + key + ": {train: rows.tsv}");
  }
  return node;
}

Node read_run_file(const Path& file) {
  Node document = parse_yaml(read_file(file), file.string());
  if (document.kind == Node::Kind::kNull) return Node::map();
  if (document.kind != Node::Kind::kMap) {
    throw InputError(file.string() + ": expected keys and values such as 'model: PATH', found " +
                     (document.kind == Node::Kind::kList ? "a list" : quote(document.scalar)));
  }
  return document;
}

// The settings of a file win over those that another adapter than the file's suggests.
void tell_what_stays(const Node& document, const AdapterPreset& preset, const TrainFlags& flags) {
  if (flags.config.empty() || flags.adapter.empty() || document.find("adapter") == nullptr) return;
  std::vector<std::string> kept;
  for (const auto& [key, value] : preset.train.members) {
    if (document.find(key) != nullptr) kept.push_back(key);
  }
  if (!kept.empty())
    std::fprintf(stderr, "the settings in '%s' stay; of those that '%s' suggests give way: %s\n", flags.config.c_str(),
                 flags.adapter.c_str(), joined(kept).c_str());
}

RunConfig resolve(const TrainFlags& flags) {
  const std::string source = flags.config.empty() ? "command line" : flags.config;
  Node document = flags.config.empty() ? Node::map() : read_run_file(flags.config);
  const auto put = [&](const char* key, const std::string& value) {
    if (!value.empty()) document[key] = Node::text(value);
  };
  put("model", flags.model);
  put("task", flags.task);
  put("out", flags.out);
  if (!flags.data.empty()) {
    const DataConfig found = find_data(flags.data);
    Node& data = section_of(document, "data", source);
    for (const auto& [key, path] :
         {std::pair{"train", found.train}, std::pair{"eval", found.eval}, std::pair{"test", found.test}}) {
      if (!path.empty()) data[key] = Node::text(path);
    }
  }
  if (!flags.eval.empty()) section_of(document, "data", source)["eval"] = Node::text(flags.eval);
  if (!flags.test.empty()) section_of(document, "data", source)["test"] = Node::text(flags.test);
  AdapterPreset preset = preset_of(document, flags);
  if (!flags.is_quiet) tell_what_stays(document, preset, flags);
  const bool is_named =
      flags.adapter.empty() && document.find("adapter_name") != nullptr;  // a resolved run.yaml says what it was
  if (!is_named) document["adapter_name"] = Node::text(flags.adapter.empty() ? preset.source : flags.adapter);
  const Node* model = document.find("model");
  if (model == nullptr)
    throw InputError(
        "model: missing; give --model with a folder that holds config.json, *.safetensors and a tokenizer, or with a GGUF file");
  if (model->kind != Node::Kind::kScalar) throw InputError(source + ": /model: expected the path of a folder or GGUF file");
  const ModelConfig config = read_config(model->scalar);
  apply_settings(flags.settings, {config, Sites(config)}, preset.source, preset.definition, document);
  if (const Node* edits =
          preset.definition.find("edits")) {  // written out with every default, so that the run does not depend on them
    preset.definition["edits"] =
        Adapter(Node::map({{"edits", *edits}}), preset.source, {config, Sites(config)}, std::nullopt).describe()["edits"];
  }
  if (const Node* dropout = document.find("dropout"); dropout != nullptr && dropout->kind == Node::Kind::kScalar) {
    Node& head = section_of(preset.definition, "head", preset.source);
    if (head.find("dropout") == nullptr) head["dropout"] = *dropout;  // the switch covers trunk and head
  }
  document["adapter"] = preset.definition;
  return parse_run_config(document, preset.train, source);
}

RunConfig read_resumed(const Path& dir) {
  const Path file = dir / "run.yaml";
  if (!std::filesystem::exists(file))
    throw InputError("--resume '" + dir.string() + "': there is no run.yaml, so no run to go on with");
  RunConfig config = parse_run_config(parse_yaml(read_file(file), file.string()), Node::null(), file.string());
  config.out = dir.string();
  return config;
}

// The settings of a resumed run are those of its run.yaml: a flag that would say otherwise is refused.
void refuse_other_flags(const TrainFlags& flags) {
  std::vector<std::string> given;
  for (const auto& [name, value] :
       {std::pair{"run.yaml", &flags.config}, std::pair{"--model", &flags.model}, std::pair{"--task", &flags.task},
        std::pair{"--data", &flags.data}, std::pair{"--eval", &flags.eval}, std::pair{"--test", &flags.test},
        std::pair{"--adapter", &flags.adapter}, std::pair{"--out", &flags.out}}) {
    if (!value->empty()) given.emplace_back(name);
  }
  if (!flags.settings.empty()) given.emplace_back("--set");
  if (given.empty()) return;
  throw InputError("--resume goes on with the settings in " + (Path(flags.resume) / "run.yaml").string() + ": leave out " +
                   joined(given) + ", or start a new run (start_from takes an adapter to begin with)");
}

void print_summary(const RunConfig& config, TaskKind kind) {
  const Path dir = config.out;
  const Node metrics = parse_json(read_file(dir / "metrics.json"), "metrics.json");
  for (const char* side : {"eval", "test"}) {
    const Node* scores = metrics.find(side);
    if (scores == nullptr) continue;
    std::printf("%s:", side);
    for (const auto& [name, value] : scores->members) {
      if (value.kind == Node::Kind::kMap) continue;
      const bool is_text = name == "rows" || value.kind != Node::Kind::kScalar;
      if (is_text) std::printf("  %s %s", name.c_str(), value.kind == Node::Kind::kScalar ? value.scalar.c_str() : "undefined");
      else std::printf("  %s %s", name.c_str(), number_text(std::stod(value.scalar)).c_str());
    }
    std::printf("\n");
    for (const auto& [name, value] : scores->members) {  // of a task of its own
      if (value.kind == Node::Kind::kMap) std::printf("  %s: %s\n", name.c_str(), to_json(value, -1).c_str());
    }
  }
  const std::string adapter = (dir / "adapter").string();
  const bool writes = kind == TaskKind::kGeneration;
  std::printf("adapter: %s\nnext: graft %s --model %s --adapter %s --data FILE --out %s\n", adapter.c_str(),
              writes ? "generate" : "predict", config.model.c_str(), adapter.c_str(),
              writes ? "answers.jsonl" : "predictions.jsonl");
}

int train(const TrainFlags& flags) {
  set_threads(flags.threads);
  const bool is_resume = !flags.resume.empty();
  if (is_resume) refuse_other_flags(flags);
  if (is_resume && Run::is_finished(flags.resume)) {
    remove_checkpoints(flags.resume);  // where the process ended before they were gone
    std::printf("%s is finished; nothing is left to do\n", flags.resume.c_str());
    return 0;
  }
  const RunConfig config = is_resume ? read_resumed(flags.resume) : resolve(flags);
  const Verbosity verbosity = flags.is_quiet ? Verbosity::kQuiet : Verbosity::kNormal;
  RunInputs inputs = load_inputs(config, share_dir() / "tasks");
  if (!flags.is_quiet) {
    const Node* edits = config.adapter.find("edits");
    const bool is_head_only = (edits == nullptr || edits->items.empty()) && !inputs.task.is_answered_in_words();
    std::fprintf(stderr, "%s on %s: %s %s (%s tokens)%s%s\n", config.adapter_name.c_str(), config.model.c_str(),
                 count_text(inputs.train.size()).c_str(), plural(inputs.train.size(), "row").c_str(),
                 count_text(inputs.train.num_tokens).c_str(),
                 inputs.train.num_cut > 0
                     ? (", " + count_text(inputs.train.num_cut) + " " + plural(inputs.train.num_cut, "text") + " cut to " +
                        std::to_string(inputs.max_length) + " tokens")
                           .c_str()
                     : "",
                 is_head_only ? ", head only" : "");
    if (!inputs.eval && inputs.eval_tasks.empty())
      std::fprintf(stderr, "no evaluation data: give --eval, or --set data.held_out=0.1\n");
  }
  const TaskKind kind = inputs.task.kind;
  std::vector<std::unique_ptr<Run>> runs;
  runs.push_back(std::make_unique<Run>(std::move(inputs), is_resume ? StartMode::kResume : StartMode::kFresh, verbosity));
  int signal = 0;
  if (drive(runs, signal) == LoopEnd::kInterrupted) {
    std::fprintf(stderr, "\nstopped at step %s; go on with: graft train --resume %s\n",
                 count_text(runs.front()->steps_done()).c_str(), config.out.c_str());
    return 128 + signal;
  }
  if (!flags.is_quiet) print_summary(config, kind);
  return 0;
}

}  // namespace

void add_train(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("train", "Train an adapter");
  auto flags = std::make_shared<TrainFlags>();
  command->add_option("config", flags->config, "run.yaml with the same keys as --set; flags win over it");
  command->add_option("--model", flags->model,
                      "the frozen model: a folder with config.json, *.safetensors and a tokenizer, or a GGUF file");
  command->add_option("--task", flags->task, "ready task (sst2, cola, mail, ...), YAML file, or text:LABEL,LABEL");
  command->add_option("--data", flags->data, "training rows (TSV, CSV, JSONL, JSON), or a folder with train.* and dev.*");
  command->add_option("--eval", flags->eval, "rows to evaluate on during training");
  command->add_option("--test", flags->test, "rows to score once at the end");
  command->add_option("--adapter", flags->adapter, "what to train: a preset (lora, full, bitfit, head, ...) or a YAML file");
  command->add_option("--out", flags->out, "folder of the run; must not hold a run yet");
  command
      ->add_option("--set", flags->settings, "key=value, such as epochs=5, learning_rate=1e-4, data.held_out=0.1, adapter.rank=4")
      ->allow_extra_args(false);
  command->add_option("--resume", flags->resume, "go on with an interrupted run");
  add_threads(*command, flags->threads);
  command->add_flag("--quiet", flags->is_quiet, "no progress, no summary");
  command->footer(
      "Example:\n  graft train --model models/minilm --task sst2 --data glue/SST-2 --adapter lora --out runs/sst2 --set "
      "epochs=2\n"
      "Keys of --set: see doc/run_folder.md. Ctrl-C finishes the step and writes a checkpoint.");
  command->callback([flags, &action] { action = [flags] { return train(*flags); }; });
}

}  // namespace graft
