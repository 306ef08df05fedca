#include "tests/contract/table.h"

#include <ostream>

#include "model/families.h"
#include "tests/contract/compositions.h"

namespace graft::testing {

namespace {

bool has_pooler(const ModelConfig& c) { return c.model_type == "bert"; }

int64_t block_weights(const ModelConfig& c) { return 4 * c.width * c.width + 2 * c.width * c.ffn_width + 2 * c.width; }   // the norms' too
int64_t block_biases(const ModelConfig& c) { return 4 * c.width + c.ffn_width + c.width + 2 * c.width; }
int64_t pooler(const ModelConfig& c) { return has_pooler(c) ? c.width * c.width + c.width : 0; }
int64_t embeddings(const ModelConfig& c) {
  return (c.vocabulary + c.max_positions + c.position_offset + c.type_vocabulary) * c.width + 2 * c.width;
}

int64_t gate_at(int64_t width) { return width + 1; }
int64_t prefix_network(const ModelConfig& c, int64_t length, int64_t hidden, int64_t layers) {
  return length * c.width + hidden * (c.width + 1) + 2 * layers * c.width * (hidden + 1);
}

}  // namespace

const std::vector<Row>& contract_rows() {
  static const std::vector<Row> rows = {
      {"lora", "lora", "{lora: {rank: 3, alpha: 6}}", [](const ModelConfig& c) { return 2 * c.layers * 3 * (c.width + c.width); }},
      {"lora", "lora_everywhere", "{lora: {sites: ['attn.[qkvo]', ffn.up, ffn.down], rank: 2, alpha: 2, rslora: true, init: gaussian, dropout: 0.1}}",
       [](const ModelConfig& c) { return c.layers * 2 * (4 * 2 * c.width + 2 * (c.width + c.ffn_width)); }},
      {"lora", "lora_last_layer", "{lora: {sites: [attn.k, ffn.down], layers: [-1], rank: 1, init: normal}}",
       [](const ModelConfig& c) { return 2 * c.width + c.ffn_width + c.width; }},
      {"lora", "lora_plus", "{lora: {rank: 2, b_rate: 16}}", [](const ModelConfig& c) { return 2 * c.layers * 2 * (c.width + c.width); }},
      {"dora", "dora", "{dora: {rank: 3, alpha: 6}}", [](const ModelConfig& c) { return 2 * c.layers * (3 * (c.width + c.width) + c.width); },
       /*has_exact_gradient=*/false},   // its norms count as constants
      {"dora", "dora_everywhere", "{dora: {sites: ['attn.[qkvo]', ffn.up, ffn.down], rank: 2, alpha: 2, rslora: true, dropout: 0.1, norm_gradient: true}}",
       [](const ModelConfig& c) { return c.layers * (2 * (4 * 2 * c.width + 2 * (c.width + c.ffn_width)) + 5 * c.width + c.ffn_width); }},
      {"reft", "loreft", "{reft: {rank: 3}}", [](const ModelConfig& c) { return c.layers * 3 * (2 * c.width + 1); }},
      {"reft", "loreft_untied", "{reft: {rank: 2, positions: f3+l2, tied: false, activation: gelu, dropout: 0.1, dropout_on: output}}",
       [](const ModelConfig& c) { return c.layers * 2 * 2 * (2 * c.width + 1); }},
      {"reft", "noreft", "{reft: {rank: 2, rotation: false, projection_bias: true, positions: f2+l3, activation: tanh, dropout: 0.1}}",
       [](const ModelConfig& c) { return c.layers * 2 * (2 * c.width + 2); }},
      {"reft", "direft", "{reft: {rank: 2, rotation: false, subtract: false, positions: all, dropout: 0.1}}",
       [](const ModelConfig& c) { return c.layers * 2 * (2 * c.width + 1); }},
      {"reft", "consreft", "{reft: {rank: 2, source: constant, positions: last, clamp: paper, layers: [0]}}",
       [](const ModelConfig& c) { return 2 * (c.width + 1); }},
      {"reft", "lobireft_inside", "{reft: {sites: [attn.v, ffn.act], rank: 3, source: constant, subtract: false, positions: f2, subspace: [2, 1]}}",
       [](const ModelConfig& c) { return c.layers * 3 * (c.width + c.ffn_width + 2); }},
      {"affine", "ia3", "{affine: {}}", [](const ModelConfig& c) { return c.layers * (2 * c.width + c.ffn_width); }},
      {"affine", "red", "{affine: {sites: ffn.down, shift: true}}", [](const ModelConfig& c) { return c.layers * 2 * c.width; }},
      {"affine", "affine_everywhere", "{affine: {sites: ['embed*', '*.*', out], shift: true}}",
       [](const ModelConfig& c) { return 2 * (2 * c.width + c.layers * (10 * c.width + 2 * c.ffn_width)); }},
      {"affine", "affine_foldable", "{affine: {sites: ['attn.[qkvo]', ffn.up, ffn.act, ffn.down], shift: true}}",
       [](const ModelConfig& c) { return 2 * c.layers * (5 * c.width + 2 * c.ffn_width); }},
      {"affine", "steering", "{affine: {sites: out, layers: [-1], scale: false, shift: true}}", [](const ModelConfig& c) { return c.width; }},
      {"bottleneck", "pfeiffer", "{bottleneck: {reduction: 2}}",
       [](const ModelConfig& c) { return c.layers * (2 * c.width * (c.width / 2) + c.width / 2 + c.width); }},
      {"bottleneck", "houlsby", "{bottleneck: {sites: [attn.out, ffn.out], placement: sequential, width: 3, activation: swish, init: houlsby}}",
       [](const ModelConfig& c) { return 2 * c.layers * (2 * c.width * 3 + 3 + c.width); }},
      {"bottleneck", "parallel", "{bottleneck: {placement: parallel, width: 3, scaling: 4, init: zero-up, activation: tanh}}",
       [](const ModelConfig& c) { return c.layers * (2 * c.width * 3 + 3 + c.width); }},
      {"bottleneck", "bottleneck_inside", "{bottleneck: {sites: [ffn.down, ffn.act], layers: [1], placement: sequential, width: 3, activation: gelu, scaling: learned}}",
       [](const ModelConfig& c) { return 2 * (c.width + c.ffn_width) * 3 + 2 * (3 + 1) + c.width + c.ffn_width; }},
      {"bottleneck", "bottleneck_on_keys", "{bottleneck: {sites: attn.k, placement: sequential, width: 2, activation: linear, scaling: channel, init: zero-up}}",
       [](const ModelConfig& c) { return c.layers * (2 * c.width * 2 + 2 + 2 * c.width); }},
      {"prefix", "prefix", "{prefix: {length: 3}}", [](const ModelConfig& c) { return 2 * c.layers * 3 * c.width; }},
      {"prefix", "prefix_by_a_network", "{prefix: {length: 3, mlp: 5, init: default}}", [](const ModelConfig& c) { return prefix_network(c, 3, 5, c.layers); }},
      {"prefix", "prefix_last_layer", "{prefix: {length: 2, mlp: 4, layers: [-1]}}", [](const ModelConfig& c) { return prefix_network(c, 2, 4, 1); }},
      {"prefix", "prefix_with_positions", "{prefix: {length: 2, init: default, counts_positions: true}}", [](const ModelConfig& c) { return 2 * c.layers * 2 * c.width; }},
      {"prompt", "prompt", "{prompt: {length: 3}}", [](const ModelConfig& c) { return 3 * c.width; }},
      {"prompt", "prompt_after_first", "{prompt: {length: 2, position: after_first, init: words}}", [](const ModelConfig& c) { return 2 * c.width; }},
      {"gate", "gate_lora", "{gate: {}, of: {lora: {rank: 2}}}",
       [](const ModelConfig& c) { return 2 * c.layers * (2 * 2 * c.width + c.width + 1); }},
      {"gate", "gate_dora", "{gate: {}, of: {dora: {sites: attn.v, rank: 2, norm_gradient: true}}}",
       [](const ModelConfig& c) { return c.layers * (2 * 2 * c.width + c.width + gate_at(c.width)); }},
      {"gate", "gate_shared_by_a_layer", "{gate: {share: layer, multiplier: gate_times_scale, pool: causal_mean}, of: {lora: {sites: 'attn.[qkv]', rank: 2}}}",
       [](const ModelConfig& c) { return c.layers * (3 * 2 * 2 * c.width + c.width + 1); }},
      {"gate", "gate_over_padding", "{gate: {pool: mean_all, padded_to: 9}, of: {bottleneck: {reduction: 2}}}",
       [](const ModelConfig& c) { return c.layers * (c.width * c.width + c.width / 2 + 2 * c.width + 1); }},
      {"gate", "gate_affine", "{gate: {}, of: {affine: {sites: [attn.k, ffn.act, out], shift: true}}}",
       [](const ModelConfig& c) { return c.layers * (2 * (2 * c.width + c.ffn_width) + gate_at(c.width) + gate_at(c.ffn_width) + gate_at(c.width)); }},
      {"gate", "gate_running_over_keys", "{gate: {pool: causal_mean}, of: {affine: {sites: attn.k, scale: false, shift: true}}}",
       [](const ModelConfig& c) { return c.layers * (c.width + gate_at(c.width)); }},
      {"gate", "gate_prefix", "{gate: {prefix_logits: log}, of: {prefix: {length: 2, mlp: 4}}}",
       [](const ModelConfig& c) { return prefix_network(c, 2, 4, c.layers) + c.layers * gate_at(c.width); }},
      {"gate", "gate_keys_and_values", "{gate: {prefix: split, pool: mean_all, padded_to: 0}, of: {prefix: {length: 2, init: default}}}",
       [](const ModelConfig& c) { return c.layers * (4 * c.width + 2 * gate_at(c.width)); }},
      {"gate", "gate_fixed", "{gate: {value: 0.3}, of: {bottleneck: {sites: attn.out, width: 2}}}",
       [](const ModelConfig& c) { return c.layers * (2 * 2 * c.width + 2 + c.width); }},
      {"gate", "gate_loreft", "{gate: {}, of: {reft: {rank: 2, positions: f2+l2, tied: false}}}",
       [](const ModelConfig& c) { return c.layers * (2 * 2 * (2 * c.width + 1) + gate_at(c.width)); }},
      {"gate", "gate_of_gate", "{gate: {}, of: {gate: {pool: causal_mean}, of: {bottleneck: {width: 2, placement: parallel}}}}",
       [](const ModelConfig& c) { return c.layers * (2 * 2 * c.width + 2 + c.width + 2 * gate_at(c.width)); }},
      {"gate", "gate_of_stochastic", "{gate: {}, of: {stochastic: {experts: 2}, of: {bottleneck: {width: 2, activation: gelu}}}}",   // `up` is shared
       [](const ModelConfig& c) { return c.layers * (2 * (2 * c.width + 2) + 3 * c.width + gate_at(c.width)); }},
      {"stochastic", "stochastic_gates", "{stochastic: {experts: 2}, of: {gate: {}, of: {bottleneck: {width: 2, activation: gelu}}}}",
       [](const ModelConfig& c) { return c.layers * (2 * (2 * c.width + 2 + gate_at(c.width)) + 3 * c.width); }},
      {"gate", "gate_of_router", "{gate: {}, of: {router: {experts: 2}, of: {lora: {rank: 2}}}}",
       [](const ModelConfig& c) { return 2 * c.layers * (2 * 2 * 2 * c.width + 2 * c.width + gate_at(c.width)); }},
      {"router", "router_of_gates", "{router: {experts: 2}, of: {gate: {}, of: {lora: {rank: 2}}}}",
       [](const ModelConfig& c) { return 2 * c.layers * (2 * (2 * 2 * c.width + gate_at(c.width)) + 2 * c.width); }},
      {"gate", "central_gate", "{gate: {kind: central}, of: [{lora: {rank: 2}}, {prefix: {length: 2, init: default}}]}",
       [](const ModelConfig& c) { return c.layers * (2 * 2 * 2 * c.width + 4 * c.width + 2 * gate_at(c.width)); }},
      {"stochastic", "adamix", "{stochastic: {experts: 3}, of: {bottleneck: {sites: ffn.down, placement: sequential, width: 3, activation: gelu}}}",
       [](const ModelConfig& c) { return c.layers * (3 * (3 * c.width + 3) + 3 * c.width + c.width); }},
      {"stochastic", "adamix_lora", "{stochastic: {experts: 3, init: copies}, of: {lora: {rank: 2, dropout: 0.1}}}",
       [](const ModelConfig& c) { return 2 * c.layers * (3 * 2 * c.width + 2 * c.width); }},
      {"stochastic", "stochastic_unshared", "{stochastic: {experts: 2, share: []}, of: {lora: {sites: attn.q, rank: 2}}}",
       [](const ModelConfig& c) { return c.layers * 2 * 4 * c.width; }},
      {"stochastic", "stochastic_ia3", "{stochastic: {experts: 2}, of: {affine: {}}}", [](const ModelConfig& c) { return 2 * c.layers * (2 * c.width + c.ffn_width); }},
      {"router", "mov", "{router: {experts: 3}, of: {affine: {}}}",
       [](const ModelConfig& c) { return 3 * c.layers * (2 * c.width + c.ffn_width + 2 * c.width / c.heads + c.ffn_width); }},
      {"router", "mov_top1", "{router: {experts: 3, top_k: 1}, of: {affine: {}}}",
       [](const ModelConfig& c) { return 3 * c.layers * (2 * c.width + c.ffn_width + 2 * c.width / c.heads + c.ffn_width); }},
      {"router", "mov_from_block_input", "{router: {experts: 2, input: block_input}, of: {affine: {sites: [attn.k, ffn.act], shift: true}}}",
       [](const ModelConfig& c) { return 2 * c.layers * (2 * (c.width + c.ffn_width) + 2 * c.width); }},
      {"router", "molora", "{router: {experts: 3}, of: {lora: {sites: [attn.q, ffn.down], rank: 2, init: normal, dropout: 0.1}}}",
       [](const ModelConfig& c) { return 3 * c.layers * (2 * 2 * c.width + 2 * (c.width + c.ffn_width) + c.width + c.ffn_width); }},
      {"router", "molora_top2", "{router: {experts: 3, top_k: 2, renormalize: true, balance: 0.01}, of: {lora: {sites: ['attn.[vo]'], rank: 1, init: normal}}}",
       [](const ModelConfig& c) { return 3 * c.layers * 2 * (2 * c.width + c.width); }},
      {"router", "router_of_bottlenecks", "{router: {experts: 2}, of: {bottleneck: {width: 3}}}",
       [](const ModelConfig& c) { return 2 * c.layers * (2 * 3 * c.width + 3 + c.width + c.width); }},
      {"gate", "gated_mov", "{gate: {}, of: {router: {experts: 2}, of: {affine: {sites: attn.v}}}}",
       [](const ModelConfig& c) { return c.layers * (2 * c.width + 2 * c.width / c.heads + c.width + 1); }},
      {"stochastic", "adamix_dora", "{stochastic: {experts: 2}, of: {dora: {sites: attn.q, rank: 2, norm_gradient: true}}}",
       [](const ModelConfig& c) { return c.layers * 2 * (2 * 2 * c.width + c.width); }},
      {"stochastic", "adamix_reft", "{stochastic: {experts: 2}, of: {reft: {rank: 2, layers: [0], positions: f1}}}",
       [](const ModelConfig& c) { return 2 * (2 * 2 * c.width + 2); }},
      {"stochastic", "adamix_prefix", "{stochastic: {experts: 2}, of: {prefix: {length: 2, layers: [1]}}}", [](const ModelConfig& c) { return 2 * 2 * 2 * c.width; }},
      {"bitfit", "bitfit", "{bitfit: {}}", [](const ModelConfig& c) { return c.width + c.layers * block_biases(c) + (has_pooler(c) ? c.width : 0); }},
      {"bitfit", "bitfit_without_pooler", "{bitfit: {pooler: false}}", [](const ModelConfig& c) { return c.width + c.layers * block_biases(c); }},
      {"full", "full", "{full: {}}",
       [](const ModelConfig& c) { return embeddings(c) + c.layers * (block_weights(c) + block_biases(c)) + pooler(c); }},
      {"top-layers", "top_layers", "{top-layers: {count: 1}}", [](const ModelConfig& c) { return block_weights(c) + block_biases(c); }},
      {"top-layers", "top_layers_and_pooler", "{top-layers: {count: 2, pooler: true}}",
       [](const ModelConfig& c) { return 2 * (block_weights(c) + block_biases(c)) + pooler(c); }},
  };
  return rows;
}

void PrintTo(const Case& one, std::ostream* out) { *out << one.row->definition << " on " << one.family; }

std::vector<Case> contract_cases() {
  std::vector<Case> cases;
  for (const Row& row : contract_rows()) {
    for (const std::string& family : trunk_families()) cases.push_back({&row, family});
  }
  static const std::vector<Row> compositions = composition_rows();
  for (size_t i = 0; i < compositions.size(); ++i) cases.push_back({&compositions[i], trunk_families()[i % trunk_families().size()]});
  return cases;
}

Traits traits_of(const Adapter& adapter) {
  Traits all = adapter.parts().front().spec.traits;
  for (const Adapter::Part& part : adapter.parts()) {
    const Traits& own = part.spec.traits;
    all.identity_at_init &= own.identity_at_init;
    all.is_stochastic |= own.is_stochastic;
    all.rewrites |= own.rewrites;
  }
  all.is_foldable &= adapter.parts().size() == 1;
  return all;
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) { return info.param.row->name + "_" + info.param.family; }

}  // namespace graft::testing
