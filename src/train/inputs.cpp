// Loading and checking everything a run reads, before its folder is touched.
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "data/mixture.h"
#include "data/numpy_random.h"
#include "data/split.h"
#include "edit/adapter.h"
#include "edit/own_head.h"
#include "infer/evaluate.h"
#include "infer/forgetting.h"
#include "infer/generation_settings.h"
#include "infer/model_generation.h"
#include "train/inputs.h"
#include "train/length.h"

namespace graft {

namespace {

constexpr uint64_t kSplitSeed =
    0;  // the split belongs to the data, not to the run's seed: seeds stay comparable

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

void check_row_seed(const RunConfig& config) {
  const DataConfig& data = config.data;
  if (!config.seeds.rows || data.rows > 0 || data.per_label > 0 || data.splits_eval) return;
  throw InputError("seeds.rows: found " + std::to_string(*config.seeds.rows) +
                   ", and no rows are drawn by it: that takes data.rows, data.per_label or "
                   "data.split_eval; leave it out");
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
    if (data.shuffle == RowOrder::kNumpy) {
      chosen = first_rows_per_label(chosen, labels, task.num_labels(), data.per_label);
    } else {
      std::sort(chosen.begin(), chosen.end());
      chosen = pick(chosen, random_rows_per_label(pick(labels, chosen), task.num_labels(),
                                                  data.per_label, row_seed(config)));
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

// Tasks that share one adapter have no head: all answer in words.
Task load_text_task(const std::string& name, const std::string& key, const Path& tasks_dir) {
  Task task = load_task(name, tasks_dir);
  if (!task.is_answered_in_words())
    throw InputError(key + ": task " + quote(name) +
                     " has a head of its own; tasks that are trained or scored together answer in "
                     "words (kind: generation or choice)");
  return task;
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

Epochs epochs_for(const RunInputs& inputs, double epochs, int64_t max_steps) {
  const RunConfig& config = inputs.config;
  std::vector<int64_t> lengths;
  for (const Sequence& sequence : inputs.train->sequences) lengths.push_back(sequence.num_tokens());
  return Epochs(std::move(lengths),
                {config.batch_size, config.token_budget, config.order,
                 key_of(config, Draws::kOrder), inputs.parts},
                config.accumulate, epochs, max_steps);
}

int64_t steps_per_epoch(const RunInputs& inputs) { return epochs_for(inputs, 1, 0).total_steps(); }

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

// A head that the folder brings is where the run's starts, if its answers are the task's by name:
// of labels that nobody named nobody knows that.
void start_head(RunInputs& in) {
  if (in.task.is_answered_in_words() || in.task.cloze() != nullptr || !in.config.start_from.empty())
    return;
  const std::optional<OwnHead> own = read_own_head(in.config.model, in.model->config);
  if (!own) return;
  const bool has_same_names =
      own->has_names || in.task.labels() == own->task.labels();  // a regression has none
  if (has_same_names && matched_outputs(*own, in.task)) {
    in.head_start = matched_tensors(*own, in.task);
    in.head_note = "the head starts as the model's own: " + matched_text(*own, in.task);
    return;
  }
  in.head_note = "the head starts anew: " +
                 (own->refusal.empty() ? "the model's own answers " + answers_text(own->task)
                                       : "of the model, " + own->refusal);
}

// `key` has no effect in this run: a fault, unless only the preset gave it.
void refuse_given(const RunConfig& config, const std::string& key, const std::string& message) {
  if (!config.is_suggested(key)) throw InputError(key + ": " + message);
}

// The prompts after which evaluations write.
std::vector<const Dataset*> written_after(const RunInputs& in) {
  std::vector<const Dataset*> out;
  const auto add = [&](const EvalData& data) {
    if (data.prompts) out.push_back(&*data.prompts);
  };
  if (in.eval) add(*in.eval);
  if (in.test) add(*in.test);
  for (const EvalTaskData& each : in.eval_tasks) add(*each.data);
  return out;
}

// No text is written: what was given of how to write is refused.
void refuse_generation(RunInputs& in) {
  for (const auto& [name, value] : unusual_generation(in.config.generation).members) {
    refuse_given(in.config, "generation." + name,
                 "found " +
                     (value.kind == Node::Kind::kScalar ? value.scalar : to_json(value, -1)) +
                     ", and no evaluation of this run writes texts: that takes a task of kind "
                     "generation with a metric of "
                     "texts, and rows to evaluate on; leave it out");
  }
  in.config.generation = RunConfig{}.generation;
}

// The run's settings over those of the model's files.
void join_model_generation(RunInputs& in) {
  RunConfig& config = in.config;
  if (!config.uses_model_generation) return;
  Node own = unusual_generation(config.generation);
  const Node all = generation_node(config.generation);
  for (const std::string& key : config.given_generation) {
    if (const Node* value = all.find(key)) own[key] = *value;
  }
  const ModelGeneration model = read_model_generation(config.model, in.model->config);
  const JoinedGeneration joined =
      join_generation(own, model.settings, model.source + " and generation.*");
  config.generation = joined.options;
  in.generation_note = model.note(joined.from_model);
}

// Texts are written at an evaluation, hours after the start: what cannot be is refused now.
void check_generation_settings(const RowLayout& layout, RunInputs& in) {
  const std::vector<const Dataset*> written = written_after(in);
  if (written.empty()) return refuse_generation(in);
  join_model_generation(in);
  const GenerateOptions& own = in.config.generation;
  for (const Dataset* prompts : written) {
    const int64_t room = room_for_texts(in.model->config, layout, prompts->sequences);
    GenerateOptions options = own;
    if (own.max_new_tokens == kAsFits) options.max_new_tokens = fitting_tokens(room);
    with_context("checking the settings generation.*", [&] {
      check_generation(options, in.model->config);
      for (const Sequence& prompt : prompts->sequences)
        limit_of(in.model->config, layout, prompt, options);
    });
    if (own.max_total_tokens > 0 || own.max_new_tokens <= std::max<int64_t>(room, 1)) continue;
    throw InputError("generation.max_new_tokens: found " + std::to_string(own.max_new_tokens) +
                     ", and of the " + std::to_string(in.model->config.max_positions) +
                     " positions of this model the longest prompt leaves room for at most " +
                     std::to_string(std::max<int64_t>(room, 1)) +
                     "; give fewer, or a shorter max_length");
  }
}

// Settings that this run's task, rows or length leave without effect.
void check_effects(const RowLayout& layout, RunInputs& in) {
  RunConfig& config = in.config;
  if (config.early_stop > 0 && !in.eval && in.eval_tasks.empty()) {
    refuse_given(config, "early_stop",
                 "found " + std::to_string(config.early_stop) +
                     " evaluations, and there are no rows to evaluate on; give " +
                     option_name("eval") +
                     " or "
                     "data.held_out, or leave early_stop out");
    config.early_stop = 0;
  }
  if (config.objective.averages_rows && !in.task.is_answered_in_words()) {
    refuse_given(
        config, "loss_unit",
        "found row, which is of texts, and task " + quote(in.task.name) +
            " is answered by labels or numbers, where rows always count alike; leave it out");
    config.objective.averages_rows = false;
  }
  check_generation_settings(layout, in);
  if (config.warmup.steps == 0) return;
  if (const int64_t steps = epochs_of(in).total_steps(); config.warmup.steps > steps) {
    throw InputError("warmup: found " + std::to_string(config.warmup.steps) +
                     " steps, and the run has " + std::to_string(steps) +
                     ", so that it never comes to its learning rate; give fewer, or a share of "
                     "them such as 0.06");
  }
}

// A preset's max_length that the model does not serve is the longest that it does.
void limit_suggested_length(const RowLayout& layout, const ModelConfig& model, RunInputs& in) {
  const int64_t longest = positions_for_tokens(model, layout);
  if (in.config.is_suggested("max_length") && in.config.max_length > longest)
    in.config.max_length = std::max<int64_t>(0, longest);
}

void check_in_memory(const Model& model, const RunConfig& config) {
  if (is_model_of(model, config)) return;
  if (model.source != config.model)
    throw InputError("model: found " + quote(config.model) + ", and what is in memory is " +
                     quote(model.source) + "; load it, or give that one");
  throw InputError("precision: the model in memory has another; load it anew, or give that one");
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
    const Split split =
        hold_out(static_cast<int64_t>(train.size()), config.data.held_out, kSplitSeed);
    eval = pick(train, split.held_out);
    train = pick(train, split.kept);
  }
  if (config.data.splits_eval) {
    const Split split = choose_and_test(static_cast<int64_t>(eval.size()), row_seed(config));
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

// Those that no run has read yet are read, and tokenised.
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

}  // namespace

std::shared_ptr<const Adapter> defined_adapter(const RunConfig& config, const ModelConfig& model,
                                               const Task& task) {
  const Sites sites(model);
  return std::make_shared<const Adapter>(config.adapter, "adapter " + config.adapter_name,
                                         EditTarget{model, sites}, task);
}

bool is_model_of(const Model& model, const RunConfig& config) {
  return model.source == config.model && model.weights.dtype() == scalar_type(config.precision);
}

RandomKey key_of(const RunConfig& config, Draws draws) {
  const auto key = [&](const std::optional<int64_t>& own, const char* use) {
    return RandomKey{}.with(static_cast<uint64_t>(own.value_or(config.seed))).with(use);
  };
  switch (draws) {
    case Draws::kInitialValues: return key(config.seeds.initial, "init");
    case Draws::kOrder: return key(config.seeds.order, "data");
    case Draws::kSteps: return key(config.seeds.steps, "step");
  }
  throw InternalError("unknown kind of draws");
}

Epochs epochs_of(const RunInputs& inputs) {
  const RunConfig& config = inputs.config;
  const LengthRule rule = length_rule(inputs.task.is_answered_in_words());
  const double epochs = config.epochs
                            ? *config.epochs
                            : static_cast<double>(auto_epochs(rule, steps_per_epoch(inputs)));
  return epochs_for(inputs, epochs, config.max_steps);
}

RunInputs load_inputs(const RunConfig& config, const Path& tasks_dir,
                      std::shared_ptr<const Model> model_in_memory, SharedRows* shared_rows) {
  SharedRows own;
  SharedRows& shared = shared_rows != nullptr ? *shared_rows : own;
  RunInputs in;
  in.config = config;
  in.kept_pool = shared.kept();
  const bool is_mixture = !config.data.mixture.empty();
  in.task = is_mixture || !config.data.eval_tasks.empty()
                ? load_text_task(config.task, "task", tasks_dir)
                : load_task(config.task, tasks_dir);
  if (!config.task_options.members.empty())
    in.task = with_options(in.task, config.task_options, "task_options");
  const ModelConfig model = read_config(config.model, {.named = config.ignored_keys});
  check_task(in.task,
             model);  // what does not go together is refused before rows or weights are read
  in.adapter = defined_adapter(config, model, in.task);
  const RowLayout layout = in.adapter->layout();
  check_row_seed(config);
  in.text = *shared.get<ModelText>("text of " + config.model,
                                   [&] { return load_model_text(config.model); });
  in.tokenizer_digest = in.text.tokenizer->digest();
  limit_suggested_length(layout, model, in);
  in.max_length = resolve_max_length(in.config.max_length, model, layout);
  load_rows(tasks_dir, model, shared, in);
  if (!config.data.forgetting.empty())
    in.plain = plain_texts(config.data.forgetting, in.text, model, in.max_length);
  if (model_in_memory != nullptr) check_in_memory(*model_in_memory, config);
  in.model = model_in_memory != nullptr
                 ? std::move(model_in_memory)
                 : load_model(config.model, config.precision, {.named = config.ignored_keys});
  // Files may have an output layer of their own where config.json leaves that open.
  if (in.model->config.has_tied_output != model.has_tied_output)
    in.adapter = defined_adapter(config, in.model->config, in.task);
  start_head(in);
  settle_length(length_rule(in.task.is_answered_in_words()), steps_per_epoch(in), in.config);
  check_effects(layout, in);
  return in;
}

}  // namespace graft
