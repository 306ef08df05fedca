// Which rows a run trains on, chooses by and is tested on.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/inputs.h"

namespace graft::testing::test_inputs {
namespace {

RunInputs toy_inputs(const std::string& data) {
  const std::string toy = std::string(GRAFT_SOURCE_DIR) + "/examples/toy";
  const std::string text =
      "{model: " + toy +
      "/model, task: 'text:no,yes', out: unused, adapter: {edits: [{lora: {}}]}, data: {train: " +
      toy + "/train.tsv, eval: " + toy + "/dev.tsv, " + data + "}}";
  return load_inputs(parse_run_config(yaml(text), {}, "run"),
                     std::string(GRAFT_SOURCE_DIR) + "/tasks");
}

TEST(Inputs, SplitsEvalBySeed) {
  const RunInputs whole = toy_inputs("rows: 4"), split = toy_inputs("rows: 4, split_eval: true");
  EXPECT_FALSE(whole.test.has_value());
  ASSERT_TRUE(split.test.has_value());
  EXPECT_EQ(split.eval->rows.size(), whole.eval->rows.size() / 2);
  std::set<int64_t> ids;
  for (const EvalData* side : {&*split.eval, &*split.test}) {
    for (const Example& example : side->rows.examples)
      EXPECT_TRUE(ids.insert(example.id).second) << "no row is on both sides";
  }
  EXPECT_EQ(static_cast<int64_t>(ids.size()), whole.eval->rows.size());
}

TEST(Inputs, FewShotRowsOfEveryLabel) {
  const RunInputs inputs = toy_inputs("per_label: 3");
  std::map<double, int> counts;
  for (const Example& example : inputs.train.examples) ++counts[*example.label];
  EXPECT_EQ(counts, (std::map<double, int>{{0, 3}, {1, 3}}));
}

TEST(Inputs, RefusesWhatCannotBe) {
  expect_message<InputError>([] { toy_inputs("per_label: 100000"); }, "100000");
  expect_message<InputError>([] { toy_inputs("split_eval: true, test: x.tsv"); },
                             "needs data.eval, and no data.test");
  expect_message<InputError>([] { toy_inputs("eval_rows: 100000"); }, "data.eval_rows");
}

}  // namespace
}  // namespace graft::testing::test_inputs
