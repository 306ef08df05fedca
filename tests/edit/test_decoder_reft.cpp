// What the description of ReFT asks of an implementation, where only a decoder or an
// encoder-decoder can show it.
#include <gtest/gtest.h>

#include "edit/positions.h"
#include "tests/edit/decoder_texts.h"

namespace graft::testing::test_decoder_reft {
namespace {

class PromptEdits : public DecoderAcceptance {};

INSTANTIATE_TEST_SUITE_P(All, PromptEdits, ::testing::Values("gpt2", "llama", "t5-gated", "bart"),
                         parameter_name);

// ---- ReFT, section 9

// Line 3: positions are counted in the prompt of a decoder-only model, and in what an
// encoder reads; never in targets.
TEST_P(PromptEdits, Reft9_3_PositionsAreThoseOfThePromptOfEveryLength) {
  const auto model = this->model();
  const bool has_encoder = model->config.has_encoder();
  const std::string site = has_encoder ? "enc.0.out" : "dec.0.out";
  std::vector<Sequence> texts;
  for (const int64_t n : {0, 1, 10, 11, 13, 14, 20}) {
    if (has_encoder && n == 0) continue;  // an encoder reads something
    Sequence prompt{.example = n, .ids = {}};
    for (int64_t i = 0; i < n; ++i) prompt.ids.push_back(2 + (3 * i + n) % 11);
    texts.push_back(with_targets(model->config, prompt, {4, 7, 5, 6, 9, 2, 3, 8}));
  }
  const Tensor bare = recorded(wide_rig(model, "", 0), texts, {site}).ys.at(site);
  for (const bool is_tied : {true, false}) {
    for (const auto& [rule, clamp] :
         {std::pair{"code", Clamp::kCode}, std::pair{"paper", Clamp::kPaper},
          std::pair{"length", Clamp::kLength}}) {
      const std::string options = "{sites: ['" + site +
                                  "'], rank: 2, positions: f7+l7, clamp: " + rule +
                                  ", tied: " + (is_tied ? "true}" : "false}");
      const Rig rig = wide_rig(model, "{reft: " + options + "}", 0.4);
      const Recorded found = recorded(rig, texts, {site});
      const Pack& pack = has_encoder ? *found.batch.encoder : found.batch.decoder;
      for (size_t s = 0; s < texts.size(); ++s) {
        const int64_t n = texts[s].example;
        // By the descriptions: half of the prompt at most on each side; the paper's rule gives an
        // odd middle to the suffix.
        const int64_t suffix = std::min<int64_t>(7, clamp == Clamp::kCode    ? n / 2
                                                    : clamp == Clamp::kPaper ? (n + 1) / 2
                                                                             : n);
        const int64_t prefix = std::min<int64_t>(7, clamp == Clamp::kLength ? n - suffix : n / 2);
        for (int64_t row = pack.sequences[s].begin; row < pack.sequences[s].end; ++row) {
          const int64_t token = row - pack.sequences[s].begin;
          const bool is_edited = token < prefix || (token >= n - suffix && token < n);
          EXPECT_EQ(found.ys.at(site)[row].equal(bare[row]), !is_edited)
              << rule << ": token " << token << " of a prompt of " << n;
        }
      }
    }
  }
}

const std::vector<const char*>& refts() {
  static const std::vector<const char*> all = {
      "{reft: {rank: 2, positions: f2+l2, tied: false}}",
      "{reft: {rank: 2, positions: l1, clamp: paper}}",
      "{reft: {rank: 2, rotation: false, subtract: false, positions: f1, clamp: length}}"};
  return all;
}

// Line 4: a text written with a cache has the probability of one pass over all of it with
// the same edits of its prompt; beams too.
TEST_P(PromptEdits, Reft9_4_WrittenTextsAreThoseOfOnePass) {
  const auto model = this->model();
  for (const char* edit : refts()) {
    const Rig rig = wide_rig(model, edit, 0.4);
    expect_teacher_forced(rig, short_prompts(), {.max_new_tokens = 6}, edit);
    expect_teacher_forced(rig, short_prompts(), {.max_new_tokens = 4, .beams = 3},
                          std::string(edit) + " in beams");
  }
}

// Line 4: beams of prompts side by side are those of each prompt alone.
TEST_P(PromptEdits, Reft9_4_BeamsEqualThoseOfSinglePrompts) {
  const Rig rig = wide_rig(model(), refts().front(), 0.4);
  const GenerateOptions options{.max_new_tokens = 4, .beams = 3};
  const auto together = written_by(rig, short_prompts(), options);
  for (size_t n = 0; n < together.size(); ++n) {
    const auto alone = written_by(rig, {short_prompts()[n]}, options).front();
    for (size_t beam = 0; beam < alone.size(); ++beam) {
      EXPECT_EQ(together[n][beam].tokens, alone[beam].tokens);
      EXPECT_NEAR(together[n][beam].log_probability, alone[beam].log_probability, kWritten);
    }
  }
}

// Counts how often it is asked for a change.
class Counting final : public Edit {
 public:
  Counting(std::vector<Site> sites, ActsOn acts_on, int64_t& asked) : asked_(&asked) {
    spec_.sites = std::move(sites);
    spec_.traits.acts_on = acts_on;
  }
  std::string method() const override { return "counting"; }
  Node describe_options() const override { return Node::map(); }
  Change change(const Params&, const SiteView&, const Tensor&, const Weight&,
                const Context&) const override {
    ++*asked_;
    return {};
  }

 private:
  int64_t* asked_;
};

// Line 4: an edit of the prompt is asked in the first pass alone, and the released edits say that
// they are such.
TEST_P(PromptEdits, Reft9_4_NoWorkAfterThePrompt) {
  const auto model = this->model();
  for (const char* edit : refts())
    EXPECT_EQ(wide_rig(model, edit, 0).adapter->parts().front().spec().traits.acts_on,
              ActsOn::kPrompt)
        << edit;
  for (const ActsOn acts_on : {ActsOn::kPrompt, ActsOn::kEveryRow}) {
    int64_t asked = 0;
    EditList edits;
    edits.push_back(std::make_unique<Counting>(
        std::vector<Site>{model->sites.at("dec.0.out"), model->sites.at("dec.1.out")}, acts_on,
        asked));
    const Adapter adapter(std::move(edits), {model->config, model->sites}, std::nullopt);
    const BoundAdapter bound(*model, adapter, {});
    const auto prompts = short_prompts();
    Decoding decoding(*model, {prompts_of(bound, prompts)}, 3);
    EXPECT_EQ(asked, 2);
    for (int step = 0; step < 3; ++step) decoding.write({3, 4, 5, 6});
    EXPECT_EQ(asked, acts_on == ActsOn::kPrompt ? 2 : 8);
  }
}

// Line 6: dropout of edits acts in training and in no text that is written or judged.
TEST_P(PromptEdits, Reft9_6_NoDropoutOutsideTraining) {
  const auto model = this->model();
  const Rig plain = wide_rig(model, "{reft: {rank: 2, positions: f2+l2, clamp: length}}", 0.4);
  const auto expected = written_by(plain, short_prompts(), {.max_new_tokens = 4});
  for (const char* where : {"output", "change"}) {
    Rig rig = wide_rig(
        model,
        std::string(
            "{reft: {rank: 2, positions: f2+l2, clamp: length, dropout: 0.5, dropout_on: ") +
            where + "}}",
        0);
    rig.tensors = plain.tensors;
    expect_bits(text_logits_of(rig, texts(*model)), text_logits_of(plain, texts(*model)), where);
    EXPECT_GT(difference_of(text_logits_of(rig, texts(*model), {.is_training = true}),
                            text_logits_of(plain, texts(*model)))
                  .absolute,
              1e-3)
        << where;
    const auto found = written_by(rig, short_prompts(), {.max_new_tokens = 4});
    for (size_t n = 0; n < found.size(); ++n) {
      EXPECT_EQ(found[n].front().tokens, expected[n].front().tokens);
      EXPECT_EQ(found[n].front().log_probability, expected[n].front().log_probability);
    }
  }
}

// Line 9: rows without an adapter keep every bit of the trunk beside rows that have one, in the
// prompt's pass and after it.
TEST_P(PromptEdits, Reft9_9_RowsWithoutAnAdapterAreTheTrunksBits) {
  const auto model = this->model(Precision::kFloat32);
  const DecodingRig first(model, refts()[0]), second(model, refts()[1]), bare(model, "");
  const auto prompts = short_prompts();
  Decoding together(*model, {first.lane(prompts), bare.lane(prompts), second.lane(prompts)}, 2),
      alone(*model, {bare.lane(prompts)}, 2);
  for (int step = 0; step < 3; ++step) {
    expect_bits(together.logits().slice(0, 4, 8), alone.logits(), "step " + std::to_string(step));
    EXPECT_GT(difference_of(together.logits().slice(0, 0, 4), alone.logits()).absolute, 1e-3);
    EXPECT_GT(difference_of(together.logits().slice(0, 8, 12), alone.logits()).absolute, 1e-3);
    if (step == 2) break;
    alone.write({3, 4, 5, 6});
    together.write({3, 4, 5, 6, 3, 4, 5, 6, 3, 4, 5, 6});
  }
}

}  // namespace
}  // namespace graft::testing::test_decoder_reft
