#include "train/config.h"

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"

namespace graft {

namespace {

// What goes with one file of training rows only.
void check_mixture(Options& options, const DataConfig& data) {
  if (!data.train.empty())
    options.fault("train", "data.mixture is given; leave one of the two out");
  if (data.held_out > 0)
    options.fault("held_out", "a mixture is not split; give data.eval, or data.eval_tasks");
  if (data.rows > 0)
    options.fault("rows", "counts the rows of data.train; parts of a mixture have a rate or a cap");
  if (data.dev_rows > 0)
    options.fault("dev_rows", "a mixture is not split; give data.eval, or data.eval_tasks");
  if (data.shuffle != RowOrder::kNone)
    options.fault("shuffle", "says which rows of data.train are taken; a mixture draws its own");
}

void check_data(Options& options, const DataConfig& data) {
  if (data.mixture.empty() && data.mixture_rows > 0)
    options.fault("mixture_rows", "counts the rows of data.mixture, which is missing");
  if (data.splits_eval && (data.eval.empty() || !data.test.empty()))
    options.fault("split_eval", "needs data.eval, and no data.test: both come from data.eval");
  if (!data.eval.empty() && data.held_out > 0)
    options.fault("held_out", "data.eval is given; leave one of the two out");
  if (data.dev_rows > 0 && (!data.eval.empty() || data.held_out > 0))
    options.fault("dev_rows", std::string(data.eval.empty() ? "data.held_out" : "data.eval") +
                                  " is given; leave one of the two out");
  if (data.dev_rows > 0 && data.rows == 0 && data.per_label == 0)
    options.fault("dev_rows",
                  "counts rows behind those that are trained on; give data.rows or data.per_label");
  if (data.shuffle != RowOrder::kNone && data.rows == 0 && data.per_label == 0)
    options.fault("shuffle",
                  "says which rows data.rows and data.per_label take, and neither is given");
  if (!data.mixture.empty()) check_mixture(options, data);
}

// A setting that has no effect beside `reason`: a fault where the user gave it another value than
// the default, and the default again where only a preset did. `section` names where `options`
// lies: "" or "adafactor.".
template <typename T>
void reset_or_refuse(Options& options, const RunConfig& c, const std::string& section,
                     const char* key, T& value, const T& default_, const std::string& reason) {
  if (value == default_) return;
  const Node* found = options.raw(key);
  if (!c.is_suggested(section + key))
    options.fault(key, "found " + (found != nullptr ? found->scalar : "") + ", and " + reason +
                           ", or leave it out");
  value = default_;
}

// What the other optimizer has.
void refuse_other_optimizer(Options& options, RunConfig& c) {
  const RunConfig default_;
  if (c.optimizer == OptimizerKind::kAdamW) {
    Options& adafactor = options.section("adafactor");
    const std::string reason = "the optimizer is adamw; set optimizer: adafactor";
    reset_or_refuse(adafactor, c, "adafactor.", "first_step", c.adafactor.first_step,
                    default_.adafactor.first_step, reason);
    reset_or_refuse(adafactor, c, "adafactor.", "scales_by_parameter",
                    c.adafactor.scales_by_parameter, default_.adafactor.scales_by_parameter,
                    reason);
    reset_or_refuse(adafactor, c, "adafactor.", "factored", c.adafactor.factored,
                    default_.adafactor.factored, reason);
    return;
  }
  const std::string reason =
      "the optimizer is adafactor, which has none of it; set optimizer: adamw";
  if (c.weight_decay != 0)
    reset_or_refuse(options, c, "", "weight_decay", c.weight_decay, default_.weight_decay,
                    reason);  // none is what it does
  reset_or_refuse(options, c, "", "beta1", c.beta1, default_.beta1, reason);
  reset_or_refuse(options, c, "", "beta2", c.beta2, default_.beta2, reason);
  reset_or_refuse(options, c, "", "epsilon", c.epsilon, default_.epsilon, reason);
  reset_or_refuse(options, c, "", "adamw_form", c.adamw_form, default_.adamw_form, reason);
  reset_or_refuse(options, c, "", "missing_gradient", c.missing_gradient, default_.missing_gradient,
                  reason);
}

// Settings that other settings leave without effect.
void refuse_ineffective(Options& options, RunConfig& c) {
  refuse_other_optimizer(options, c);
  const RunConfig default_;
  if (c.objective.consistency == 0) {
    reset_or_refuse(options, c, "", "consistency_targets", c.objective.targets,
                    default_.objective.targets,
                    "consistency is 0, which is one pass; give consistency a weight");
    reset_or_refuse(options, c, "", "consistent_values", c.objective.pulls_values,
                    default_.objective.pulls_values,
                    "consistency is 0, which is one pass; give consistency a weight");
  }
  if (c.token_budget > 0 &&
      c.order != Order::kLength) {  // by length, batch_size makes the windows that are sorted
    reset_or_refuse(options, c, "", "batch_size", c.batch_size, default_.batch_size,
                    "batches are made of token_budget; set token_budget: 0");
  }
  if (c.evaluate_every.unit == Period::Unit::kNever) {
    reset_or_refuse(options, c, "", "early_stop", c.early_stop, default_.early_stop,
                    "evaluate_every is never; give evaluate_every a period");
  }
}

// Settings of earlier versions by their present names; a line for each goes to `notes`. One that
// stands beside its present name stays, and is refused as unknown.
Node with_present_names(Node settings, const std::string& source, std::vector<std::string>& notes) {
  if (settings.kind != Node::Kind::kMap || settings.find("missing_gradient") != nullptr)
    return settings;
  for (auto& [key, value] : settings.members) {
    if (key != "undrawn") continue;
    const std::string old = value.scalar;
    key = "missing_gradient";
    if (old == "move") value.scalar = "zero";
    if (old == "rest") value.scalar = "skip";
    notes.push_back(source + ": undrawn: " + old + " is called missing_gradient: " + value.scalar +
                    " now");
  }
  return settings;
}

// `over` on top of `under`, key by key.
Node overlaid(const Node& under, const Node& over) {
  if (under.kind != Node::Kind::kMap || over.kind != Node::Kind::kMap)
    return over.kind == Node::Kind::kNull ? under : over;
  Node out = over;
  for (const auto& [key, value] : under.members) {
    if (const Node* own = over.find(key)) out[key] = overlaid(value, *own);
    else out[key] = value;
  }
  return out;
}

// Keys that `under` gives and `over` does not.
void collect_suggested(const Node& under, const Node* over, const std::string& path,
                       std::vector<std::string>& out) {
  for (const auto& [key, value] : under.members) {
    const Node* own = over != nullptr && over->kind == Node::Kind::kMap ? over->find(key) : nullptr;
    if (value.kind == Node::Kind::kMap) collect_suggested(value, own, path + key + ".", out);
    else if (own == nullptr || own->kind == Node::Kind::kNull) out.push_back(path + key);
  }
}

}  // namespace

bool RunConfig::is_suggested(const std::string& key) const {
  return std::find(suggested.begin(), suggested.end(), key) != suggested.end();
}

RunConfig parse_run_config(const Node& given, const Node& preset, const std::string& source) {
  RunConfig config;
  const Node document = with_present_names(given, source, config.notes),
             defaults = with_present_names(preset, "the adapter's train section", config.notes);
  const Node merged = overlaid(defaults, document);
  Options options(merged, source);
  collect_suggested(defaults, &document, "", config.suggested);
  if (const Node* generation = merged.find("generation")) {
    for (const auto& [key, value] : generation->members) config.given_generation.push_back(key);
  }
  config = read_options(options, std::move(config));
  check_data(options.section("data"), config.data);
  if (config.task.empty() && !config.data.mixture.empty())
    config.task = config.data.mixture.front().task;
  refuse_ineffective(options, config);
  for (const auto& [key, value] :
       {std::pair{"model", &config.model}, std::pair{"task", &config.task},
        std::pair{"out", &config.out}}) {
    if (value->empty())
      options.fault(key, "missing; give " + option_name(key) + " or write it in the file");
  }
  if (config.epochs == 0 && config.max_steps == 0)
    options.fault("epochs", "a run of no steps trains nothing; give epochs or max_steps");
  if (config.data.train.empty() && config.data.mixture.empty())
    options.fault("data", "train is missing; give " + option_name("data") +
                              " or write data.train in the file (or data.mixture)");
  if (!config.data.mixture.empty() && config.order == Order::kFile)
    options.fault("order", "a mixture is drawn at random; expected shuffle or length");
  options.finish();
  return config;
}

Node run_config_node(const RunConfig& config) { return options_node(config); }

}  // namespace graft
