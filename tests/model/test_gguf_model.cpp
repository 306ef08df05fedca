// Models in GGUF files: tensors and configs as transformers reads them,
// tokenizers as their own tokenizer.json behaves, and refusals.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "model/families.h"
#include "model/gguf_model.h"
#include "model/gguf_tokens.h"
#include "tensor/safetensors.h"
#include "tests/support/gguf_bytes.h"
#include "tests/support/testing.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace graft::test_gguf_model {
namespace {

using testing::expect_message;
using testing::raw;
using testing::TempFolder;
using testing::text;

const Path kGolden = Path(GRAFT_SOURCE_DIR) / "tests/golden/gguf";

// transformers' name of a tensor of ours.
std::string their_name(const std::string& family, const std::string& canonical) {
  if (canonical == "lm.weight") return "lm_head.weight";
  return "model." + checkpoint_name(family_of(family), parse_tensor(canonical).value()).value();
}

void expect_same_tensors(const std::string& name) {
  const NamedTensors expected = load_safetensors(kGolden / (name + ".safetensors")).tensors;
  const GgufModel model = load_gguf_model(kGolden / (name + ".gguf"), at::kFloat);
  size_t compared = 0;
  for (const auto& [canonical, tensor] : model.tensors) {
    SCOPED_TRACE(canonical);
    if (name == "qwen2" && canonical.ends_with(".attn.o.bias")) {  // transformers' Qwen2 has none
      EXPECT_EQ(at::count_nonzero(tensor).item<int64_t>(), 0);
      continue;
    }
    EXPECT_TRUE(at::equal(tensor, expected.at(their_name(model.config.model_type, canonical))));
    ++compared;
  }
  EXPECT_EQ(compared, expected.size() - 2);  // without ids and logits
  const NamedTensors halves = load_gguf_model(kGolden / (name + ".gguf"), at::kBFloat16).tensors;
  for (const auto& [canonical, tensor] : halves)
    EXPECT_TRUE(at::equal(tensor, model.tensors.at(canonical).to(at::kBFloat16))) << canonical;
}

TEST(GgufModel, TensorsOfLlamaAreThoseOfTransformers) { expect_same_tensors("llama"); }
TEST(GgufModel, TensorsOfQwen2AreThoseOfTransformers) { expect_same_tensors("qwen2"); }
TEST(GgufModel, TensorsOfQwen3AreThoseOfTransformers) { expect_same_tensors("qwen3"); }

TEST(GgufModel, ConfigHoldsWhatTheMetadataSay) {
  const ModelConfig c = read_gguf_config(kGolden / "llama.gguf");
  EXPECT_EQ(c.model_type, "llama");
  EXPECT_EQ(c.decoder_layers(), 2);
  EXPECT_EQ(c.width, 32);
  EXPECT_EQ(c.decoder->heads, 4);
  EXPECT_EQ(c.decoder->key_heads, 2);
  EXPECT_EQ(c.decoder->head_width(), 8);
  EXPECT_EQ(c.decoder->ffn_width, 32);
  EXPECT_EQ(c.vocabulary, 40);
  EXPECT_EQ(c.max_positions, 64);
  EXPECT_EQ(c.pad_id, 2);
  const StackConfig& stack = *c.decoder;
  EXPECT_EQ(stack.positions, Positions(Rotary{10000, {}}));
  EXPECT_FLOAT_EQ(static_cast<float>(stack.norm.epsilon), 1e-5F);
  EXPECT_TRUE(c.has_tied_output && stack.has_gated_ffn && stack.final_norm &&
              !stack.has_attention_bias && !stack.has_ffn_bias);
  const ModelConfig q = read_gguf_config(kGolden / "qwen2.gguf");
  EXPECT_TRUE(!q.has_tied_output && q.decoder->has_attention_bias && !q.decoder->has_ffn_bias);
  EXPECT_EQ(q.decoder->rotary()->base, 1e6);
  const ModelConfig norms = read_gguf_config(kGolden / "qwen3.gguf");
  EXPECT_EQ(norms.model_type, "qwen3");
  EXPECT_TRUE(norms.has_tied_output && norms.decoder->head_norm &&
              !norms.decoder->has_attention_bias);
  EXPECT_EQ(norms.decoder->head_width(), 128);
}

TEST(GgufModel, FrequencyFactorsBecomeLlama3Scaling) {
  const RotaryScaling scaling =
      read_gguf_config(kGolden / "llama3.gguf").decoder->rotary()->scaling;
  EXPECT_EQ(scaling.kind, "llama3");
  EXPECT_FLOAT_EQ(static_cast<float>(scaling.factor), 8);
  EXPECT_EQ(scaling.low_frequency_factor, 1);
  EXPECT_EQ(scaling.high_frequency_factor, 4);
  EXPECT_EQ(scaling.original_positions, 8192);
  EXPECT_EQ(load_gguf_model(kGolden / "llama3.gguf", at::kFloat).tensors.count("rope_freqs.weight"),
            0U);
}

TEST(GgufModel, SpecialTokensAndChatTemplate) {
  const GgufTokens tokens = gguf_special_tokens(GgufFile(kGolden / "llama.gguf").metadata());
  EXPECT_EQ(tokens.bos, 1);
  EXPECT_EQ(tokens.eos, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(tokens.pad, 2);
  EXPECT_EQ(gguf_chat_template(GgufFile(kGolden / "llama.gguf").metadata()), "{{ messages }}");
  EXPECT_EQ(gguf_chat_template(GgufFile(kGolden / "tokens-spm.gguf").metadata()), std::nullopt);
}

TEST(GgufModel, FindsTheFileOfAFolder) {
  const TempFolder folder;
  EXPECT_TRUE(is_gguf("x/model.gguf"));
  EXPECT_FALSE(is_gguf("x/model.safetensors"));
  EXPECT_FALSE(is_gguf(folder.path()));
  std::ofstream(folder / "a.gguf") << "";
  EXPECT_TRUE(is_gguf(folder.path()));
  EXPECT_EQ(gguf_file(folder.path()), folder / "a.gguf");
  std::ofstream(folder / "b.gguf") << "";
  expect_message<InputError>(
      [&] { gguf_file(folder.path()); },
      "expected one .gguf file, found \"a.gguf\" and \"b.gguf\"; name the one that is meant");
  std::ofstream(folder / "config.json") << "{}";
  EXPECT_FALSE(is_gguf(folder.path()));
}

// ---- files made here ----

std::string text_key(const std::string& name, const std::string& value) {
  return text(name) + raw(uint32_t{8}) + text(value);
}
std::string int_key(const std::string& name, uint32_t value) {
  return text(name) + raw(uint32_t{4}) + raw(value);
}
std::string float_key(const std::string& name, float value) {
  return text(name) + raw(uint32_t{6}) + raw(value);
}
std::string bool_key(const std::string& name, bool value) {
  return text(name) + raw(uint32_t{7}) + raw(uint8_t{value});
}
std::string texts_key(const std::string& name, const std::vector<std::string>& values) {
  std::string out = text(name) + raw(uint32_t{9}) + raw(uint32_t{8}) + raw(uint64_t{values.size()});
  for (const std::string& value : values) out += text(value);
  return out;
}
template <class T>
std::string numbers_key(const std::string& name, uint32_t kind, const std::vector<T>& values) {
  std::string out = text(name) + raw(uint32_t{9}) + raw(kind) + raw(uint64_t{values.size()});
  for (const T value : values) out += raw(value);
  return out;
}

using Shapes = std::vector<std::pair<std::string, std::vector<uint64_t>>>;  // innermost dimension
                                                                            // first, as in the file

// Float32 tensors of ones, each 32-byte aligned.
GgufFile made(const std::vector<std::string>& keys, const Shapes& tensors, float value = 1) {
  std::string bytes = "GGUF" + raw(uint32_t{3}) + raw(uint64_t{tensors.size()}) +
                      raw(uint64_t{keys.size()}),
              data;
  for (const std::string& key : keys) bytes += key;
  for (const auto& [name, dims] : tensors) {
    bytes += text(name) + raw(static_cast<uint32_t>(dims.size()));
    uint64_t count = 1;
    for (const uint64_t size : dims) {
      bytes += raw(size);
      count *= size;
    }
    bytes += raw(uint32_t{0}) + raw(uint64_t{data.size()});
    for (uint64_t i = 0; i < count; ++i) data += raw(value);
    data.append((32 - data.size() % 32) % 32, '\0');
  }
  bytes.append((32 - bytes.size() % 32) % 32, '\0');
  const auto owner = std::make_shared<const std::string>(bytes + data);
  return GgufFile(std::as_bytes(std::span(*owner)), owner, "x.gguf");
}

std::vector<std::string> llama_keys(const std::vector<std::string>& more = {}) {
  std::vector<std::string> keys{text_key("general.architecture", "llama"),
                                int_key("llama.block_count", 1),
                                int_key("llama.embedding_length", 8),
                                int_key("llama.attention.head_count", 2),
                                int_key("llama.feed_forward_length", 4),
                                int_key("llama.context_length", 16),
                                float_key("llama.attention.layer_norm_rms_epsilon", 1e-5F)};
  keys.insert(keys.end(), more.begin(), more.end());
  return keys;
}

const Shapes kTable{{"token_embd.weight", {8, 5}}};

void expect_config_refused(const std::vector<std::string>& more, const std::string& message,
                           const Shapes& tensors = kTable) {
  expect_message<InputError>([&] { gguf_config_json(made(llama_keys(more), tensors)); },
                             "x.gguf: " + message);
}

TEST(GgufModel, DefaultsOfAbsentKeys) {
  const ModelConfig c = parse_config(gguf_config_json(made(llama_keys(), kTable)), "x");
  EXPECT_EQ(c.decoder->key_heads, 2);
  EXPECT_EQ(c.decoder->head_width(), 4);
  EXPECT_EQ(c.decoder->rotary()->base, 10000);
  EXPECT_EQ(c.vocabulary, 5);
}

TEST(GgufModel, LinearScalingIsHonoured) {
  for (const std::vector<std::string>& keys :
       {std::vector<std::string>{text_key("llama.rope.scaling.type", "linear"),
                                 float_key("llama.rope.scaling.factor", 4)},
        std::vector<std::string>{float_key("llama.rope.scale_linear", 4)}}) {
    const ModelConfig config = parse_config(gguf_config_json(made(llama_keys(keys), kTable)), "x");
    const RotaryScaling& scaling = config.decoder->rotary()->scaling;
    EXPECT_EQ(scaling.kind, "linear");
    EXPECT_EQ(scaling.factor, 4);
  }
}

TEST(GgufModel, RefusesConfigsThatItCannotHonour) {
  expect_message<InputError>(
      [] { gguf_config_json(made({text_key("general.architecture", "gemma")}, {})); },
      "x.gguf: \"general.architecture\": expected \"llama\", \"qwen2\" or \"qwen3\", found "
      "\"gemma\"");
  expect_message<InputError>(
      [] { gguf_config_json(made({text_key("general.architecture", "llama")}, {})); },
      "x.gguf: the metadata lacks \"llama.embedding_length\"");
  expect_config_refused({}, "tensor \"token_embd.weight\" is missing", {});
  expect_config_refused({}, "tensor \"token_embd.weight\": expected two dimensions, found [8]",
                        {{"token_embd.weight", {8}}});
  expect_config_refused({text_key("general.type", "adapter")},
                        "\"general.type\": expected a whole model, found \"adapter\"");
  expect_config_refused({int_key("general.quantization_version", 1)},
                        "\"general.quantization_version\": expected an integer in 2..2, found 1");
  expect_config_refused({int_key("split.count", 3)},
                        "\"split.count\": the model is cut into 3 files");
  expect_config_refused({int_key("llama.expert_count", 8)},
                        "\"llama.expert_count\": expected an integer in 0..0, found 8");
  expect_config_refused(
      {int_key("llama.attention.sliding_window", 8)},
      "\"llama.attention.sliding_window\": a window of 8 tokens is not supported");
  expect_config_refused({int_key("llama.rope.dimension_count", 2)},
                        "\"llama.rope.dimension_count\": expected 4, the width of a head, found 2");
  expect_config_refused(
      {int_key("llama.attention.value_length", 8)},
      "\"llama.attention.value_length\": expected 4, the width of a head, found 8");
  expect_config_refused({int_key("llama.vocab_size", 6)},
                        "\"llama.vocab_size\": expected 5, the rows of token_embd.weight, found 6");
  expect_config_refused(
      {texts_key("tokenizer.ggml.tokens", {"a"})},
      "\"tokenizer.ggml.tokens\": expected 5 tokens, one a row of token_embd.weight, found 1");
  expect_config_refused({int_key("tokenizer.ggml.eos_token_id", 5),
                         texts_key("tokenizer.ggml.tokens", {"a", "b", "c", "d", "e"})},
                        "\"tokenizer.ggml.eos_token_id\": expected an integer in 0..4, found 5");
  expect_config_refused(
      {text_key("llama.rope.scaling.type", "yarn"), float_key("llama.rope.scaling.factor", 4)},
      "\"llama.rope.scaling.type\": expected \"none\" or \"linear\", found \"yarn\"");
  expect_config_refused(
      {text_key("llama.rope.scaling.type", "linear"), float_key("llama.rope.scaling.factor", 0.5)},
      "\"llama.rope.scaling.factor\": expected a factor from 1");
  expect_config_refused({float_key("llama.rope.scaling.attn_factor", 2)},
                        "\"llama.rope.scaling.attn_factor\": expected a number in 1..1, found 2");
  expect_config_refused({bool_key("llama.attention.causal", false)},
                        "\"llama.attention.causal\": only true is supported");
  expect_config_refused(
      {text_key("llama.tensor_data_layout", "reference")},
      "\"llama.tensor_data_layout\": expected \"Meta AI original pth\", found \"reference\"");
  expect_config_refused({float_key("llama.logit_scale", 2), int_key("clip.layers", 2)},
                        "the metadata has keys that are not supported and may change what the "
                        "model computes: \"clip.layers\" "
                        "and \"llama.logit_scale\"");
}

TEST(GgufModel, RefusesOddFrequencyFactors) {
  const auto config = [](float factor) {
    return gguf_config_json(
        made(llama_keys(), {{"rope_freqs.weight", {2}}, {"token_embd.weight", {8, 5}}}, factor));
  };
  EXPECT_EQ(config(1).find("rope_scaling")->kind, Node::Kind::kNull);
  expect_message<InputError>([&] { config(8); },
                             "x.gguf: tensor \"rope_freqs.weight\": its factors are not those of "
                             "LLaMA 3's rule over 8192 tokens");
}

// Saves bytes of a golden with one edit of equal length.
void write_edited(const Path& from, const Path& to, const std::string& what,
                  const std::string& by) {
  std::string bytes = read_file(from);
  const size_t at = bytes.find(what);
  ASSERT_NE(at, std::string::npos);
  ASSERT_EQ(what.size(), by.size());
  std::ofstream(to, std::ios::binary) << bytes.replace(at, what.size(), by);
}

TEST(GgufModel, RefusesTensorsThatDoNotFit) {
  const TempFolder folder;
  const auto refused = [&](const std::string& what, const std::string& by,
                           const std::string& message) {
    write_edited(kGolden / "llama.gguf", folder / "x.gguf", what, by);
    expect_message<InputError>([&] { load_gguf_model(folder / "x.gguf", at::kFloat); }, message);
  };
  refused("blk.0.attn_q.weight", "blk.0.attn_z.weight",
          "tensor \"blk.0.attn_q.weight\" is missing");
  refused(text("llama.block_count") + raw(uint32_t{4}) + raw(uint32_t{2}),
          text("llama.block_count") + raw(uint32_t{4}) + raw(uint32_t{1}),
          "9 tensors belong to no part of the model that the metadata describes: \"blk.1.");
  refused(text("llama.feed_forward_length") + raw(uint32_t{4}) + raw(uint32_t{32}),
          text("llama.feed_forward_length") + raw(uint32_t{4}) + raw(uint32_t{64}),
          "expected [64, 32], found [32, 32]");
}

TEST(GgufModel, RefusesNumbersThatAreNotFinite) {
  const TempFolder folder;
  std::string bytes = read_file(kGolden / "llama.gguf");
  const GgufFile file(kGolden / "llama.gguf");
  const GgufTensor* const norm = file.find("output_norm.weight");
  const auto at = static_cast<size_t>(norm->bytes.data() - file.mapping()->bytes().data());
  std::ofstream(folder / "x.gguf", std::ios::binary)
      << bytes.replace(at, 4, raw(std::numeric_limits<float>::infinity()));
  expect_message<InputError>([&] { load_gguf_model(folder / "x.gguf", at::kFloat); },
                             "tensor \"output_norm.weight\": holds numbers that are not finite");
}

// ---- tokenizers ----

class GgufTokenizer : public ::testing::TestWithParam<std::string> {};

TEST_P(GgufTokenizer, CutsTextsAsTheModelsOwn) {
  const Node golden = parse_json(read_file(kGolden / "tokens.json"), "tokens.json");
  const Node& one = *golden.find("cases")->find(GetParam());
  const Node& texts = one.find("texts") != nullptr ? *one.find("texts") : *golden.find("texts");
  const auto tokenizer = Tokenizer::parse(
      gguf_tokenizer_json(GgufFile(kGolden / ("tokens-" + GetParam() + ".gguf")).metadata()),
      GetParam());
  for (size_t i = 0; i < texts.items.size(); ++i) {
    SCOPED_TRACE(texts.items[i].scalar);
    std::vector<int64_t> expected;
    for (const Node& id : one.find("ids")->items[i].items)
      expected.push_back(std::stoll(id.scalar));
    EXPECT_EQ(tokenizer->encode(texts.items[i].scalar).ids, expected);
    EXPECT_EQ(tokenizer->decode(expected), one.find("decoded")->items[i].scalar);
  }
}

INSTANTIATE_TEST_SUITE_P(, GgufTokenizer,
                         ::testing::Values("gpt2", "smollm", "llama-bpe", "qwen2", "spm",
                                           "spm-plain"),
                         [](const auto& made_of) {
                           std::string name = made_of.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// More would pass here and be refused as a tokenizer.json that nobody has seen.
TEST(GgufModel, TakesAsManyTokensAsAVocabularyMayHave) {
  EXPECT_EQ(static_cast<int64_t>(kMaxGgufTokens), Vocabulary::kMaxTokens);
}

TEST(GgufModel, RefusesTokenizersThatItCannotHonour) {
  const auto refused = [](std::vector<std::string> keys, const std::string& message) {
    expect_message<InputError>([&] { gguf_tokenizer_json(made(keys, {}).metadata()); },
                               "x.gguf: " + message);
  };
  const std::string model = text_key("tokenizer.ggml.model", "gpt2"),
                    pre = text_key("tokenizer.ggml.pre", "gpt-2"),
                    spm = text_key("tokenizer.ggml.model", "llama");
  const std::string tokens = texts_key("tokenizer.ggml.tokens", {"a", "b"}),
                    types = numbers_key<int32_t>("tokenizer.ggml.token_type", 5, {1, 1});
  refused({}, "the metadata lacks \"tokenizer.ggml.model\"");
  refused({text_key("tokenizer.ggml.model", "bert")},
          "\"tokenizer.ggml.model\": expected \"gpt2\" or \"llama\", found \"bert\"");
  refused(
      {model, texts_key("tokenizer.ggml.precompiled_charsmap", {})},
      "\"tokenizer.ggml.precompiled_charsmap\": not supported; it may change how texts are cut");
  refused({model, pre, tokens}, "the metadata lacks \"tokenizer.ggml.token_type\"");
  refused({model, pre, tokens, numbers_key<int32_t>("tokenizer.ggml.token_type", 5, {1})},
          "\"tokenizer.ggml.token_type\": expected 2 types, one a token, found 1");
  refused({model, pre, tokens, numbers_key<int32_t>("tokenizer.ggml.token_type", 5, {1, 7})},
          "\"tokenizer.ggml.token_type\": expected types in 1..6, found 7");
  refused({model, pre, texts_key("tokenizer.ggml.tokens", {"a", "a"}), types},
          "\"tokenizer.ggml.tokens\": tokens 0 and 1 are both \"a\"");
  refused({model, tokens, types},
          "\"tokenizer.ggml.pre\": the file does not say how its model cuts words");
  refused({model, tokens, types, text_key("tokenizer.ggml.pre", "tekken")},
          "\"tokenizer.ggml.pre\": expected \"gpt-2\", ");
  refused({model, pre, tokens, types}, "the metadata lacks \"tokenizer.ggml.merges\"");
  refused({model, pre, tokens, types, texts_key("tokenizer.ggml.merges", {"ab"})},
          "\"tokenizer.ggml.merges\": item 0: expected two tokens with a space between them");
  refused({model, pre, tokens, types, texts_key("tokenizer.ggml.merges", {}),
           bool_key("tokenizer.ggml.add_bos_token", true)},
          "the metadata lacks \"tokenizer.ggml.bos_token_id\"");
  refused(
      {model, pre, tokens, types, texts_key("tokenizer.ggml.merges", {}),
       bool_key("tokenizer.ggml.add_eos_token", true), int_key("tokenizer.ggml.eos_token_id", 2)},
      "\"tokenizer.ggml.eos_token_id\": no token has the id 2");
  refused({spm, tokens, types}, "the metadata lacks \"tokenizer.ggml.scores\"");
  refused(
      {spm, pre, tokens, types},
      "\"tokenizer.ggml.pre\": expected \"default\" beside the model \"llama\", found \"gpt-2\"");
  refused({spm, tokens, types, numbers_key<float>("tokenizer.ggml.scores", 6, {0})},
          "\"tokenizer.ggml.scores\": expected 2 scores, one a token, found 1");
  refused({spm, tokens, types,
           numbers_key<float>("tokenizer.ggml.scores", 6,
                              {0, std::numeric_limits<float>::quiet_NaN()})},
          "\"tokenizer.ggml.scores\": item 1 is not a number");
  refused({spm, tokens, types, bool_key("tokenizer.ggml.remove_extra_whitespaces", true)},
          "\"tokenizer.ggml.remove_extra_whitespaces\": only false is supported");
}

TEST(GgufModel, TokenizerFilesNameTheSpecialTokensAndTheTemplate) {
  const auto files = [](const std::string& name) {
    return gguf_tokenizer_files(GgufFile(kGolden / (name + ".gguf")).metadata());
  };
  const auto bpe = files("tokens-llama-bpe");
  EXPECT_EQ(bpe.size(), 2U);
  EXPECT_EQ(bpe.at("tokenizer.json"),
            gguf_tokenizer_json(GgufFile(kGolden / "tokens-llama-bpe.gguf").metadata()));
  const Node config = parse_json(bpe.at("tokenizer_config.json"), "tokenizer_config.json");
  EXPECT_EQ(config.find("tokenizer_class")->scalar, "PreTrainedTokenizerFast");
  EXPECT_EQ(config.find("bos_token")->scalar, "<|im_start|>");
  EXPECT_EQ(config.find("eos_token")->scalar, "<|im_end|>");
  EXPECT_EQ(config.find("pad_token"), nullptr);
  EXPECT_EQ(config.find("chat_template"), nullptr);
  const Node spm = parse_json(files("tokens-spm").at("tokenizer_config.json"), "x");
  EXPECT_EQ(spm.find("bos_token")->scalar, "<s>");
  EXPECT_EQ(spm.find("eos_token")->scalar, "</s>");
  EXPECT_TRUE(files("llama").empty()) << "a model without a tokenizer";
  // A whole tokenizer.json may stand without a list of tokens.
  const auto whole = gguf_tokenizer_files(made({text_key("tokenizer.huggingface.json", "{}"),
                                                text_key("tokenizer.chat_template", "{{ x }}"),
                                                int_key("tokenizer.ggml.eos_token_id", 7)},
                                               {})
                                              .metadata());
  EXPECT_EQ(whole.at("tokenizer.json"), "{}");
  const Node bare = parse_json(whole.at("tokenizer_config.json"), "x");
  EXPECT_EQ(bare.find("eos_token"), nullptr);
  EXPECT_EQ(bare.find("chat_template")->scalar, "{{ x }}");
}

TEST(GgufModel, TakesTheModelsOwnTokenizerWhole) {
  EXPECT_EQ(
      gguf_tokenizer_json(
          made({text_key("tokenizer.huggingface.json", "{\"version\": \"1.0\"}")}, {}).metadata()),
      "{\"version\": \"1.0\"}");
}

}  // namespace
}  // namespace graft::test_gguf_model
