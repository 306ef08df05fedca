// graft plan: what a run will cost before it is run. Needs config.json only; with weights it also
// times a few steps.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/files.h"
#include "data/task.h"
#include "model/gguf_model.h"
#include "session/presets.h"
#include "session/settings.h"
#include "train/length.h"
#include "train/plan.h"
#include "train/step_timing.h"

namespace graft {

namespace {

struct PlanFlags {
  std::string model, adapter, task, json;
  std::vector<std::string> ignored_keys;
  Precision precision = Precision::kFloat32;
  std::vector<std::string> settings;
  int64_t batch_size = 0, length = 32, target_length = 0, rows = 0,
          threads = 0;     // batch_size 0: that of the settings
  int64_t accumulate = 1;  // batches of a step, of the settings
  bool no_timing = false, saves_memory = false;
};

// A run with a batch of made-up rows of the given shape.
RunInputs made_up_run(std::shared_ptr<const Model> model, const Task& task,
                      std::shared_ptr<const Adapter> adapter, RunConfig settings,
                      const PlanFlags& flags) {
  const ModelConfig& config = model->config;
  const auto words = std::make_shared<const std::vector<int64_t>>(task.labels().size(), 0);
  const auto embedding = static_cast<size_t>(adapter->traits().embedding);
  RunInputs out;
  const auto train = std::make_shared<Dataset>();
  out.config = std::move(settings);
  out.config.saves_memory = flags.saves_memory;
  out.task = task;
  out.adapter = std::move(adapter);
  Random random({7});
  for (int64_t row = 0; row < flags.batch_size; ++row) {
    Sequence& sequence = train->sequences.emplace_back();
    sequence.example = row;
    for (int64_t i = 0; i < flags.length; ++i)
      sequence.ids.push_back(
          static_cast<int64_t>(random.below(static_cast<uint64_t>(config.vocabulary))));
    if (config.end_id >= 0)
      sequence.ids.back() = config.end_id;  // where encoder-decoder classifiers read
    sequence.type_ids.assign(sequence.ids.size(), 0);
    sequence.embedding.assign(embedding, 1.0F);
    if (task.cloze() != nullptr) sequence.asked = Mask{0, words};
    train->examples.emplace_back().label = 0.0;
  }
  out.model = std::move(model);
  out.train = train;
  return out;
}

// A pass needs positions for the tokens beside the adapter's own rows, which counting does not.
void check_timed_length(const PlanFlags& flags, const ModelConfig& config, const Adapter& adapter) {
  const int64_t left = positions_for_tokens(config, adapter.layout());
  if (flags.length <= left) return;
  throw InputError("--length: this model serves at most " + std::to_string(left) +
                   " tokens beside the rows of the adapter's prompt or prefix, found " +
                   std::to_string(flags.length) + "; give fewer, or --no-timing");
}

// The run that the adapter's settings make: its rate and its length.
struct PlannedLength {
  double learning_rate = 0;
  LengthRule rule;
  std::optional<double> epochs;  // unset: by the rule, and the rows are not known
  int64_t steps = 0;             // where the rows are known
};

RunConfig settings_of(const AdapterPreset& preset) {
  const Node least = Node::map({{"model", Node::text("-")},
                                {"task", Node::text("-")},
                                {"out", Node::text("-")},
                                {"data", Node::map({{"train", Node::text("-")}})}});
  return parse_run_config(least, preset.train, preset.source);
}

PlannedLength length_of(const RunConfig& run, bool is_answered_in_words, const PlanFlags& flags) {
  PlannedLength out{run.learning_rate, length_rule(is_answered_in_words), run.epochs, 0};
  if (flags.rows == 0) return out;
  const int64_t batch = flags.batch_size * run.accumulate, steps = (flags.rows + batch - 1) / batch;
  if (!out.epochs) out.epochs = static_cast<double>(auto_epochs(out.rule, steps));
  out.steps = run.max_steps > 0
                  ? run.max_steps
                  : static_cast<int64_t>(std::ceil(*out.epochs * static_cast<double>(steps)));
  return out;
}

void put_length(const PlannedLength& run, double step_seconds, Node& node) {
  node["learning_rate"] = Node::number(run.learning_rate);
  node["epochs"] = run.epochs ? Node::number(*run.epochs) : Node::text("auto");
  if (run.steps == 0) return;
  node["steps"] = Node::integer(run.steps);
  if (step_seconds > 0)
    node["run_seconds"] = Node::number(step_seconds * static_cast<double>(run.steps));
}

void print_length(const PlannedLength& run, double step_seconds, const PlanFlags& flags) {
  std::FILE* const out = messages_beside({flags.json});
  std::fprintf(out, "settings: learning_rate %s, epochs %s", number_text(run.learning_rate).c_str(),
               run.epochs ? number_text(*run.epochs).c_str() : "auto");
  if (!run.epochs) {
    std::fprintf(out, " (at least %lld steps, %lld to %lld epochs; --rows says how many)",
                 static_cast<long long>(run.rule.least_steps),
                 static_cast<long long>(run.rule.least_epochs),
                 static_cast<long long>(run.rule.most_epochs));
  }
  if (run.steps > 0)
    std::fprintf(out, "; %s rows: %s steps", count_text(flags.rows).c_str(),
                 count_text(run.steps).c_str());
  if (run.steps > 0 && step_seconds > 0)
    std::fprintf(out, ", about %s",
                 duration_text(step_seconds * static_cast<double>(run.steps)).c_str());
  std::fprintf(out, "\n");
}

Node plan_node(const Plan& plan, double step_seconds, int64_t passes, const PlanFlags& flags) {
  std::vector<Node> rows;
  for (const PlanRow& row : plan.rows) {
    rows.push_back(Node::map({{"edit", Node::text(row.edit)},
                              {"part", Node::text(row.part)},
                              {"group", Node::text(use_name(row.use))},
                              {"parameters", Node::integer(row.parameters)}}));
  }
  Node groups = Node::map();
  for (const ParamUse use : kParamUses)
    groups[use_name(use)] = Node::integer(plan.parameters_for(use));
  Node node =
      Node::map({{"version", Node::integer(1)},
                 {"trunk_parameters", Node::integer(plan.trunk_parameters)},
                 {"edit_parameters", Node::integer(plan.edit_parameters)},
                 {"head_parameters", Node::integer(plan.head_parameters)},
                 {"kept_parameters", Node::integer(plan.kept_parameters)},
                 {"stored_parameters", Node::integer(plan.stored_parameters)},
                 {"share_of_trunk", Node::number(static_cast<double>(plan.edit_parameters) /
                                                 static_cast<double>(plan.trunk_parameters))},
                 {"groups", std::move(groups)},
                 {"rows", Node::list(std::move(rows))}});
  node["forward_flops_per_token"] = Node::number(plan.forward_flops);
  node["training_flops_per_token"] = Node::number(plan.training_flops);
  node["peak_bytes"] = Node::integer(plan.memory.peak());
  node["passes"] = Node::integer(passes);
  node["batch_size"] = Node::integer(flags.batch_size);
  node["length"] = Node::integer(flags.length);
  if (flags.target_length > 0) node["target_length"] = Node::integer(flags.target_length);
  if (step_seconds > 0) node["step_seconds"] = Node::number(step_seconds);
  return node;
}

void print_plan(const Plan& plan, const Adapter& adapter, double step_seconds, int64_t passes,
                const PlanFlags& flags) {
  std::FILE* const out = messages_beside({flags.json});
  const auto share = [&](int64_t count) {
    return 100.0 * static_cast<double>(count) / static_cast<double>(plan.trunk_parameters);
  };
  const auto line = [&](const std::string& name, int64_t count) {
    std::fprintf(out, "%-46s %14s %10.4f\n", name.c_str(), count_text(count).c_str(), share(count));
  };
  std::fprintf(out, "%-14s %-22s %-8s %14s %10s\n", "edit", "part", "group", "parameters",
               "% of trunk");
  for (const PlanRow& row : plan.rows) {
    std::fprintf(out, "%-14s %-22s %-8s %14s %10.4f\n", row.edit.c_str(), row.part.c_str(),
                 use_name(row.use), count_text(row.parameters).c_str(), share(row.parameters));
  }
  line(adapter.parts().empty() && adapter.head() != nullptr ? "edits together (none: head only)"
                                                            : "edits together",
       plan.edit_parameters);
  for (const ParamUse group : {ParamUse::kExpert, ParamUse::kRouter, ParamUse::kGate}) {
    if (plan.parameters_for(group) > 0)
      line(std::string("  of these ") + use_name(group), plan.parameters_for(group));
  }
  if (plan.kept_parameters != plan.edit_parameters)
    line("  kept after training", plan.kept_parameters);
  line("head", plan.head_parameters);
  std::fprintf(out, "%-46s %14s\n", "trunk", count_text(plan.trunk_parameters).c_str());
  std::fprintf(out, "\nper token at length %lld: %.1f MFLOP forward, %.1f MFLOP in training%s\n",
               static_cast<long long>(flags.length), plan.forward_flops / 1e6,
               plan.training_flops / 1e6,
               passes == 2 ? ", where every row passes twice (consistency)" : "");
  std::fprintf(out, "peak memory in training, batches of %lld rows of %lld tokens, %s: about %s\n",
               static_cast<long long>(flags.batch_size), static_cast<long long>(flags.length),
               word_of(kPrecisions, flags.precision), bytes_text(plan.memory.peak()).c_str());
  if (step_seconds > 0) {
    std::fprintf(
        out, "measured on this machine: %.0f ms a step, %s tokens/s\n", 1000 * step_seconds,
        count_text(static_cast<int64_t>(
                       static_cast<double>(flags.accumulate * flags.batch_size * flags.length) /
                       step_seconds))
            .c_str());
  }
}

// What is planned: the adapter on its model, with the settings of its preset.
struct Planned {
  const ModelConfig& config;
  std::optional<Task> task;
  RunConfig settings;
  std::shared_ptr<const Adapter> adapter;
};

void check_lengths(const PlanFlags& flags, const ModelConfig& config) {
  if (flags.length > config.max_positions) {
    throw InputError("--length: this model serves at most " + std::to_string(config.max_positions) +
                     " tokens, found " + std::to_string(flags.length));
  }
  if (flags.target_length > 0 && !config.has_decoder()) {
    throw InputError("--target-length: found " + std::to_string(flags.target_length) + ", and a " +
                     config.model_type +
                     " model is an encoder, whose rows have no tokens to be given; leave it out");
  }
}

// `sites`: of the model.
Planned planned(const PlanFlags& flags, const ModelConfig& config, const Sites& sites) {
  AdapterPreset preset = load_preset(flags.adapter, share());
  Planned out{config, {}, settings_of(preset), nullptr};
  // What a decoder is to answer with, the task says: without one it answers in words.
  if (!flags.task.empty() || !config.has_decoder())
    out.task = find_task(flags.task.empty() ? "text:0,1" : flags.task);
  const EditTarget target{config, sites, out.task && !out.task->is_answered_in_words()};
  Node run = Node::map();
  const std::vector<std::string> notes =
      apply_settings(flags.settings, target, preset.source, preset.definition, run);
  if (!run.members.empty()) {
    throw InputError("--set " + run.members.front().first +
                     ": plan takes options of the adapter; the shape of a run is given by "
                     "--batch-size, --length and --precision" +
                     (notes.empty() ? "" : "\n" + joined(notes)));
  }
  out.adapter = std::make_shared<const Adapter>(preset.definition, preset.source, target, out.task);
  return out;
}

// In an encoder-decoder the decoder has rows of its own; a decoder-only model learns to give the
// last of a row's tokens, or all.
double mean_target(const PlanFlags& flags, const Planned& planned) {
  if (flags.target_length > 0 && planned.adapter->head() != nullptr) {
    throw InputError("--target-length: found " + std::to_string(flags.target_length) +
                     ", and the task is answered by a head, whose rows have no tokens to be given; "
                     "leave it out");
  }
  const bool has_both = planned.config.is_encoder_decoder();
  if (flags.target_length > flags.length && !has_both) {
    throw InputError(
        "--target-length: the tokens to be given are among those of a row, --length; expected at "
        "most " +
        std::to_string(flags.length) + ", found " + std::to_string(flags.target_length));
  }
  return static_cast<double>(flags.target_length > 0 || !has_both ? flags.target_length
                                                                  : flags.length);
}

PlanShape shape_of(const PlanFlags& flags, const Planned& planned) {
  PlanShape shape;
  shape.mean_length = static_cast<double>(flags.length);
  shape.mean_target = mean_target(flags, planned);
  shape.batch_rows = flags.batch_size;
  shape.batch_tokens = flags.batch_size * flags.length;
  shape.passes = passes_of(planned.settings.objective, *planned.adapter);
  shape.saves_memory = flags.saves_memory;
  shape.is_mapped = !is_gguf(flags.model);
  shape.precision = flags.precision;
  return shape;
}

// Of a step, measured; 0 where it is not asked for, or there are no weights or no head.
double measured_seconds(const PlanFlags& flags, const Planned& planned,
                        const IgnoredKeys& ignored) {
  const Path given = flags.model;
  const bool has_weights = std::filesystem::is_directory(given) &&
                           (std::filesystem::exists(given / "model.safetensors") ||
                            std::filesystem::exists(given / "model.safetensors.index.json"));
  if (!has_weights || planned.adapter->head() == nullptr || flags.no_timing) return 0;
  check_timed_length(flags, planned.config, *planned.adapter);
  const RunInputs inputs = made_up_run(load_model(given, flags.precision, ignored), *planned.task,
                                       planned.adapter, planned.settings, flags);
  return static_cast<double>(flags.accumulate) * seconds_per_pass(inputs);
}

int plan(PlanFlags flags) {
  set_threads(flags.threads);
  const IgnoredKeys ignored = IgnoredKeys{.named = flags.ignored_keys};
  const ModelConfig config = read_config(flags.model, ignored);
  check_lengths(flags, config);
  const Sites sites(config);
  const Planned run = planned(flags, config, sites);
  if (flags.batch_size == 0) flags.batch_size = run.settings.batch_size;
  flags.accumulate = run.settings.accumulate;
  const PlanShape shape = shape_of(flags, run);
  const Plan made = make_plan(*run.adapter, config, shape);
  const double step_seconds = measured_seconds(flags, run, ignored);
  const PlannedLength length = length_of(run.settings, run.adapter->head() == nullptr, flags);
  Node node = plan_node(made, step_seconds, shape.passes, flags);
  put_length(length, step_seconds, node);
  if (!flags.json.empty()) write_file_atomically(flags.json, to_json(node));
  print_plan(made, *run.adapter, step_seconds, shape.passes, flags);
  print_length(length, step_seconds, flags);
  return 0;
}

}  // namespace

void add_plan(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "plan", "Count parameters, operations and memory of a run before it is run");
  auto flags = std::make_shared<PlanFlags>();
  command->add_option("--model", flags->model, "model folder, or a config.json alone")->required();
  add_ignored_keys(*command, flags->ignored_keys);
  command->add_option("--adapter", flags->adapter, "preset or YAML file")->required();
  command->add_option("--task", flags->task, "gives the head its outputs (default: two classes)");
  command->add_option("--set", flags->settings,
                      "options of the adapter, such as rank=4 alpha=8; may be given several times");
  command->add_option("--rows", flags->rows, "training rows, to say how long a run will be")
      ->check(CLI::Range(1, 1 << 30));
  command
      ->add_option("--batch-size", flags->batch_size,
                   "rows of a batch (default: the adapter's setting)")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--length", flags->length, "tokens of a row")->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--target-length", flags->target_length,
                   "tokens of a row that a decoder learns to give (default: as many as --length)")
      ->check(CLI::Range(1, 1 << 20));
  command->add_flag("--save-memory", flags->saves_memory, "of a run with save_memory: true");
  add_precision(*command, flags->precision);
  add_threads(*command, flags->threads);
  accept_standard_output(*command->add_option(
      "--json", flags->json, "also write the plan to this file; -: the standard output"));
  command->add_flag("--no-timing", flags->no_timing,
                    "count only, even where the weights are there");
  command->footer(
      "Example:\n  graft plan --model models/minilm --adapter lora --set rank=4 --json plan.json");
  command->callback([flags, &action] { action = [flags] { return plan(*flags); }; });
}

}  // namespace graft
