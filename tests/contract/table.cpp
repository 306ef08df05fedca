#include "tests/contract/table.h"

#include <algorithm>
#include <ostream>

#include "tests/contract/compositions.h"
#include "tests/contract/subject.h"

namespace graft::testing {

namespace {

// The letters of the papers: C, H*D and K*D (widths of queries and of keys), F.
int64_t C(const ModelConfig& c) { return c.width; }
int64_t Q(const ModelConfig& c) { return c.last().attention_width; }
int64_t K(const ModelConfig& c) { return c.last().key_width(); }
int64_t F(const ModelConfig& c) { return c.last().ffn_width; }
int64_t L(const ModelConfig& c) { return c.all_layers(); }  // blocks of all stacks
int64_t S(const ModelConfig& c) {
  return (c.has_encoder() ? 1 : 0) + (c.has_decoder() ? 1 : 0);
}  // stacks
int64_t X(const ModelConfig& c) {
  return c.has_encoder() ? c.decoder_layers() : 0;
}  // blocks with cross-attention
int64_t P(const ModelConfig& c) {
  return c.has_encoder() ? c.encoder_layers() : c.decoder_layers();
}  // blocks of the stack that reads the prompt

bool is_bert(const ModelConfig& c) { return c.model_type == "bert"; }
bool has_norm_bias(const ModelConfig& c) { return c.last().norm.has_bias; }

int64_t attention_weights(const ModelConfig& c) { return 2 * C(c) * Q(c) + 2 * C(c) * K(c); }
int64_t attention_biases(const ModelConfig& c) {
  return (c.last().has_attention_bias ? Q(c) + 2 * K(c) : 0) +
         (c.last().has_attention_output_bias ? C(c) : 0);
}
bool is_gated(const ModelConfig& c) { return c.last().has_gated_ffn; }
int64_t ffn_weights(const ModelConfig& c) { return (is_gated(c) ? 3 : 2) * C(c) * F(c); }
int64_t ffn_biases(const ModelConfig& c) {
  return c.last().has_ffn_bias ? (is_gated(c) ? 2 : 1) * F(c) + C(c) : 0;
}
int64_t norm_biases(const ModelConfig& c) { return has_norm_bias(c) ? C(c) : 0; }
// Of `blocks` blocks, `crossing` of which attend to an encoder.
int64_t block_weights(const ModelConfig& c, int64_t blocks, int64_t crossing) {
  return blocks * (attention_weights(c) + ffn_weights(c) + 2 * C(c)) +
         crossing * (attention_weights(c) + C(c));
}
int64_t block_biases(const ModelConfig& c, int64_t blocks, int64_t crossing) {
  return blocks * (attention_biases(c) + ffn_biases(c) + 2 * norm_biases(c)) +
         crossing * (attention_biases(c) + norm_biases(c));
}
int64_t pooler(const ModelConfig& c) { return is_bert(c) ? C(c) * C(c) + C(c) : 0; }
// Norms of embeddings, and after the last block.
int64_t outer_norms(const ModelConfig& c) {
  return S(c) * ((c.last().embed_norm ? 1 : 0) + (c.last().final_norm ? 1 : 0));
}
// Norms that the first block lacks.
int64_t missing_norms(const ModelConfig& c) { return c.last().has_first_norm ? 0 : S(c); }
// Tables, outer norms and the output layer.
int64_t outer_weights(const ModelConfig& c) {
  const StackConfig& s = c.last();
  const int64_t positions =
      s.has_position_table() ? (c.max_positions + c.position_offset) * C(c) : 0;
  const int64_t distances = s.distance_bias() ? s.distance_bias()->buckets * s.heads : 0;
  const bool has_own_output = c.has_output_layer() && !c.has_tied_output;
  return (c.vocabulary * (has_own_output ? 2 : 1) + c.type_vocabulary) * C(c) +
         S(c) * (positions + distances) + (outer_norms(c) - missing_norms(c)) * C(c);
}
int64_t all_biases(const ModelConfig& c) {
  return block_biases(c, L(c), X(c)) + (outer_norms(c) - missing_norms(c)) * norm_biases(c);
}

int64_t gate_at(int64_t width) { return width + 1; }
int64_t prefix_network(const ModelConfig& c, int64_t length, int64_t hidden, int64_t layers) {
  return length * C(c) + hidden * (C(c) + 1) + 2 * layers * K(c) * (hidden + 1);
}
int64_t bottleneck(int64_t width, int64_t narrow) { return 2 * width * narrow + narrow + width; }
int64_t lora_at(int64_t in, int64_t out, int64_t rank) { return rank * (in + out); }

std::string shows_targets(const ModelConfig& c) {
  return c.has_decoder() && !c.is_classifier
             ? "by a mean over a whole text a decoder's token would see those that it is to predict"
             : "";
}
std::string shows_targets_or_padding(const ModelConfig& c) {
  const bool has_windows = (c.encoder && c.encoder->local) || (c.decoder && c.decoder->local);
  return has_windows ? "pad rows far from every token see no key" : shows_targets(c);
}
std::string has_no_biases(const ModelConfig& c) {
  return !c.last().has_attention_bias && !has_norm_bias(c) ? "models have no biases to train" : "";
}
std::string has_no_prompt_in_decoder(const ModelConfig& c) {
  return X(c) > 0 ? "an encoder-decoder's decoder reads none" : "";
}
std::string has_no_pooler(const ModelConfig& c) {
  return is_bert(c) ? "" : "matches no site of this model";
}
std::string has_no_mask_dense(const ModelConfig& c) {
  return c.head_style == HeadStyle::kMaskStates ? "" : "matches no site of this model";
}
std::string has_two_stacks(const ModelConfig& c) { return X(c) > 0 ? "counts_positions: " : ""; }

}  // namespace

const std::vector<Row>& contract_rows() {
  static const std::vector<Row> rows = {
      {"lora", "lora", "{lora: {rank: 3, alpha: 6}}",
       [](const ModelConfig& c) {
         return L(c) * (lora_at(C(c), Q(c), 3) + lora_at(C(c), K(c), 3));
       }},
      {"lora", "lora_everywhere",
       "{lora: {sites: ['attn.[qkvo]', ffn.up, ffn.down], rank: 2, alpha: 2, rslora: true, "
       "init: gaussian, dropout: 0.1}}",
       [](const ModelConfig& c) {
         return L(c) * (lora_at(C(c), Q(c), 2) + 2 * lora_at(C(c), K(c), 2) +
                        lora_at(Q(c), C(c), 2) + 2 * lora_at(C(c), F(c), 2));
       }},
      {"lora", "lora_last_layer",
       "{lora: {sites: [attn.k, ffn.down], layers: [-1], rank: 1, init: normal}}",
       [](const ModelConfig& c) { return S(c) * (C(c) + K(c) + F(c) + C(c)); }},
      {"lora", "lora_plus", "{lora: {rank: 2, b_rate: 16}}",
       [](const ModelConfig& c) {
         return L(c) * (lora_at(C(c), Q(c), 2) + lora_at(C(c), K(c), 2));
       }},
      {"dora", "dora", "{dora: {rank: 3, alpha: 6}}",  // its norms count as constants
       [](const ModelConfig& c) {
         return L(c) * (lora_at(C(c), Q(c), 3) + lora_at(C(c), K(c), 3) + Q(c) + K(c));
       },
       /*has_exact_gradient=*/false},
      {"dora", "dora_everywhere",
       "{dora: {sites: ['attn.[qkvo]', ffn.up, ffn.down], rank: 2, alpha: 2, rslora: true, "
       "dropout: 0.1, norm_gradient: true}}",
       [](const ModelConfig& c) {
         return L(c) *
                (lora_at(C(c), Q(c), 2) + 2 * lora_at(C(c), K(c), 2) + lora_at(Q(c), C(c), 2) +
                 2 * lora_at(C(c), F(c), 2) + Q(c) + 2 * K(c) + 2 * C(c) + F(c));
       }},
      {"vera", "vera", "{vera: {rank: 3}}",
       [](const ModelConfig& c) { return L(c) * (2 * 3 + Q(c) + K(c)); }},
      {"vera", "vera_everywhere",
       "{vera: {sites: ['attn.[qkvo]', ffn.up, ffn.down], rank: 2, dropout: 0.1, "
       "projection_seed: 5, save_projection: true}}",
       [](const ModelConfig& c) { return L(c) * (6 * 2 + Q(c) + 2 * K(c) + F(c) + 2 * C(c)); }},
      {"gate", "gate_vera", "{gate: {}, of: {vera: {sites: [attn.v, ffn.up], rank: 3}}}",
       [](const ModelConfig& c) { return L(c) * (2 * 3 + K(c) + F(c) + 2 * gate_at(C(c))); }},
      {"stochastic", "stochastic_vera",
       "{stochastic: {experts: 2, share: []}, of: {vera: {rank: 2, save_projection: true}}}",
       [](const ModelConfig& c) { return 2 * L(c) * (2 * 2 + Q(c) + K(c)); }},
      {"router", "router_vera", "{router: {experts: 2}, of: {vera: {rank: 2}}}",
       [](const ModelConfig& c) { return 2 * L(c) * (2 * 2 + Q(c) + K(c) + 2 * C(c)); }},
      {"reft", "loreft", "{reft: {rank: 3}}",
       [](const ModelConfig& c) { return P(c) * 3 * (2 * C(c) + 1); }},
      {"reft", "loreft_untied",
       "{reft: {rank: 2, positions: f3+l2, tied: false, activation: gelu, dropout: 0.1, "
       "dropout_on: output}}",
       [](const ModelConfig& c) { return P(c) * 2 * 2 * (2 * C(c) + 1); }},
      {"reft", "noreft",
       "{reft: {rank: 2, rotation: false, projection_bias: true, positions: f2+l3, activation: "
       "tanh, dropout: 0.1}}",
       [](const ModelConfig& c) { return P(c) * 2 * (2 * C(c) + 2); }},
      {"reft", "direft",
       "{reft: {rank: 2, rotation: false, subtract: false, positions: all, dropout: 0.1}}",
       [](const ModelConfig& c) { return P(c) * 2 * (2 * C(c) + 1); }},
      {"reft", "consreft",
       "{reft: {rank: 2, source: constant, positions: last, clamp: paper, layers: [0]}}",
       [](const ModelConfig& c) { return 2 * (C(c) + 1); }},
      {"reft", "lobireft_inside",
       "{reft: {sites: [attn.v, ffn.act], rank: 3, source: constant, subtract: false, "
       "positions: f2, subspace: [2, 1]}}",
       [](const ModelConfig& c) { return L(c) * 3 * (K(c) + F(c) + 2); }, true,
       has_no_prompt_in_decoder},
      {"interchange", "das_of_zero",
       "{interchange: {space: low_rank, rank: 2, source: zero, positions: f2}}",
       [](const ModelConfig& c) { return P(c) * 2 * C(c); }},
      {"interchange", "das_rotated",
       "{interchange: {space: rotated, rank: 3, source: noise, positions: all, layers: [0]}}",
       [](const ModelConfig& c) { return C(c) * C(c); }},
      {"interchange", "noise",
       // Beside an edit that learns.
       "{interchange: {source: noise, operation: add, positions: f1+l2, rank: 3}}, "
       "{affine: {sites: ffn.down, shift: true}}",
       [](const ModelConfig& c) { return L(c) * 2 * C(c); }},
      {"collect", "collect",
       "{collect: {sites: [attn.v, ffn.act], positions: f2}}, "
       "{affine: {sites: ffn.down, shift: true}}",
       [](const ModelConfig& c) { return L(c) * 2 * C(c); }, true, has_no_prompt_in_decoder},
      {"affine", "ia3", "{affine: {}}",
       [](const ModelConfig& c) { return L(c) * (2 * K(c) + F(c)); }},
      {"affine", "red", "{affine: {sites: ffn.down, shift: true}}",
       [](const ModelConfig& c) { return L(c) * 2 * C(c); }},
      {"affine", "affine_everywhere", "{affine: {sites: ['embed*', '*.*', out], shift: true}}",
       [](const ModelConfig& c) {
         return 2 * (2 * C(c) - missing_norms(c) * C(c) +
                     L(c) * (2 * Q(c) + 2 * K(c) + 7 * C(c) + (is_gated(c) ? 4 : 2) * F(c)) +
                     X(c) * (2 * Q(c) + 2 * K(c) + 3 * C(c)));
       }},
      {"affine", "affine_foldable",
       "{affine: {sites: ['attn.[qkvo]', attn.mid, ffn.up, ffn.act, ffn.down], shift: true}}",
       [](const ModelConfig& c) { return 2 * L(c) * (2 * Q(c) + 2 * K(c) + 2 * C(c) + 2 * F(c)); }},
      {"affine", "affine_on_heads", "{affine: {sites: ['attn.mid', 'cross.mid?']}}",
       [](const ModelConfig& c) { return (L(c) + X(c)) * Q(c); }},
      {"bottleneck", "bottleneck_on_heads",
       "{bottleneck: {sites: [attn.mid], placement: sequential, width: 2}}",
       [](const ModelConfig& c) { return L(c) * bottleneck(Q(c), 2); }},
      {"gate", "gate_on_heads", "{gate: {}, of: {affine: {sites: [attn.mid]}}}",
       [](const ModelConfig& c) { return L(c) * (Q(c) + gate_at(Q(c))); }},
      {"router", "mov_on_heads",
       "{router: {experts: 2, input: block_input}, of: {affine: {sites: [attn.mid]}}}",
       [](const ModelConfig& c) { return 2 * L(c) * (Q(c) + C(c)); }},
      {"lora", "lora_with_pooler", "{lora: {sites: [attn.q, pooler], rank: 2, dropout: 0.1}}",
       [](const ModelConfig& c) { return L(c) * lora_at(C(c), Q(c), 2) + lora_at(C(c), C(c), 2); },
       true, has_no_pooler},
      {"lora", "lora_with_mask_dense",
       "{lora: {sites: [attn.q, mask.dense], rank: 2, dropout: 0.1}}",
       [](const ModelConfig& c) { return L(c) * lora_at(C(c), Q(c), 2) + lora_at(C(c), C(c), 2); },
       true, has_no_mask_dense},
      {"affine", "affine_of_mask_dense", "{affine: {sites: [mask.dense]}}",
       [](const ModelConfig& c) { return C(c); }, true, has_no_mask_dense},
      {"dora", "dora_of_pooler", "{dora: {sites: [pooler], rank: 2}}",
       [](const ModelConfig& c) { return lora_at(C(c), C(c), 2) + C(c); }, false, has_no_pooler},
      {"affine", "affine_of_pooler", "{affine: {sites: [pooler], shift: true}}",
       [](const ModelConfig& c) { return 2 * C(c); }, true, has_no_pooler},
      {"reft", "reft_with_pooler", "{reft: {sites: [out, pooler], rank: 2, positions: f2}}",
       [](const ModelConfig& c) { return (L(c) + 1) * 2 * (2 * C(c) + 1); }, true, has_no_pooler},
      {"gate", "gate_with_pooler",
       "{gate: {}, of: {bottleneck: {sites: [ffn.down, pooler], placement: sequential, width: "
       "2}}}",
       [](const ModelConfig& c) { return (L(c) + 1) * (bottleneck(C(c), 2) + gate_at(C(c))); },
       true, has_no_pooler},
      {"stochastic", "stochastic_with_pooler",
       "{stochastic: {experts: 2, share: []}, of: {lora: {sites: [attn.q, pooler], rank: 2}}}",
       [](const ModelConfig& c) {
         return 2 * (L(c) * lora_at(C(c), Q(c), 2) + lora_at(C(c), C(c), 2));
       },
       true, has_no_pooler},
      {"router", "molora_with_pooler",
       "{router: {experts: 2, top_k: 1, balance: 0.1}, of: {lora: {sites: [attn.q, pooler], "
       "rank: 2}}}",
       [](const ModelConfig& c) {
         return 2 * (L(c) * lora_at(C(c), Q(c), 2) + lora_at(C(c), C(c), 2) + (L(c) + 1) * C(c));
       },
       true, has_no_pooler},
      {"affine", "steering", "{affine: {sites: out, layers: [-1], scale: false, shift: true}}",
       [](const ModelConfig& c) { return S(c) * C(c); }},
      {"bottleneck", "pfeiffer", "{bottleneck: {reduction: 2}}",
       [](const ModelConfig& c) { return L(c) * bottleneck(C(c), C(c) / 2); }},
      {"bottleneck", "houlsby",
       "{bottleneck: {sites: [attn.out, ffn.out], placement: sequential, width: 3, activation: "
       "swish, init: houlsby}}",
       [](const ModelConfig& c) { return 2 * L(c) * bottleneck(C(c), 3); }},
      {"bottleneck", "parallel",
       "{bottleneck: {placement: parallel, width: 3, scaling: 4, init: zero-up, activation: "
       "tanh}}",
       [](const ModelConfig& c) { return L(c) * bottleneck(C(c), 3); }},
      {"bottleneck", "bottleneck_inside",
       "{bottleneck: {sites: [ffn.down, ffn.act], layers: [1], placement: sequential, width: "
       "3, activation: gelu, scaling: "
       "learned}}",
       [](const ModelConfig& c) { return S(c) * (bottleneck(C(c), 3) + bottleneck(F(c), 3) + 2); }},
      {"bottleneck", "bottleneck_on_keys",
       "{bottleneck: {sites: attn.k, placement: sequential, width: 2, activation: linear, "
       "scaling: channel, init: zero-up}}",
       [](const ModelConfig& c) { return L(c) * (bottleneck(K(c), 2) + K(c)); }},
      {"prefix", "prefix", "{prefix: {length: 3}}",
       [](const ModelConfig& c) { return 2 * L(c) * 3 * K(c); }},
      {"prefix", "prefix_by_a_network", "{prefix: {length: 3, mlp: 5, init: default}}",
       [](const ModelConfig& c) { return prefix_network(c, 3, 5, L(c)); }},
      {"prefix", "prefix_last_layer", "{prefix: {length: 2, mlp: 4, layers: [-1]}}",
       [](const ModelConfig& c) { return prefix_network(c, 2, 4, S(c)); }},
      {"prefix", "prefix_with_positions",
       "{prefix: {length: 2, init: default, counts_positions: true}}",
       [](const ModelConfig& c) { return 2 * L(c) * 2 * K(c); }, true, has_two_stacks},
      {"prompt", "prompt", "{prompt: {length: 3}}", [](const ModelConfig& c) { return 3 * C(c); }},
      {"prompt", "prompt_after_first", "{prompt: {length: 2, position: after_first, init: words}}",
       [](const ModelConfig& c) { return 2 * C(c); }},
      {"gate", "gate_lora", "{gate: {}, of: {lora: {rank: 2}}}",
       [](const ModelConfig& c) {
         return L(c) * (lora_at(C(c), Q(c), 2) + lora_at(C(c), K(c), 2) + 2 * gate_at(C(c)));
       }},
      {"gate", "gate_dora", "{gate: {}, of: {dora: {sites: attn.v, rank: 2, norm_gradient: true}}}",
       [](const ModelConfig& c) { return L(c) * (lora_at(C(c), K(c), 2) + K(c) + gate_at(C(c))); }},
      {"gate", "gate_shared_by_a_layer",
       "{gate: {share: layer, multiplier: gate_times_scale, pool: causal_mean}, of: {lora: "
       "{sites: 'attn.[qkv]', rank: 2}}}",
       [](const ModelConfig& c) {
         return L(c) * (lora_at(C(c), Q(c), 2) + 2 * lora_at(C(c), K(c), 2) + gate_at(C(c)));
       }},
      {"gate", "gate_over_padding",
       "{gate: {pool: mean_all, padded_to: 9}, of: {bottleneck: {reduction: 2}}}",
       [](const ModelConfig& c) { return L(c) * (bottleneck(C(c), C(c) / 2) + gate_at(C(c))); },
       true, shows_targets_or_padding},
      {"gate", "gate_affine",
       "{gate: {}, of: {affine: {sites: [attn.k, ffn.act, out], shift: true}}}",
       [](const ModelConfig& c) {
         return L(c) * (2 * (K(c) + F(c) + C(c)) + gate_at(K(c)) + gate_at(F(c)) + gate_at(C(c)));
       }},
      {"gate", "gate_running_over_keys",
       "{gate: {pool: causal_mean}, of: {affine: {sites: attn.k, scale: false, shift: true}}}",
       [](const ModelConfig& c) { return L(c) * (K(c) + gate_at(K(c))); }},
      {"gate", "gate_prefix", "{gate: {prefix_logits: log}, of: {prefix: {length: 2, mlp: 4}}}",
       [](const ModelConfig& c) { return prefix_network(c, 2, 4, L(c)) + L(c) * gate_at(C(c)); }},
      {"gate", "gate_keys_and_values",
       "{gate: {prefix: split, pool: mean_all, padded_to: 0}, of: {prefix: {length: 2, init: "
       "default}}}",
       [](const ModelConfig& c) { return L(c) * (4 * K(c) + 2 * gate_at(C(c))); }, true,
       shows_targets},
      {"gate", "gate_fixed", "{gate: {value: 0.3}, of: {bottleneck: {sites: attn.out, width: 2}}}",
       [](const ModelConfig& c) { return L(c) * bottleneck(C(c), 2); }},
      {"gate", "gate_loreft", "{gate: {}, of: {reft: {rank: 2, positions: f2+l2, tied: false}}}",
       [](const ModelConfig& c) { return P(c) * (2 * 2 * (2 * C(c) + 1) + gate_at(C(c))); }},
      {"gate", "gate_of_gate",
       "{gate: {}, of: {gate: {pool: causal_mean}, of: {bottleneck: {width: 2, placement: "
       "parallel, activation: gelu}}}}",
       [](const ModelConfig& c) { return L(c) * (bottleneck(C(c), 2) + 2 * gate_at(C(c))); }},
      {"gate", "gate_of_stochastic",
       "{gate: {}, of: {stochastic: {experts: 2}, of: {bottleneck: {width: 2, activation: "
       "gelu}}}}",  // `up` is shared
       [](const ModelConfig& c) { return L(c) * (2 * (2 * C(c) + 2) + 3 * C(c) + gate_at(C(c))); }},
      {"stochastic", "stochastic_gates",
       "{stochastic: {experts: 2}, of: {gate: {}, of: {bottleneck: {width: 2, activation: "
       "gelu}}}}",
       [](const ModelConfig& c) { return L(c) * (2 * (2 * C(c) + 2 + gate_at(C(c))) + 3 * C(c)); }},
      {"gate", "gate_of_router", "{gate: {}, of: {router: {experts: 2}, of: {lora: {rank: 2}}}}",
       [](const ModelConfig& c) {
         return L(c) * (2 * (lora_at(C(c), Q(c), 2) + lora_at(C(c), K(c), 2)) + 4 * C(c) +
                        2 * gate_at(C(c)));
       }},
      {"router", "router_of_gates", "{router: {experts: 2}, of: {gate: {}, of: {lora: {rank: 2}}}}",
       [](const ModelConfig& c) {
         return L(c) * (2 * (lora_at(C(c), Q(c), 2) + lora_at(C(c), K(c), 2) + 2 * gate_at(C(c))) +
                        4 * C(c));
       }},
      {"gate", "central_gate",
       "{gate: {kind: central}, of: [{lora: {rank: 2}}, {prefix: {length: 2, init: default}}]}",
       [](const ModelConfig& c) {
         return L(c) *
                (lora_at(C(c), Q(c), 2) + lora_at(C(c), K(c), 2) + 4 * K(c) + 2 * gate_at(C(c)));
       }},
      {"stochastic", "adamix",
       "{stochastic: {experts: 3}, of: {bottleneck: {sites: ffn.down, placement: sequential, "
       "width: 3, activation: gelu}}}",
       [](const ModelConfig& c) { return L(c) * (3 * (3 * C(c) + 3) + 3 * C(c) + C(c)); }},
      {"stochastic", "adamix_lora",
       "{stochastic: {experts: 3, init: copies}, of: {lora: {rank: 2, dropout: 0.1}}}",
       [](const ModelConfig& c) { return L(c) * (3 * 2 * 2 * C(c) + 2 * (Q(c) + K(c))); }},
      {"stochastic", "stochastic_unshared",
       "{stochastic: {experts: 2, share: []}, of: {lora: {sites: attn.q, rank: 2}}}",
       [](const ModelConfig& c) { return L(c) * 2 * lora_at(C(c), Q(c), 2); }},
      {"stochastic", "adamix_scores",
       "{stochastic: {experts: 3, scores: learned}, of: {bottleneck: {sites: ffn.down, placement: "
       "sequential, width: 2, activation: gelu}}}",
       [](const ModelConfig& c) { return L(c) * (3 * (2 * C(c) + 2) + 2 * C(c) + C(c) + 3); }},
      {"stochastic", "adamix_coupled",
       "{stochastic: {experts: 3, init: layer_copies, couple: layer, second_pass: other}, of: "
       "{lora: {rank: 2, dropout: 0.1, dropout_mask: input}}}",
       [](const ModelConfig& c) { return L(c) * (3 * 2 * 2 * C(c) + 2 * (Q(c) + K(c))); }},
      {"stochastic", "stochastic_dora",
       "{stochastic: {experts: 2, init: layer_copies}, of: {dora: {sites: attn.q, rank: 2, "
       "norm_gradient: true}}}",
       [](const ModelConfig& c) { return L(c) * 2 * (lora_at(C(c), Q(c), 2) + Q(c)); }},
      {"stochastic", "stochastic_ia3", "{stochastic: {experts: 2}, of: {affine: {}}}",
       [](const ModelConfig& c) { return 2 * L(c) * (2 * K(c) + F(c)); }},
      {"router", "mov", "{router: {experts: 3}, of: {affine: {}}}",
       [](const ModelConfig& c) {
         return 3 * L(c) * (2 * K(c) + F(c) + 2 * c.last().head_width() + F(c));
       }},
      {"router", "mov_top1", "{router: {experts: 3, top_k: 1}, of: {affine: {}}}",
       [](const ModelConfig& c) {
         return 3 * L(c) * (2 * K(c) + F(c) + 2 * c.last().head_width() + F(c));
       }},
      {"router", "mov_from_block_input",
       "{router: {experts: 2, input: block_input}, of: {affine: {sites: [attn.k, ffn.act], "
       "shift: true}}}",
       [](const ModelConfig& c) { return 2 * L(c) * (2 * (K(c) + F(c)) + 2 * C(c)); }},
      {"router", "molora",
       "{router: {experts: 3}, of: {lora: {sites: [attn.q, ffn.down], rank: 2, init: normal, "
       "dropout: 0.1}}}",
       [](const ModelConfig& c) {
         return 3 * L(c) * (lora_at(C(c), Q(c), 2) + lora_at(F(c), C(c), 2) + C(c) + F(c));
       }},
      {"router", "molora_top2",
       "{router: {experts: 3, top_k: 2, renormalize: true, balance: 0.01}, of: {lora: {sites: "
       "['attn.[vo]'], rank: 1, init: "
       "normal}}}",
       [](const ModelConfig& c) {
         return 3 * L(c) * (lora_at(C(c), K(c), 1) + lora_at(Q(c), C(c), 1) + C(c) + Q(c));
       }},
      {"router", "router_of_bottlenecks", "{router: {experts: 2}, of: {bottleneck: {width: 3}}}",
       [](const ModelConfig& c) { return 2 * L(c) * (bottleneck(C(c), 3) + C(c)); }},
      {"gate", "gated_mov_of_gates",
       "{gate: {}, of: {router: {experts: 2}, of: {gate: {value: 0.5}, of: {affine: {sites: "
       "attn.v}}}}}",
       [](const ModelConfig& c) { return L(c) * (2 * K(c) + 2 * K(c) + gate_at(K(c))); }},
      {"gate", "gated_mov", "{gate: {}, of: {router: {experts: 2}, of: {affine: {sites: attn.v}}}}",
       [](const ModelConfig& c) {
         return L(c) * (2 * K(c) + 2 * c.last().head_width() + gate_at(K(c)));
       }},
      {"stochastic", "adamix_dora",
       "{stochastic: {experts: 2}, of: {dora: {sites: attn.q, rank: 2, norm_gradient: true}}}",
       [](const ModelConfig& c) { return L(c) * 2 * (lora_at(C(c), Q(c), 2) + Q(c)); }},
      {"stochastic", "adamix_reft",
       "{stochastic: {experts: 2}, of: {reft: {rank: 2, layers: [0], positions: f1}}}",
       [](const ModelConfig& c) { return 2 * (2 * 2 * C(c) + 2); }},
      {"stochastic", "adamix_prefix",
       "{stochastic: {experts: 2}, of: {prefix: {length: 2, layers: [1]}}}",
       [](const ModelConfig& c) { return S(c) * 2 * 2 * 2 * K(c); }},
      {"bitfit", "bitfit", "{bitfit: {}}",
       [](const ModelConfig& c) { return all_biases(c) + (is_bert(c) ? C(c) : 0); }, true,
       has_no_biases},
      {"bitfit", "bitfit_without_pooler", "{bitfit: {pooler: false}}",
       [](const ModelConfig& c) { return all_biases(c); }, true, has_no_biases},
      {"full", "full", "{full: {}}",
       [](const ModelConfig& c) {
         return outer_weights(c) + block_weights(c, L(c), X(c)) + all_biases(c) + pooler(c);
       }},
      {"top-layers", "top_layers", "{top-layers: {count: 1}}",
       [](const ModelConfig& c) {
         return block_weights(c, 1, S(c) - 1) + block_biases(c, 1, S(c) - 1);
       }},
      {"top-layers", "top_layers_and_pooler", "{top-layers: {count: 2, pooler: true}}",
       [](const ModelConfig& c) {
         return block_weights(c, 2, 2 * (S(c) - 1)) + block_biases(c, 2, 2 * (S(c) - 1)) -
                missing_norms(c) * (C(c) + norm_biases(c)) + pooler(c);
       }},
      {"lora", "lora_across",
       "{lora: {sites: [attn.q, 'cross.[qkvo]?', 'ffn.gate|ffn.up'], rank: 2}}",
       [](const ModelConfig& c) {
         return L(c) * (lora_at(C(c), Q(c), 2) + lora_at(C(c), F(c), 2)) +
                X(c) * 2 * (lora_at(C(c), Q(c), 2) + lora_at(C(c), K(c), 2));
       }},
      {"affine", "ia3_across",
       "{affine: {sites: ['attn.[kv]', 'cross.[kv]?', 'ffn.mid|ffn.act'], scale: true}}",
       [](const ModelConfig& c) { return (L(c) + X(c)) * 2 * K(c) + L(c) * F(c); }},
      {"bottleneck", "bottleneck_across",
       "{bottleneck: {sites: [attn.out, 'cross.out?', ffn.out], width: 2}}",
       [](const ModelConfig& c) { return (2 * L(c) + X(c)) * bottleneck(C(c), 2); }},
      {"reft", "reft_of_all_stacks", "{reft: {sites: out, rank: 2, positions: all}}",
       [](const ModelConfig& c) { return L(c) * 2 * (2 * C(c) + 1); }},
      {"prefix", "prefix_across", "{prefix: {sites: [attn, 'cross?'], length: 2, init: default}}",
       [](const ModelConfig& c) { return (L(c) + X(c)) * 4 * K(c); }},
      {"gate", "gate_prefix_across",
       "{gate: {}, of: {prefix: {sites: [attn, 'cross?'], length: 2, init: default}}}",
       [](const ModelConfig& c) { return (L(c) + X(c)) * (4 * K(c) + gate_at(C(c))); }},
      {"gate", "gate_shared_across",
       "{gate: {share: layer}, of: {lora: {sites: ['attn.[qv]', 'cross.q?'], rank: 2}}}",
       [](const ModelConfig& c) {
         return L(c) * (lora_at(C(c), K(c), 2)) +
                (L(c) + X(c)) * (lora_at(C(c), Q(c), 2) + gate_at(C(c)));
       }},
      {"gate", "gate_across", "{gate: {}, of: {lora: {sites: [attn.v, 'cross.[kv]?'], rank: 2}}}",
       [](const ModelConfig& c) {
         return (L(c) + 2 * X(c)) * (lora_at(C(c), K(c), 2) + gate_at(C(c)));
       }},
      {"gate", "gate_over_prompt",
       "{gate: {pool: prompt_mean}, of: {bottleneck: {width: 2, activation: gelu}}}",
       [](const ModelConfig& c) { return L(c) * (bottleneck(C(c), 2) + gate_at(C(c))); }},
      {"gate", "central_gate_across",
       "{gate: {kind: central}, of: [{lora: {sites: [attn.q, 'cross.q?'], rank: 2}}, {prefix: "
       "{sites: [attn, 'cross?'], length: "
       "2, init: default}}]}",
       [](const ModelConfig& c) {
         return (L(c) + X(c)) * (lora_at(C(c), Q(c), 2) + 4 * K(c) + 2 * gate_at(C(c)));
       }},
      {"router", "mov_across",
       "{router: {experts: 2}, of: {affine: {sites: [attn.v, 'cross.[kv]?', ffn.act]}}}",
       [](const ModelConfig& c) {
         return 2 * (L(c) + 2 * X(c)) * (K(c) + c.last().head_width()) + 2 * L(c) * 2 * F(c);
       }},
      {"router", "molora_across",
       "{router: {experts: 2}, of: {lora: {sites: [attn.o, 'cross.[ko]?', 'ffn.gate|ffn.up'], "
       "rank: 1, init: normal}}}",
       [](const ModelConfig& c) {
         return 2 * (L(c) + X(c)) * (lora_at(Q(c), C(c), 1) + Q(c)) +
                2 * L(c) * (lora_at(C(c), F(c), 1) + C(c)) +
                2 * X(c) * (lora_at(C(c), K(c), 1) + C(c));
       }},
  };
  return rows;
}

void PrintTo(const Case& one, std::ostream* out) {
  *out << one.row->definition << " on " << one.family;
}

std::vector<Case> contract_cases() {
  std::vector<Case> cases;
  for (const Row& row : contract_rows()) {
    for (const std::string& family : contract_families()) {
      if (row.refusal(contract_model(family)->config).empty()) cases.push_back({&row, family});
    }
  }
  static const std::vector<Row> compositions = composition_rows();
  constexpr size_t kTrunks = 6;  // the first of contract_families(), one of each kind
  for (size_t i = 0; i < compositions.size(); ++i)
    cases.push_back({&compositions[i], contract_families()[i % kTrunks]});
  return cases;
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  std::string name = info.param.row->name + "_" + info.param.family;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace graft::testing
