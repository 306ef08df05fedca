// Numbers of an edit's tensors: what a combinator, a route and a stack of experts make of them.
#include "edit/params.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "edit/registry.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_params {
namespace {

// Tensor i holds the numbers 10 i, 10 i + 1.
TensorList numbered(size_t count) {
  TensorList out(count);
  for (ParamId id{0}; static_cast<size_t>(id.number) < count; ++id.number)
    out[id] = at::tensor({10.0 * id.number, 10.0 * id.number + 1});
  return out;
}

double first_of(const Params& params, int32_t number) {
  return params[ParamId{number}][0].item<double>();
}

TEST(Params, AreFoundByNumber) {
  TensorList list = numbered(4);
  list[ParamId{2}] = at::Tensor();
  const Params params(list);
  EXPECT_EQ(first_of(params, 3), 30);
  EXPECT_TRUE(params.has(ParamId{0}));
  for (const int32_t missing : {-1, 2, 4}) {
    EXPECT_FALSE(params.has(ParamId{missing})) << missing;
    expect_message<InternalError>([&] { first_of(params, missing); },
                                  "an edit reads a tensor that is there");
  }
}

TEST(Params, OfAChildBeginBehindThoseAroundIt) {
  const TensorList list = numbered(6);
  const Params child = Params(list).from(2), grandchild = child.from(1);
  EXPECT_EQ(first_of(child, 0), 20);
  EXPECT_EQ(first_of(grandchild, 1), 40);
}

// A route is asked for the number that the drawn edit's own child adds to: the steps below it come
// first.
TEST(Params, OfARouteAreRenumbered) {
  const TensorList list = numbered(8);
  const Params drawn = Params(list).from(1).through([](int32_t number) { return 2 * number; });
  EXPECT_EQ(first_of(drawn, 0), 10);
  EXPECT_EQ(first_of(drawn, 3), 70);
  EXPECT_EQ(first_of(drawn.from(2), 1), 70);
  expect_message<InternalError>([&] { drawn.through([](int32_t number) { return number; }); },
                                "other numbers once");
}

TEST(Params, OfOneExpertAreASliceEach) {
  const TensorList list = numbered(2);
  EXPECT_EQ(Params(list).expert(1)[ParamId{1}].item<double>(), 11);
  EXPECT_TRUE(Params(list).expert(1).has(ParamId{1}));
}

// An edit's numbers are the places of its params; what only derive makes stands behind them.
TEST(Params, AreNumberedInTheOrderOfTheSpec) {
  const auto model = tiny_model("bert", Precision::kFloat32);
  for (const auto& [definition, made] :
       {std::pair{"{lora: {}}", 0U},
        {"{dora: {layers: [0], sites: [attn.q, attn.v]}}", 4U},
        {"{prefix: {mlp: 4}}", 4U},
        {"{gate: {}, of: {dora: {layers: [0], sites: attn.q}}}", 2U}}) {
    const Rig rig(model, std::string("{edits: [") + definition + "]}", std::nullopt);
    const Edit& edit = *rig.adapter->parts().front().edit;
    const TensorList initial = edit.init(model->weights, RandomKey{3});
    ASSERT_EQ(initial.size(), edit.spec().params.size()) << definition;
    auto value = initial.begin();
    for (const ParamSpec& param : edit.spec().params)
      EXPECT_EQ((value++)->sizes(), at::IntArrayRef(param.shape)) << param.name;
    EXPECT_EQ(edit.num_derived(), initial.size() + made) << definition;
    EXPECT_EQ(edit.derive(Params(initial), model->weights, Experts::kMerged).size(),
              edit.num_derived())
        << definition;
  }
}

}  // namespace
}  // namespace graft::testing::test_params
