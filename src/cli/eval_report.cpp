#include "cli/eval_report.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/wording.h"
#include "infer/records.h"
#include "text/pieces.h"

namespace graft {

namespace {

constexpr size_t kMatrixLabels = 12;  // more columns do not fit on a line
constexpr size_t kPairs = 20;
constexpr int kNameWidth = 24;
constexpr size_t kCountWidth = 7;  // of a column of the matrix, at least
constexpr size_t kLineWidth = 120;

std::string score_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

// quote() without the quotes, cut to a column's width.
std::string name_text(const std::string& label) {
  std::string shown = quote(label);
  shown = shown.substr(1, shown.size() - 2);
  return shown.size() > kNameWidth ? shown.substr(0, kNameWidth - 3) + "..." : shown;
}

size_t chars_of(const std::string& text) { return static_cast<size_t>(num_chars(text)); }

Node scores_node(const ClassScores& scores) {
  return Node::map({{"precision", Node::number(scores.precision)},
                    {"recall", Node::number(scores.recall)},
                    {"f1", Node::number(scores.f1)},
                    {"support", Node::integer(scores.support)}});
}

void put_classes(const std::vector<std::string>& labels, const ClassReport& report, Node& out) {
  std::vector<Node> classes, confusion;
  for (size_t k = 0; k < labels.size(); ++k) {
    Node scores = Node::map({{"label", Node::text(labels[k])}});
    for (auto& member : scores_node(report.classes[k]).members)
      scores.members.push_back(std::move(member));
    classes.push_back(std::move(scores));
    confusion.push_back(Node::integers(report.confusion[k]));
  }
  out["classes"] = Node::list(std::move(classes));
  out["macro"] = scores_node(report.macro);
  out["weighted"] = scores_node(report.weighted);
  out["accuracy"] = Node::number(report.accuracy);
  out["confusion"] = Node::list(std::move(confusion));
}

// The text of a row: its prompt, or what the user said last.
std::string text_of(const Example& example) {
  const auto* row = example.find<GenerationRow>();
  if (!example.text.empty() || row == nullptr || row->turns.empty()) return example.text;
  const auto asked = std::find_if(row->turns.rbegin(), row->turns.rend(),
                                  [](const Turn& turn) { return turn.role == "user"; });
  return asked == row->turns.rend() ? row->turns.back().content : asked->content;
}

Node mistake_node(const Mistake& mistake, const std::string& measure) {
  Node node = Node::map({{"id", id_node(*mistake.example)},
                         {"line", Node::integer(mistake.example->line)},
                         {"expected", Node::text(mistake.expected)},
                         {"answer", Node::text(mistake.answer)},
                         {measure, metric_node(mistake.size)},
                         {"text", Node::text(text_of(*mistake.example))}});
  if (const std::string* second = mistake.example->second()) node["second"] = Node::text(*second);
  return node;
}

void print_scores(std::FILE* out, const std::string& name, const ClassScores& scores) {
  std::fprintf(out, "%-*s %10s %10s %10s %10s\n", kNameWidth, name.c_str(),
               score_text(scores.precision).c_str(), score_text(scores.recall).c_str(),
               score_text(scores.f1).c_str(), count_text(scores.support).c_str());
}

size_t longest(const std::vector<std::string>& texts, size_t least) {
  for (const std::string& text : texts) least = std::max(least, chars_of(text));
  return least;
}

// Its columns are headed by the labels, or by "(1)", which stands beside the row's label too, where
// those do not fit on a line.
void print_matrix(std::FILE* out, const std::vector<std::string>& labels,
                  const ClassReport& report) {
  std::vector<std::string> rows, heads;
  for (const std::string& label : labels) rows.push_back(name_text(label));
  heads = rows;
  size_t width = longest(heads, kCountWidth);
  if (kNameWidth + labels.size() * (width + 1) > kLineWidth) {
    width = kCountWidth;
    for (size_t k = 0; k < labels.size(); ++k) {
      heads[k] = "(" + std::to_string(k + 1) + ")";
      rows[k] = heads[k] + " " + rows[k];
    }
  }
  const size_t row_width = longest(rows, kNameWidth);
  const auto spaces = [](size_t column, const std::string& text) {
    return std::string(column - std::min(column, chars_of(text)), ' ');
  };
  std::string lines(row_width, ' ');
  for (const std::string& head : heads) lines += " " + spaces(width, head) + head;
  for (size_t k = 0; k < labels.size(); ++k) {
    lines += "\n" + rows[k] + spaces(row_width, rows[k]);
    for (const int64_t count : report.confusion[k])
      lines += " " + spaces(width, count_text(count)) + count_text(count);
  }
  std::fprintf(out, "\nrows of each label (down) by answer (across):\n%s\n", lines.c_str());
}

// Of many labels the commonest confusions.
void print_pairs(std::FILE* out, const std::vector<std::string>& labels,
                 const ClassReport& report) {
  std::vector<std::pair<int64_t, std::string>> pairs;
  for (size_t truth = 0; truth < labels.size(); ++truth) {
    for (size_t answer = 0; answer < labels.size(); ++answer) {
      if (truth == answer || report.confusion[truth][answer] == 0) continue;
      pairs.emplace_back(report.confusion[truth][answer],
                         name_text(labels[truth]) + " answered " + name_text(labels[answer]));
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  if (!pairs.empty()) std::fprintf(out, "\nthe commonest confusions:\n");
  for (size_t i = 0; i < std::min(kPairs, pairs.size()); ++i)
    std::fprintf(out, "%8s  %s\n", count_text(pairs[i].first).c_str(), pairs[i].second.c_str());
}

void print_classes(std::FILE* out, const std::vector<std::string>& labels,
                   const ClassReport& report) {
  std::fprintf(out, "\n%-*s %10s %10s %10s %10s\n", kNameWidth, "label", "precision", "recall",
               "f1", "support");
  for (size_t k = 0; k < labels.size(); ++k)
    print_scores(out, name_text(labels[k]), report.classes[k]);
  print_scores(out, "(mean of classes)", report.macro);
  print_scores(out, "(weighted by support)", report.weighted);
  if (labels.size() <= kMatrixLabels) print_matrix(out, labels, report);
  else print_pairs(out, labels, report);
}

void print_values(std::FILE* out, const ValueReport& report) {
  for (const auto& [name, value] :
       {std::pair{"mean absolute error", report.mean_absolute_error},
        std::pair{"root mean squared error", report.root_mean_squared_error},
        std::pair{"r2", report.r2}, std::pair{"mean of the values", report.mean_truth},
        std::pair{"mean of the answers", report.mean_answer}})
    std::fprintf(out, "%-*s %s\n", kNameWidth, name, number_text(value).c_str());
}

void print_mistakes(std::FILE* out, const Mistakes& mistakes) {
  if (mistakes.worst.empty()) return;
  std::fprintf(
      out, "\nthe worst %zu of %s (%s):\n", mistakes.worst.size(),
      (count_text(mistakes.count) + (mistakes.measure == "error" ? " rows" : " mistakes")).c_str(),
      mistakes.measure == "probability" ? "probability of the right label"
                                        : mistakes.measure.c_str());
  for (const Mistake& mistake : mistakes.worst) {
    std::fprintf(out, "%8s  %s, %s answered %s\n          %s\n", number_text(mistake.size).c_str(),
                 row_name(mistake.example->line, mistake.example->entry).c_str(),
                 quote(mistake.expected).c_str(), quote(mistake.answer).c_str(),
                 quote(text_of(*mistake.example)).c_str());
    if (const std::string* second = mistake.example->second())
      std::fprintf(out, "          %s\n", quote(*second).c_str());
  }
}

}  // namespace

Report make_report(const Task& task, const EvalData& data, const Evaluation& evaluation,
                   int64_t most) {
  Report out;
  out.mistakes = find_mistakes(task, data, evaluation, most);
  if (task.kind() == TaskKind::kGeneration) return out;
  std::vector<double> truth;
  for (const Example& example : data.rows.examples) truth.push_back(*example.label);
  if (task.kind() == TaskKind::kRegression) {
    out.values = value_report(truth, evaluation.answers);
    return out;
  }
  out.labels = task.labels();
  if (task.kind() == TaskKind::kChoice) {
    size_t options = 0;
    for (const Example& example : data.rows.examples)
      options = std::max(options, example.at<ChoiceRow>().options.size());
    for (size_t i = 0; i < options; ++i) out.labels.push_back("option " + std::to_string(i));
  }
  out.classes =
      class_report(std::vector<int64_t>(truth.begin(), truth.end()),
                   std::vector<int64_t>(evaluation.answers.begin(), evaluation.answers.end()),
                   static_cast<int64_t>(out.labels.size()));
  return out;
}

Node to_node(const Report& report) {
  Node out = Node::map();
  if (report.classes) put_classes(report.labels, *report.classes, out);
  if (report.values) {
    out["mean_absolute_error"] = Node::number(report.values->mean_absolute_error);
    out["root_mean_squared_error"] = Node::number(report.values->root_mean_squared_error);
    out["r2"] = metric_node(report.values->r2);
    out["mean_value"] = Node::number(report.values->mean_truth);
    out["mean_answer"] = Node::number(report.values->mean_answer);
  }
  out["measure"] = Node::text(report.mistakes.measure);
  out["wrong_rows"] = Node::integer(report.mistakes.count);
  std::vector<Node> worst;
  for (const Mistake& mistake : report.mistakes.worst)
    worst.push_back(mistake_node(mistake, report.mistakes.measure));
  out["mistakes"] = Node::list(std::move(worst));
  return out;
}

void print_report(std::FILE* out, const Report& report) {
  if (report.classes) print_classes(out, report.labels, *report.classes);
  if (report.values) print_values(out, *report.values);
  print_mistakes(out, report.mistakes);
}

}  // namespace graft
