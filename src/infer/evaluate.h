// How good an adapter is at its task: loss and metrics over a data set, whatever the kind of task.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/report.h"
#include "infer/choices.h"
#include "infer/language.h"
#include "infer/predict.h"
#include "infer/texts.h"

namespace graft {

// Rows to be judged. A generation is judged twice: by the loss of its targets, and by what it
// writes after its prompts.
struct EvalData {
  Dataset rows;                    // with targets; of a choice prompts and options
  std::optional<Dataset> prompts;  // of a generation with metrics of texts: rows with equal prompts
                                   // joined where the task says so
};

// Whether scoring the task writes texts: a generation with metrics beside perplexity, which needs
// none.
bool writes_texts(const Task& task);

// Encodes rows for that.
EvalData encode_eval_data(std::vector<Example> examples, const Task& task, const ModelText& text,
                          const ModelConfig& config, int64_t max_length);

struct EvaluateOptions {
  PredictOptions predict = {};
  GenerateOptions generate = {.max_new_tokens = kAsFits};
};

struct Evaluation {
  double loss = 0;  // mean over rows (classification, regression: cross entropy in nats or squared
                    // error) or target tokens
  std::vector<Score> scores = {};  // the task's metrics, in its order
  Records records = {};            // of gates and routers, where asked for
  int64_t num_tokens = 0;          // read and written
  double seconds = 0;
  std::vector<std::string> outputs = {};  // of a generation, one a prompt
  std::vector<double> answers = {};       // else one a row: class, value, or index of an option
  at::Tensor logits = {};                 // of a head: [rows, outputs]
  at::Tensor by_sample = {};              // of a head and several samples: [samples, rows, outputs]
  std::optional<TextUncertainty> texts = {};  // of a generation, as text_losses has it
  std::vector<std::vector<double>> option_scores = {};  // of a choice: [row][option]
  std::optional<Majority> majority = {};                // what its scores are to be compared with
  std::optional<std::string> only_answer = {};          // every row was answered so
};

// Nothing is differentiated. Requires: what score_predictions, choose and generate require.
Evaluation evaluate(const Model& model, const BoundAdapter& bound, const Task& task,
                    const EvalData& data, const ModelText& text,
                    const EvaluateOptions& options = {});

// Puts {loss, each metric} into `out`; of tasks with classes also majority {label, each metric} and
// only_answer (null where answers differ).
void put_scores(Node& out, const Evaluation& evaluation);

// "loss 0.69  accuracy 0.51 (majority 0.509); every answer is "good"".
std::string scores_text(const Evaluation& evaluation);

// Of a metric: whether less is better (perplexity, ter, brier, ece).
bool is_less_better(const std::string& metric);

}  // namespace graft
