// States that are read under the edits of another adapter, and sites that have none to read.
#include "infer/collect.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_collect {
namespace {

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
  const at::Tensor states = collect_states(*model, edited, data),
                   others = collect_states(*model, plain, data);
  EXPECT_EQ(states.sizes(), (std::vector<int64_t>{3, model->config.width}));
  EXPECT_GT((states - others).abs().max().item<double>(), 1e-4);
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
