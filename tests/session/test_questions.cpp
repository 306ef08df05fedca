// Answers of one row, made of what a head gives.
#include "session/questions.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/models.h"

namespace graft::testing::test_questions {
namespace {

// As graft predict answers: a value below the task's least is that.
TEST(Answers, AreNoLessThanTheTasksLeast) {
  const Task unbounded = parse_task(yaml("{name: r, kind: regression, text: s, label: y}"), "test"),
             bounded = parse_task(yaml("{name: r, kind: regression, text: s, label: y, least: 0}"),
                                  "test");
  for (const double given : {-0.5, 1.5}) {
    const at::Tensor logits = at::full({1}, given);
    EXPECT_EQ(answer_of(unbounded, logits).value, given);
    const Answer answer = answer_of(bounded, logits);
    EXPECT_EQ(answer.value, std::max(given, 0.0));
    EXPECT_EQ(answer.scores, std::vector<double>{answer.value});
    EXPECT_TRUE(answer.label.empty());
  }
}

}  // namespace
}  // namespace graft::testing::test_questions
