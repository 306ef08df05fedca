// What the descriptions of AdaMix and UniPELT ask of an implementation, where only a decoder or an
// encoder-decoder can show it.
#include <gtest/gtest.h>

#include "tests/edit/decoder_texts.h"

namespace graft::testing::test_decoder_acceptance {
namespace {

class MixedAndGated : public DecoderAcceptance {};

INSTANTIATE_TEST_SUITE_P(All, MixedAndGated, ::testing::Values("gpt2", "llama", "t5-gated", "bart"),
                         parameter_name);

// ---- AdaMix, section 14: facts of merging, and evaluation between steps of training

constexpr const char* kBottleneck =
    "{bottleneck: {sites: ffn.down, placement: sequential, width: 3, activation: gelu}}";

// Fact (d), with experts of which the second is the first.
TEST_P(MixedAndGated, Adamix14_EqualExpertsAreTheirMeanOnEveryRoute) {
  for (const char* of : {kBottleneck, "{lora: {sites: attn.v, rank: 2}}"}) {
    Rig rig = wide_rig(model(),
                       std::string("{stochastic: {experts: 2, share: []}, of: ") + of + "}", 0.4);
    {
      const at::NoGradGuard no_grad;
      for (auto& [name, tensor] : rig.tensors) {
        const size_t second = name.find("/expert.1/");
        if (second != std::string::npos)
          tensor.copy_(
              rig.tensors.at(name.substr(0, second) + "/expert.0/" + name.substr(second + 10)));
      }
    }
    const Tensor merged = text_logits_of(rig, texts(*rig.model));
    for (uint64_t seed = 0; seed < 4; ++seed)
      expect_bits(text_logits_of(rig, texts(*rig.model), {.is_training = true, .seed = seed}),
                  merged, of);
  }
}

// Fact (e): one expert, drawn or merged, is the edit itself.
TEST_P(MixedAndGated, Adamix14_OneExpertIsThePlainEdit) {
  const Rig one = wide_rig(
      model(), std::string("{stochastic: {experts: 1, share: []}, of: ") + kBottleneck + "}", 0.4);
  Rig plain = wide_rig(one.model, kBottleneck, 0);
  for (auto& [name, tensor] : plain.tensors)
    tensor = one.tensors.at("0.stochastic/expert.0" + name.substr(name.find('/')));
  const Tensor expected = text_logits_of(plain, texts(*one.model));
  expect_bits(text_logits_of(one, texts(*one.model)), expected, "merged");
  expect_bits(text_logits_of(one, texts(*one.model), {.is_training = true}), expected, "drawn");
}

// The cycle train, evaluate, train, evaluate: texts are those of the tensors as they are, with no
// memory of the means before.
TEST_P(MixedAndGated, Adamix14_TextsAreOfTheMeansAsTheyAreNow) {
  Rig rig = wide_rig(
      model(), std::string("{stochastic: {experts: 3, share: []}, of: ") + kBottleneck + "}", 0);
  Rig plain = wide_rig(rig.model, kBottleneck, 0);
  std::vector<Ids> before;
  for (uint64_t round = 0; round < 3; ++round) {
    rig.shake(0.4, 20 + round);
    text_logits_of(rig, texts(*rig.model), {.is_training = true, .seed = round});
    {
      const at::NoGradGuard no_grad;
      for (auto& [name, tensor] : plain.tensors) {
        const std::string inner = name.substr(name.find('/'));
        const auto expert = [&](const char* index) {
          return rig.tensors.at("0.stochastic/expert." + (index + inner));
        };
        tensor.copy_((expert("0") + expert("1") + expert("2")) / 3);
      }
    }
    const auto found = written_by(rig, short_prompts(), {.max_new_tokens = 5}),
               expected = written_by(plain, short_prompts(), {.max_new_tokens = 5});
    for (size_t n = 0; n < found.size(); ++n) {
      EXPECT_EQ(found[n].front().tokens, expected[n].front().tokens) << "round " << round;
      EXPECT_NEAR(found[n].front().log_probability, expected[n].front().log_probability, kWritten)
          << "round " << round;
    }
  }
}

// ---- UniPELT, section 12

// Line 2: while B = 0, gates of any value leave every block's output as it is. (A gate that pools
// has the last block compute every row, and a product of more rows may add in another order: all
// rows of both are computed here.)
TEST_P(MixedAndGated, Unipelt12_2_GatesOfALoraOfZeroChangeNoBit) {
  Rig rig = wide_rig(model(), "{gate: {}, of: {lora: {rank: 2}}}", 0);
  const Rig bare = wide_rig(rig.model, "", 0);
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : rig.tensors) {
    if (name.find(".gate.") != std::string::npos) tensor.fill_(0.7);
  }
  const std::set<std::string> sites = {"dec.0.out", "dec.1.out"};
  expect_all_bits(recorded(rig, texts(*rig.model), sites).ys,
                  recorded(bare, texts(*rig.model), sites).ys, "blocks");
}

// Lines 2 and 10, and ReFT's line 9: what is closed or off is the trunk, and leaves texts as they
// were.
TEST_P(MixedAndGated, Unipelt12_2_ClosedGatesAreTheBareTrunk) {
  const auto model = this->model();
  const Rig bare = wide_rig(model, "", 0);
  for (const char* of :
       {"{bottleneck: {reduction: 2}}",
        "{bottleneck: {sites: [attn.out, ffn.out], placement: sequential, width: 3}}",
        "{reft: {rank: 2, positions: f2+l2}}", "{lora: {rank: 2}}"}) {
    const Rig rig = wide_rig(model, std::string("{gate: {value: 0}, of: ") + of + "}", 0.3);
    expect_bits(text_logits_of(rig, texts(*model)), text_logits_of(bare, texts(*model)), of);
    const BoundAdapter closed(*model, *rig.adapter, rig.tensors),
        none(*model, *bare.adapter, bare.tensors);
    const auto prompts = short_prompts();
    Decoding found(*model, {prompts_of(closed, prompts)}, 1),
        expected(*model, {prompts_of(none, prompts)}, 1);
    expect_bits(found.logits(), expected.logits(), of);
    found.write({3, 4, 5, 6});
    expected.write({3, 4, 5, 6});
    expect_bits(found.logits(), expected.logits(), of);
  }
}

// Line 3 under a causal mask: row t of a closed prefix of L is Z_t / (Z_t + L) of the bare one, Z_t
// over the keys up to t.
TEST(DecoderClosedForms, Unipelt12_3_AClosedPrefixShrinksEachRowByItsOwnSum) {
  for (const char* name : {"gpt2", "bart"}) {
    const auto model = tiny_model(name, Precision::kFloat64);
    const std::set<std::string> sites = {"dec.0.attn.q", "dec.0.attn.k", "dec.0.attn.o"};
    const std::vector<Sequence> texts = random_texts(model->config, 4, 9, 3);
    const Recorded closed =
        recorded(wide_rig(model, "{gate: {value: 0}, of: {prefix: {length: 3, init: default}}}", 0),
                 texts, sites);
    const Recorded plain = recorded(wide_rig(model, "", 0), texts, sites);
    const Pack& pack = plain.batch.decoder;
    for (int64_t n = 0; n < pack.num_sequences(); ++n) {
      const int64_t begin = pack.sequences[static_cast<size_t>(n)].begin,
                    end = pack.sequences[static_cast<size_t>(n)].end;
      for (int64_t h = 0; h < 2; ++h) {
        const auto part = [&](const Tensor& all) {
          return all.slice(0, begin, end).slice(1, 4 * h, 4 * h + 4);
        };
        const Tensor scores = at::mm(part(plain.ys.at("dec.0.attn.q")),
                                     part(plain.ys.at("dec.0.attn.k")).t()) /
                              2.0,
                     z = at::tril(at::exp(scores)).sum(1, true);
        const std::string what =
            std::string(name) + " sequence " + std::to_string(n) + " head " + std::to_string(h);
        expect_near(part(closed.xs.at("dec.0.attn.o")),
                    part(plain.xs.at("dec.0.attn.o")) * z / (z + 3), kExact, what);
      }
    }
  }
}

// Line 4: a prefix that holds the keys and values of two words in every layer is the text with
// these words before it.
TEST(DecoderClosedForms, Unipelt12_4_APrefixOfTheKeysOfWordsIsATextBehindTheseWords) {
  const auto model = long_model("gpt2", Precision::kFloat64);
  std::set<std::string> sites;
  for (const char* site : {"dec.0.attn.k", "dec.0.attn.v", "dec.1.attn.k", "dec.1.attn.v"})
    sites.insert(site);
  const Recorded words = recorded(
      wide_rig(model, "", 0),
      {{.example = 0, .ids = {5, 3, 9}, .asked = TargetMarks{{false, true, true}}}}, sites);
  Rig rig = wide_rig(model, "{prefix: {length: 2, counts_positions: true}}", 0),
      bare = wide_rig(model, "", 0);
  {
    const at::NoGradGuard no_grad;
    for (const int layer : {0, 1}) {
      const std::string block = "dec." + std::to_string(layer) + ".attn";
      rig.tensors.at("0.prefix/" + block + ".keys").copy_(words.ys.at(block + ".k").slice(0, 0, 2));
      rig.tensors.at("0.prefix/" + block + ".values")
          .copy_(words.ys.at(block + ".v").slice(0, 0, 2));
    }
  }
  std::vector<Sequence> texts = random_texts(model->config, 4, 9, 3), longer = texts;
  for (Sequence& text : longer) {
    text.ids.insert(text.ids.begin(), {5, 3});
    std::vector<bool>& is_target = std::get<TargetMarks>(text.asked).is_target;
    is_target.insert(is_target.begin(), {false, false});
  }
  expect_near(text_logits_of(rig, texts), text_logits_of(bare, longer), kExact, "logits");
}

// Lines 6 and 7: recorded gates are those of the example alone, near one half, and one half without
// weights.
TEST_P(MixedAndGated, Unipelt12_7_GatesStartNearOneHalfAlikeInEveryBatch) {
  Rig rig = wide_rig(model(),
                     "{gate: {}, of: {prefix: {length: 2, mlp: 4}}}, {gate: {}, of: {bottleneck: "
                     "{reduction: 2}}}, {gate: {}, "
                     "of: {lora: {rank: 2}}}",
                     0);
  const Dataset data = rows_of(texts(*rig.model));
  const auto gates = [&](int64_t budget) {
    const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
    return text_losses(*rig.model, bound, data, {.token_budget = budget, .keep_records = true});
  };
  const TextLosses together = gates(4096), alone = gates(1);
  EXPECT_GE(together.records.rows.size(), 8U)
      << "two blocks of prefix, adapter, queries and values";
  for (const auto& [name, value] : together.records.rows) {
    expect_near(alone.records.rows.at(name), value, {1e-6, 0}, name);
    EXPECT_GT(value.min().item<double>(), 0.3) << name;
    EXPECT_LT(value.max().item<double>(), 0.7) << name;
    EXPECT_GT((value - 0.5).abs().max().item<double>(), 1e-6) << name << " reads nothing";
  }
  for (size_t n = 0; n < data.sequences.size(); ++n)
    EXPECT_NEAR(alone.sums[n], together.sums[n], 1e-10);
  {
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : rig.tensors) {
      if (name.ends_with(".gate.weight")) tensor.zero_();
    }
  }
  for (const auto& [name, value] : gates(4096).records.rows)
    EXPECT_TRUE(value.equal(at::full_like(value, 0.5))) << name;
}

TEST_P(MixedAndGated, Unipelt12_7_AGateOfALoraHasNoGradientInTheFirstStep) {
  Rig rig = wide_rig(model(), "{gate: {}, of: {lora: {rank: 2}}}", 0);
  for (const auto& [name, gradient] : text_gradients_of(rig, texts(*rig.model)).gradients) {
    const double largest = gradient.abs().max().item<double>();
    const bool is_zero = !name.ends_with(".lora_b");
    EXPECT_TRUE(is_zero ? largest == 0 : largest > 1e-6) << name << " " << largest;
  }
}

// Line 10: every switch does something, and a text written with it is the one that it was trained
// on.
TEST_P(MixedAndGated, Unipelt12_10_EverySwitchWritesWhatItWasTrainedOn) {
  const auto model = this->model();
  const std::vector<std::pair<const char*, std::vector<const char*>>> switches = {
      {"{lora: {rank: 2, alpha: 6, sites: ['attn.[qv]']}}",
       {"{}", "{share: layer}", "{multiplier: gate_times_scale}", "{pool: prompt_mean}",
        "{value: 0.3}"}},
      {"{prefix: {length: 2}}", {"{}", "{prefix: split}", "{prefix_logits: log}", "{value: 0.3}"}},
      {"{bottleneck: {width: 3}}", {"{}"}},
      {"{bottleneck: {sites: [attn.out, ffn.out], placement: sequential, width: 3}}",
       {"{}", "{pool: prompt_mean}"}},
  };
  std::vector<Tensor> seen;
  for (const auto& [of, gates] : switches) {
    for (const char* gate : gates) {
      if (GetParam() == "t5-gated" || GetParam() == "bart") {
        if (std::string(gate).find("prompt_mean") != std::string::npos)
          continue;  // its decoder reads no prompt
      }
      const Rig rig = wide_rig(model, std::string("{gate: ") + gate + ", of: " + of + "}", 0.4);
      const std::string what = std::string(gate) + " of " + of;
      expect_teacher_forced(rig, short_prompts(), {.max_new_tokens = 4}, what);
      const Tensor logits = text_logits_of(rig, texts(*model));
      for (const Tensor& other : seen)
        EXPECT_GT(difference_of(logits, other).absolute, 1e-4) << what;
      seen.push_back(logits);
    }
  }
}

// Line 5, of the encoder of two stacks, where a gate may see padding.
TEST(EncoderOfTwoStacks, Unipelt12_5_GatesCountPaddingOnlyWhereAskedTo) {
  const auto model = long_model("bart", Precision::kFloat64);
  const std::vector<Sequence> texts = random_texts(model->config, 4, 9, 3);
  const auto run = [&](const std::string& gate) {
    const Rig rig = wide_rig(
        model, "{gate: {" + gate + "}, of: {lora: {rank: 2, sites: ['enc.*.attn.[qv]']}}}", 0.4);
    const BoundAdapter bound(*model, *rig.adapter, rig.tensors);
    return text_losses(*model, bound, rows_of(texts), {.keep_records = true});
  };
  const TextLosses shorter = run("pool: mean_all, padded_to: 12"),
                   longer = run("pool: mean_all, padded_to: 24"), tokens = run("pool: mean");
  ASSERT_EQ(tokens.records.rows.size(), 4U);
  for (const auto& [name, value] : shorter.records.rows) {
    EXPECT_GT((value - longer.records.rows.at(name)).abs().max().item<double>(), 1e-4) << name;
    EXPECT_GT((value - tokens.records.rows.at(name)).abs().max().item<double>(), 1e-4) << name;
  }
}

// Line 9: what is gated by its text does not fold into weights.
TEST_P(MixedAndGated, Unipelt12_9_AGatedLoraDoesNotFold) {
  const auto model = this->model();
  EXPECT_TRUE(wide_rig(model, "{lora: {rank: 2}}", 0).adapter->parts().front().spec().traits.acts ==
              Acts::kFoldable);
  EXPECT_FALSE(wide_rig(model, "{gate: {}, of: {lora: {rank: 2}}}", 0)
                   .adapter->parts()
                   .front()
                   .spec()
                   .traits.acts == Acts::kFoldable);
}

}  // namespace
}  // namespace graft::testing::test_decoder_acceptance
