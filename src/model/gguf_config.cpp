// Metadata of a GGUF file -> config.json. One key after the other is honoured, or known to change
// nothing, or refused.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <set>

#include "base/error.h"
#include "model/config_keys.h"
#include "model/families.h"
#include "model/gguf_model.h"

namespace graft {

namespace {

constexpr int64_t kMost = int64_t{1} << 31;

// What stands before the keys that name the file's origin and makers, and the tokenizer
// (gguf_tokenizer.cpp reads those).
constexpr std::array<std::string_view, 4> kHarmlessPrefixes{"general.", "tokenizer.", "quantize.",
                                                            "mradermacher."};

// Keys of the architecture that say nothing the trunk does not know:
// the window of the first training, and a mark of fine-tuned scaling.
constexpr std::array<std::string_view, 2> kHarmlessKeys{"rope.scaling.original_context_length",
                                                        "rope.scaling.finetuned"};

// Reads keys "<architecture>.<name>" and remembers which.
class ArchitectureKeys {
 public:
  ArchitectureKeys(const GgufMetadata& metadata, std::string architecture)
      : metadata_(metadata), prefix_(std::move(architecture) + ".") {
    for (const std::string_view key : kHarmlessKeys) name(key);
  }

  std::string name(std::string_view key) {
    return *known_.insert(prefix_ + std::string(key)).first;
  }
  bool has(std::string_view key) { return metadata_.has(name(key)); }
  int64_t integer(std::string_view key, std::optional<int64_t> fallback, int64_t least = 1,
                  int64_t most = kMost) {
    return metadata_.integer(name(key), fallback, least, most);
  }
  double number(std::string_view key, std::optional<double> fallback, double least, double most) {
    return metadata_.number(name(key), fallback, least, most);
  }
  // Keys that must have the one value under which the trunk computes.
  void require(std::string_view key, int64_t value) { integer(key, value, value, value); }
  void require(std::string_view key, double value) { number(key, value, value, value); }
  void require_bool(std::string_view key, bool value) {
    if (metadata_.boolean(name(key), value) != value)
      metadata_.fail(name(key),
                     std::string("only ") + (value ? "true" : "false") + " is supported");
  }
  [[noreturn]] void fail(std::string_view key, const std::string& message) {
    metadata_.fail(name(key), message);
  }

  // Refuses every key that was not asked for, but those that are to be passed over: they are
  // returned.
  std::vector<std::string> finish(const IgnoredKeys& ignored) const {
    std::vector<std::string> unknown, shown;
    for (const auto& entry : metadata_.values()) {
      const std::string& key = entry.first;
      const bool is_harmless =
          std::any_of(kHarmlessPrefixes.begin(), kHarmlessPrefixes.end(),
                      [&](std::string_view start) { return key.starts_with(start); });
      if (!is_harmless && !key.starts_with("split.") && !known_.contains(key))
        unknown.push_back(key);
    }
    std::vector<std::string> passed_over = take_ignored(unknown, ignored, metadata_.source());
    if (unknown.empty()) return passed_over;
    for (const std::string& key : unknown) shown.push_back(quote(key));
    throw InputError(
        metadata_.source() +
        ": the metadata has keys that are not supported and may change what the model computes: " +
        joined_first(shown, 5) + "; " + ignore_hint(unknown.front()));
  }

  const GgufMetadata& metadata() const { return metadata_; }

 private:
  const GgufMetadata& metadata_;
  std::string prefix_;
  std::set<std::string> known_;
};

void check_general(const GgufMetadata& metadata) {
  const std::string type = metadata.text("general.type", "model");
  if (type != "model")
    metadata.fail("general.type", "expected a whole model, found " + quote(type));
  metadata.integer("general.quantization_version", 2, 2, 2);  // the layout of blocks
  const int64_t parts = metadata.integer("split.count", 1, 0, kMost);
  if (parts > 1)
    metadata.fail("split.count", "the model is cut into " + std::to_string(parts) +
                                     " files; join them to one (gguf-split --merge)");
}

// D, the width of a head.
int64_t read_head_width(ArchitectureKeys& keys, int64_t width, int64_t heads) {
  if (!keys.has("attention.key_length") && width % heads != 0) {
    keys.fail("attention.head_count", "expected a divisor of embedding_length " +
                                          std::to_string(width) + ", found " +
                                          std::to_string(heads));
  }
  const int64_t head_width = keys.integer("attention.key_length", width / heads);
  for (const char* key : {"attention.value_length", "rope.dimension_count"}) {
    const int64_t found = keys.integer(key, head_width);
    if (found != head_width)
      keys.fail(key, "expected " + std::to_string(head_width) + ", the width of a head, found " +
                         std::to_string(found));
  }
  return head_width;
}

// Rows of the table of word embeddings; whatever else counts tokens must agree.
int64_t read_vocabulary(ArchitectureKeys& keys, const GgufFile& file) {
  const GgufTensor* const table = file.find("token_embd.weight");
  if (table == nullptr)
    throw InputError(file.source() + ": tensor \"token_embd.weight\" is missing");
  if (table->shape.size() != 2)
    throw InputError(file.source() +
                     ": tensor \"token_embd.weight\": expected two dimensions, found " +
                     shape_text(table->shape));
  const int64_t rows = table->shape[0];
  const int64_t stated = keys.integer("vocab_size", rows);
  if (stated != rows)
    keys.fail("vocab_size", "expected " + std::to_string(rows) +
                                ", the rows of token_embd.weight, found " + std::to_string(stated));
  const std::string tokens = "tokenizer.ggml.tokens";
  if (file.metadata().has(tokens)) {
    const auto count = static_cast<int64_t>(file.metadata().values().at(tokens).count);
    if (count != rows)
      file.metadata().fail(tokens, "expected " + std::to_string(rows) +
                                       " tokens, one a row of token_embd.weight, found " +
                                       std::to_string(count));
  }
  return rows;
}

// How much longer the wave of each rotary frequency is by LLaMA 3's rule (Grattafiori et al. 2024,
// as released): long waves `factor` times, short ones not at all, between them by a ramp over the
// number of waves that fit the first training's window.
std::vector<double> llama3_factors(double base, int64_t head_width, double factor, double low,
                                   double high, double window) {
  std::vector<double> out;
  for (int64_t i = 0; i < head_width / 2; ++i) {
    const double waves =
        window / (2 * std::numbers::pi *
                  std::pow(base, 2 * static_cast<double>(i) / static_cast<double>(head_width)));
    const double ramp = std::clamp((waves - low) / (high - low), 0.0, 1.0);
    out.push_back(1 / ((1 - ramp) / factor + ramp));
  }
  return out;
}

// The file holds factors, not the rule. Every released LLaMA 3 ramps from 1 to 4 waves in 8192
// tokens; what this rule does not give back is refused.
std::optional<Node> read_frequency_factors(const GgufFile& file, double base, int64_t head_width) {
  constexpr double kLow = 1, kHigh = 4, kWindow = 8192;
  const GgufTensor* const table = file.find("rope_freqs.weight");
  if (table == nullptr) return std::nullopt;
  const at::Tensor stored = file.read(*table, at::kFloat).contiguous();
  const std::vector<float> found(stored.const_data_ptr<float>(),
                                 stored.const_data_ptr<float>() + stored.numel());
  if (std::all_of(found.begin(), found.end(), [](float f) { return f == 1; })) return std::nullopt;
  const double factor = found.empty() ? 1 : double{*std::max_element(found.begin(), found.end())};
  const std::vector<double> expected =
      llama3_factors(base, head_width, factor, kLow, kHigh, kWindow);
  const auto is_close = [](float a, double b) {
    return std::abs(double{a} - b) <= 1e-4 * b;
  };  // the converter computes in float32
  if (!(factor >= 1) ||
      !std::equal(found.begin(), found.end(), expected.begin(), expected.end(), is_close)) {
    throw InputError(file.source() +
                     ": tensor \"rope_freqs.weight\": its factors are not those of LLaMA 3's rule "
                     "over 8192 tokens; other rules "
                     "are not supported");
  }
  return Node::map(
      {{"rope_type", Node::text("llama3")},
       {"factor", Node::number(factor)},
       {"low_freq_factor", Node::number(kLow)},
       {"high_freq_factor", Node::number(kHigh)},
       {"original_max_position_embeddings", Node::integer(static_cast<int64_t>(kWindow))}});
}

// What rope_scaling of config.json says; null where angles are not stretched.
Node read_rotary_scaling(ArchitectureKeys& keys, const GgufFile& file, double base,
                         int64_t head_width) {
  keys.require("rope.scaling.attn_factor", 1.0);
  const double old_factor =
      keys.number("rope.scale_linear", 1, 1, 1e6);  // how older files say "linear"
  const double factor = keys.number("rope.scaling.factor", old_factor, 0, 1e6);  // 0: none
  if (factor > 0 && factor < 1)
    keys.fail("rope.scaling.factor", "expected a factor from 1, found " + std::to_string(factor));
  const std::string kind =
      keys.metadata().text(keys.name("rope.scaling.type"), factor > 1 ? "linear" : "none");
  if (kind != "none" && kind != "linear")
    keys.fail("rope.scaling.type", "expected \"none\" or \"linear\", found " + quote(kind));
  std::optional<Node> by_frequency = read_frequency_factors(file, base, head_width);
  if (kind == "none" || factor <= 1) return by_frequency ? *by_frequency : Node::null();
  if (by_frequency)
    keys.fail("rope.scaling.type",
              "linear scaling beside the factors of rope_freqs.weight is not supported");
  return Node::map({{"rope_type", Node::text("linear")}, {"factor", Node::number(factor)}});
}

void check_switches(ArchitectureKeys& keys, int64_t context) {
  keys.require("expert_count", int64_t{0});
  keys.require("expert_used_count", int64_t{0});
  keys.require("attention.max_alibi_bias", 0.0);
  keys.require("attention.clamp_kqv", 0.0);
  keys.require_bool("attention.causal", true);
  keys.require_bool("use_parallel_residual", false);
  const std::string layout =
      keys.metadata().text(keys.name("tensor_data_layout"),
                           "Meta AI original pth");  // rows of q and k as in LLaMA's release
  if (layout != "Meta AI original pth")
    keys.fail("tensor_data_layout", "expected \"Meta AI original pth\", found " + quote(layout));
  const int64_t window = keys.integer("attention.sliding_window", context, 0);
  if (window != 0 && window < context)
    keys.fail("attention.sliding_window",
              "a window of " + std::to_string(window) + " tokens is not supported");
}

void add_special_tokens(const GgufMetadata& metadata, Node& config) {
  const GgufTokens tokens = gguf_special_tokens(metadata);
  if (tokens.bos) config["bos_token_id"] = Node::integer(*tokens.bos);
  if (tokens.pad) config["pad_token_id"] = Node::integer(*tokens.pad);
  if (tokens.eos.size() == 1) config["eos_token_id"] = Node::integer(tokens.eos[0]);
  if (tokens.eos.size() < 2) return;
  config["eos_token_id"] = Node::list();
  for (const int64_t id : tokens.eos) config["eos_token_id"].items.push_back(Node::integer(id));
}

}  // namespace

std::pair<const Family&, const GgufForm&> gguf_form(const GgufMetadata& metadata) {
  const std::string architecture = metadata.text("general.architecture", std::nullopt);
  std::vector<std::string> known;
  for (const Family& family : all_families()) {
    for (const GgufForm& form : family.gguf) {
      if (form.architecture == architecture) return {family, form};
      known.push_back(quote(form.architecture));
    }
  }
  metadata.fail("general.architecture",
                "expected " + joined(known, "or") + ", found " + quote(architecture));
}

Node gguf_config_json(const GgufFile& file, const IgnoredKeys& ignored,
                      std::vector<std::string>* passed_over) {
  const GgufMetadata& metadata = file.metadata();
  const auto& [family, form] = gguf_form(metadata);
  check_general(metadata);
  ArchitectureKeys keys(metadata, form.architecture);
  const int64_t width = keys.integer("embedding_length", std::nullopt),
                heads = keys.integer("attention.head_count", std::nullopt);
  const int64_t context = keys.integer("context_length", std::nullopt);
  const int64_t head_width = read_head_width(keys, width, heads);
  const double base = keys.number("rope.freq_base", 10000, 1, 1e12);
  Node config = Node::map(
      {{"model_type", Node::text(family.model_type)},
       {"hidden_size", Node::integer(width)},
       {"num_hidden_layers", Node::integer(keys.integer("block_count", std::nullopt))},
       {"num_attention_heads", Node::integer(heads)},
       {"num_key_value_heads", Node::integer(keys.integer("attention.head_count_kv", heads))},
       {"head_dim", Node::integer(head_width)},
       {"intermediate_size", Node::integer(keys.integer("feed_forward_length", std::nullopt))},
       {"hidden_act", Node::text("silu")},
       {"max_position_embeddings", Node::integer(context)},
       {"rms_norm_eps",
        Node::number(keys.number("attention.layer_norm_rms_epsilon", std::nullopt, 0, 1))},
       {"rope_theta", Node::number(base)},
       {"rope_scaling", read_rotary_scaling(keys, file, base, head_width)},
       {"vocab_size", Node::integer(read_vocabulary(keys, file))},
       {"attention_bias", Node::boolean(file.find("blk.0.attn_q.bias") != nullptr)},
       {"mlp_bias", Node::boolean(file.find("blk.0.ffn_up.bias") != nullptr)},
       {"tie_word_embeddings", Node::boolean(file.find("output.weight") == nullptr)}});
  add_special_tokens(metadata, config);
  check_switches(keys, context);
  std::vector<std::string> passed = keys.finish(ignored);
  if (passed_over != nullptr) *passed_over = std::move(passed);
  return config;
}

GgufTokens gguf_special_tokens(const GgufMetadata& metadata) {
  const auto list = metadata.values().find("tokenizer.ggml.tokens");
  const int64_t bound =
      list == metadata.values().end() ? kMost : static_cast<int64_t>(list->second.count);
  const auto id = [&](const std::string& name) -> std::optional<int64_t> {
    const std::string key = "tokenizer.ggml." + name + "_token_id";
    if (!metadata.has(key)) return std::nullopt;
    return metadata.integer(key, std::nullopt, 0, std::max<int64_t>(bound, 1) - 1);
  };
  GgufTokens tokens{id("bos"), id("padding"), {}};
  for (const char* name : {"eos", "eot", "eom"}) {
    const std::optional<int64_t> found = id(name);
    if (found && std::find(tokens.eos.begin(), tokens.eos.end(), *found) == tokens.eos.end())
      tokens.eos.push_back(*found);
  }
  return tokens;
}

}  // namespace graft
