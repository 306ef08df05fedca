#include "data/text_score.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/printable.h"
#include "data/answers.h"
#include "data/text_metrics.h"
#include "data/text_words.h"

namespace graft {

namespace {

void check_numbers(size_t examples, size_t found, const char* what) {
  if (examples != found)
    throw InputError("metric: expected one " + std::string(what) + " for each of " +
                     std::to_string(examples) + " examples, found " + std::to_string(found));
  if (examples == 0) throw InputError("metric: expected at least one example, found none");
}

double exact_match(const Texts& texts, const References& references) {
  detail::check_texts(texts, references);
  int64_t hits = 0;
  for (size_t i = 0; i < texts.size(); ++i)
    hits += std::find(references[i].begin(), references[i].end(), texts[i]) != references[i].end()
                ? 1
                : 0;
  return static_cast<double>(hits) / static_cast<double>(texts.size());
}

double share_right(const std::string& metric, const Task& task,
                   const std::vector<Example>& examples, const Texts& texts) {
  ensure(task.at<Generation>().answer.has_value(),
         "score_texts: an answer metric without an answer rule");
  int64_t right = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::optional<std::string>& answer = examples[i].at<GenerationRow>().answer;
    if (!answer)
      throw InputError("metric " + metric + ": example " + named(examples[i].id_text) +
                       " has no answer to compare with");
    right += is_right(metric, *task.at<Generation>().answer, *answer, texts[i]) ? 1 : 0;
  }
  return static_cast<double>(right) / static_cast<double>(texts.size());
}

// Stripped references; InputError where an example has none.
References references_of(const std::vector<Example>& examples) {
  References out;
  for (const Example& example : examples) {
    const std::vector<std::string>& references = example.at<GenerationRow>().references;
    if (references.empty())
      throw InputError("metric: example " + named(example.id_text) +
                       " has no reference to compare with");
    auto& of_example = out.emplace_back();
    for (const std::string& reference : references) of_example.emplace_back(strip(reference));
  }
  return out;
}

using TextMetric = double (*)(const Texts&, const References&);

TextMetric find_text_metric(const std::string& name) {
  static const std::unordered_map<std::string, TextMetric> kMetrics = {
      {"exact_match", exact_match}, {"bleu", bleu},  {"ter", ter}, {"nist", nist},
      {"rouge_l", rouge_l},         {"cider", cider}};
  const auto found = kMetrics.find(name);
  return found == kMetrics.end() ? nullptr : found->second;
}

struct GroupCount {
  std::string name;
  int64_t right = 0, rows = 0;

  double accuracy() const { return static_cast<double>(right) / static_cast<double>(rows); }
};

std::vector<GroupCount> count_groups(const std::vector<Example>& examples,
                                     std::span<const int64_t> chosen) {
  std::vector<GroupCount> groups;
  std::unordered_map<std::string, size_t> places;
  for (size_t i = 0; i < examples.size(); ++i) {
    const Example& example = examples[i];
    if (!example.label)
      throw InputError("metric: example " + named(example.id_text) +
                       " has no right option to compare with");
    ensure(
        chosen[i] >= 0 && chosen[i] < static_cast<int64_t>(example.at<ChoiceRow>().options.size()),
        "score_choices: an option's index is out of range");
    const auto [place, is_new] = places.try_emplace(example.group(), groups.size());
    if (is_new) groups.push_back({example.group()});
    ++groups[place->second].rows;
    if (static_cast<double>(chosen[i]) == *example.label) ++groups[place->second].right;
  }
  return groups;
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) throw InputError("median: expected at least one value, found none");
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::vector<Score> score_texts(const Task& task, const std::vector<Example>& examples,
                               const std::vector<std::string>& outputs) {
  ensure(task.kind() == TaskKind::kGeneration, "score_texts: the task is no generation");
  check_numbers(examples.size(), outputs.size(), "output");
  Texts texts;
  for (const std::string& output : outputs)
    texts.push_back(cut_output(output, task.at<Generation>().stop));
  std::vector<Score> scores;
  for (const std::string& name : task.metrics) {
    const TextMetric metric = find_text_metric(name);
    scores.push_back({name, metric != nullptr ? metric(texts, references_of(examples))
                                              : share_right(name, task, examples, texts)});
  }
  return scores;
}

std::vector<Score> score_choices(const Task& task, const std::vector<Example>& examples,
                                 std::span<const int64_t> chosen) {
  check_numbers(examples.size(), chosen.size(), "chosen option");
  const std::vector<GroupCount> groups = count_groups(examples, chosen);
  std::vector<double> accuracies;
  int64_t right = 0;
  for (const GroupCount& group : groups) {
    accuracies.push_back(group.accuracy());
    right += group.right;
  }
  std::vector<Score> scores;
  for (const std::string& name : task.metrics) {
    if (name == "accuracy")
      scores.push_back({name, static_cast<double>(right) / static_cast<double>(examples.size())});
    else if (name == "accuracy_median") scores.push_back({name, median(accuracies)});
    else ensure(name == "accuracy_by_group", "score_choices: unknown metric");
    if (name != "accuracy_by_group") continue;
    for (const GroupCount& group : groups)
      scores.push_back({"accuracy[" + group.name + "]", group.accuracy()});
  }
  return scores;
}

}  // namespace graft
