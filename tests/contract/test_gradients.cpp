// Gradients of every row of the contract table: float64 central differences, and a sequence's own
// share of a batch's gradient.
#include <gtest/gtest.h>

#include "tests/contract/subject.h"
#include "tests/contract/table.h"
#include "tests/support/compare.h"
#include "tests/support/gradients.h"
#include "tests/support/models.h"

namespace graft::testing::test_gradients {
namespace {

class Gradients : public ::testing::TestWithParam<Case> {};

// Dropout masks are pure functions of their keys, so the loss is smooth in the tensors with dropout
// on as well.
TEST_P(Gradients, EqualCentralDifferences) {
  if (!GetParam().row->has_exact_gradient) return;
  const auto model = contract_model(GetParam().family, Precision::kFloat64, /*is_small=*/true);
  Rig rig(model, GetParam().adapter(), contract_task(*model));
  rig.shake(0.2);
  rig.widen();
  const std::vector<Sequence> sequences =
      contract_texts(*model, model->config.has_decoder() ? 2 : 4, 7, 21);
  for (const bool has_dropout : {false, true}) {
    const Pass pass{.dropout = has_dropout ? 0.1 : 0.0, .is_training = has_dropout};
    const LossAndGradients own = contract_gradients(rig, sequences, pass);
    const bool leaves_some_out =
        has_dropout && rig.adapter->traits().is_stochastic;  // experts that were not drawn
    const std::vector<ParamSpec> params = rig.adapter->params();
    const auto trained =
        static_cast<size_t>(std::count_if(params.begin(), params.end(), [](const ParamSpec& param) {
          return param.role == Role::kTrained;
        }));
    if (leaves_some_out) EXPECT_LT(own.gradients.size(), trained);
    else EXPECT_EQ(own.gradients.size(), trained);
    const auto loss = [&] { return outcome_of(rig, sequences, pass).loss.item<double>(); };
    const double worst =
        expect_gradients(loss, rig.tensors, own.gradients, GetParam().family == "bert" ? 10 : 2,
                         has_dropout ? "with dropout" : "without dropout");
    measured(case_name({GetParam(), 0}) + " gradient", worst);
    if (GetParam().row->edit == "lora") {
      for (const auto& [name, tensor] : model->weights.all_base())
        EXPECT_FALSE(tensor.grad().defined()) << name;
    }
  }
}

// The gradient of the summed loss is the sum over sequences of each one's own gradient, computed
// alone. Float32: a sum of about a hundred rows in another order, relative to the largest entry of
// the tensor. Float64 shows that nothing else differs.
TEST_P(Gradients, AreTheSumOfEachSequencesOwn) {
  for (const Precision precision : {Precision::kFloat32, Precision::kFloat64}) {
    const bool is_wide = precision == Precision::kFloat64;
    const auto model = contract_model(GetParam().family, precision);
    Rig rig(model, GetParam().adapter(), contract_task(*model));
    rig.shake(0.1);
    if (is_wide) rig.widen();
    const std::vector<Sequence> sequences =
        contract_texts(*model, model->config.has_decoder() ? 3 : 6, 23, 4);
    const Pass pass{.dropout = 0.1, .is_training = true};
    const LossAndGradients together = contract_gradients(rig, sequences, pass, 64);
    NamedTensors sum;
    double loss = 0;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const LossAndGradients alone = contract_gradients(rig, {sequences[i]}, pass);
      loss += alone.loss;
      for (const auto& [name, gradient] : alone.gradients)
        sum[name] = sum.contains(name) ? sum.at(name) + gradient : gradient;
    }
    EXPECT_NEAR(together.loss, loss, is_wide ? 1e-10 : 1e-4);
    double worst = 0;
    for (const auto& [name, gradient] : together.gradients) {
      const double size = std::max(1.0, gradient.abs().max().item<double>());
      const double error = difference_of(sum.at(name), gradient).absolute / size;
      worst = std::max(worst, error);
      EXPECT_LE(error, is_wide ? 1e-12 : 1e-5) << name;
    }
    measured(
        case_name({GetParam(), 0}) + (is_wide ? " sum of gradients, float64" : " sum of gradients"),
        worst);
  }
}

INSTANTIATE_TEST_SUITE_P(Edits, Gradients, ::testing::ValuesIn(contract_cases()), case_name);

}  // namespace
}  // namespace graft::testing::test_gradients
