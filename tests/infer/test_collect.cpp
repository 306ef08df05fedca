// States that are read under the edits of another adapter, and sites that have none to read.
#include "infer/collect.h"

#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_collect {
namespace {

using at::Tensor;

// What leaves the first block at the last token of each text.
Tensor states_of(const Rig& rig, const std::vector<Sequence>& texts) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  const Pack pack = pack_of(*rig.model, {lane_of(rig, texts)});
  const Tensor rows = forward_lanes(*rig.model, input_of(rig.model->config, pack), {{&bound, {}}},
                                    {.keep_hidden = true})
                          .hidden[1];
  std::vector<Tensor> last;
  for (const RowRange& own : pack.sequences) last.push_back(rows[own.end - 1]);
  return at::stack(last);
}

// Edits that only a classifier may have, such as a gate over a whole text in a decoder, are those
// of a classifier here too; its head takes no part.
TEST(Collecting, GoesUnderTheEditsOfAClassifier) {
  const auto model = tiny_model("gpt2", Precision::kFloat32);
  const std::string definition =
      "{edits: [{gate: {pool: mean}, of: {lora: {rank: 2, sites: [attn.q]}}}]}";
  Rig rig(model, definition, class_task(3));
  rig.shake(0.3);
  const LoadedAdapter under{
      Adapter(yaml(definition), "test", {model->config, model->sites}, class_task(3)),
      rig.tensors,
      {}};
  const EditTarget target{model->config, model->sites};
  const Node options = yaml("{sites: [out], layers: [0], positions: last}");
  const Adapter adapter = collecting_adapter(options, "test", &under, target),
                bare = collecting_adapter(options, "test", nullptr, target);
  Dataset data;
  data.sequences = random_sequences(model->config, 3, 7, 5);
  data.examples.resize(data.sequences.size());
  const BoundAdapter edited(*model, adapter, under.tensors), plain(*model, bare, {});
  const int64_t budget = 8;  // of all texts that have 9 tokens or more: several passes
  const Tensor states = collect_states(*model, edited, data, budget),
               others = collect_states(*model, plain, data, budget);
  const Tolerance rounding{1e-5, 1e-5};  // float32, the same products beside other rows
  expect_near(states, states_of(rig, data.sequences), rounding, "under the adapter");
  expect_near(others, states_of(Rig(model, "{edits: []}", std::nullopt), data.sequences), rounding,
              "of the trunk");
  EXPECT_GT((states - others).abs().max().item<double>(), 1e-4) << "the edits do something";
}

TEST(Collecting, RefusesThePooler) {
  const auto model = tiny_model("bert", Precision::kFloat32);
  const EditTarget target{model->config, model->sites};
  for (const char* sites : {"[pooler]", "[out, pooler]"})
    expect_message<InputError>(
        [&] {
          collecting_adapter(yaml("{sites: " + std::string(sites) + "}"), "test", nullptr, target);
        },
        "sites: the pooler lies under a head");
}

}  // namespace
}  // namespace graft::testing::test_collect
