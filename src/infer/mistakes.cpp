#include "infer/mistakes.h"

#include <algorithm>
#include <cmath>

#include "data/text_score.h"

namespace graft {

namespace {

// Puts those with the largest `badness` first.
void keep_worst(std::vector<std::pair<double, Mistake>> found, int64_t most, Mistakes& out) {
  out.count = static_cast<int64_t>(found.size());
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (auto& [badness, mistake] : found) {
    if (static_cast<int64_t>(out.worst.size()) == most) break;
    out.worst.push_back(std::move(mistake));
  }
}

Mistakes of_labels(const Task& task, const Dataset& rows, const Evaluation& evaluation,
                   int64_t most) {
  const at::Tensor probabilities = evaluation.logits.to(at::kDouble).softmax(1).contiguous();
  const auto* const first = probabilities.const_data_ptr<double>();
  std::vector<std::pair<double, Mistake>> found;
  for (size_t i = 0; i < rows.examples.size(); ++i) {
    const auto truth = static_cast<size_t>(*rows.examples[i].label),
               answer = static_cast<size_t>(evaluation.answers[i]);
    if (truth == answer) continue;
    const double probability = first[i * task.labels().size() + truth];
    found.emplace_back(-probability, Mistake{&rows.examples[i], task.labels()[truth],
                                             task.labels()[answer], probability});
  }
  Mistakes out{"probability", {}, 0};
  keep_worst(std::move(found), most, out);
  return out;
}

Mistakes of_values(const Dataset& rows, const Evaluation& evaluation, int64_t most) {
  std::vector<std::pair<double, Mistake>> found;
  for (size_t i = 0; i < rows.examples.size(); ++i) {
    const double truth = *rows.examples[i].label, answer = evaluation.answers[i];
    found.emplace_back(std::abs(answer - truth),
                       Mistake{&rows.examples[i], Node::number(truth).scalar,
                               Node::number(static_cast<float>(answer)).scalar, answer - truth});
  }
  Mistakes out{"error", {}, 0};
  keep_worst(std::move(found), most, out);
  return out;
}

Mistakes of_choices(const Dataset& rows, const Evaluation& evaluation, int64_t most) {
  std::vector<std::pair<double, Mistake>> found;
  for (size_t i = 0; i < rows.examples.size(); ++i) {
    const Example& row = rows.examples[i];
    const auto truth = static_cast<size_t>(*row.label),
               answer = static_cast<size_t>(evaluation.answers[i]);
    if (truth == answer) continue;
    const double margin = evaluation.option_scores[i][answer] - evaluation.option_scores[i][truth];
    const std::vector<std::string>& options = row.at<ChoiceRow>().options;
    found.emplace_back(margin, Mistake{&row, options[truth], options[answer], margin});
  }
  Mistakes out{"margin", {}, 0};
  keep_worst(std::move(found), most, out);
  return out;
}

// The metric that a single text is judged by; "" where the task has none of texts.
std::string metric_of_one(const Task& task) {
  for (const std::string& metric : task.metrics) {
    if (metric == "perplexity") continue;
    return metric == "bleu" || metric == "nist" || metric == "cider" ? "rouge_l" : metric;
  }
  return "";
}

Mistakes of_texts(Task task, const Dataset& prompts, const Evaluation& evaluation, int64_t most) {
  Mistakes out{metric_of_one(task), {}, 0};
  task.metrics = {out.measure};
  const bool is_less_good = !is_less_better(out.measure);
  const double best = is_less_good ? 1 : 0;
  std::vector<std::pair<double, Mistake>> found;
  for (size_t i = 0; i < prompts.examples.size(); ++i) {
    const Example& row = prompts.examples[i];
    const double score = score_texts(task, {row}, {evaluation.outputs[i]}).front().value;
    if (score == best) continue;
    const auto& asked = row.at<GenerationRow>();
    const bool is_by_answer = out.measure.starts_with("answer_") && asked.answer;
    const std::string expected = is_by_answer               ? *asked.answer
                                 : asked.references.empty() ? ""
                                                            : asked.references.front();
    found.emplace_back(is_less_good ? -score : score,
                       Mistake{&row, expected, evaluation.outputs[i], score});
  }
  keep_worst(std::move(found), most, out);
  return out;
}

}  // namespace

Mistakes find_mistakes(const Task& task, const EvalData& data, const Evaluation& evaluation,
                       int64_t most) {
  switch (task.kind()) {
    case TaskKind::kClassification: return of_labels(task, data.rows, evaluation, most);
    case TaskKind::kRegression: return of_values(data.rows, evaluation, most);
    case TaskKind::kChoice: return of_choices(data.rows, evaluation, most);
    case TaskKind::kGeneration: break;
  }
  return data.prompts ? of_texts(task, *data.prompts, evaluation, most) : Mistakes{};
}

}  // namespace graft
