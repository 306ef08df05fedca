// The column of embeddings that routers may read.
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/task.h"
#include "tests/support/testing.h"

namespace graft::testing::test_embedding {
namespace {

std::vector<Example> examples(const std::string& name, const std::string& content) {
  const TempFolder folder;
  write_file_atomically(folder / name, content);
  const Task task = parse_task(
      parse_yaml("{name: t, text: text, label: label, labels: [a, b], embedding: vector}", "task"),
      "task");
  EXPECT_EQ(parse_task(task_to_node(task), "again"), task);
  return read_examples(folder / name, task, LabelUse::kRequired);
}

TEST(Embeddings, AreNumbersWithBlanksOrAList) {
  const std::vector<float> expected{0.25F, -1, 0.03F};
  EXPECT_EQ(examples("a.tsv", "text\tlabel\tvector\nx\ta\t0.25 -1  3e-2\n").front().embedding,
            expected);
  EXPECT_EQ(examples("a.jsonl", R"({"text": "x", "label": "a", "vector": [0.25, -1, 0.03]})"
                                "\n")
                .front()
                .embedding,
            expected);
  EXPECT_EQ(examples("a.jsonl", R"({"text": "x", "label": "a", "vector": "0.25 -1 0.03"})"
                                "\n")
                .front()
                .embedding,
            expected);
}

TEST(Embeddings, RefuseWhatIsNone) {
  const struct {
    const char *content, *message;
  } rows[] = {
      {"text\tlabel\nx\ta\n", "vector"},
      {"text\tlabel\tvector\nx\ta\t1 two\n",
       "expected finite numbers with blanks between them, found \"two\""},
      {"text\tlabel\tvector\nx\ta\t1 nan\n", "expected finite numbers"},
      {"text\tlabel\tvector\nx\ta\t1,2\n",
       "expected finite numbers with blanks between them, found \"1,2\""},
      {"text\tlabel\tvector\nx\ta\t\n", "expected an embedding, found an empty field"},
      {"text\tlabel\tvector\nx\ta\t1 2\ny\tb\t1\n",
       "a.tsv:3: column \"vector\": expected 2 numbers as in the first row, found 1"},
  };
  for (const auto& row : rows)
    expect_message<InputError>([&] { examples("a.tsv", row.content); }, row.message);
}

}  // namespace
}  // namespace graft::testing::test_embedding
