// The head of a model's own folder: whose labels, in which order, and what is refused. What it
// computes: tests/golden.
#include "edit/own_head.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "tensor/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_own_head {
namespace {

using at::Tensor;

// A golden classifier whose config.json and tensors a test changes.
struct Folder {
  TempFolder place;
  Node config;
  NamedTensors tensors;

  explicit Folder(const std::string& name) {
    const Path from = golden_dir("classifiers") / name;
    config = parse_json(read_file(from / "config.json"), "config");
    for (const auto& [key, tensor] : load_safetensors(from / "model.safetensors").tensors)
      tensors[key] = tensor.clone();
  }

  std::optional<OwnHead> read() const {
    save_safetensors(place / "model.safetensors", tensors, {});
    write_file_atomically(place / "config.json", to_json(config));
    return read_own_head(place.path(), read_config(place.path()));
  }

  void expect_refused(const std::string& part) const {
    expect_message<InputError>([&] { read(); }, part);
  }
};

Task with_labels(const std::vector<std::string>& labels,
                 const std::map<std::string, std::string>& spellings = {}) {
  Task task = class_task(0);
  task.at<Classification>().labels = labels;
  task.at<Classification>().spellings = spellings;
  return task;
}

using Ints = std::vector<int64_t>;

TEST(OwnHead, FollowsTheTasksLabels) {
  const OwnHead own = Folder("llama-labels").read().value();  // bad, so so, good
  EXPECT_EQ(matched_outputs(own, own.task), (Ints{0, 1, 2}));
  const Task other = with_labels({"good", "Bad", "middling"}, {{"so so", "middling"}});
  EXPECT_EQ(matched_outputs(own, other), (Ints{2, 0, 1}));
  EXPECT_EQ(matched_text(own, other), R"("good", "bad" as "Bad" and "so so" as "middling")");
  const NamedTensors tensors = matched_tensors(own, other);
  for (int64_t label = 0; label < 3; ++label) {
    expect_bits(tensors.at("head/out.weight")[label],
                own.tensors.at("head/out.weight")[Ints{2, 0, 1}[static_cast<size_t>(label)]],
                "label " + std::to_string(label));
  }
  for (const Task& task : {with_labels({"bad", "good"}), with_labels({"bad", "so", "good"}),
                           with_labels({"bad", "BAD", "good"}), regression_task()})
    EXPECT_FALSE(matched_outputs(own, task)) << task.labels().size();
  expect_message<InputError>(
      [&] {
        own_head_adapter(own, *golden_model("llama-labels", Precision::kFloat32, "classifiers"),
                         class_task(2));
      },
      R"(own head answers "bad", "so so" and "good", and task "test" asks for "label 0" and "label 1")");
}

// Labels that nobody named stand in order; of one output only a regression can be.
TEST(OwnHead, WithoutNamesAnswersInOrder) {
  const OwnHead own = Folder("qwen2-labels").read().value();
  EXPECT_FALSE(own.has_names);
  EXPECT_EQ(own.task.labels(),
            (std::vector<std::string>{"LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"}));
  EXPECT_EQ(matched_outputs(own, class_task(4)), (Ints{0, 1, 2, 3}));
  EXPECT_FALSE(matched_outputs(own, class_task(3)));
  Folder folder("roberta-labels");
  EXPECT_EQ(folder.config.find("id2label"), nullptr) << "the library leaves two unnamed labels out";
  folder.config["id2label"] = parse_json(R"({"1": "LABEL_1", "0": "LABEL_0"})", "names");
  EXPECT_FALSE(folder.read()->has_names);
  EXPECT_EQ(Folder("mistral-value").read()->task.kind(), TaskKind::kRegression);
}

// Of a merged folder the task, with its columns, as long as it still names these labels.
TEST(OwnHead, OfAMergedFolderKnowsItsTask) {
  Folder folder("bert-labels");
  Task task = with_labels({"bad", "so so", "good"});
  task.at<Classification>().text = column_or_template("sentence");
  write_file_atomically(folder.place / "merge.json",
                        to_json(Node::map({{"task", task_to_node(task)}})));
  EXPECT_EQ(folder.read()->task, task);
  folder.config["id2label"]["0"] = Node::text("awful");
  EXPECT_EQ(folder.read()->task.labelled()->text.text, "text");
}

TEST(OwnHead, IsThereOnlyWhereTheClassIsAClassifiers) {
  Folder folder("bert-labels");
  folder.config["architectures"] =
      Node::list({Node::text("BertForTokenClassification")});  // whose tensors have the same names
  EXPECT_FALSE(folder.read());
  std::erase_if(folder.config.members,
                [](const auto& member) { return member.first == "architectures"; });
  EXPECT_FALSE(folder.read());
}

TEST(OwnHead, WhatAnswersNoTaskIsKeptWithTheReason) {
  const auto refusal = [](const char* name, const char* problem) {
    Folder folder(name);
    folder.config["problem_type"] = Node::text(problem);
    const OwnHead own = folder.read().value();
    EXPECT_FALSE(matched_outputs(own, own.task));
    return own.refusal;
  };
  EXPECT_EQ(refusal("bert-labels", "multi_label_classification"),
            "its head gives several labels at once (problem_type multi_label_classification), "
            "which is no task here");
  EXPECT_EQ(refusal("bert-labels", "regression"),
            "its head gives 3 numbers at once (problem_type regression); a task here has one");
  EXPECT_EQ(refusal("mistral-value", "single_label_classification"),
            "its head gives one number, and problem_type single_label_classification makes that "
            "the only label");
  EXPECT_EQ(refusal("bert-labels", "ranking"), "problem_type \"ranking\" is not known here");
  Folder twice("bert-labels");
  twice.config["id2label"]["0"] = Node::text("good");
  EXPECT_EQ(twice.read()->refusal, R"(its labels (id2label): label "good" appears twice)");
}

TEST(OwnHead, RefusesWhatDoesNotGoTogether) {
  Folder names("bert-labels");
  names.config["id2label"]["3"] = Node::text("great");
  names.expect_refused(
      "config.json: /id2label: expected the names of outputs 0 to 2, as many as the head has, "
      "found 4");
  Folder missing("gpt2-labels");
  missing.tensors.erase("score.weight");
  missing.expect_refused("the head's tensor 'score.weight' is missing");
  Folder narrow("t5-labels");
  narrow.tensors["classification_head.dense.weight"] = at::ones({12, 11});
  narrow.expect_refused(
      "the head's tensor 'classification_head.dense.weight': found [12, 11], which does not fit "
      "the model");
  Folder broken("bart-labels");
  broken.tensors["classification_head.out_proj.bias"].fill_(NAN);
  broken.expect_refused(
      "tensor 'classification_head.out_proj.bias' holds numbers that are not finite");
}

}  // namespace
}  // namespace graft::testing::test_own_head
