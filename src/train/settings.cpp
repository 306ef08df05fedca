// Every setting of a run: its name in documents, what it may be, and what it is for.
#include "infer/generation_settings.h"
#include "train/config.h"
#include "train/config_forms.h"

namespace graft {

namespace {

using detail::kMostEpochs;
using detail::kMostRows;
using detail::kMostSteps;

constexpr Name<Schedule> kSchedules[] = {{Schedule::kLinear, "linear"},
                                         {Schedule::kCosine, "cosine"},
                                         {Schedule::kConstant, "constant"}};
constexpr Name<Order> kOrders[] = {
    {Order::kShuffle, "shuffle"}, {Order::kLength, "length"}, {Order::kFile, "file"}};
constexpr Name<OptimizerKind> kOptimizers[] = {{OptimizerKind::kAdamW, "adamw"},
                                               {OptimizerKind::kAdafactor, "adafactor"}};
constexpr Name<AdamWForm> kAdamWForms[] = {{AdamWForm::kTorch, "torch"},
                                           {AdamWForm::kTransformers, "transformers"}};
constexpr Name<MissingGradient> kMissingGradients[] = {{MissingGradient::kZero, "zero"},
                                                       {MissingGradient::kSkip, "skip"}};
constexpr Name<RowOrder> kRowOrders[] = {{RowOrder::kNone, "none"}, {RowOrder::kNumpy, "numpy"}};
constexpr Name<ConsistencyTargets> kTargets[] = {{ConsistencyTargets::kDetached, "detached"},
                                                 {ConsistencyTargets::kAttached, "attached"}};
constexpr Name<bool> kLossUnits[] = {{false, "token"}, {true, "row"}};  // averages_rows

enum class Device { kCpu };
constexpr Name<Device> kDevices[] = {{Device::kCpu, "cpu"}};

}  // namespace

void DataConfig::visit(OptionVisitor& v) {
  v.text("train", train, "training rows");
  v.text("eval", eval, "rows to evaluate on during training");
  v.text("test", test, "rows to score once at the end");
  v.number("held_out", held_out, {0, 0.9},
           "share of the training rows kept for evaluation where there is no data.eval; the split "
           "does not depend on seed");
  v.option("mixture", detail::mixture_form(mixture), "several data sets instead of data.train");
  v.integer("mixture_rows", mixture_rows, {0, kMostRows},
            "rows of an epoch of data.mixture; 0: as many as its parts have together");
  v.option("eval_tasks", detail::eval_tasks_form(eval_tasks),
           "data sets that are scored by tasks of their own; keep_best and early_stop go by their "
           "mean, else by the primary metric of data.eval");
  v.choice("shuffle", shuffle, kRowOrders,
           "the order in which rows, per_label and dev_rows take rows of data.train. none: the "
           "file's; numpy: that of numpy.random.default_rng(seeds.rows).permutation, as datasets "
           "shuffles, so that published subsets are the same and a larger one holds the smaller");
  v.integer("rows", rows, {0, kMostRows},
            "use the first rows of data.train only, or those that seeds.rows draws; 0: all");
  v.integer("dev_rows", dev_rows, {0, kMostRows},
            "the next rows of data.train, behind those of rows or per_label, evaluate; 0: none");
  v.text(
      "forgetting", forgetting,
      "plain text, a line each: when the run is over, the model's loss on it without the adapter "
      "and with it");
  v.integer("eval_rows", eval_rows, {0, kMostRows}, "use the first rows of data.eval only; 0: all");
  v.integer("per_label", per_label, {0, kMostRows},
            "few-shot: so many rows of each label, drawn by seed; 0: all");
  v.boolean("split_eval", splits_eval,
            "data.eval chooses the best step on one part of its rows and is tested on the rest, "
            "drawn by seed: 1,000 rows choose "
            "where there are more than 5,000, else half (ReFT's GLUE protocol)");
}

void AdafactorConfig::visit(OptionVisitor& v) {
  v.integer("first_step", first_step, {0, kMostSteps},
            "what the step counter starts at (a restored T5: 1100000)");
  v.boolean("scales_by_parameter", scales_by_parameter,
            "whether steps are relative to a tensor's size");
  v.boolean("factored", factored,
            "second moments of tensors with two dimensions of 128 or more as their rows' and "
            "columns' means, as T5 was pretrained");
}

void SeedConfig::visit(OptionVisitor& v) {
  constexpr const char* kUsual = "the run's";
  const IntegerLimits limits{0, INT64_MAX};
  v.optional_integer("initial", initial, limits, {"of initial values", kUsual});
  v.optional_integer("order", order, limits, {"of the order of the rows", kUsual});
  v.optional_integer("steps", steps, limits,
                     {"of what a step draws: dropout, the routes of experts", kUsual});
  v.optional_integer(
      "rows", rows, limits,
      {"of the rows that data.shuffle, data.per_label and data.split_eval take; where it is given, "
       "data.rows are drawn by it instead of the first ones",
       kUsual});
}

void RecordConfig::visit(OptionVisitor& v) {
  v.boolean("rows", rows,
            "what gates and routers do with every row that is evaluated when the run is over: "
            "RUN/records");
  v.boolean("tokens", tokens, "there also with every token");
  v.boolean("changes", changes,
            "there also how large each edit's change is beside what it changes");
  v.boolean("routes", routes, "which experts of a stochastic mixture every step draws");
  v.boolean("gradients", gradients, "the gradient norm of each edit in every step");
  v.boolean("experts", experts, "how alike the experts of a mixture are, at every evaluation");
}

void RunConfig::visit(OptionVisitor& v) {
  v.text(
      "model", model,
      "the frozen model: a folder with config.json, *.safetensors and a tokenizer, or a GGUF file");
  v.texts("ignore_config_keys", ignored_keys,
          "keys of the model's config.json to pass over; the adapter remembers them");
  v.text("task", task, "ready task (sst2, cola, mail, ...), YAML file, or text:LABEL,LABEL");
  v.option("task_options",
           {.values = "keys of a task file (doc/data.md)",
            .read =
                [this](Options& options) {
                  const Node* node = options.raw("task_options");
                  if (node == nullptr || node->kind == Node::Kind::kNull) return;
                  if (node->kind == Node::Kind::kMap) task_options = *node;
                  else
                    options.fault("task_options", "expected keys of a task such as {primary: f1}");
                },
            .write = [this] { return task_options; }},
           "what is other than in the task: primary: spearman picks the best step by it");
  v.text("out", out, "folder of the run; must not hold a run yet");
  v.text("adapter_name", adapter_name, "what messages call the adapter");
  v.option("adapter",
           {.values = "{edits, head}",
            .read =
                [this](Options& options) {
                  if (const Node* node = options.raw("adapter")) adapter = *node;
                },
            .write = [this] { return adapter; }},
           "what to train; in a file also a preset's name, or a path");
  v.text("start_from", start_from,
         "an adapter folder whose tensors are the initial values; without adapter also what is "
         "trained: the same edits and head");
  v.option("lengthened_from", detail::lengths_form(lengthened_from),
           "lengths that the run had before; written by graft");
  v.section("data", [this](OptionVisitor& part) { data.visit(part); });
  v.choice("optimizer", optimizer, kOptimizers,
           "adafactor: no momentum, no decay, steps relative to a tensor's size");
  v.section("adafactor", [this](OptionVisitor& part) { adafactor.visit(part); });
  v.choice("missing_gradient", missing_gradient, kMissingGradients,
           "what AdamW does with a tensor that had gradients and has none now (an expert not "
           "drawn). zero: as if it were zero, as published; skip: the tensor waits");
  v.number("label_smoothing", objective.label_smoothing, {0, 0.99}, "of the cross entropy");
  v.number("z_loss", objective.z_loss, {0, 1e3},
           "times the squared logarithm of the softmax's denominator");
  v.number("consistency", objective.consistency, {0, 1e6},
           "weight of the divergence of two passes over the same rows; 0: one pass. A regression "
           "needs no second one");
  v.boolean("consistent_values", objective.pulls_values,
            "whether consistency acts on a regression, too: by the squared difference of its "
            "values, which no paper has");
  v.boolean(
      "save_memory", saves_memory,
      "activation checkpointing: a block's inner values are computed anew for its backward pass");
  v.choice("loss_unit", objective.averages_rows, kLossUnits,
           "of texts: the mean over target tokens, or over rows, each by the mean of its own "
           "targets, as T5X has it");
  v.choice("consistency_targets", objective.targets, kTargets,
           "whether a pass is pulled towards the other as it is, as published, or both move");
  Device device = Device::kCpu;
  v.choice("device", device, kDevices, "the only one");
  v.number_or("auto", "epochs", epochs, {0, kMostEpochs},
              "length of the run; auto: the fewest whole epochs, from 3 to 100, that have 300 "
              "steps (100 where the task is "
              "answered in words); run.yaml holds the number");
  v.integer("max_steps", max_steps, {0, kMostSteps},
            "length of the run; above 0 it counts instead of epochs");
  v.integer("batch_size", batch_size, {1, 1 << 20}, "rows of a batch");
  v.integer("token_budget", token_budget, {0, 1 << 24},
            "tokens of a batch, instead of batch_size; 0: by rows");
  v.integer("accumulate", accumulate, {1, 1 << 20}, "batches of a step");
  v.choice("order", order, kOrders, "of the rows; length: rows of similar lengths share a batch");
  v.number("learning_rate", learning_rate, {0, 100},
           "the largest of the schedule; presets have their own");
  v.option("warmup", detail::warmup_form(warmup),
           "how long the rate rises: a share of all steps, or steps, at most those of the run");
  v.choice("schedule", schedule, kSchedules, "how the rate goes on after the warm-up");
  v.number("weight_decay", weight_decay, {0, 10}, "of AdamW; none on biases and norms");
  v.number("beta1", beta1, {0, 0.999999}, "of AdamW");
  v.number("beta2", beta2, {0, 0.9999999}, "of AdamW");
  v.number("epsilon", epsilon, {0, 1}, "of AdamW");
  v.choice("adamw_form", adamw_form, kAdamWForms,
           "epsilon behind the bias correction and decay before the step, or epsilon before it and "
           "decay after, as in transformers' AdamW and AdaMix's released code");
  v.number("clip", clip, {0, 1e9}, "largest gradient norm; 0: off");
  v.optional_number(
      "dropout", dropout, {0, 0.99},
      {"of trunk and head, one switch; an edit's own dropout is its option", "the model's"});
  v.choice("precision", precision, kPrecisions, "of the trunk; what is trained is float32 always");
  v.option("cache", detail::cache_form(cache),
           "of what the trunk makes of the rows below all that is trained, which then costs one "
           "pass instead of one an epoch: up to so many bytes (auto: 1 GB). Training rows are kept "
           "with dropout: 0 alone; the results are the same");
  v.integer("max_length", max_length, {0, 1 << 22},
            {"tokens of a row", "what the model serves, at most 512"});
  v.integer("seed", seed, {0, INT64_MAX}, "of initial values, order and dropout");
  v.section("seeds", [this](OptionVisitor& part) { seeds.visit(part); });
  v.option("evaluate_every", detail::period_form("evaluate_every", evaluate_every),
           "auto: every epoch, of epochs: auto without early_stop at most ten times");
  v.option("checkpoint_every", detail::period_form("checkpoint_every", checkpoint_every),
           "the same of checkpoints");
  v.integer("early_stop", early_stop, {0, 1 << 20},
            "stops after so many evaluations without improvement; 0: off");
  v.boolean("keep_best", keep_best,
            "the adapter of the best evaluation, of equal scores the one of the lower loss; else "
            "the last");
  v.section("record", [this](OptionVisitor& part) { record.visit(part); });
  v.section("generation", [this](OptionVisitor& part) {
    visit_generation(part, generation);
    part.boolean("model_defaults", uses_model_generation,
                 "whether the model's own settings are the defaults");
  });
}

}  // namespace graft
