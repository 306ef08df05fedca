#include "tests/contract/table.h"

#include <ostream>

#include "model/families.h"

namespace graft::testing {

namespace {

bool has_pooler(const ModelConfig& c) { return c.model_type == "bert"; }

int64_t block_weights(const ModelConfig& c) { return 4 * c.width * c.width + 2 * c.width * c.ffn_width + 2 * c.width; }   // the norms' too
int64_t block_biases(const ModelConfig& c) { return 4 * c.width + c.ffn_width + c.width + 2 * c.width; }
int64_t pooler(const ModelConfig& c) { return has_pooler(c) ? c.width * c.width + c.width : 0; }
int64_t embeddings(const ModelConfig& c) {
  return (c.vocabulary + c.max_positions + c.position_offset + c.type_vocabulary) * c.width + 2 * c.width;
}

}  // namespace

const std::vector<Row>& contract_rows() {
  static const std::vector<Row> rows = {
      {"lora", "lora", "{lora: {rank: 3, alpha: 6}}", [](const ModelConfig& c) { return 2 * c.layers * 3 * (c.width + c.width); }},
      {"lora", "lora_everywhere", "{lora: {sites: ['attn.[qkvo]', ffn.up, ffn.down], rank: 2, alpha: 2, rslora: true, init: gaussian, dropout: 0.1}}",
       [](const ModelConfig& c) { return c.layers * 2 * (4 * 2 * c.width + 2 * (c.width + c.ffn_width)); }},
      {"lora", "lora_last_layer", "{lora: {sites: [attn.k, ffn.down], layers: [-1], rank: 1, init: normal}}",
       [](const ModelConfig& c) { return 2 * c.width + c.ffn_width + c.width; }},
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
    for (const std::string& family : known_families()) cases.push_back({&row, family});
  }
  return cases;
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) { return info.param.row->name + "_" + info.param.family; }

}  // namespace graft::testing
