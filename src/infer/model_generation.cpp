#include "infer/model_generation.h"

#include <algorithm>

#include "base/error.h"
#include "base/options.h"
#include "base/spelling.h"
#include "model/families.h"
#include "model/gguf_model.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kMost = int64_t{1} << 31;
constexpr const char* kUsualLength =
    "20";  // max_length of transformers, which counts new tokens where it is this
constexpr int64_t kUsualTopK = 50;  // of its random choices

using Pairs = std::vector<std::pair<std::string, std::string>>;

// Settings that are read here, with what transformers takes where a file has none. "": nothing.
const Pairs kRead = {{"max_length", "20"},
                     {"max_new_tokens", ""},
                     {"min_length", "0"},
                     {"min_new_tokens", ""},
                     {"do_sample", "false"},
                     {"temperature", "1"},
                     {"top_k", "50"},
                     {"top_p", "1"},
                     {"num_beams", "1"},
                     {"length_penalty", "1"},
                     {"early_stopping", "false"},
                     {"repetition_penalty", "1"},
                     {"no_repeat_ngram_size", "0"},
                     {"encoder_no_repeat_ngram_size", "0"},
                     {"bad_words_ids", ""},
                     {"suppress_tokens", ""},
                     {"begin_suppress_tokens", ""},
                     {"forced_bos_token_id", ""},
                     {"forced_eos_token_id", ""}};

// What these ask for is not supported; beside a key the value under which it asks for nothing.
const Pairs kUnsupported = {{"num_beam_groups", "1"},
                            {"diversity_penalty", "0"},
                            {"renormalize_logits", "false"},
                            {"remove_invalid_values", "false"},
                            {"encoder_repetition_penalty", "1"},
                            {"guidance_scale", "1"},
                            {"token_healing", "false"},
                            {"penalty_alpha", "0"},
                            {"constraints", ""},
                            {"force_words_ids", ""},
                            {"sequence_bias", ""},
                            {"exponential_decay_length_penalty", ""},
                            {"dola_layers", ""},
                            {"prompt_lookup_num_tokens", ""},
                            {"assistant_early_exit", ""},
                            {"max_time", ""},
                            {"stop_strings", ""},
                            {"watermarking_config", ""}};

// The same of random choices.
const Pairs kUnsupportedDraws = {
    {"min_p", "0"}, {"typical_p", "1"}, {"epsilon_cutoff", "0"}, {"eta_cutoff", "0"}};

// Tokens that begin, end or fill texts are read elsewhere (model_text.h, config.h); the rest
// changes no text.
const std::vector<std::string> kHarmless = {"_commit_hash",
                                            "_from_model_config",
                                            "assistant_confidence_threshold",
                                            "assistant_lookbehind",
                                            "bos_token_id",
                                            "cache_config",
                                            "cache_implementation",
                                            "compile_config",
                                            "decoder_start_token_id",
                                            "disable_compile",
                                            "eos_token_id",
                                            "is_assistant",
                                            "low_memory",
                                            "max_matching_ngram_size",
                                            "num_assistant_tokens",
                                            "num_assistant_tokens_schedule",
                                            "num_return_sequences",
                                            "output_attentions",
                                            "output_hidden_states",
                                            "output_logits",
                                            "output_scores",
                                            "pad_token_id",
                                            "prefill_chunk_size",
                                            "return_dict_in_generate",
                                            "return_legacy_cache",
                                            "target_lookbehind",
                                            "transformers_version",
                                            "use_cache"};

// The value beside a key of the three tables; null for other keys.
const std::string* usual_value(const std::string& key) {
  for (const Pairs* pairs : {&kRead, &kUnsupported, &kUnsupportedDraws}) {
    for (const auto& [name, value] : *pairs) {
      if (name == key) return &value;
    }
  }
  return nullptr;
}

// Whether a value of JSON is the number or word `text`.
bool is_value(const Node& node, const std::string& text) {
  if (node.kind != Node::Kind::kScalar || text.empty()) return false;
  if (node.scalar == text) return true;
  const std::optional<double> number = node.as_number();
  return number && number == Node::plain(text).as_number();
}

void refuse_setting(Options& options, const std::string& key, const Node& found) {
  options.fault(key, "changes texts and is not supported, found " + to_json(found, -1) + "; " +
                         option_name("ignore_generation_config") +
                         " writes texts without the model's own settings");
}

void put_integer(Options& options, const char* theirs, Node& out, const char* ours, int64_t least) {
  if (options.has(theirs)) out[ours] = Node::integer(options.integer(theirs, least, least, kMost));
}

void put_number(Options& options, const char* theirs, Node& out, const char* ours) {
  if (options.has(theirs)) out[ours] = Node::number(options.number(theirs, 1, -1e6, 1e6));
}

// A length in new tokens counts instead of one in all tokens.
void read_lengths(Options& options, Node& out) {
  const Node* length = options.raw("max_length");
  const bool is_usual = length != nullptr && is_value(*length, kUsualLength);
  if (is_usual) out["max_new_tokens"] = *length;
  else if (!options.has("max_new_tokens"))
    put_integer(options, "max_length", out, "max_total_tokens", 1);
  if (!options.has("min_new_tokens"))
    put_integer(options, "min_length", out, "min_total_tokens", 0);
  options.ignore("min_length");
  put_integer(options, "max_new_tokens", out, "max_new_tokens", 1);
  put_integer(options, "min_new_tokens", out, "min_new_tokens", 0);
}

// Random choices are what do_sample asks for; what narrows them counts for those that the user asks
// for, too.
void read_draws(Options& options, bool has_top_k, Node& out) {
  const bool draws = options.boolean("do_sample", false);
  const double temperature = options.number("temperature", 1, 0, 1e6);
  put_integer(options, "top_k", out, "top_k", 0);
  put_number(options, "top_p", out, "top_p");
  if (draws && temperature == 0)
    options.fault("temperature", "expected a number above 0 beside do_sample: true, found 0");
  if (draws) out["temperature"] = Node::number(temperature);
  if (draws && !has_top_k) out["top_k"] = Node::integer(kUsualTopK);
  for (const auto& [key, neutral] : kUnsupportedDraws) {
    const Node* found = options.raw(key);
    if (found != nullptr && draws && !is_value(*found, neutral))
      refuse_setting(options, key, *found);
  }
}

void read_beams(Options& options, Node& out) {
  put_integer(options, "num_beams", out, "beams", 1);
  put_number(options, "length_penalty", out, "length_penalty");
  const Node* early = options.raw("early_stopping");
  if (early == nullptr) return;
  const std::string word = early->kind == Node::Kind::kScalar ? early->scalar : "";
  if (word != "true" && word != "false" && word != "never")
    options.fault("early_stopping",
                  "expected true, false or \"never\", found " + to_json(*early, -1));
  out["early_stopping"] = Node::text(word == "true" ? "yes" : word == "never" ? "never" : "no");
}

void read_tokens(Options& options, Node& out) {
  put_number(options, "repetition_penalty", out, "repetition_penalty");
  put_integer(options, "no_repeat_ngram_size", out, "no_repeat_ngram", 0);
  put_integer(options, "encoder_no_repeat_ngram_size", out, "encoder_no_repeat_ngram", 0);
  put_integer(options, "forced_bos_token_id", out, "forced_bos", 0);
  for (const auto& [theirs, ours] : {std::pair{"forced_eos_token_id", "forced_eos"},
                                     std::pair{"suppress_tokens", "suppress_tokens"},
                                     std::pair{"begin_suppress_tokens", "begin_suppress_tokens"},
                                     std::pair{"bad_words_ids", "bad_words"}}) {
    if (const Node* ids = options.raw(theirs)) out[ours] = *ids;
  }
}

void check_start(Options& options, const ModelConfig& config) {
  if (!config.has_encoder()) return;
  const int64_t start =
      options.integer("decoder_start_token_id", config.decoder_start_id, 0, kMost);
  if (start == config.decoder_start_id) return;
  options.fault("decoder_start_token_id", "expected " + std::to_string(config.decoder_start_id) +
                                              " as in config.json, found " + std::to_string(start));
}

ModelGeneration translate(const Node& file, const std::string& source, const ModelConfig& config) {
  ModelGeneration out;
  out.source = source;
  Node stated = Node::map();  // null says what a missing key says, but for top_k
  for (const auto& [key, value] : file.members) {
    const bool is_known = usual_value(key) != nullptr ||
                          std::find(kHarmless.begin(), kHarmless.end(), key) != kHarmless.end();
    if (!is_known) out.other.push_back(key);
    else if (value.kind != Node::Kind::kNull) stated[key] = value;
  }
  Options options(stated, source);
  read_lengths(options, out.settings);
  read_draws(options, file.find("top_k") != nullptr, out.settings);
  read_beams(options, out.settings);
  read_tokens(options, out.settings);
  check_start(options, config);
  for (const auto& [key, neutral] : kUnsupported) {
    const Node* found = options.raw(key);
    if (found != nullptr && !is_value(*found, neutral)) refuse_setting(options, key, *found);
  }
  for (const std::string& key : kHarmless) options.ignore(key);
  options.finish();
  return out;
}

Node read_map(const Path& file) {
  Node json = parse_json(read_file(file), file.string());
  if (json.kind != Node::Kind::kMap)
    throw InputError(file.string() + ": expected an object of keys and values");
  return json;
}

// The settings that the family of a config.json has by itself, where `given` does not say them.
void add_own(const Node& config, const Node& given, Node& settings) {
  const Node* type = config.find("model_type");
  if (type == nullptr) return;
  for (const Family& family : all_families()) {
    if (family.model_type == type->scalar && family.add_generation != nullptr)
      return family.add_generation(given, settings);
  }
}

// The settings of generation in a config.json, those that its family has by itself among them.
Node settings_in(const Node& config) {
  Node out = Node::map();
  for (const auto& [key, value] : config.members) {
    if (usual_value(key) != nullptr) out[key] = value;
  }
  add_own(config, config, out);
  return out;
}

// Whether a config.json has another setting than its family has by itself.
bool has_settings(const Node& settings, const Node& config) {
  Node own = Node::map();
  add_own(config, Node::map(), own);
  return std::any_of(settings.members.begin(), settings.members.end(), [&](const auto& member) {
    const auto& [key, value] = member;
    const Node* of_family = own.find(key);
    const std::string usual = of_family != nullptr ? of_family->scalar : *usual_value(key);
    return value.kind != Node::Kind::kNull && !is_value(value, usual);
  });
}

// A list of many tokens by its length.
std::string shown(const Node& value) {
  constexpr size_t kMany = 4;
  if (value.kind == Node::Kind::kScalar) return value.scalar;
  return value.items.size() > kMany ? "(" + std::to_string(value.items.size()) + " entries)"
                                    : to_json(value, -1);
}

}  // namespace

std::string ModelGeneration::note(const Node& counted) const {
  std::vector<std::string> told;
  for (const auto& [key, value] : counted.members) told.push_back(key + " " + shown(value));
  std::string out;
  if (!told.empty())
    out = "texts are written as " + source + " says: " + joined(told) + " (" +
          option_name("ignore_generation_config") + " leaves that out)";
  if (!other.empty())
    out += (out.empty() ? source + ": " : "; ") + std::string("keys without a meaning: ") +
           joined_first(other, 5);
  return out;
}

ModelGeneration read_model_generation(const Path& model, const ModelConfig& config) {
  if (is_gguf(model) || !fs::is_directory(model)) return {};
  const Path own = model / "generation_config.json", config_file = model / "config.json";
  const Node config_json = read_map(config_file), in_config = settings_in(config_json);
  if (!fs::exists(own)) return translate(in_config, config_file.string(), config);
  const Node json = read_map(own);
  const bool is_derived = json.find_bool("_from_model_config").value_or(false);
  if (is_derived && has_settings(in_config, config_json))
    return translate(in_config, config_file.string(), config);
  return translate(json, own.string(), config);
}

}  // namespace graft
