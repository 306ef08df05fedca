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

// Rows that the run's adapter needs beside the tokens.
RowLayout layout_of(const RunConfig& config, const ModelConfig& model, const Task& task) {
  const Sites sites(model);
  return Adapter(config.adapter, "adapter " + config.adapter_name, {model, sites}, task).layout();
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
  if (task.kind != TaskKind::kClassification)
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

void load_mixture(const Path& tasks_dir, RunInputs& in) {
  const DataConfig& data = in.config.data;
  DrawnParts parts;
  for (const MixturePart& part : data.mixture) {
    const Task task = load_text_task(part.task, "data.mixture: " + part.name, tasks_dir);
    Dataset rows = encode_examples(read_examples(part.data, task, LabelUse::kRequired), task,
                                   in.text, in.model->config, in.max_length);
    parts.sizes.push_back(rows.size());
    append(std::move(rows), part.name, in.train);
  }
  parts.rates = mixture_rates(data.mixture, parts.sizes);
  parts.rows = data.mixture_rows > 0 ? data.mixture_rows : in.train.size();
  in.parts = std::move(parts);
}

Epochs epochs_for(const RunInputs& inputs, double epochs, int64_t max_steps) {
  const RunConfig& config = inputs.config;
  std::vector<int64_t> lengths;
  for (const Sequence& sequence : inputs.train.sequences) lengths.push_back(sequence.num_tokens());
  return Epochs(std::move(lengths),
                {config.batch_size, config.token_budget, config.order,
                 key_of(config, Draws::kOrder), inputs.parts},
                config.accumulate, epochs, max_steps);
}

int64_t steps_per_epoch(const RunInputs& inputs) { return epochs_for(inputs, 1, 0).total_steps(); }

void load_eval_tasks(const Path& tasks_dir, RunInputs& in) {
  for (const EvalTask& each : in.config.data.eval_tasks) {
    const std::string key = "data.eval_tasks: " + each.name;
    Task task = load_text_task(each.task, key, tasks_dir);
    std::vector<Example> rows =
        first_rows(read_examples(each.data, task, LabelUse::kRequired), each.rows, key, each.data);
    EvalTaskData& own = in.eval_tasks.emplace_back();
    own.name = each.name;
    own.task = std::move(task);
    own.group = each.group;
    own.data =
        encode_eval_data(std::move(rows), own.task, in.text, in.model->config, in.max_length);
  }
  if (!in.eval_tasks.empty()) check_mean(in.eval_tasks);
}

// A head that the folder brings is where the run's starts, if its answers are the task's by name:
// of labels that nobody named nobody knows that.
void start_head(RunInputs& in) {
  if (in.task.is_answered_in_words() || in.task.cloze || !in.config.start_from.empty()) return;
  const std::optional<OwnHead> own = read_own_head(in.config.model, in.model->config);
  if (!own) return;
  const bool has_same_names =
      own->has_names || in.task.labels == own->task.labels;  // a regression has none
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
  for (const EvalTaskData& each : in.eval_tasks) add(each.data);
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
void limit_suggested_length(const RowLayout& layout, RunInputs& in) {
  const int64_t longest =
      in.model->config.max_positions - layout.virtual_rows - layout.first_position;
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

}  // namespace

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
                      std::shared_ptr<const Model> model_in_memory) {
  RunInputs in;
  in.config = config;
  const bool is_mixture = !config.data.mixture.empty();
  in.task = is_mixture || !config.data.eval_tasks.empty()
                ? load_text_task(config.task, "task", tasks_dir)
                : load_task(config.task, tasks_dir);
  if (!config.task_options.members.empty())
    in.task = with_options(in.task, config.task_options, "task_options");
  const ModelConfig model = read_config(config.model, {.named = config.ignored_keys});
  check_task(in.task,
             model);  // what does not go together is refused before rows or weights are read
  const RowLayout layout = layout_of(config, model, in.task);
  check_row_seed(config);
  std::vector<Example> train, eval, test;
  if (!is_mixture) {
    std::vector<Example> all = read_examples(config.data.train, in.task, LabelUse::kRequired);
    check_count(all, config.data.rows, "data.rows", config.data.train);
    TakenRows taken = take_rows(std::move(all), config, in.task);
    train = std::move(taken.train);
    eval = std::move(taken.dev);
  }
  if (!config.data.test.empty())
    test = read_examples(config.data.test, in.task, LabelUse::kRequired);
  if (!config.data.eval.empty()) {
    eval = first_rows(read_examples(config.data.eval, in.task, LabelUse::kRequired),
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
  if (model_in_memory != nullptr) check_in_memory(*model_in_memory, config);
  in.model = model_in_memory != nullptr
                 ? std::move(model_in_memory)
                 : load_model(config.model, config.precision, {.named = config.ignored_keys});
  start_head(in);
  in.text = load_model_text(config.model);
  in.tokenizer_digest = in.text.tokenizer->digest();
  limit_suggested_length(layout, in);
  in.max_length = resolve_max_length(in.config.max_length, in.model->config, layout);
  if (is_mixture) load_mixture(tasks_dir, in);
  else
    in.train = encode_examples(std::move(train), in.task, in.text, in.model->config, in.max_length);
  load_eval_tasks(tasks_dir, in);
  const auto encode = [&](std::vector<Example> rows) {
    return encode_eval_data(std::move(rows), in.task, in.text, in.model->config, in.max_length);
  };
  if (!eval.empty()) in.eval = encode(std::move(eval));
  if (!test.empty()) in.test = encode(std::move(test));
  if (!config.data.forgetting.empty())
    in.plain = plain_texts(config.data.forgetting, in.text, in.model->config, in.max_length);
  settle_length(length_rule(in.task.is_answered_in_words()), steps_per_epoch(in), in.config);
  check_effects(layout, in);
  return in;
}

}  // namespace graft
