#include "train/lengthen.h"

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"
#include "train/schedule.h"

namespace graft {

namespace {

const std::vector<std::string> kLengths = {"epochs", "max_steps"};

// The resolved document with the settings in it.
Node with_settings(const RunConfig& config, const std::vector<std::string>& settings) {
  Node document = run_config_node(config);
  for (const std::string& setting : settings) {
    const auto parts = key_and_value(setting);
    if (!parts || std::find(kLengths.begin(), kLengths.end(), parts->first) == kLengths.end()) {
      throw InputError(
          setting_text(setting) +
          ": a run that goes on keeps the settings in its run.yaml; it can be made longer by " +
          joined(kLengths, "or") +
          ", or start a new run (start_from takes an adapter to begin with)");
    }
    set_path(document, parts->first, parts->second);
  }
  return document;
}

void check_schedule(const RunConfig& config, const std::string& way_out) {
  if (config.schedule == Schedule::kConstant) return;
  const bool is_linear = config.schedule == Schedule::kLinear;
  throw InputError(settings_name() + ": the run in '" + config.out +
                   "' has schedule: " + (is_linear ? "linear" : "cosine") +
                   ", whose learning rates depend on the length of the whole run and end at zero, "
                   "so that no longer run begins "
                   "like this one; with schedule: constant it could be made longer. " +
                   way_out);
}

}  // namespace

bool keeps_last_state(const RunConfig& config) {
  return config.schedule == Schedule::kConstant &&
         config.checkpoint_every.unit != Period::Unit::kNever;
}

void lengthen(RunInputs& inputs, const std::vector<std::string>& settings) {
  RunConfig& config = inputs.config;
  const RunConfig asked =
      parse_run_config(with_settings(config, settings), Node::null(), settings_name());
  const std::string way_out = "A new run that begins with its adapter: graft train " +
                              (Path(config.out) / "run.yaml").string() + " " + option_name("out") +
                              " FOLDER " +
                              setting_text("start_from=" + (Path(config.out) / "adapter").string());
  check_schedule(config, way_out);
  if (!asked.epochs)
    throw InputError(settings_name() +
                     ": epochs: expected a number, found auto; say how long the run is to be");
  if (config.max_steps > 0 && asked.max_steps == config.max_steps)
    throw InputError(settings_name() + ": max_steps is " + std::to_string(config.max_steps) +
                     " in this run and counts instead of epochs; give max_steps");
  const int64_t before = epochs_of(inputs).total_steps();
  config.lengthened_from.push_back({config.epochs.value(), config.max_steps, config.warmup});
  config.warmup = {0, warmup_steps(config.warmup, before)};
  config.epochs = asked.epochs;
  config.max_steps = asked.max_steps;
  if (const int64_t after = epochs_of(inputs).total_steps(); after <= before)
    throw InputError(settings_name() + ": the run has " + std::to_string(before) +
                     " steps, and these settings give it " + std::to_string(after) +
                     "; expected more");
}

std::vector<RunConfig> stages_of(const RunConfig& config) {
  std::vector<RunConfig> stages(config.lengthened_from.size() + 1, config);
  for (size_t i = 0; i < config.lengthened_from.size(); ++i) {
    const RunLength& length = config.lengthened_from[i];
    RunConfig& stage = stages[i];
    stage.epochs = length.epochs;
    stage.max_steps = length.max_steps;
    stage.warmup = length.warmup;
    stage.lengthened_from.resize(i);
  }
  return stages;
}

}  // namespace graft
