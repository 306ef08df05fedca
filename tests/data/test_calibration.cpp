// Calibration beside scikit-learn's and torchmetrics'.
#include "data/calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/data/expect_error.h"

namespace graft::test_calibration {
namespace {

using nlohmann::json;
using Numbers = std::vector<double>;

const json& golden() {
  static const json kGolden = [] {
    std::ifstream file(std::string(GRAFT_SOURCE_DIR) + "/tests/golden/data/calibration.json");
    return json::parse(file);
  }();
  return kGolden;
}

// Sums over rows in another order.
constexpr double kNear = 1e-12;

TEST(Calibration, EqualsScikitLearnAndTorchmetrics) {
  ASSERT_EQ(golden()["cases"].size(), 5u);
  for (const json& c : golden()["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const auto truth = c["truth"].get<std::vector<int64_t>>();
    const auto p = c["probabilities"].get<Numbers>();
    const auto classes = c["classes"].get<int64_t>();
    for (const int64_t bins : {1, 5, 15}) {
      const std::string key = std::to_string(bins);
      const Calibration found = calibration_of(truth, p, classes, {.bins = bins});
      EXPECT_NEAR(found.nll, c["nll"].get<double>(), kNear);
      EXPECT_NEAR(found.brier, c["brier"].get<double>(), kNear);
      // torchmetrics sums confidences and right answers in float32, whose step below 1 is 6e-8.
      EXPECT_NEAR(found.ece, c["ece"][key].get<double>(), 5e-7) << bins << " bins of one width";
      EXPECT_EQ(static_cast<int64_t>(found.bins.size()), bins);
      const Calibration mass =
          calibration_of(truth, p, classes, {.bins = bins, .binning = Binning::kMass});
      EXPECT_NEAR(mass.ece, c["mass_ece"][key].get<double>(), kNear) << bins << " of one mass";
    }
  }
}

TEST(Calibration, SelectiveAnswersAreThoseOfNumPy) {
  for (const json& c : golden()["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const auto p = c["probabilities"].get<Numbers>();
    const auto classes = c["classes"].get<size_t>();
    std::vector<bool> is_right;
    Numbers confidence;
    for (const json& truth : c["truth"]) {
      const auto own = p.begin() + static_cast<std::ptrdiff_t>(is_right.size() * classes);
      const auto best = std::max_element(own, own + static_cast<std::ptrdiff_t>(classes));
      is_right.push_back(best - own == truth.get<int64_t>());
      confidence.push_back(*best);
    }
    const Selective found = selective_of(is_right, confidence);
    EXPECT_NEAR(found.risk_area, c["selective"]["risk_area"].get<double>(), kNear);
    ASSERT_EQ(found.points.size(), 10u);
    for (size_t i = 0; i < 10; ++i)
      EXPECT_NEAR(found.points[i].accuracy, c["selective"]["accuracies"][i].get<double>(), kNear)
          << i;
  }
}

TEST(Calibration, RowsOfOneConfidenceCountAlikeInAnyOrder) {
  const Numbers same = {0.7, 0.7, 0.7, 0.7};
  for (const std::vector<bool>& order :
       {std::vector{true, true, false, false}, std::vector{false, true, false, true}}) {
    const Selective found = selective_of(order, same);
    EXPECT_DOUBLE_EQ(found.risk_area, 0.5);
    EXPECT_DOUBLE_EQ(found.points.front().accuracy, 0.5);
  }
  const std::vector<int64_t> truth = {0, 1, 0, 1};
  const Numbers p = {0.7, 0.3, 0.7, 0.3, 0.7, 0.3, 0.7, 0.3};
  const Calibration mass = calibration_of(truth, p, 2, {.bins = 3, .binning = Binning::kMass});
  ASSERT_EQ(mass.bins.size(), 1u);
  EXPECT_EQ(mass.bins.front().rows, 4);
  EXPECT_DOUBLE_EQ(mass.bins.front().accuracy, 0.5);
  EXPECT_NEAR(mass.ece, 0.2, 1e-15);
}

// A limit belongs to the bin below it.
TEST(Calibration, PutsALimitIntoTheLowerBin) {
  const std::vector<int64_t> truth = {0, 0};
  const Numbers p = {0.5, 0.5, 1.0, 0.0};
  const Calibration found = calibration_of(truth, p, 2, {.bins = 2});
  EXPECT_EQ(found.bins[0].rows, 1);
  EXPECT_EQ(found.bins[1].rows, 1);
  EXPECT_DOUBLE_EQ(found.bins[0].high, 0.5);
}

TEST(Calibration, AreaUnderTheCurveEqualsScikitLearn) {
  ASSERT_EQ(golden()["auroc"].size(), 5u);
  for (const json& c : golden()["auroc"])
    EXPECT_NEAR(auroc(c["negatives"].get<Numbers>(), c["positives"].get<Numbers>()),
                c["auroc"].get<double>(), kNear)
        << c["name"];
}

TEST(Calibration, NeedsRows) {
  EXPECT_EQ(input_error([] { calibration_of({}, {}, 2); }), "calibration needs at least one row");
  EXPECT_EQ(input_error([] { auroc(Numbers{1.0}, {}); }), "calibration needs at least one row");
}

}  // namespace
}  // namespace graft::test_calibration
