#include "train/config.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/options.h"
#include "data/metrics.h"
#include "infer/generation_settings.h"

namespace graft {

namespace {

constexpr int64_t kManySteps = int64_t{1} << 40;

const std::vector<std::string> kSchedules = {"linear", "cosine", "constant"};
const std::vector<std::string> kOrders = {"shuffle", "length", "file"};
const std::vector<std::string> kOptimizers = {"adamw", "adafactor"};
const std::vector<std::string> kIdles = {"move", "rest"};
const std::vector<std::string> kTargets = {"detached", "attached"};
const std::vector<std::string> kPrecisions = {"fp32", "bf16"};

template <typename Enum>
Enum to_enum(const std::vector<std::string>& names, const std::string& name) {
  return static_cast<Enum>(std::find(names.begin(), names.end(), name) - names.begin());
}

template <typename Enum>
Node enum_node(const std::vector<std::string>& names, Enum value) {
  return Node::text(names[static_cast<size_t>(value)]);
}

std::optional<double> leading_number(const std::string& text, std::string& rest) {
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  rest = std::string(stop, text.data() + text.size());
  while (!rest.empty() && rest.front() == ' ') rest.erase(0, 1);
  return value;
}

Period read_period(Options& options, const char* key) {
  const std::string text = options.text(key, "auto");
  if (text == "auto") return {};
  if (text == "never") return {Period::Unit::kNever, 0};
  std::string unit;
  const std::optional<double> count = leading_number(text, unit);
  const bool in_steps = unit.empty() || unit == "step" || unit == "steps";
  const bool in_epochs = unit == "epoch" || unit == "epochs";
  constexpr double kMost = 1e12;  // not-a-number fails this, too
  if (!count || !(*count > 0 && *count <= kMost) || (!in_steps && !in_epochs) ||
      (in_steps && *count != static_cast<double>(static_cast<int64_t>(*count)))) {
    options.fault(key, "expected steps such as 500, epochs such as '1 epoch', never, or auto, found " + quote(text));
    return {};
  }
  return {in_steps ? Period::Unit::kSteps : Period::Unit::kEpochs, *count};
}

Node period_node(const Period& period) {
  if (period.unit == Period::Unit::kNever) return Node::text("never");
  if (period.unit == Period::Unit::kAuto) return Node::text("auto");
  return Node::text(Node::number(period.count).scalar + (period.unit == Period::Unit::kSteps ? " steps" : " epochs"));
}

Warmup read_warmup(Options& options) {
  const double value = options.number("warmup", 0.06, 0, 1e12);
  if (value < 1) return {value, 0};
  if (value != static_cast<double>(static_cast<int64_t>(value)))
    options.fault("warmup", "expected a share below 1 or a whole number of steps");
  return {0, static_cast<int64_t>(value)};
}

// A name is a key beside the scores of an evaluation.
bool is_free_name(const std::string& name) {
  static const std::vector<std::string> kTaken = {"rows", "loss", "mean", "majority", "only_answer"};
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' ||
           c == '/';
  };
  if (name.empty() || !std::all_of(name.begin(), name.end(), is_allowed) ||
      std::find(kTaken.begin(), kTaken.end(), name) != kTaken.end())
    return false;
  for (const TaskKind kind : {TaskKind::kClassification, TaskKind::kRegression, TaskKind::kGeneration, TaskKind::kChoice}) {
    const std::vector<std::string>& metrics = metric_names(kind);
    if (std::find(metrics.begin(), metrics.end(), name) != metrics.end()) return false;
  }
  return true;
}

std::vector<EvalTask> read_eval_tasks(const Node& list, const std::string& source) {
  if (list.kind != Node::Kind::kList) throw InputError(source + ": /data/eval_tasks: expected a list of {name, task, data}");
  Node items = Node::map();  // one reader over all, so that all their faults are thrown at once
  for (size_t i = 0; i < list.items.size(); ++i) items[std::to_string(i)] = list.items[i];
  Options all(items, source, "/data/eval_tasks");
  std::vector<EvalTask> tasks;
  for (size_t i = 0; i < list.items.size(); ++i) {
    Options& options = all.section(std::to_string(i));
    EvalTask task{options.text("name", std::nullopt), options.text("task", std::nullopt), options.text("data", std::nullopt),
                  options.integer("rows", 0, 0, kManySteps)};
    const auto is_same = [&](const EvalTask& other) { return other.name == task.name; };
    if (std::any_of(tasks.begin(), tasks.end(), is_same))
      options.fault("name", "the name " + quote(task.name) + " appears twice");
    if (options.has("name") && !is_free_name(task.name)) {
      options.fault("name",
                    "expected letters, digits and _ - . / that are neither a metric's name nor rows, loss, mean, majority or "
                    "only_answer, found " +
                        quote(task.name));
    }
    tasks.push_back(std::move(task));
  }
  all.finish();
  return tasks;
}

Node eval_tasks_node(const std::vector<EvalTask>& tasks) {
  std::vector<Node> list;
  for (const EvalTask& task : tasks) {
    list.push_back(Node::map({{"name", Node::text(task.name)},
                              {"task", Node::text(task.task)},
                              {"data", Node::text(task.data)},
                              {"rows", Node::integer(task.rows)}}));
  }
  return Node::list(std::move(list));
}

// What goes with one file of training rows only.
void check_mixture(Options& options, const DataConfig& data) {
  if (!data.train.empty()) options.fault("train", "data.mixture is given; leave one of the two out");
  if (data.held_out > 0) options.fault("held_out", "a mixture is not split; give data.eval, or data.eval_tasks");
  if (data.rows > 0) options.fault("rows", "counts the rows of data.train; parts of a mixture have a rate or a cap");
}

void read_data(Options& options, DataConfig& data) {
  const auto list = [&](const char* key) -> const Node* {
    const Node* node = options.raw(key);
    const bool is_none =
        node == nullptr || node->kind == Node::Kind::kNull || (node->kind == Node::Kind::kList && node->items.empty());
    return is_none ? nullptr : node;
  };
  if (const Node* mixture = list("mixture")) data.mixture = parse_mixture(*mixture, options.source(), "/data/mixture");
  if (const Node* tasks = list("eval_tasks")) data.eval_tasks = read_eval_tasks(*tasks, options.source());
  data.mixture_rows = options.integer("mixture_rows", 0, 0, kManySteps);
  if (data.mixture.empty() && data.mixture_rows > 0)
    options.fault("mixture_rows", "counts the rows of data.mixture, which is missing");
  data.train = options.text("train", "");
  data.eval = options.text("eval", "");
  data.test = options.text("test", "");
  data.held_out = options.number("held_out", 0, 0, 0.9);
  data.rows = options.integer("rows", 0, 0, kManySteps);
  data.eval_rows = options.integer("eval_rows", 0, 0, kManySteps);
  data.per_label = options.integer("per_label", 0, 0, kManySteps);
  data.splits_eval = options.boolean("split_eval", false);
  if (data.splits_eval && (data.eval.empty() || !data.test.empty()))
    options.fault("split_eval", "needs data.eval, and no data.test: both come from data.eval");
  if (!data.eval.empty() && data.held_out > 0) options.fault("held_out", "data.eval is given; leave one of the two out");
  if (!data.mixture.empty()) check_mixture(options, data);
}

// A setting that has no effect beside `reason`: a fault where the user gave it another value than the usual one, and the usual
// value again where only a preset did. `section` names where `options` lies: "" or "adafactor.".
template <typename T>
void expect_usual(Options& options, const RunConfig& c, const std::string& section, const char* key, T& value, const T& usual,
                  const std::string& reason) {
  if (value == usual) return;
  const Node* found = options.raw(key);
  if (!c.is_suggested(section + key))
    options.fault(key, "found " + (found != nullptr ? found->scalar : "") + ", and " + reason + ", or leave it out");
  value = usual;
}

void read_optimizer(Options& options, RunConfig& c) {
  const RunConfig usual;
  c.optimizer = to_enum<OptimizerKind>(kOptimizers, options.choice("optimizer", "adamw", kOptimizers));
  c.weight_decay = options.number("weight_decay", c.weight_decay, 0, 10);
  c.beta1 = options.number("beta1", c.beta1, 0, 0.999999);
  c.beta2 = options.number("beta2", c.beta2, 0, 0.9999999);
  c.epsilon = options.number("epsilon", c.epsilon, 0, 1);
  c.undrawn = to_enum<Idle>(kIdles, options.choice("undrawn", "move", kIdles));
  Options& adafactor = options.section("adafactor");
  c.adafactor.first_step = adafactor.integer("first_step", 0, 0, kManySteps);
  c.adafactor.scales_by_parameter = adafactor.boolean("scales_by_parameter", true);
  if (c.optimizer == OptimizerKind::kAdamW) {
    const std::string reason = "the optimizer is adamw; set optimizer: adafactor";
    expect_usual(adafactor, c, "adafactor.", "first_step", c.adafactor.first_step, usual.adafactor.first_step, reason);
    expect_usual(adafactor, c, "adafactor.", "scales_by_parameter", c.adafactor.scales_by_parameter,
                 usual.adafactor.scales_by_parameter, reason);
    return;
  }
  const std::string reason = "the optimizer is adafactor, which has none of it; set optimizer: adamw";
  if (c.weight_decay != 0)
    expect_usual(options, c, "", "weight_decay", c.weight_decay, usual.weight_decay, reason);  // none is what it does
  expect_usual(options, c, "", "beta1", c.beta1, usual.beta1, reason);
  expect_usual(options, c, "", "beta2", c.beta2, usual.beta2, reason);
  expect_usual(options, c, "", "epsilon", c.epsilon, usual.epsilon, reason);
  expect_usual(options, c, "", "undrawn", c.undrawn, usual.undrawn, reason);
}

// Settings that other settings leave without effect.
void refuse_ineffective(Options& options, RunConfig& c) {
  const RunConfig usual;
  if (c.objective.consistency == 0) {
    expect_usual(options, c, "", "consistency_targets", c.objective.targets, usual.objective.targets,
                 "consistency is 0, which is one pass; give consistency a weight");
  }
  if (c.token_budget > 0 && c.order != Order::kLength) {  // by length, batch_size makes the windows that are sorted
    expect_usual(options, c, "", "batch_size", c.batch_size, usual.batch_size,
                 "batches are made of token_budget; set token_budget: 0");
  }
  if (c.evaluate_every.unit == Period::Unit::kNever) {
    expect_usual(options, c, "", "early_stop", c.early_stop, usual.early_stop,
                 "evaluate_every is never; give evaluate_every a period");
  }
}

void read_training(Options& options, RunConfig& c) {
  read_optimizer(options, c);
  c.objective.label_smoothing = options.number("label_smoothing", 0, 0, 0.99);
  c.objective.z_loss = options.number("z_loss", 0, 0, 1e3);
  c.objective.consistency = options.number("consistency", 0, 0, 1e6);
  c.saves_memory = options.boolean("save_memory", false);
  c.objective.averages_rows = options.choice("loss_unit", "token", {"token", "row"}) == "row";
  c.objective.targets = to_enum<ConsistencyTargets>(kTargets, options.choice("consistency_targets", "detached", kTargets));
  options.choice("device", "cpu", {"cpu"});
  if (const Node* own = options.raw("epochs"); own != nullptr && own->kind != Node::Kind::kNull && own->scalar != "auto")
    c.epochs = options.number("epochs", std::nullopt, 0, 1e6);
  c.max_steps = options.integer("max_steps", c.max_steps, 0, kManySteps);
  c.batch_size = options.integer("batch_size", c.batch_size, 1, 1 << 20);
  c.token_budget = options.integer("token_budget", c.token_budget, 0, 1 << 24);
  c.accumulate = options.integer("accumulate", c.accumulate, 1, 1 << 20);
  c.order = to_enum<Order>(kOrders, options.choice("order", "shuffle", kOrders));
  c.learning_rate = options.number("learning_rate", c.learning_rate, 0, 100);
  c.warmup = read_warmup(options);
  c.schedule = to_enum<Schedule>(kSchedules, options.choice("schedule", "linear", kSchedules));
  c.clip = options.number("clip", c.clip, 0, 1e9);
  if (const Node* own = options.raw("dropout"); own != nullptr && own->kind != Node::Kind::kNull)
    c.dropout = options.number("dropout", 0, 0, 0.99);
  c.precision = to_enum<Precision>(kPrecisions, options.choice("precision", "fp32", kPrecisions));
  c.max_length = options.integer("max_length", c.max_length, 0, 1 << 22);
  c.seed = options.integer("seed", c.seed, 0, INT64_MAX);
  c.evaluate_every = read_period(options, "evaluate_every");
  c.checkpoint_every = read_period(options, "checkpoint_every");
  c.early_stop = options.integer("early_stop", c.early_stop, 0, 1 << 20);
  c.keep_best = options.boolean("keep_best", c.keep_best);
  Options& generation = options.section("generation");
  c.uses_model_generation = generation.boolean("model_defaults", true);
  c.generation = read_generation(generation);
  refuse_ineffective(options, c);
}

Node warmup_node(const Warmup& warmup) {
  return warmup.share > 0 || warmup.steps == 0 ? Node::number(warmup.share) : Node::integer(warmup.steps);
}

std::vector<RunLength> read_lengths(Options& options) {
  std::vector<RunLength> lengths;
  const Node* list = options.raw("lengthened_from");
  if (list == nullptr || list->kind == Node::Kind::kNull) return lengths;
  if (list->kind != Node::Kind::kList) options.fault("lengthened_from", "expected a list of lengths that the run had before");
  for (const Node& item : list->items) {
    Options each(item, options.source(), "/lengthened_from");
    lengths.push_back({each.number("epochs", std::nullopt, 0, 1e6), each.integer("max_steps", std::nullopt, 0, kManySteps),
                       read_warmup(each)});
    each.finish();
  }
  return lengths;
}

Node lengths_node(const std::vector<RunLength>& lengths) {
  std::vector<Node> list;
  for (const RunLength& length : lengths) {
    list.push_back(Node::map({{"epochs", Node::number(length.epochs)},
                              {"max_steps", Node::integer(length.max_steps)},
                              {"warmup", warmup_node(length.warmup)}}));
  }
  return Node::list(std::move(list));
}

// `over` on top of `under`, key by key.
Node overlaid(const Node& under, const Node& over) {
  if (under.kind != Node::Kind::kMap || over.kind != Node::Kind::kMap) return over.kind == Node::Kind::kNull ? under : over;
  Node out = over;
  for (const auto& [key, value] : under.members) {
    if (const Node* own = over.find(key)) out[key] = overlaid(value, *own);
    else out[key] = value;
  }
  return out;
}

// Keys that `under` gives and `over` does not.
void collect_suggested(const Node& under, const Node* over, const std::string& path, std::vector<std::string>& out) {
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

RunConfig parse_run_config(const Node& document, const Node& defaults, const std::string& source) {
  const Node merged = overlaid(defaults, document);
  Options options(merged, source);
  RunConfig config;
  collect_suggested(defaults, &document, "", config.suggested);
  if (const Node* generation = merged.find("generation")) {
    for (const auto& [key, value] : generation->members) config.given_generation.push_back(key);
  }
  config.model = options.text("model", "");
  config.ignored_keys = options.texts("ignore_config_keys", std::vector<std::string>{});
  config.task = options.text("task", "");
  config.out = options.text("out", "");
  config.adapter_name = options.text("adapter_name", "");
  config.start_from = options.text("start_from", "");
  config.lengthened_from = read_lengths(options);
  if (const Node* adapter = options.raw("adapter")) config.adapter = *adapter;
  read_data(options.section("data"), config.data);
  if (config.task.empty() && !config.data.mixture.empty()) config.task = config.data.mixture.front().task;
  read_training(options, config);
  for (const auto& [key, flag, value] : {std::tuple{"model", "--model", &config.model},
                                         std::tuple{"task", "--task", &config.task}, std::tuple{"out", "--out", &config.out}}) {
    if (value->empty()) options.fault(key, std::string("missing; give ") + flag + " or write it in the file");
  }
  if (config.epochs == 0 && config.max_steps == 0)
    options.fault("epochs", "a run of no steps trains nothing; give epochs or max_steps");
  if (config.data.train.empty() && config.data.mixture.empty())
    options.fault("data", "train is missing; give --data or write data.train in the file (or data.mixture)");
  if (!config.data.mixture.empty() && config.order == Order::kFile)
    options.fault("order", "a mixture is drawn at random; expected shuffle or length");
  options.finish();
  return config;
}

Node run_config_node(const RunConfig& c) {
  Node data = Node::map({{"train", Node::text(c.data.train)},
                         {"eval", Node::text(c.data.eval)},
                         {"test", Node::text(c.data.test)},
                         {"held_out", Node::number(c.data.held_out)},
                         {"mixture", mixture_to_node(c.data.mixture)},
                         {"mixture_rows", Node::integer(c.data.mixture_rows)},
                         {"eval_tasks", eval_tasks_node(c.data.eval_tasks)},
                         {"rows", Node::integer(c.data.rows)},
                         {"eval_rows", Node::integer(c.data.eval_rows)},
                         {"per_label", Node::integer(c.data.per_label)},
                         {"split_eval", Node::boolean(c.data.splits_eval)}});
  Node generation = generation_node(c.generation);
  generation["model_defaults"] = Node::boolean(c.uses_model_generation);
  return Node::map(
      {{"model", Node::text(c.model)},
       {"ignore_config_keys", Node::texts(c.ignored_keys)},
       {"task", Node::text(c.task)},
       {"out", Node::text(c.out)},
       {"adapter_name", Node::text(c.adapter_name)},
       {"adapter", c.adapter},
       {"start_from", Node::text(c.start_from)},
       {"lengthened_from", lengths_node(c.lengthened_from)},
       {"data", std::move(data)},
       {"optimizer", enum_node(kOptimizers, c.optimizer)},
       {"adafactor", Node::map({{"first_step", Node::integer(c.adafactor.first_step)},
                                {"scales_by_parameter", Node::boolean(c.adafactor.scales_by_parameter)}})},
       {"undrawn", enum_node(kIdles, c.undrawn)},
       {"label_smoothing", Node::number(c.objective.label_smoothing)},
       {"z_loss", Node::number(c.objective.z_loss)},
       {"consistency", Node::number(c.objective.consistency)},
       {"save_memory", Node::boolean(c.saves_memory)},
       {"loss_unit", Node::text(c.objective.averages_rows ? "row" : "token")},
       {"consistency_targets", enum_node(kTargets, c.objective.targets)},
       {"device", Node::text("cpu")},
       {"epochs", c.epochs ? Node::number(*c.epochs) : Node::text("auto")},
       {"max_steps", Node::integer(c.max_steps)},
       {"batch_size", Node::integer(c.batch_size)},
       {"token_budget", Node::integer(c.token_budget)},
       {"accumulate", Node::integer(c.accumulate)},
       {"order", enum_node(kOrders, c.order)},
       {"learning_rate", Node::number(c.learning_rate)},
       {"warmup", warmup_node(c.warmup)},
       {"schedule", enum_node(kSchedules, c.schedule)},
       {"weight_decay", Node::number(c.weight_decay)},
       {"beta1", Node::number(c.beta1)},
       {"beta2", Node::number(c.beta2)},
       {"epsilon", Node::number(c.epsilon)},
       {"clip", Node::number(c.clip)},
       {"dropout", c.dropout ? Node::number(*c.dropout) : Node::null()},
       {"precision", enum_node(kPrecisions, c.precision)},
       {"max_length", Node::integer(c.max_length)},
       {"seed", Node::integer(c.seed)},
       {"evaluate_every", period_node(c.evaluate_every)},
       {"checkpoint_every", period_node(c.checkpoint_every)},
       {"early_stop", Node::integer(c.early_stop)},
       {"keep_best", Node::boolean(c.keep_best)},
       {"generation", std::move(generation)}});
}

}  // namespace graft
