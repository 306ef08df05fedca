// What routes disagree about, against values worked out by hand.
#include <gtest/gtest.h>

#include <cmath>

#include "infer/uncertainty.h"

namespace graft::testing::test_uncertainty {
namespace {

TEST(Uncertainty, OfTwoRoutesOfAdamix) {
  const at::Tensor routes = at::tensor({1.0F, 2.0F, 3.0F, 2.0F, 0.0F, 1.0F}).view({2, 1, 3});
  const Uncertainty found = uncertainty_of(TaskKind::kClassification, routes);
  EXPECT_NEAR(found.entropy[0].item<double>(), 1.025237, 1e-6);
  EXPECT_NEAR(found.expected_entropy[0].item<double>(), 0.832396, 1e-6);
  EXPECT_NEAR(found.information[0].item<double>(), 0.192842, 1e-6);
  EXPECT_EQ(found.disagreement[0].item<double>(), 0.5);
}

TEST(Uncertainty, IsNoneWhereRoutesAgreeAndAtMostTheLogOfTheirNumber) {
  const at::Tensor same = at::tensor({1.0F, 5.0F, 1.0F, 5.0F}).view({2, 1, 2});
  EXPECT_EQ(uncertainty_of(TaskKind::kClassification, same).information[0].item<double>(), 0);
  EXPECT_EQ(uncertainty_of(TaskKind::kClassification, same).disagreement[0].item<double>(), 0);
  const at::Tensor opposed = at::tensor({100.0F, 0.0F, 0.0F, 100.0F}).view({2, 1, 2});
  EXPECT_NEAR(uncertainty_of(TaskKind::kClassification, opposed).information[0].item<double>(),
              std::log(2.0), 1e-6);
}

// Lin 1991: the divergence of two distributions from their mean is at most a quarter of Jeffreys'.
TEST(Uncertainty, OfTwoSamplesIsAtMostHalfTheSymmetricDivergence) {
  at::manual_seed(3);
  for (const double spread : {0.01, 1.0, 20.0}) {
    const at::Tensor samples = at::randn({2, 500, 4}) * spread;
    const at::Tensor log_p = samples.to(at::kDouble).log_softmax(2), p = log_p.exp();
    const at::Tensor symmetric = ((p[0] - p[1]) * (log_p[0] - log_p[1])).sum(1) / 2;
    const at::Tensor own = uncertainty_of(TaskKind::kClassification, samples).information;
    EXPECT_TRUE(own.le(symmetric / 2 + 1e-12).all().item<bool>()) << spread;
    EXPECT_TRUE(own.le(std::log(2.0) + 1e-12).all().item<bool>()) << spread;
    // Of close distributions both are quadratic forms, one half of the other.
    const double share = (own.sum() / symmetric.sum() * 2).item<double>();
    if (spread == 0.01) {
      EXPECT_NEAR(share, 0.5, 1e-3);
    }
  }
}

TEST(Uncertainty, OfARegressionIsTheVarianceOfItsRoutes) {
  const Uncertainty found =
      uncertainty_of(TaskKind::kRegression, at::tensor({1.0F, 2.0F, 6.0F}).view({3, 1, 1}));
  EXPECT_NEAR(found.information[0].item<double>(), 7.0, 1e-6);  // (4 + 1 + 9) / 2
  EXPECT_FALSE(found.entropy.defined());
}

}  // namespace
}  // namespace graft::testing::test_uncertainty
