#include "model/families/config_reader.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.h"

namespace graft {

const std::vector<std::string>& plain_activations() {
  static const std::vector<std::string> kNames{"gelu", "gelu_new", "gelu_pytorch_tanh", "relu"};
  return kNames;
}

Activation parse_activation(const std::string& name) {
  if (name == "gelu") return Activation::kGelu;
  if (name == "relu") return Activation::kRelu;
  if (name == "silu") return Activation::kSilu;
  return Activation::kGeluTanh;
}

void require_value(Options& options, const char* key, const std::string& value) {
  const std::string found = options.text(key, value);
  if (found != value)
    options.fault(key, "only " + quote(value) + " is supported, found " + quote(found));
}

int64_t integer_or(Options& options, const char* key, int64_t fallback, int64_t least,
                   int64_t most) {
  return options.is_given(key) ? options.integer(key, fallback, least, most) : fallback;
}

double dropout_rate(Options& options, const char* key, double fallback) {
  const double rate = options.is_given(key) ? options.number(key, fallback, 0, 1) : fallback;
  if (rate == 1) options.fault(key, "expected a rate below 1; dropout at 1 leaves nothing");
  return rate;
}

void read_pad_id(Options& options, ModelConfig& c, int64_t fallback) {
  c.pad_id = std::max<int64_t>(
      0, integer_or(options, "pad_token_id", fallback, -1, std::max<int64_t>(1, c.vocabulary - 1)));
}

void read_pad_id(Options& options, ModelConfig& c) {
  const int64_t found =
      integer_or(options, "pad_token_id", -1, -1, std::max<int64_t>(1, c.vocabulary - 1));
  c.has_pad_id = found >= 0;
  c.pad_id = std::max<int64_t>(0, found);
}

void read_end_id(Options& options, ModelConfig& c, int64_t fallback) {
  const Node* node = options.raw("eos_token_id");
  if (node != nullptr && node->kind != Node::Kind::kScalar) return;
  c.end_id = options.integer("eos_token_id", fallback, -1, std::max<int64_t>(1, c.vocabulary - 1));
}

bool is_of_transformers_5(Options& options) {
  const Node* version = options.raw("transformers_version");
  return version != nullptr && std::atoi(version->scalar.c_str()) >= 5;
}

void read_output(Options& options, ModelConfig& c, bool is_tied_by_default) {
  c.has_tied_output = options.boolean("tie_word_embeddings", is_tied_by_default);
  c.may_be_untied = c.has_tied_output && is_of_transformers_5(options);
}

StackConfig read_stack(Options& options, const StackKeys& keys) {
  StackConfig stack;
  stack.layers = options.integer(keys.layers, std::nullopt, 1, kMaxLayers);
  stack.heads = stack.key_heads = options.integer(keys.heads, std::nullopt, 1, kMaxHeads);
  stack.ffn_width = options.integer(keys.ffn, std::nullopt, 1, kMaxWidth);
  return stack;
}

void split_width(Options& options, const ModelConfig& c, const StackKeys& keys,
                 StackConfig& stack) {
  stack.attention_width = c.width;
  if (c.width % stack.heads != 0) {
    options.fault(keys.heads, std::string("expected a divisor of ") + keys.width + " " +
                                  std::to_string(c.width) + ", found " +
                                  quote(std::to_string(stack.heads)));
  }
  stack.attention_scale = 1.0 / std::sqrt(static_cast<double>(stack.head_width()));
}

namespace {

// A section of settings of rotary positions.
RotaryScaling read_rotary_scaling(Options& section, int64_t max_positions) {
  RotaryScaling scaling;
  const char* key = section.has("rope_type")
                        ? "rope_type"
                        : "type";  // the second is the older name; a file may have both
  scaling.kind = section.choice(key, "default", {"default", "linear", "dynamic", "llama3"});
  section.ignore("type");
  if (section.is_faulty(key)) {
    section.ignore_rest();
    return {};
  }
  if (section.number("partial_rotary_factor", 1, 0, 1) != 1)
    section.fault("partial_rotary_factor",
                  "heads of which only a part turns are not supported; expected 1");
  scaling.original_positions =
      integer_or(section, "original_max_position_embeddings", max_positions, 1, kMaxPositions);
  if (scaling.kind == "default") {
    if (section.number("factor", 1, 0, 1e6) != 1)
      section.fault("factor", "positions of rope_type default are not stretched; expected 1");
    return {};
  }
  scaling.factor = section.number("factor", std::nullopt, 1, 1e6);
  if (scaling.kind != "llama3") {
    scaling.original_positions = 0;  // plays no part
    return scaling;
  }
  scaling.low_frequency_factor = section.number("low_freq_factor", std::nullopt, 0, 1e6);
  scaling.high_frequency_factor = section.number("high_freq_factor", std::nullopt, 0, 1e6);
  const bool is_read =
      !section.is_faulty("low_freq_factor") && !section.is_faulty("high_freq_factor");
  if (is_read && scaling.high_frequency_factor <= scaling.low_frequency_factor) {
    section.fault("high_freq_factor",
                  "expected more than low_freq_factor " +
                      Node::number(scaling.low_frequency_factor).scalar + ", found " +
                      quote(Node::number(scaling.high_frequency_factor).scalar));
  }
  return scaling;
}

}  // namespace

Rotary read_rotary(Options& options, int64_t max_positions) {
  Rotary rotary;
  rotary.base = options.number("rope_theta", 10000, 1, 1e12);
  const bool has_old = options.is_given("rope_scaling"),
             has_new = options.is_given("rope_parameters");
  if (has_old) {
    Options& section = options.section("rope_scaling");
    rotary.scaling = read_rotary_scaling(section, max_positions);
    rotary.base = section.number("rope_theta", rotary.base, 1, 1e12);
  }
  const int64_t trained =
      integer_or(options, "original_max_position_embeddings", 0, 1, kMaxPositions);
  const auto check_trained = [&] {
    if (trained > 0 && rotary.scaling.kind == "llama3" &&
        trained != rotary.scaling.original_positions)
      options.fault("original_max_position_embeddings",
                    "expected the same as beside the llama3 factors");
  };
  if (!has_new) {
    check_trained();
    return rotary;
  }
  Options& section = options.section("rope_parameters");
  const RotaryScaling scaling = read_rotary_scaling(section, max_positions);
  const double base = section.number("rope_theta", rotary.base, 1, 1e12);
  if (options.has("rope_theta") && base != rotary.base)
    options.fault("rope_theta", "expected " + Node::number(base).scalar +
                                    " as in rope_parameters, found " +
                                    quote(Node::number(rotary.base).scalar));
  if (has_old && scaling != rotary.scaling)
    options.fault("rope_scaling", "expected the same as rope_parameters says");
  rotary.base = base;
  rotary.scaling = scaling;
  check_trained();
  return rotary;
}

}  // namespace graft
