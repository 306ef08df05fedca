// Options that are scored after their prompts, whose keys or encoder's states they share: each has
// the log-probability that one pass over prompt and option gives it.
#include "infer/choices.h"

#include <gtest/gtest.h>

#include "tests/edit/decoder_texts.h"

namespace graft::testing::test_choices {
namespace {

class ScoredOptions : public DecoderAcceptance {};

INSTANTIATE_TEST_SUITE_P(All, ScoredOptions, ::testing::Values("gpt2", "llama", "t5-gated", "bart"),
                         parameter_name);

// A gate whose value is a mean over the prompt sees no token of an option: in an encoder-decoder
// the decoder's prompt is its start token alone.
TEST_P(ScoredOptions, AreNoPartOfThePromptThatGatesRead) {
  const auto model = this->model();
  const std::vector<Sequence> prompts = short_prompts();
  Dataset data = rows_of(prompts);
  for (size_t n = 0; n < prompts.size(); ++n) data.options.push_back({{4, 7}, {5}, {6, 2, 3}});
  const Task task =
      parse_task(yaml("{name: c, kind: choice, prompt: q, options: o, target: t}"), "test");
  for (const char* edit :
       {"{gate: {pool: prompt_mean}, of: {lora: {rank: 2, sites: ['attn.[qv]', ffn.down]}}}",
        "{gate: {}, of: {prefix: {length: 2}}}",
        "{gate: {kind: central}, of: [{lora: {rank: 2}}, {prefix: {length: 2}}]}"}) {
    const Rig rig = wide_rig(model, edit, 0.4);
    const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
    const Choices choices = choose(*model, bound, task, data);
    for (size_t n = 0; n < prompts.size(); ++n) {
      for (size_t k = 0; k < data.options[n].size(); ++k)
        EXPECT_NEAR(choices.scores[n][k], teacher_forced(rig, prompts[n], data.options[n][k]), 1e-9)
            << edit << " prompt " << n << " option " << k;
    }
  }
}

}  // namespace
}  // namespace graft::testing::test_choices
