#include "infer/trust.h"

#include "base/error.h"
#include "infer/records.h"
#include "infer/uncertainty.h"

namespace graft {

using at::Tensor;

Trust trust_of(const Dataset& data, const Tensor& logits, const BinningOptions& options) {
  const Tensor p = logits.to(at::kDouble).softmax(1);  // [rows, classes]
  const auto [best, answer] = p.max(1);
  const auto* const answers = answer.const_data_ptr<int64_t>();
  std::vector<int64_t> truth;
  std::vector<bool> is_right;
  for (const Example& example : data.examples) {
    ensure(example.label.has_value(), "calibration needs a label on every row");
    truth.push_back(static_cast<int64_t>(*example.label));
    is_right.push_back(answers[is_right.size()] == truth.back());
  }
  return {calibration_of(truth, doubles_of(p), p.size(1), options),
          selective_of(is_right, doubles_of(best))};
}

Node to_node(const Trust& trust) {
  const Calibration& calibration = trust.calibration;
  std::vector<Node> bins, points;
  for (const ReliabilityBin& bin : calibration.bins) {
    const auto mean = [&](double value) {
      return bin.rows > 0 ? Node::number(value) : Node::null();
    };
    bins.push_back(Node::map({{"low", Node::number(bin.low)},
                              {"high", Node::number(bin.high)},
                              {"rows", Node::integer(bin.rows)},
                              {"confidence", mean(bin.confidence)},
                              {"accuracy", mean(bin.accuracy)}}));
  }
  for (const CoveragePoint& point : trust.selective.points)
    points.push_back(Node::map({{"coverage", Node::number(point.coverage)},
                                {"rows", Node::integer(point.rows)},
                                {"accuracy", Node::number(point.accuracy)}}));
  return Node::map(
      {{"nll", metric_node(calibration.nll)},
       {"brier", Node::number(calibration.brier)},
       {"ece", Node::number(calibration.ece)},
       {"binning", Node::text(std::string(word_of(kBinnings, calibration.options.binning)))},
       {"bins", Node::integer(calibration.options.bins)},
       {"reliability", Node::list(std::move(bins))},
       {"selective", Node::map({{"risk_area", Node::number(trust.selective.risk_area)},
                                {"points", Node::list(std::move(points))}})}});
}

RowDoubts row_doubts(const Task& task, const Predictions& predictions) {
  RowDoubts out;
  const auto add = [&](const char* name, const Tensor& values) {
    if (values.defined()) out.emplace_back(name, doubles_of(values));
  };
  const bool has_samples = predictions.by_sample.defined();
  const Uncertainty own =
      has_samples ? uncertainty_of(task.kind(), predictions.by_sample) : Uncertainty{};
  if (task.kind() == TaskKind::kClassification) {
    const Tensor log_p = predictions.logits.to(at::kDouble).log_softmax(1);
    add("doubt", 1.0 - std::get<0>(log_p.max(1)).exp());
    add("entropy", has_samples ? own.entropy : entropies_of(log_p.unsqueeze(0)).total);
  }
  add("expected_entropy", own.expected_entropy);
  add("information", own.information);
  add("disagreement", own.disagreement);
  if (own.variance.defined()) add("variance", own.variance.sum(1));
  return out;
}

RowDoubts row_doubts(const TextUncertainty& texts) {
  RowDoubts out = {{"loss", {}}, {"entropy", {}}, {"expected_entropy", {}}, {"information", {}}};
  for (size_t row = 0; row < texts.tokens.size(); ++row) {
    const SequenceUncertainty own = sequence_uncertainty(texts, row);
    const auto targets = static_cast<double>(texts.tokens[row].size());
    out[0].second.push_back(own.loss / targets);
    out[1].second.push_back(own.entropy / targets);
    out[2].second.push_back(own.expected_entropy / targets);
    out[3].second.push_back(own.information / targets);
  }
  const bool has_samples = !texts.log_likelihood.empty() && texts.log_likelihood[0].size() > 1;
  if (!has_samples) out.resize(2);
  return out;
}

Node means_node(const RowDoubts& doubts) {
  Node out = Node::map();
  for (const auto& [name, values] : doubts) out[name] = metric_node(mean(values));
  return out;
}

Node aurocs_node(const RowDoubts& in, const RowDoubts& out) {
  ensure(in.size() == out.size(), "the same numbers of both");
  Node node = Node::map();
  for (size_t i = 0; i < in.size(); ++i)
    node[in[i].first] = Node::number(auroc(in[i].second, out[i].second));
  return node;
}

std::string token_lines(const Dataset& data, const TextUncertainty& texts) {
  std::string lines;
  for (size_t row = 0; row < texts.tokens.size(); ++row) {
    const SequenceUncertainty own = sequence_uncertainty(texts, row);
    std::vector<Node> tokens;
    for (const TokenUncertainty& token : texts.tokens[row])
      tokens.push_back(Node::list(
          {Node::integer(token.token), Node::number(token.loss), Node::number(token.entropy),
           Node::number(token.expected_entropy), Node::number(token.information)}));
    const Node line = Node::map(
        {{"id", id_node(data.examples[row])},
         {"targets", Node::integer(std::ssize(texts.tokens[row]))},
         {"loss", Node::number(own.loss)},
         {"entropy", Node::number(own.entropy)},
         {"expected_entropy", Node::number(own.expected_entropy)},
         {"information", Node::number(own.information)},
         {"log_likelihood", Node::map({{"mean", Node::number(own.log_likelihood_mean)},
                                       {"variance", Node::number(own.log_likelihood_variance)}})},
         {"tokens", Node::list(std::move(tokens))}});
    lines += to_json(line, -1) + "\n";
  }
  return lines;
}

}  // namespace graft
