// What the description of MoV and MoLoRA asks of an implementation, where only a decoder or an
// encoder-decoder can show it.
#include <gtest/gtest.h>

#include "infer/choices.h"
#include "tests/edit/decoder_texts.h"

namespace graft::testing::test_decoder_mixtures {
namespace {

class Ranked : public DecoderAcceptance {};

INSTANTIATE_TEST_SUITE_P(All, Ranked, ::testing::Values("gpt2", "llama", "t5-gated", "bart"),
                         parameter_name);

// ---- MoV and MoLoRA, section 15, at the sites of the released T5: cross-attention and the gated
// FFN among them

constexpr const char* kVectors = "{affine: {sites: [attn.k, attn.v, cross.k, cross.v, ffn.act]}}";
constexpr const char* kPairs =
    "{lora: {sites: ['attn.[qkvo]', 'cross.[qkvo]', ffn.gate, ffn.down], rank: 4, alpha: 16}}";

std::string routed(const char* options, const char* of) {
  return std::string("{router: ") + options + ", of: " + of + "}";
}

class MixturesOfT5 : public ::testing::Test {
 protected:
  std::shared_ptr<const Model> model_ = tiny_model("t5-gated", Precision::kFloat64);
  std::vector<Sequence> texts_ = random_texts(model_->config, 4, 9, 3);
};

TEST_F(MixturesOfT5, MovMolora15_1_StartAsTheTrunk) {
  const Tensor bare = text_logits_of(wide_rig(model_, "", 0), texts_);
  expect_near(text_logits_of(wide_rig(model_, routed("{experts: 7}", kVectors), 0), texts_), bare,
              kExact, "scales of one");
  expect_bits(text_logits_of(wide_rig(model_, routed("{experts: 7}", kPairs), 0), texts_), bare,
              "B = 0");
}

TEST_F(MixturesOfT5, MovMolora15_2_OfOneExpertAreIa3AndLora) {
  for (const char* of : {kVectors, kPairs}) {
    Rig one = wide_rig(model_, routed("{experts: 1}", of), 0.3), plain = wide_rig(model_, of, 0);
    for (auto& [name, tensor] : plain.tensors)
      tensor = one.tensors.at("0.router/of" + name.substr(name.find('/'))).detach()[0];
    expect_near(text_logits_of(one, texts_), text_logits_of(plain, texts_), kExact, of);
    size_t routers = 0;
    for (const auto& [name, gradient] : text_gradients_of(one, texts_).gradients) {
      if (!name.ends_with(".router")) continue;
      ++routers;
      EXPECT_EQ(gradient.abs().max().item<double>(), 0) << name;
    }
    EXPECT_EQ(routers, of == kVectors
                           ? 16U
                           : 32U);  // 3 or 6 sites a block of the encoder, 5 or 10 of the decoder
  }
}

TEST_F(MixturesOfT5, MovMolora15_3_RoutersHaveNoGradientInTheFirstStep) {
  for (const char* of : {kVectors, kPairs}) {
    Rig rig = wide_rig(model_, routed("{experts: 4}", of), 0);
    for (const auto& [name, gradient] : text_gradients_of(rig, texts_).gradients) {
      const double largest = gradient.abs().max().item<double>();
      const bool is_zero = name.ends_with(".router") || name.ends_with(".lora_a");
      EXPECT_TRUE(is_zero ? largest <= (of == kPairs ? 0.0 : 1e-12) : largest > 1e-6)
          << name << " " << largest;
    }
  }
}

TEST_F(MixturesOfT5, MovMolora15_4_ExpertsHaveNoOrder) {
  const Tensor order = at::tensor({2, 0, 1}, at::kLong);
  for (const char* of : {kVectors, kPairs}) {
    Rig rig = wide_rig(model_, routed("{experts: 3}", of), 0.3);
    const Tensor before = text_logits_of(rig, texts_);
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : rig.tensors)
      tensor.copy_(tensor.index_select(name.ends_with(".router") ? 1 : 0, order));
    expect_near(text_logits_of(rig, texts_), before, kExact, std::string(of) + " permuted");
    for (auto& [name, tensor] : rig.tensors) {
      if (!name.ends_with(".router")) tensor.copy_(tensor[1].expand_as(tensor).clone());
    }
    const Tensor equal = text_logits_of(rig, texts_);
    for (auto& [name, tensor] : rig.tensors) {
      if (name.ends_with(".router"))
        tensor.add_(at::arange(tensor.numel(), at::kDouble).view(tensor.sizes()).sin());
    }
    expect_near(text_logits_of(rig, texts_), equal, kExact, std::string(of) + " equal experts");
  }
}

// Line 5 where heads of keys are fewer than those of queries, and where keys are read of an
// encoder.
TEST(MixturesOfDecoders, MovMolora15_5_KeysAreRoutedByTheirOwnHeads) {
  Node changes = Node::map();
  changes["num_attention_heads"] = Node::integer(4);
  changes["num_key_value_heads"] = Node::integer(2);
  ModelConfig config = parse_config(tiny_config("llama", changes), "tiny");
  Sites sites(config);
  Weights weights(config, random_base(config, 1), Precision::kFloat64);
  const auto llama = std::make_shared<const Model>(
      Model{"grouped llama", std::move(config), std::move(sites), std::move(weights)});
  const auto t5 = tiny_model("t5-gated", Precision::kFloat64),
             bart = tiny_model("bart", Precision::kFloat64);
  for (const auto& [model, site, heads] :
       {std::tuple{llama, "dec.0.attn.k", 2}, std::tuple{llama, "dec.0.attn.v", 2},
        std::tuple{t5, "dec.0.cross.k", 2}, std::tuple{bart, "dec.0.cross.v", 2}}) {
    Rig rig = wide_rig(
        model, routed("{experts: 3}", (std::string("{affine: {sites: ['") + site + "']}}").c_str()),
        0.4);
    const std::string name = std::string("0.router/") + site + ".router";
    const int64_t width = model->sites.at(site).output_width / heads;
    EXPECT_EQ(rig.tensors.at(name).sizes(), (std::vector<int64_t>{width, 3}))
        << "D x E, for all heads";
    const std::vector<Sequence> texts = random_texts(model->config, 4, 9, 3);
    const Tensor y = recorded(wide_rig(model, "", 0), texts, {site}).ys.at(site);
    const Tensor p = at::softmax(
        at::matmul(y.view({-1, heads, width}), rig.tensors.at(name).detach()), 2);  // [T, heads, E]
    const Tensor scale = rig.tensors.at(std::string("0.router/of/") + site + ".scale")
                             .detach()
                             .view({3, heads, width});
    expect_near(recorded(rig, texts, {site}).ys.at(site),
                (y.view({-1, heads, width}) * at::einsum("the,ehd->thd", {p, scale})).flatten(1),
                kExact, site);
  }
}

// Line 10: texts end to end in one pass have the logits of each in its own.
TEST_F(MixturesOfT5, MovMolora15_10_PackedTextsHaveTheirOwnLogits) {
  for (const char* of : {kVectors, kPairs}) {
    const Rig rig = wide_rig(model_, routed("{experts: 3}", of), 0.3);
    std::vector<Tensor> alone;
    for (const Sequence& text : texts_) alone.push_back(text_logits_of(rig, {text}));
    expect_near(text_logits_of(rig, texts_), at::cat(alone), kExact, of);
    expect_near(text_logits_of(rig, texts_, {}, 64), at::cat(alone), kExact,
                std::string(of) + " with fillers");
  }
}

// Line 11: of a short option and a long one that is more probable a token, the sum takes the first
// and the mean the second; the end of text counts among an option's tokens.
TEST_P(Ranked, MovMolora15_11_SumAndMeanChooseDifferently) {
  const Rig rig = wide_rig(
      model(), routed("{experts: 2}", "{affine: {sites: [attn.k, attn.v, ffn.act]}}"), 0.3);
  const Sequence prompt{0, {5, 3, 9}};
  constexpr int64_t kEnd = 2;
  Ids longer = written_by(rig, {prompt}, {.max_new_tokens = 6}).front().front().tokens;
  longer.push_back(kEnd);
  const auto sum = [&](const Ids& option) { return teacher_forced(rig, prompt, option); };
  const auto mean = [&](const Ids& option) {
    return sum(option) / static_cast<double>(option.size());
  };
  Ids shorter;
  for (int64_t token = 3; token < 13 && shorter.empty(); ++token) {
    const Ids option = {token, kEnd};
    if (sum(option) > sum(longer) && mean(option) < mean(longer)) shorter = option;
  }
  ASSERT_FALSE(shorter.empty()) << "take another prompt";
  Task task;
  task.question = Choice{};
  Dataset data = rows_of({prompt});
  data.options = {{longer, shorter}};
  const BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
  for (const bool by_mean : {false, true}) {
    task.at<Choice>().score = by_mean ? OptionScore::kMean : OptionScore::kSum;
    const Choices found = choose(*rig.model, bound, task, data);
    EXPECT_EQ(found.chosen, (Ids{by_mean ? 0 : 1}));
    for (size_t i = 0; i < 2; ++i)
      EXPECT_NEAR(found.scores[0][i], by_mean ? mean(data.options[0][i]) : sum(data.options[0][i]),
                  1e-9);
  }
}

// Line 12: scaled keys and values in a cache, the encoder's too.
TEST_F(MixturesOfT5, MovMolora15_12_TextsFromScaledKeysInACacheAreThoseOfOnePass) {
  for (const char* of : {kVectors, kPairs}) {
    for (const char* options : {"{experts: 3}", "{experts: 3, top_k: 1}"}) {
      const Rig rig = wide_rig(model_, routed(options, of), 0.3);
      expect_teacher_forced(rig, short_prompts(), {.max_new_tokens = 5}, routed(options, of));
      expect_teacher_forced(rig, short_prompts(), {.max_new_tokens = 3, .beams = 2},
                            routed(options, of) + " in beams");
    }
  }
}

}  // namespace
}  // namespace graft::testing::test_decoder_mixtures
