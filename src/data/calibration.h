// How far probabilities can be trusted: calibration, selective answers, and telling rows of
// another kind. Equal to scikit-learn's and torchmetrics' (tests/golden/data/calibration.json).
#pragma once

#include <cstdint>
#include <vector>

#include "base/names.h"
#include "data/metrics.h"

namespace graft {

// Of rows by their confidence, the probability of the answer.
enum class Binning {
  kWidth,  // bins of one width, (i/B, (i+1)/B] (Guo et al. 2017, arXiv:1706.04599)
  kMass,   // bins of as many rows each, but for one; equal confidences share a bin
};
inline constexpr Name<Binning> kBinnings[] = {{Binning::kMass, "mass"}, {Binning::kWidth, "width"}};

struct BinningOptions {
  int64_t bins = 15;
  Binning binning = Binning::kWidth;
};

struct ReliabilityBin {
  double low = 0, high = 0;  // of width the limits; of mass the least and the greatest confidence
  int64_t rows = 0;          // none: confidence and accuracy are 0
  double confidence = 0, accuracy = 0;  // means over its rows
};

struct Calibration {
  double nll = 0;    // mean of -log p of the truth, in nats
  double brier = 0;  // mean over rows of sum_c (p_c - [c is the truth])^2, in 0..2
  double ece = 0;    // sum over bins of rows / all * |accuracy - confidence|
  BinningOptions options = {};
  std::vector<ReliabilityBin> bins = {};  // from low to high
};

// probabilities: row after row, each of num_classes that sum to one. Throws InputError without
// rows. Requires: as many rows as truths.
Calibration calibration_of(Classes truth, Values probabilities, int64_t num_classes,
                           const BinningOptions& options = {});

// Answering the rows of greatest confidence alone.
struct CoveragePoint {
  double coverage = 0;  // share of the rows
  int64_t rows = 0;     // ceil(coverage * rows)
  double accuracy = 0;  // among them
};
struct Selective {
  std::vector<CoveragePoint> points;  // of coverage 0.1, 0.2, .. 1
  // Mean over k of the share of mistakes among the k rows of greatest confidence (Geifman et al.
  // 2019, arXiv:1805.08206: AURC); less is better.
  double risk_area = 0;
};

// Rows of equal confidence count alike: each for the mean of them all. Throws InputError without
// rows.
Selective selective_of(const std::vector<bool>& is_right, Values confidence);

// The probability that a score of `positives` is above one of `negatives`, ties counting half: the
// area under the curve of true against false positives, 0.5 where the scores tell nothing. Throws
// InputError where a side is empty.
double auroc(Values negatives, Values positives);

}  // namespace graft
