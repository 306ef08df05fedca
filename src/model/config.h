// What a model folder's config.json says about the mathematics of the trunk.
//
// A key is read here, or stands in the table of config_keys.h, or is refused by name: never
// ignored, unless the user says so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/document.h"
#include "base/files.h"
#include "tensor/fused.h"

namespace graft {

// How rotary angles are stretched for longer texts.
struct RotaryScaling {
  std::string kind = "default";  // default (none), linear, dynamic, llama3
  double factor = 1.0;
  double low_frequency_factor = 1.0;  // llama3 only, like the two below
  double high_frequency_factor = 4.0;
  int64_t original_positions = 0;

  friend bool operator==(const RotaryScaling&, const RotaryScaling&) = default;
};

// How a stack knows where a token stands: by a row added to its embedding, by angles that turn
// queries and keys (Su et al. 2021), or by a bias of the logits (Raffel et al. 2020).
struct PositionTable {
  friend bool operator==(const PositionTable&, const PositionTable&) = default;
};
struct Rotary {
  double base = 10000.0;
  RotaryScaling scaling = {};

  friend bool operator==(const Rotary&, const Rotary&) = default;
};
struct DistanceBias {
  int64_t buckets = 0;       // rows of the table of biases [buckets, H]
  int64_t max_distance = 0;  // from which on all distances share a bucket

  friend bool operator==(const DistanceBias&, const DistanceBias&) = default;
};
using Positions = std::variant<PositionTable, Rotary, DistanceBias>;

// Blocks whose attention sees a window of keys (AttentionOptions::window) and not all of them.
struct LocalAttention {
  int64_t window = 0;
  std::vector<bool> blocks;  // [L]: which they are
  Rotary rotary;             // of these blocks, where positions are rotary

  friend bool operator==(const LocalAttention&, const LocalAttention&) = default;
};

struct NormConfig {
  Norm kind = Norm::kLayer;
  double epsilon = 1e-12;
  bool has_bias = true;

  friend bool operator==(const NormConfig&, const NormConfig&) = default;
};

// Where the norm of a sublayer f stands: norm(x + f(x)), or x + f(norm(x)).
enum class NormPlace : uint8_t { kAfter, kBefore };

enum class StackId : uint8_t { kNone, kEncoder, kDecoder };

// One column of blocks: an encoder or a decoder.
struct StackConfig {
  int64_t layers = 0;     // L
  int64_t heads = 0;      // H
  int64_t key_heads = 0;  // K: heads of keys and values; H unless several queries' heads share one
  int64_t attention_width = 0;            // H * D: all heads together; C in most families
  double attention_scale = 1.0;           // factor of attention logits: 1 / sqrt(D), but 1 in T5
  bool has_attention_bias = true;         // of the linear layers q, k and v
  bool has_attention_output_bias = true;  // of the layer o
  Positions positions = {};
  std::optional<LocalAttention> local = {};  // nothing: every block sees all keys

  int64_t ffn_width = 0;       // F
  bool has_gated_ffn = false;  // W_down (act(W_gate x) * W_up x), not W_down act(W_up x)
  bool has_ffn_bias = true;
  Activation activation = Activation::kGelu;

  NormPlace norm_place = NormPlace::kAfter;
  NormConfig norm = {};                       // of the sublayers
  bool has_first_norm = true;                 // before the first block's attention; kBefore alone
  std::optional<NormConfig> head_norm = {};   // of each head's queries and keys [D], before their
                                              // positions turn them
  std::optional<NormConfig> embed_norm = {};  // of the embeddings
  std::optional<NormConfig> final_norm = {};  // after the last block
  bool drops_last_states = false;             // a dropout behind that one

  bool is_local(int64_t layer) const { return local && local->blocks[static_cast<size_t>(layer)]; }
  bool has_attention_norm(int64_t layer) const { return has_first_norm || layer > 0; }
  const Rotary* rotary() const { return std::get_if<Rotary>(&positions); }
  const DistanceBias* distance_bias() const { return std::get_if<DistanceBias>(&positions); }
  bool has_position_table() const { return std::holds_alternative<PositionTable>(positions); }
  int64_t head_width() const { return attention_width / heads; }  // D
  int64_t key_width() const {
    return key_heads * head_width();
  }  // of all keys of a token together, K * D

  friend bool operator==(const StackConfig&, const StackConfig&) = default;
};

// A classifier is which row of a text it reads, and what it computes of that row (the equations:
// edit/head.h).
enum class ReadRow : uint8_t {
  kFirst,      // of the text's first token
  kMask,       // of the mask of a cloze
  kMean,       // the mean over its tokens, and the rows of a prompt
  kLastToken,  // of its last token that is no padding: decoders
  kLastEnd,    // in an encoder-decoder: of its last end token, in the decoder, which reads the same
               // text behind its start token
};
enum class HeadStyle : uint8_t { kPooler, kMaskStates, kDense, kMask, kScore };

// What fills masks in: norm(act(W x + b)) of a row of the last states, then the output layer over
// the vocabulary.
struct MaskHeadConfig {
  Activation activation = Activation::kGelu;
  NormConfig norm = {};
  bool has_dense_bias = true;
  bool has_output_bias = true;

  friend bool operator==(const MaskHeadConfig&, const MaskHeadConfig&) = default;
};

struct ModelConfig {
  // max_positions of a trunk without a position table.
  static constexpr int64_t kAnyLength = int64_t{1} << 40;

  std::string model_type;  // the family's name in config.json, e.g. "bert"
  std::optional<StackConfig> encoder, decoder;
  int64_t width = 0;       // C, of both
  int64_t vocabulary = 0;  // V
  int64_t max_positions =
      0;  // longest sequence that is served; without the rows below position_offset
  int64_t position_offset = 0;  // row of the position table for the first token
  int64_t type_vocabulary = 0;  // rows of the segment table; 0 = no such table
  int64_t pad_id = 0;
  bool has_pad_id =
      true;  // the file names one; else pad_id is only what virtual and filler rows hold
  int64_t decoder_start_id = -1;  // first token of what an encoder-decoder's decoder reads
  int64_t end_id = -1;            // of an encoder-decoder: the token that ends a text; -1 = none
  double embed_dropout = 0.1;     // of the embeddings
  double hidden_dropout = 0.1;    // of what a block adds to its residual stream
  double attention_dropout = 0.1;
  double activation_dropout = 0.0;     // of what enters ffn.down
  double classifier_dropout = 0.1;     // before the last linear layer of the head
  ReadRow read_row = ReadRow::kFirst;  // of a classifier; a cloze reads its mask
  HeadStyle head_style = HeadStyle::kScore;
  std::optional<MaskHeadConfig> mask_head = {};  // of a family whose checkpoints may hold one

  double embedding_scale = 1.0;  // factor of word embeddings
  double output_scale =
      1.0;  // factor of the last hidden states before the vocabulary's output layer
  bool has_tied_output = true;  // that layer is the word table; else a tensor of its own
  bool is_classifier =
      false;  // the folder holds a trunk with a classifier's head, as `architectures` says
  // has_tied_output is true only where the file holds no other output layer: what transformers 5
  // means by tie_word_embeddings. Settled when the tensors are loaded.
  bool may_be_untied = false;
  std::vector<std::string> ignored_keys = {};  // of the file: passed over because the user said so

  bool has_encoder() const { return encoder.has_value(); }
  bool has_decoder() const { return decoder.has_value(); }
  bool is_encoder_decoder() const { return encoder && decoder; }
  const StackConfig& stack(StackId id) const {
    return id == StackId::kEncoder ? encoder.value() : decoder.value();
  }
  // What writes can be computed: a classifier's folder lacks the layer unless it is the word table.
  bool has_output_layer() const { return has_decoder() && (has_tied_output || !is_classifier); }
  StackId first_stack() const { return has_encoder() ? StackId::kEncoder : StackId::kDecoder; }
  StackId last_stack() const { return has_decoder() ? StackId::kDecoder : StackId::kEncoder; }
  const StackConfig& last() const { return stack(last_stack()); }
  int64_t encoder_layers() const { return encoder ? encoder->layers : 0; }
  int64_t decoder_layers() const { return decoder ? decoder->layers : 0; }
  int64_t all_layers() const { return encoder_layers() + decoder_layers(); }
};

// Unknown keys of config.json (or of a GGUF file's metadata) that are to be passed over.
struct IgnoredKeys {
  std::vector<std::string> named =
      {};  // by the user: the file must have them, and graft must not know them
  std::vector<std::string> remembered = {};  // by an adapter that was trained so: they may be gone
};

// Throws InputError listing every fault of the file.
ModelConfig parse_config(const Node& json, const std::string& source,
                         const IgnoredKeys& ignored = {});

// Of a folder with config.json, or of such a file alone.
ModelConfig read_config(const Path& model, const IgnoredKeys& ignored = {});

}  // namespace graft
