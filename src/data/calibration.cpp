#include "data/calibration.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace graft {

namespace {

// Of a row: how probable its answer is, and whether that is right.
struct Judged {
  double confidence = 0;
  bool is_right = false;
};

void check_any(size_t rows) {
  if (rows == 0) throw InputError("calibration needs at least one row");
}

void add_row(const Judged& row, ReliabilityBin& bin) {
  ++bin.rows;
  bin.confidence += row.confidence;
  bin.accuracy += row.is_right ? 1 : 0;
}

std::vector<ReliabilityBin> bins_of_width(const std::vector<Judged>& rows, int64_t count) {
  const auto width = static_cast<double>(count);
  std::vector<ReliabilityBin> bins(static_cast<size_t>(count));
  for (size_t i = 0; i < bins.size(); ++i) {
    bins[i].low = static_cast<double>(i) / width;
    bins[i].high = static_cast<double>(i + 1) / width;
  }
  for (const Judged& row : rows) {
    const double place = std::ceil(row.confidence * width) - 1;  // (low, high]
    add_row(row, bins[static_cast<size_t>(std::clamp(place, 0.0, width - 1))]);
  }
  return bins;
}

// `rows`: by confidence. The bin that a row's place falls into; of equal confidences the first's.
std::vector<ReliabilityBin> bins_of_mass(const std::vector<Judged>& rows, int64_t count) {
  std::vector<ReliabilityBin> bins(std::min(static_cast<size_t>(count), rows.size()));
  size_t bin = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool is_tied = i > 0 && rows[i].confidence == rows[i - 1].confidence;
    if (!is_tied) bin = i * bins.size() / rows.size();
    if (bins[bin].rows == 0) bins[bin].low = rows[i].confidence;
    bins[bin].high = rows[i].confidence;
    add_row(rows[i], bins[bin]);
  }
  std::erase_if(bins, [](const ReliabilityBin& each) { return each.rows == 0; });
  return bins;
}

}  // namespace

Calibration calibration_of(Classes truth, Values probabilities, int64_t num_classes,
                           const BinningOptions& options) {
  check_any(truth.size());
  const auto classes = static_cast<size_t>(num_classes);
  ensure(probabilities.size() == truth.size() * classes && options.bins > 0,
         "a probability for each row and class");
  Calibration out{.options = options};
  std::vector<Judged> rows;
  for (size_t row = 0; row < truth.size(); ++row) {
    const Values own = probabilities.subspan(row * classes, classes);
    const auto right = static_cast<size_t>(truth[row]);
    out.nll -= std::log(own[right]);
    for (size_t c = 0; c < classes; ++c) {
      const double distance = own[c] - (c == right ? 1.0 : 0.0);
      out.brier += distance * distance;
    }
    const auto best = std::max_element(own.begin(), own.end());
    rows.push_back({*best, static_cast<size_t>(best - own.begin()) == right});
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Judged& a, const Judged& b) { return a.confidence < b.confidence; });
  out.bins = options.binning == Binning::kWidth ? bins_of_width(rows, options.bins)
                                                : bins_of_mass(rows, options.bins);
  const auto count = static_cast<double>(rows.size());
  out.nll /= count;
  out.brier /= count;
  for (ReliabilityBin& bin : out.bins) {
    if (bin.rows == 0) continue;
    const auto own = static_cast<double>(bin.rows);
    out.ece += std::abs(bin.accuracy - bin.confidence) / count;
    bin.confidence /= own;
    bin.accuracy /= own;
  }
  return out;
}

Selective selective_of(const std::vector<bool>& is_right, Values confidence) {
  check_any(is_right.size());
  ensure(confidence.size() == is_right.size(), "a confidence for each row");
  std::vector<size_t> order = ascending_order(confidence);
  std::reverse(order.begin(), order.end());
  const size_t count = order.size();
  std::vector<double> rights;  // among the first k rows, expected over the orders of ties
  for (size_t begin = 0; begin < count;) {
    size_t end = begin;
    double right = 0;
    while (end < count && confidence[order[end]] == confidence[order[begin]])
      right += is_right[order[end++]] ? 1 : 0;
    const double before = rights.empty() ? 0 : rights.back();
    for (size_t k = begin; k < end; ++k)
      rights.push_back(before + right * static_cast<double>(k + 1 - begin) /
                                    static_cast<double>(end - begin));
    begin = end;
  }
  Selective out;
  for (size_t k = 0; k < count; ++k)
    out.risk_area += (1 - rights[k] / static_cast<double>(k + 1)) / static_cast<double>(count);
  constexpr size_t kParts = 10;
  for (size_t part = 1; part <= kParts; ++part) {
    const size_t rows = (count * part + kParts - 1) / kParts;
    out.points.push_back({static_cast<double>(part) / kParts, static_cast<int64_t>(rows),
                          rights[rows - 1] / static_cast<double>(rows)});
  }
  return out;
}

// By the ranks of Mann and Whitney.
double auroc(Values negatives, Values positives) {
  check_any(std::min(negatives.size(), positives.size()));
  std::vector<double> all(negatives.begin(), negatives.end());
  all.insert(all.end(), positives.begin(), positives.end());
  const std::vector<size_t> order = ascending_order(all);
  double above = 0;  // pairs that a positive wins
  for (size_t begin = 0, below = 0; begin < order.size();) {
    size_t end = begin, own_negatives = 0;
    while (end < order.size() && all[order[end]] == all[order[begin]])
      own_negatives += order[end++] < negatives.size() ? 1 : 0;
    const size_t own_positives = end - begin - own_negatives;
    above += static_cast<double>(own_positives) *
             (static_cast<double>(below) + 0.5 * static_cast<double>(own_negatives));
    below += own_negatives;
    begin = end;
  }
  return above / (static_cast<double>(negatives.size()) * static_cast<double>(positives.size()));
}

}  // namespace graft
