// A run that shares its passes has the bits that it has alone: every edit of the contract table on
// every family, between two runs of other methods, rates, batches and dropout.
#include <gtest/gtest.h>

#include "tests/contract/subject.h"
#include "tests/contract/table.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/optimizer.h"
#include "train/step_work.h"

namespace graft::testing::test_shared_passes {
namespace {

using at::Tensor;

constexpr int64_t kSteps = 3;

// A run in memory, without a folder.
struct Member {
  RunInputs inputs;
  std::unique_ptr<Adapter> adapter;
  NamedTensors tensors;
  std::unique_ptr<Optimizer> optimizer;
  double rate = 1e-2;
  int64_t batch_size = 5;

  std::vector<Batch> batches_of(int64_t step) const {
    Batch batch;
    for (int64_t i = 0; i < batch_size; ++i)
      batch.push_back((step * batch_size + i) % inputs.train->size());
    return {batch};
  }
  StepWork draw(int64_t step) const { return {inputs, *adapter, tensors, batches_of(step), step}; }
  void update(StepWork& work) {
    EXPECT_TRUE(std::isfinite(work.finish().loss));
    clip_gradients(tensors, gradient_norm(tensors), 1.0);
    optimizer->step(tensors, rate);
  }
};

Task words_task() {
  return parse_task(
      yaml("name: t\nkind: generation\nprompt: \"{q}\"\ntarget: \"{a}\"\nmetrics: [perplexity]\n"),
      "task");
}

Member member_of(const std::shared_ptr<const Model>& model, const std::string& definition,
                 double dropout, int64_t seed, int64_t batch_size, double consistency = 0) {
  Member out;
  out.inputs.model = model;
  out.inputs.config.adapter = yaml(definition);
  out.inputs.config.dropout = dropout;
  out.inputs.config.seed = seed;
  out.inputs.config.objective.consistency = consistency;
  out.inputs.task = is_classified(*model) ? class_task(3) : words_task();
  const auto rows = std::make_shared<Dataset>();
  rows->sequences = contract_texts(*model, 12, 9, static_cast<uint64_t>(seed), 0);
  const std::vector<double> labels = class_labels(12, 3);
  for (const double label : labels) {
    Example example;
    if (is_classified(*model)) example.label = label;
    rows->examples.push_back(std::move(example));
  }
  out.inputs.train = rows;
  out.adapter =
      std::make_unique<Adapter>(out.inputs.config.adapter, "test",
                                EditTarget{model->config, model->sites}, contract_task(*model));
  out.tensors = out.adapter->init(model->weights, RandomKey{static_cast<uint64_t>(seed)});
  out.optimizer = make_optimizer(out.adapter->params(), out.inputs.config);
  out.batch_size = batch_size;
  return out;
}

void train_together(const std::vector<Member*>& members) {
  for (int64_t step = 0; step < kSteps; ++step) {
    std::vector<StepWork> works;
    std::vector<StepWork*> shared;
    works.reserve(members.size());
    for (const Member* member : members) works.push_back(member->draw(step));
    for (StepWork& work : works) shared.push_back(&work);
    run_passes(shared, INT64_MAX);
    for (size_t i = 0; i < members.size(); ++i) members[i]->update(works[i]);
  }
}

Member first_neighbour(const std::shared_ptr<const Model>& model) {
  return member_of(model, "{edits: [{lora: {sites: [attn.v, ffn.up], rank: 2, dropout: 0.2}}]}",
                   0.3, 31, 3);
}
// Of two lanes in each pass; it listens where y joins the residual stream.
Member second_neighbour(const std::shared_ptr<const Model>& model) {
  return member_of(model, "{edits: [{stochastic: {experts: 2}, of: {bottleneck: {reduction: 2}}}]}",
                   0.0, 32, 7, 1.0);
}

class SharedPasses : public ::testing::TestWithParam<Case> {};

TEST_P(SharedPasses, LeaveAMemberItsBits) {
  const auto model = contract_model(GetParam().family);
  const auto own = [&] { return member_of(model, GetParam().adapter(), 0.1, 30, 5); };
  Member alone = own();
  train_together({&alone});
  for (const bool is_last : {false, true}) {
    Member member = own(), first = first_neighbour(model), second = second_neighbour(model);
    if (is_last) train_together({&first, &second, &member});
    else train_together({&first, &member, &second});
    expect_all_bits(member.tensors, alone.tensors, is_last ? "last" : "between");
  }
}

// Whatever a neighbour's tensors have become.
TEST(SharedPasses, KeepNumbersOfOneMemberFromTheOthers) {
  for (const std::string& family : contract_families()) {
    const auto model = contract_model(family);
    const auto own = [&] {
      return member_of(model, "{edits: [{lora: {rank: 2, dropout: 0.1}}]}", 0.1, 30, 5);
    };
    Member alone = own(), member = own(), broken = first_neighbour(model);
    {
      const at::NoGradGuard no_grad;
      for (auto& [name, tensor] : broken.tensors) tensor.fill_(std::nan(""));
    }
    for (Member* each : {&alone, &member}) {
      StepWork work = each->draw(0), nan = broken.draw(0);
      if (each == &alone) run_passes({&work});
      else run_passes({&nan, &work}, INT64_MAX);
      each->update(work);
      if (each == &member) {
        EXPECT_TRUE(std::isnan(nan.sum().loss));
      }
    }
    expect_all_bits(member.tensors, alone.tensors, family);
  }
}

INSTANTIATE_TEST_SUITE_P(Edits, SharedPasses, ::testing::ValuesIn(contract_cases()), case_name);

}  // namespace
}  // namespace graft::testing::test_shared_passes
