// The settings of one training run: run.yaml, the flags of `graft train` and --set, resolved and
// checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/document.h"
#include "base/files.h"
#include "base/option_visitor.h"
#include "data/mixture.h"
#include "infer/texts.h"
#include "model/weights.h"
#include "train/objective.h"
#include "train/schedule.h"

namespace graft {

// "How often": a number with its unit. "500" or "500 steps"; "1 epoch", "0.5 epochs"; "never";
// "auto".
struct Period {
  enum class Unit { kNever, kSteps, kEpochs, kAuto };
  Unit unit = Unit::kAuto;  // kAuto: an epoch, unless settle_length says more
  double count = 1;
};

// kLength: shuffled, then sorted by length within windows of batches.
enum class Order { kShuffle, kLength, kFile };

enum class OptimizerKind { kAdamW, kAdafactor };
// kTorch: AdamW's epsilon stands behind the bias correction, and decay comes before the step;
// kTransformers: epsilon before the correction and decay after the step, as in the AdamW of
// transformers, which AdaMix's released code has.
enum class AdamWForm { kTorch, kTransformers };
// kZero: a missing gradient counts as zero, as published for AdaMix; kSkip: the tensor waits.
enum class MissingGradient { kZero, kSkip };

struct AdafactorConfig {
  int64_t first_step = 0;  // what the step counter starts at: a restored T5 starts at 1,100,000
  bool scales_by_parameter = true;  // the step is relative to the size of the tensor
  bool factored =
      false;  // second moments of large matrices as a row and a column, as for T5 itself

  void visit(OptionVisitor& v);
};

// Seeds of single uses, in the place of the run's: one may move while the others stay.
struct SeedConfig {
  std::optional<int64_t> initial;  // values that are trained
  std::optional<int64_t> order;    // of the rows
  std::optional<int64_t> steps;    // what a step draws: dropout, routes of experts
  std::optional<int64_t> rows;     // which rows data.rows, per_label and split_eval take

  void visit(OptionVisitor& v);
};

// A data set that is evaluated by a task of its own.
struct EvalTask {
  std::string name;        // in metrics.json
  std::string task;        // a ready task or a file
  std::string data;        // a path
  int64_t rows = 0;        // use the first rows only; 0 = all
  std::string group = {};  // tasks of one group count once in the mean, by theirs; may be empty
};

// In which order data.rows, data.per_label and data.dev_rows take rows of the training file.
enum class RowOrder {
  kNone,   // the file's; per_label draws
  kNumpy,  // numpy.random.default_rng(seed).permutation
};

struct DataConfig {
  std::string train, eval,
      test;  // paths; eval and test may be empty, train where there is a mixture
  std::vector<MixturePart> mixture;    // instead of train
  int64_t mixture_rows = 0;            // of an epoch; 0 = as many as its parts have together
  std::vector<EvalTask> eval_tasks;    // beside eval
  double held_out = 0;                 // share of train kept for evaluation when eval is empty
  RowOrder shuffle = RowOrder::kNone;  // of train
  int64_t rows = 0;                    // use the first rows of train only; 0 = all
  int64_t per_label = 0;               // few-shot: so many rows of each label; 0 = all
  int64_t dev_rows = 0;                // the next rows of train evaluate; 0 = none
  // eval chooses on one part of its rows and is tested on the rest (ReFT's GLUE protocol).
  bool splits_eval = false;
  std::string forgetting;  // plain text, on which the loss is measured before and after
  int64_t eval_rows = 0;   // use the first rows of eval only; 0 = all

  void visit(OptionVisitor& v);
};

// What a run notes on demand (train/recording.h).
struct RecordConfig {
  bool rows = false, tokens = false, changes = false;  // when the run is over
  bool routes = false, gradients = false;              // of every step
  bool experts = false;                                // at every evaluation

  bool of_rows() const { return rows || tokens || changes; }
  void visit(OptionVisitor& v);
};

// What says how many steps a run has.
struct RunLength {
  double epochs = 3;
  int64_t max_steps = 0;
  Warmup warmup;
};

struct RunConfig {
  std::string model, task, out;
  Node task_options = Node::map();        // keys of the task's document that are other than it says
  std::vector<std::string> ignored_keys;  // of the model's config.json, which graft does not know
  Node adapter;                           // {edits, head}: the preset or file, with --set applied
  std::string adapter_name;               // as the user named it
  std::string start_from;  // an adapter folder whose tensors are the initial values; may be empty
  DataConfig data;
  std::vector<RunLength> lengthened_from =
      {};  // lengths that the run had before (train/lengthen.h), the first one first

  std::optional<double> epochs;  // unset: by the number of rows (train/length.h)
  int64_t max_steps = 0;         // 0 = as many as `epochs` gives
  int64_t batch_size =
      32;  // rows; where token_budget is set, only the windows of Order::kLength are made of it
  int64_t token_budget = 0;  // tokens of a batch; 0 = by rows
  int64_t accumulate = 1;    // batches per step
  Order order = Order::kShuffle;
  double learning_rate = 1e-3;
  Warmup warmup;
  Schedule schedule = Schedule::kLinear;
  double weight_decay = 0.01;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  AdamWForm adamw_form = AdamWForm::kTorch;
  AdafactorConfig adafactor;
  MissingGradient missing_gradient =
      MissingGradient::kZero;  // what AdamW does with a tensor that gets no gradient any more
  Objective objective;
  double clip = 1.0;              // largest gradient norm; 0 = off
  std::optional<double> dropout;  // of trunk and head; unset = the model's own
  Precision precision = Precision::kFloat32;
  bool saves_memory =
      false;  // activation checkpointing: a block is computed anew for its backward pass
  // The most that may be kept of what lies below what is trained (train/row_cache.h), in bytes;
  // unset: as much as kAutoCacheBytes.
  std::optional<int64_t> cache;
  int64_t max_length = 0;  // tokens; 0 = the model's longest, at most 512
  int64_t seed = 42;
  SeedConfig seeds = {};
  Period evaluate_every, checkpoint_every;
  int64_t early_stop = 0;  // evaluations without improvement; 0 = off
  bool keep_best = true;   // else the last
  RecordConfig record = {};
  GenerateOptions generation{.max_new_tokens =
                                 kAsFits};  // how texts are written when they are scored
  bool uses_model_generation = true;        // over what the model's own settings say
  std::vector<std::string> given_generation =
      {};  // settings of `generation` that the user or a preset gave; no part of the document
  std::vector<std::string> notes = {};      // lines for the user: what had another name before
  std::vector<std::string> suggested = {};  // keys ("adafactor.first_step") that a preset gave and
                                            // the user did not; no part of the document

  // Every setting (train/settings.cpp).
  void visit(OptionVisitor& v);
  bool is_suggested(const std::string& key) const;
};

// `defaults` (a preset's `train:` section) lies under `document`. Throws InputError listing every
// fault. A setting that another one leaves without effect is a fault where the user gave it, and
// its default again where only the preset did.
RunConfig parse_run_config(const Node& document, const Node& defaults, const std::string& source);

// The resolved document; parse_run_config gives an equal config.
Node run_config_node(const RunConfig& config);

}  // namespace graft
