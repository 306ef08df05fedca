// How far the answers of an evaluation can be trusted: calibration of its probabilities, what its
// samples disagree about, and whether rows of another kind are told by that.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/calibration.h"
#include "infer/evaluate.h"

namespace graft {

struct Trust {
  Calibration calibration;
  Selective selective;  // by the probability of the answer
};

// Of a classification whose rows have labels. logits: [rows, classes].
Trust trust_of(const Dataset& data, const at::Tensor& logits, const BinningOptions& options = {});

// {nll, brier, ece, binning, bins, reliability: [{low, high, rows, confidence, accuracy}],
// selective: {risk_area, points: [{coverage, rows, accuracy}]}}
Node to_node(const Trust& trust);

// Numbers of every row that grow with doubt, by name. Of labels: doubt (1 - the probability of the
// answer) and entropy; of texts, as means over a row's targets, loss and entropy; and of several
// samples expected_entropy and information, of labels also disagreement and variance (summed over
// the classes), of values information alone.
using RowDoubts = std::vector<std::pair<std::string, std::vector<double>>>;
RowDoubts row_doubts(const Task& task, const Predictions& predictions);
RowDoubts row_doubts(const TextUncertainty& texts);

// {name: mean over rows}
Node means_node(const RowDoubts& doubts);
// {name: auroc}; `in`: rows of the kind that was learned, `out`: of another.
Node aurocs_node(const RowDoubts& in, const RowDoubts& out);

// A JSON line of each row: {id, targets, loss, entropy, expected_entropy, information,
// log_likelihood: {mean, variance}} sums over its targets, and `tokens`: [[id, loss, entropy,
// expected_entropy, information]].
std::string token_lines(const Dataset& data, const TextUncertainty& texts);

}  // namespace graft
