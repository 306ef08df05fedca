// Adafactor against transformers' own (tools/golden/adafactor.py): tensors of one dimension, which
// neither factors; stacked experts are one such tensor.
#include <gtest/gtest.h>

#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "train/optimizer.h"

namespace graft::testing::test_adafactor_trace {
namespace {

using at::Tensor;

TEST(GoldenAdafactor, FollowsTheTraces) {
  const Node manifest = golden_manifest("adafactor");
  const NamedTensors file =
      load_safetensors(golden_dir("adafactor") / "traces.safetensors").tensors;
  int64_t clipped = 0, free = 0;
  for (const auto& [name, entry] : manifest.find("cases")->members) {
    SCOPED_TRACE(name);
    const Tensor gradients = file.at(name + ".gradients"), values = file.at(name + ".values");
    const int64_t size = gradients.size(1);
    Adafactor optimizer({{.name = "p", .shape = {3, size / 3}}},
                        {.first_step = static_cast<int64_t>(number_of(*entry.find("first_step")))});
    NamedTensors tensors{
        {"p", file.at(name + ".start").clone().view({3, size / 3}).requires_grad_(true)}};
    for (int64_t step = 0; step < gradients.size(0); ++step) {
      tensors.at("p").mutable_grad() = gradients[step].clone().view({3, size / 3});
      optimizer.step(tensors, number_of(*manifest.find("learning_rate")));
      // float32, relative to the largest value.
      expect_near(tensors.at("p").detach().flatten(), values[step],
                  {1e-6 * values[step].abs().max().item<double>(), 0},
                  "step " + std::to_string(step + 1));
    }
    for (const Node& update : entry.find("update_sizes")->items)
      ++(number_of(update) > 1 - 1e-9 ? clipped : free);
  }
  EXPECT_GT(clipped, 5);
  EXPECT_GT(free, 5);
}

}  // namespace
}  // namespace graft::testing::test_adafactor_trace
