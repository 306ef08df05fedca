#include "train/run_rows.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/wording.h"
#include "data/mixture.h"
#include "data/numpy_random.h"
#include "data/split.h"
#include "infer/evaluate.h"

namespace graft {

namespace {

// The split belongs to the data, not to the run's seed: seeds stay comparable.
constexpr uint64_t kSplitSeed = 0;

void check_count(const std::vector<Example>& rows, int64_t wanted, const std::string& key,
                 const std::string& path) {
  const auto found = static_cast<int64_t>(rows.size());
  if (wanted > found)
    throw InputError(key + ": '" + path + "' has " + std::to_string(found) + " " +
                     plural(found, "row") + ", " + std::to_string(wanted) + " were asked for");
}

// The first `count` rows; all of them when it is 0.
std::vector<Example> first_rows(std::vector<Example> rows, int64_t count, const std::string& key,
                                const std::string& path) {
  check_count(rows, count, key, path);
  if (count > 0) rows.resize(static_cast<size_t>(count));
  return rows;
}

uint64_t row_seed(const RunConfig& config) {
  return static_cast<uint64_t>(config.seeds.rows.value_or(config.seed));
}

// In which order rows are taken.
std::vector<int64_t> row_order(const RunConfig& config, int64_t count) {
  if (config.data.shuffle == RowOrder::kNumpy) return numpy_permutation(count, row_seed(config));
  if (config.data.rows > 0 && config.seeds.rows) return random_order(count, row_seed(config));
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  return order;
}

// The labels of a few-shot run's rows.
std::vector<int64_t> labels_of_rows(const std::vector<Example>& rows, const Task& task) {
  if (task.kind() != TaskKind::kClassification)
    throw InputError("data.per_label: task " + quote(task.name) +
                     " has no classes to draw rows of");
  std::vector<int64_t> labels;
  for (const Example& row : rows) labels.push_back(static_cast<int64_t>(*row.label));
  return labels;
}

// The rows that are trained on, and the next of data.dev_rows. Without data.rows and data.per_label
// all are trained on, in their order.
struct TakenRows {
  std::vector<Example> train, dev;
};

TakenRows take_rows(std::vector<Example> all, const RunConfig& config, const Task& task) {
  const DataConfig& data = config.data;
  if (data.rows == 0 && data.per_label == 0) return {std::move(all), {}};
  const auto count = static_cast<int64_t>(all.size());
  const std::vector<int64_t> order = row_order(config, count);
  const auto first = order.begin() + static_cast<std::ptrdiff_t>(data.rows > 0 ? data.rows : count);
  std::vector<int64_t> chosen(order.begin(), first);
  if (data.per_label > 0) {
    const std::vector<int64_t> labels = labels_of_rows(all, task);
    const std::string about =
        "data.per_label: '" + data.train + "'" +
        (data.rows > 0 ? ", the " + counted(data.rows, "row") + " of data.rows" : "") + ": ";
    if (data.shuffle == RowOrder::kNumpy) {
      chosen = first_rows_per_label(chosen, labels, task.labels(), data.per_label, about);
    } else {
      std::sort(chosen.begin(), chosen.end());
      chosen = pick(chosen, random_rows_per_label(pick(labels, chosen), task.labels(),
                                                  data.per_label, row_seed(config), about));
    }
  }
  std::sort(chosen.begin(), chosen.end());
  std::vector<int64_t> next;
  for (auto row = data.rows > 0 ? first : order.begin();
       row != order.end() && std::ssize(next) < data.dev_rows; ++row) {
    if (!std::binary_search(chosen.begin(), chosen.end(), *row)) next.push_back(*row);
  }
  if (std::ssize(next) < data.dev_rows) {
    throw InputError("data.dev_rows: '" + data.train + "' has " + std::to_string(next.size()) +
                     " " + plural(std::ssize(next), "row") + " behind those that are trained on, " +
                     std::to_string(data.dev_rows) + " were asked for");
  }
  std::sort(next.begin(), next.end());
  return {pick(all, chosen), pick(all, next)};
}

// From 0 to 1, a share of rows or of a text: such metrics have a common mean.
bool is_share(const std::string& metric) {
  return metric.starts_with("accuracy") || metric.starts_with("answer_") ||
         metric == "exact_match" || metric == "rouge_l";
}

void check_mean(const std::vector<EvalTaskData>& tasks) {
  for (const EvalTaskData& other : tasks) {
    const std::string &first = tasks.front().task.primary_metric,
                      &metric = other.task.primary_metric;
    if (metric == first || (is_share(metric) && is_share(first))) continue;
    throw InputError("data.eval_tasks: the mean over data sets needs metrics of one kind, found " +
                     first + " of " + quote(tasks.front().name) + " and " + metric + " of " +
                     quote(other.name) + "; change `primary` in one of the tasks");
  }
}

// A row's id in its file says which row it is in one part only.
void append(Dataset part, const std::string& name, Dataset& all) {
  for (size_t i = 0; i < part.sequences.size(); ++i) {
    part.examples[i].id = part.sequences[i].example = all.size() + static_cast<int64_t>(i);
    part.examples[i].id_text = name + ":" + part.examples[i].id_text;
  }
  part.options.clear();  // a choice is trained on its right option
  append_rows(std::move(part), all);
}

// What a run trains on.
struct TrainRows {
  Dataset rows;
  std::optional<DrawnParts> parts = {};
};

TrainRows load_mixture(const Path& tasks_dir, const ModelConfig& model, const RunInputs& in) {
  const DataConfig& data = in.config.data;
  TrainRows out;
  DrawnParts parts;
  for (const MixturePart& part : data.mixture) {
    const Task task = load_text_task(part.task, "data.mixture: " + part.name, tasks_dir);
    check_target_length(task, model, in.adapter->layout(), in.max_length);
    Dataset rows = encode_examples(read_examples(part.data, task, LabelUse::kRequired), task,
                                   in.text, model, in.max_length);
    parts.sizes.push_back(rows.size());
    append(std::move(rows), part.name, out.rows);
  }
  parts.rates = mixture_rates(data.mixture, parts.sizes);
  parts.rows = data.mixture_rows > 0 ? data.mixture_rows : out.rows.size();
  out.parts = std::move(parts);
  return out;
}

// What rows become depends on beside themselves.
Node encoding_of(const RunInputs& in) {
  return Node::map({{"model", Node::text(in.config.model)},
                    {"task", Node::text(in.config.task)},
                    {"task_options", in.config.task_options},
                    {"max_length", Node::integer(in.max_length)}});
}

void load_eval_tasks(const Path& tasks_dir, const ModelConfig& model, SharedRows& shared,
                     RunInputs& in) {
  for (const EvalTask& each : in.config.data.eval_tasks) {
    const std::string key = "data.eval_tasks: " + each.name;
    EvalTaskData& own = in.eval_tasks.emplace_back();
    own.name = each.name;
    own.task = load_text_task(each.task, key, tasks_dir);
    check_target_length(own.task, model, in.adapter->layout(), in.max_length);
    own.group = each.group;
    Node made_of = encoding_of(in);
    made_of["task"] = Node::text(each.task);
    made_of["task_options"] = Node::null();
    made_of["eval"] = Node::text(each.data);
    made_of["eval_rows"] = Node::integer(each.rows);
    own.data = shared.get<EvalData>(to_json(made_of, -1), [&] {
      std::vector<Example> rows = first_rows(
          read_examples(each.data, own.task, LabelUse::kRequired), each.rows, key, each.data);
      return encode_eval_data(std::move(rows), own.task, in.text, model, in.max_length);
    });
  }
  if (!in.eval_tasks.empty()) check_mean(in.eval_tasks);
}

// The rows of a run, none of them tokenised.
struct RunRows {
  std::vector<Example> train, eval, test;
};

RunRows read_rows(const RunConfig& config, const Task& task) {
  RunRows out;
  std::vector<Example>&train = out.train, &eval = out.eval, &test = out.test;
  if (config.data.mixture.empty()) {
    std::vector<Example> all = read_examples(config.data.train, task, LabelUse::kRequired);
    check_count(all, config.data.rows, "data.rows", config.data.train);
    TakenRows taken = take_rows(std::move(all), config, task);
    train = std::move(taken.train);
    eval = std::move(taken.dev);
  }
  if (!config.data.test.empty()) test = read_examples(config.data.test, task, LabelUse::kRequired);
  if (!config.data.eval.empty()) {
    eval = first_rows(read_examples(config.data.eval, task, LabelUse::kRequired),
                      config.data.eval_rows, "data.eval_rows", config.data.eval);
  } else if (config.data.held_out > 0) {
    const Split split = hold_out(std::ssize(train), config.data.held_out, kSplitSeed,
                                 "data.held_out: '" + config.data.train + "': ");
    eval = pick(train, split.held_out);
    train = pick(train, split.kept);
  }
  if (config.data.splits_eval) {
    const Split split = choose_and_test(std::ssize(eval), row_seed(config),
                                        "data.split_eval: '" + config.data.eval + "': ");
    test = pick(eval, split.kept);
    eval = pick(eval, split.held_out);
  }
  return out;
}

// Names for what a run reads: two runs in which one is the same read the same rows there. Empty:
// none.
struct RowKeys {
  std::string train, eval, test;
};

RowKeys row_keys(const RunInputs& in) {
  const RunConfig& config = in.config;
  const DataConfig& data = config.data;
  const Node settings = run_config_node(config);
  Node train = encoding_of(in);
  const bool draws_rows = data.per_label > 0 || data.shuffle == RowOrder::kNumpy ||
                          (data.rows > 0 && config.seeds.rows);
  const Node seed = Node::integer(static_cast<int64_t>(row_seed(config)));
  if (draws_rows) train["seed"] = seed;
  train["data"] = Node::map();
  for (const auto& [key, value] : settings.find("data")->members) {
    const bool is_of_others = key == "eval" || key == "eval_rows" || key == "eval_tasks" ||
                              key == "test" || key == "split_eval";
    if (!is_of_others) train["data"][key] = value;
  }
  Node eval = data.eval.empty() ? train : encoding_of(in);
  eval["eval"] = Node::text(data.eval);
  eval["eval_rows"] = Node::integer(data.eval_rows);
  if (data.splits_eval) eval["split"] = seed;
  Node test = data.test.empty() ? eval : encoding_of(in);
  test["test"] = Node::text(data.test);
  const bool has_eval = !data.eval.empty() || data.held_out > 0 || data.dev_rows > 0;
  return {to_json(train, -1), has_eval ? to_json(eval, -1) : "",
          data.test.empty() && !data.splits_eval ? "" : to_json(test, -1)};
}

}  // namespace

void check_row_seed(const RunConfig& config) {
  const DataConfig& data = config.data;
  if (!config.seeds.rows || data.rows > 0 || data.per_label > 0 || data.splits_eval) return;
  throw InputError("seeds.rows: found " + std::to_string(*config.seeds.rows) +
                   ", and no rows are drawn by it: that takes data.rows, data.per_label or "
                   "data.split_eval; leave it out");
}

Task load_text_task(const std::string& name, const std::string& key, const Path& tasks_dir) {
  Task task = load_task(name, tasks_dir);
  if (!task.is_answered_in_words())
    throw InputError(key + ": task " + quote(name) +
                     " has a head of its own; tasks that are trained or scored together answer in "
                     "words (kind: generation or choice)");
  return task;
}

void load_rows(const Path& tasks_dir, const ModelConfig& model, SharedRows& shared, RunInputs& in) {
  const RowKeys keys = row_keys(in);
  const auto is_there = [&](const std::string& key) { return key.empty() || shared.has(key); };
  RunRows rows;
  if (!is_there(keys.train) || !is_there(keys.eval) || !is_there(keys.test))
    rows = read_rows(in.config, in.task);
  const auto train = shared.get<TrainRows>(keys.train, [&] {
    if (!in.config.data.mixture.empty()) return load_mixture(tasks_dir, model, in);
    return TrainRows{
        encode_examples(std::move(rows.train), in.task, in.text, model, in.max_length)};
  });
  in.train = {train, &train->rows};
  in.parts = train->parts;
  load_eval_tasks(tasks_dir, model, shared, in);
  const auto load = [&](const std::string& key, std::vector<Example>& own) {
    std::shared_ptr<const EvalData> data;
    if (key.empty() || (own.empty() && !shared.has(key))) return data;
    return shared.get<EvalData>(key, [&] {
      return encode_eval_data(std::move(own), in.task, in.text, model, in.max_length);
    });
  };
  in.eval = load(keys.eval, rows.eval);
  in.test = load(keys.test, rows.test);
  in.adapter->check_subspaces(in.train->examples);
  for (const auto& data : {in.eval, in.test}) {
    if (data) in.adapter->check_subspaces(data->rows.examples);
  }
  for (const EvalTaskData& each : in.eval_tasks)
    in.adapter->check_subspaces(each.data->rows.examples);
}

}  // namespace graft
