#include "train/config_forms.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "base/error.h"
#include "base/wording.h"
#include "data/metrics.h"

namespace graft::detail {

namespace {

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
    options.fault(key,
                  "expected steps such as 500, epochs such as '1 epoch', never, or auto, found " +
                      quote(text));
    return {};
  }
  return {in_steps ? Period::Unit::kSteps : Period::Unit::kEpochs, *count};
}

Node period_node(const Period& period) {
  if (period.unit == Period::Unit::kNever) return Node::text("never");
  if (period.unit == Period::Unit::kAuto) return Node::text("auto");
  return Node::text(Node::number(period.count).scalar +
                    (period.unit == Period::Unit::kSteps ? " steps" : " epochs"));
}

Warmup read_warmup(Options& options) {
  const double value = options.number("warmup", Warmup{}.share, 0, 1e12);
  if (value < 1) return {value, 0};
  if (value != static_cast<double>(static_cast<int64_t>(value)))
    options.fault("warmup", "expected a share below 1 or a whole number of steps");
  return {0, static_cast<int64_t>(value)};
}

Node warmup_node(const Warmup& warmup) {
  return warmup.share > 0 || warmup.steps == 0 ? Node::number(warmup.share)
                                               : Node::integer(warmup.steps);
}

// A name is a key beside the scores of an evaluation, a side of a study's results, and a file below
// RUN/records.
bool is_free_name(const std::string& name) {
  constexpr std::string_view kTaken[] = {"loss", "mean",  "groups", "eval",
                                         "test", "train", "plain",  "forgetting"};
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == '/';
  };
  const bool is_taken = !is_score_key(name) ||
                        std::find(std::begin(kTaken), std::end(kTaken), name) != std::end(kTaken);
  if (name.empty() || !std::all_of(name.begin(), name.end(), is_allowed) || is_taken) return false;
  const std::string path = "/" + name + "/";
  for (const char* part : {"//", "/./", "/../"}) {
    if (path.find(part) != std::string::npos) return false;
  }
  for (const TaskKind kind : {TaskKind::kClassification, TaskKind::kRegression,
                              TaskKind::kGeneration, TaskKind::kChoice}) {
    const std::vector<std::string>& metrics = metric_names(kind);
    if (std::find(metrics.begin(), metrics.end(), name) != metrics.end()) return false;
  }
  return true;
}

std::vector<EvalTask> read_eval_tasks(const Node& list, const std::string& source) {
  if (list.kind != Node::Kind::kList)
    throw InputError(source + ": /data/eval_tasks: expected a list of {name, task, data}");
  Node items = Node::map();  // one reader over all, so that all their faults are thrown at once
  for (size_t i = 0; i < list.items.size(); ++i) items[std::to_string(i)] = list.items[i];
  Options all(items, source, "/data/eval_tasks");
  std::vector<EvalTask> tasks;
  for (size_t i = 0; i < list.items.size(); ++i) {
    Options& options = all.section(std::to_string(i));
    EvalTask task{options.text("name", std::nullopt), options.text("task", std::nullopt),
                  options.text("data", std::nullopt), options.integer("rows", 0, 0, kMostRows),
                  options.text("group", "")};
    const auto is_same = [&](const EvalTask& other) { return other.name == task.name; };
    if (options.has("group") && !is_free_name(task.group))
      options.fault("group",
                    "expected letters, digits and _ - . / that are no metric's name and no key of "
                    "metrics.json, found " +
                        quote(task.group));
    if (std::any_of(tasks.begin(), tasks.end(), is_same))
      options.fault("name", "the name " + quote(task.name) + " appears twice");
    if (options.has("name") && !is_free_name(task.name)) {
      options.fault("name",
                    "expected letters, digits and _ - . / that are no metric's name and no key of "
                    "metrics.json (such as rows, loss, mean, eval or test), found " +
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
    if (!task.group.empty()) list.back()["group"] = Node::text(task.group);
  }
  return Node::list(std::move(list));
}

std::vector<RunLength> read_lengths(Options& options) {
  std::vector<RunLength> lengths;
  const Node* list = options.raw("lengthened_from");
  if (list == nullptr || list->kind == Node::Kind::kNull) return lengths;
  if (list->kind != Node::Kind::kList)
    options.fault("lengthened_from", "expected a list of lengths that the run had before");
  for (const Node& item : list->items) {
    Options each(item, options.source(), "/lengthened_from");
    lengths.push_back({each.number("epochs", std::nullopt, 0, kMostEpochs),
                       each.integer("max_steps", std::nullopt, 0, kMostSteps), read_warmup(each)});
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

// The list at `key`; null where there is none, or an empty one.
const Node* list_at(Options& options, const char* key) {
  const Node* node = options.raw(key);
  const bool is_none = node == nullptr || node->kind == Node::Kind::kNull ||
                       (node->kind == Node::Kind::kList && node->items.empty());
  return is_none ? nullptr : node;
}

}  // namespace

OptionForm period_form(const char* key, Period& value) {
  return {.values = "500 steps, 0.5 epochs, never, auto",
          .read = [&value, key](Options& options) { value = read_period(options, key); },
          .write = [&value] { return period_node(value); }};
}

OptionForm warmup_form(Warmup& value) {
  return {.values = "a share below 1, or steps",
          .read = [&value](Options& options) { value = read_warmup(options); },
          .write = [&value] { return warmup_node(value); }};
}

OptionForm cache_form(std::optional<int64_t>& value) {
  const auto read = [&value](Options& options) {
    const std::string text = options.text("cache", "auto");
    value.reset();
    if (text == "auto") return;
    value = text == "never" ? 0 : bytes_of(text);
    if (!value)
      options.fault("cache", "expected bytes such as 2 GB, never, or auto, found " + quote(text));
  };
  const auto write = [&value] {
    return Node::text(!value ? "auto" : *value == 0 ? "never" : std::to_string(*value) + " B");
  };
  return {.values = "2 GB, never, auto", .read = read, .write = write};
}

OptionForm mixture_form(std::vector<MixturePart>& value) {
  const auto read = [&value](Options& options) {
    if (const Node* list = list_at(options, "mixture"))
      value = parse_mixture(*list, options.source(), "/data/mixture");
  };
  return {.values = "a list (doc/data.md)", .read = read, .write = [&value] {
            return mixture_to_node(value);
          }};
}

OptionForm eval_tasks_form(std::vector<EvalTask>& value) {
  const auto read = [&value](Options& options) {
    if (const Node* list = list_at(options, "eval_tasks"))
      value = read_eval_tasks(*list, options.source());
  };
  return {.values = "a list of {name, task, data, rows, group}", .read = read, .write = [&value] {
            return eval_tasks_node(value);
          }};
}

OptionForm lengths_form(std::vector<RunLength>& value) {
  return {.values = "a list of {epochs, max_steps, warmup}",
          .read = [&value](Options& options) { value = read_lengths(options); },
          .write = [&value] { return lengths_node(value); }};
}

}  // namespace graft::detail
