// How good an adapter is at its task: loss and metrics over a data set, for every kind of task.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/report.h"
#include "infer/choices.h"
#include "infer/predict.h"
#include "infer/text_uncertainty.h"
#include "infer/texts.h"

namespace graft {

// Rows to evaluate on. A generation is judged by the loss of its targets, and by what it writes
// after its prompts.
struct EvalData {
  Dataset rows;  // with targets; for a choice, prompts and options
  // For a generation with metrics of texts. Rows with equal prompts are joined if the task says so.
  std::optional<Dataset> prompts;
};

// Whether texts are written to score the task: it is a generation and has other metrics than
// perplexity.
bool writes_texts(const Task& task);

// Encodes rows to evaluate on.
EvalData encode_eval_data(std::vector<Example> examples, const Task& task, const ModelText& text,
                          const ModelConfig& config, int64_t max_length);

struct EvaluateOptions {
  PredictOptions predict = {};
  GenerateOptions generate = {.max_new_tokens = kAsFits};
};

struct Evaluation {
  // The mean over rows (classification: cross entropy in nats; regression: squared error) or over
  // target tokens.
  double loss = 0;
  std::vector<Score> scores = {};  // the task's metrics, in its order
  Records records = {};            // of gates and routers, if asked for
  int64_t num_tokens = 0;          // read and written
  double seconds = 0;
  // Generation: the text after each prompt.
  std::vector<std::string> outputs = {};
  // Generation: as text_losses has it.
  std::optional<TextUncertainty> texts = {};
  // Other kinds: the answer to each row, a class, a value or the index of an option.
  std::vector<double> answers = {};
  at::Tensor logits = {};     // [rows, outputs], of a head
  at::Tensor by_sample = {};  // [samples, rows, outputs], of a head and several samples
  std::vector<std::vector<double>> option_scores = {};  // [row][option], of a choice
  // The scores of the commonest label, to compare with.
  std::optional<Majority> majority = {};
  // The answer to all rows, if they have the same one.
  std::optional<std::string> only_answer = {};
};

// Nothing is differentiated. Requires: what score_predictions, choose and generate require. Throws
// InputError, before anything is computed, for a prompt that leaves no room for its text
// (check_prompts).
Evaluation evaluate(const Model& model, const BoundAdapter& bound, const Task& task,
                    const EvalData& data, const ModelText& text,
                    const EvaluateOptions& options = {});

// Puts {loss, each metric} into `out`; for tasks with classes also majority {label, each metric}
// and only_answer (null if answers differ).
void put_scores(Node& out, const Evaluation& evaluation);

// "loss 0.69  accuracy 0.51 (majority 0.509); every answer is "good"".
std::string scores_text(const Evaluation& evaluation);

}  // namespace graft
