// Settings of generation from a model's files: what is read, what is refused by name, and which of
// them count beside the user's.
#include "infer/generation_settings.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "infer/model_generation.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_generation_settings {
namespace {

// A model's own settings, from the text of its generation_config.json.
ModelGeneration own_of(const std::string& text, const std::string& family = "gpt2") {
  const TempFolder folder;
  write_file_atomically(folder / "config.json", to_json(tiny_config(family)));
  write_file_atomically(folder / "generation_config.json", text);
  return read_model_generation(folder.path(), parse_config(tiny_config(family), "config.json"));
}

Node settings_of(const std::string& text, const std::string& family = "gpt2") {
  return own_of(text, family).settings;
}

TEST(ModelGeneration, GetsOurNames) {
  EXPECT_EQ(
      settings_of(
          R"({"num_beams": 4, "early_stopping": true, "length_penalty": 2.0, "no_repeat_ngram_size": 3})"),
      yaml("{beams: 4, length_penalty: 2, early_stopping: 'yes', no_repeat_ngram: 3}"));
  EXPECT_EQ(
      settings_of(
          R"({"max_length": 142, "min_length": 56, "forced_bos_token_id": 0, "forced_eos_token_id": 2})"),
      yaml("{max_total_tokens: 142, min_total_tokens: 56, forced_bos: 0, forced_eos: 2}"));
  EXPECT_EQ(settings_of(
                R"({"max_length": 30, "max_new_tokens": 5, "min_length": 9, "min_new_tokens": 1})"),
            yaml("{max_new_tokens: 5, min_new_tokens: 1}"));
  EXPECT_EQ(settings_of(R"({"do_sample": true})"), yaml("{temperature: 1, top_k: 50}"))
      << "the library's own top_k";
  EXPECT_EQ(settings_of(R"({"do_sample": true, "top_k": null, "temperature": 0.6, "top_p": 0.9})"),
            yaml("{top_p: 0.9, temperature: 0.6}"));
  EXPECT_EQ(settings_of(R"({"temperature": 0.6, "top_p": 0.9, "min_p": 0.1})"),
            yaml("{top_p: 0.9}"))
      << "nothing is drawn";
  EXPECT_EQ(
      settings_of(
          R"({"eos_token_id": [1, 2], "bos_token_id": 1, "transformers_version": "4.57.6", "use_cache": false})"),
      yaml("{}"));
}

TEST(ModelGeneration, TellsKeysWithoutAMeaning) {
  const ModelGeneration own =
      own_of(R"({"num_beams": 2, "chat_format": "chatml", "_from_model_config": true})");
  EXPECT_EQ(own.other, std::vector<std::string>{"chat_format"});
  const std::string note = own.note(yaml("{beams: 2, suppress_tokens: [1, 2, 3, 4, 5]}"));
  for (const char* part : {"generation_config.json says: beams 2", "suppress_tokens (5 entries)",
                           "ignore_generation_config", "keys without a meaning: chat_format"}) {
    EXPECT_NE(note.find(part), std::string::npos) << note;
  }
  EXPECT_EQ(note.find('\n'), std::string::npos);
  EXPECT_EQ(own_of("{}").note(Node::map()), "");
}

TEST(ModelGeneration, RefusesWhatWouldChangeTextsAndIsNotSupported) {
  for (const char* text :
       {R"({"num_beam_groups": 2})", R"({"diversity_penalty": 0.5})",
        R"({"renormalize_logits": true})", R"({"remove_invalid_values": true})",
        R"({"encoder_repetition_penalty": 1.2})", R"({"guidance_scale": 1.5})",
        R"({"penalty_alpha": 0.6})", R"({"sequence_bias": [[[1], 2.0]]})",
        R"({"exponential_decay_length_penalty": [5, 1.1]})", R"({"stop_strings": ["a"]})",
        R"({"max_time": 3.0})", R"({"watermarking_config": {"bias": 2}})",
        R"({"do_sample": true, "min_p": 0.05})", R"({"do_sample": true, "typical_p": 0.9})"}) {
    const std::string message = message_of<InputError>([&] { own_of(text); });
    EXPECT_NE(message.find("changes texts and is not supported"), std::string::npos)
        << text << " " << message;
    EXPECT_NE(message.find("ignore_generation_config"), std::string::npos) << message;
  }
  const std::string both = message_of<InputError>(
      [&] { own_of(R"({"guidance_scale": 2, "num_beams": 0, "max_time": 1})"); });
  for (const char* key : {"/guidance_scale", "/num_beams", "/max_time"})
    EXPECT_NE(both.find(key), std::string::npos) << both;
  expect_message<InputError>([&] { own_of(R"({"early_stopping": "often"})"); },
                             "expected true, false or \"never\"");
  expect_message<InputError>([&] { own_of(R"({"do_sample": true, "temperature": 0})"); },
                             "expected a number above 0");
  expect_message<InputError>([&] { own_of(R"({"decoder_start_token_id": 7})", "bart"); },
                             "as in config.json, found 7");
  expect_message<InputError>([&] { own_of("[1]"); }, "expected an object of keys and values");
}

Node counted(const std::string& own, const std::string& model) {
  return join_generation(yaml(own), yaml(model), "flags", "model").from_model;
}

TEST(JoinGeneration, TheUsersSettingsWin) {
  EXPECT_EQ(counted("{beams: 2}", "{beams: 4, no_repeat_ngram: 3}"), yaml("{no_repeat_ngram: 3}"));
  EXPECT_EQ(counted("{beams: 1}", "{beams: 4, length_penalty: 2, early_stopping: 'yes'}"),
            yaml("{}"));
  EXPECT_EQ(counted("{temperature: 0}", "{temperature: 0.6, top_k: 50, top_p: 0.9}"), yaml("{}"));
  EXPECT_EQ(counted("{temperature: 0.8}", "{top_p: 0.9}"), yaml("{top_p: 0.9}"));
  EXPECT_EQ(counted("{}", "{top_p: 0.9}"), yaml("{}"));
  EXPECT_EQ(counted("{max_new_tokens: 9}", "{max_total_tokens: 142, min_total_tokens: 56}"),
            yaml("{min_total_tokens: 56}"));
  EXPECT_EQ(counted("{max_new_tokens: 9}", "{min_new_tokens: 20}"), yaml("{min_new_tokens: 9}"));
  EXPECT_EQ(counted("{min_new_tokens: 3}", "{min_total_tokens: 56}"), yaml("{}"));
  const GenerateOptions options =
      join_generation(yaml("{beams: 3}"), yaml("{forced_eos: 2, bad_words: [[1], [2, 3]]}"),
                      "flags", "model")
          .options;
  EXPECT_EQ(options.beams, 3);
  EXPECT_EQ(options.max_new_tokens, kAsFits);
  EXPECT_EQ(options.sampling.forced_eos, std::vector<int64_t>{2});
  EXPECT_EQ(options.sampling.bad_words, (std::vector<std::vector<int64_t>>{{1}, {2, 3}}));
  EXPECT_EQ(unusual_generation(options),
            yaml("{beams: 3, bad_words: [[1], [2, 3]], forced_eos: [2]}"));
}

TEST(JoinGeneration, BlamesNoFileForWhatTheUserGave) {
  const auto refusal = [](const std::string& own, const std::string& model) {
    return message_of<InputError>([&] { counted(own, model); });
  };
  EXPECT_TRUE(refusal("{temperature: -1}", "{beams: 4}").starts_with("flags:"));
  EXPECT_TRUE(refusal("{}", "{beams: 0}").starts_with("model and flags:"));
}

// As transformers: do_sample with beams draws beams.
TEST(JoinGeneration, LetsBeamsBeDrawn) {
  EXPECT_EQ(counted("{beams: 4}", "{temperature: 1, top_k: 50}"),
            yaml("{temperature: 1, top_k: 50}"));
  EXPECT_EQ(counted("{temperature: 1}", "{beams: 2}"), yaml("{beams: 2}"));
}

TEST(JoinGeneration, Refuses) {
  expect_message<InputError>([&] { counted("{}", "{bad_words: [1, 2]}"); },
                             "bad_words: expected a list of lists of tokens");
  expect_message<InputError>([&] { counted("{top_p: 2}", "{}"); },
                             "flags:1:9: /top_p: expected a number in");
  for (const char* name : {"temperature", "beams", "max_new_tokens"}) {
    expect_message<InputError>(
        [&] {
          counted("{" + std::string(name) + ": many}", "{top_k: 5, beams: 2, min_new_tokens: 3}");
        },
        "/" + std::string(name) + ": expected a");
  }
}

TEST(ReadGeneration, IsTheInverseOfTheNode) {
  GenerateOptions options{
      .max_new_tokens = 7, .max_total_tokens = 30, .beams = 3, .length_penalty = 0.5};
  options.early_stopping = EarlyStopping::kNever;
  options.sampling = {.repetition_penalty = 1.2,
                      .no_repeat_ngram = 2,
                      .no_repeat_ngram_in = NgramsOf::kNew,
                      .encoder_no_repeat_ngram = 4,
                      .bad_words = {{5}, {6, 7}},
                      .min_new_tokens = 1,
                      .min_total_tokens = 2,
                      .forced_bos = 3,
                      .forced_eos = {4, 8},
                      .suppress_tokens = {9},
                      .begin_suppress_tokens = {10, 11}};
  options.further_end_ids = {12};
  const Node node = generation_node(options);
  Options reader(node, "test");
  EXPECT_EQ(generation_node(read_generation(reader)), node);
  reader.finish();
  EXPECT_EQ(unusual_generation(options).members.size(), node.members.size() - 3)
      << "all but temperature, top_k and top_p";
}

}  // namespace
}  // namespace graft::testing::test_generation_settings
