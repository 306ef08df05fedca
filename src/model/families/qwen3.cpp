// Qwen3 (arXiv:2505.09388): LLaMA's blocks, with heads of a width of their own, each of whose
// queries and keys passes a root-mean-square norm before it is turned by its position.
#include "model/families/all.h"
#include "model/families/config_reader.h"
#include "model/families/llama.h"
#include "model/families/names.h"

namespace graft {

namespace {

void read_qwen3(Options& options, ModelConfig& c) {
  read_llama_blocks(options, c, {.positions = 32768, .head_width = 128});
  StackConfig& stack = *c.decoder;
  stack.head_norm = stack.norm;
  stack.has_attention_bias = stack.has_attention_output_bias =
      options.boolean("attention_bias", false);
  read_window(options, c, {.switched_on = false, .width = 4096});
}

}  // namespace

std::vector<Family> qwen3_families() {
  Family qwen3 = llama_family("qwen3", "Qwen3ForSequenceClassification");
  qwen3.read_config = read_qwen3;
  qwen3.keys.push_back({{"mlp_bias", "qkv_bias"}});  // the tensors show them
  append(qwen3.names, without_biases({{dec(Part::kAttnQNorm), "layers.#.self_attn.q_norm"},
                                      {dec(Part::kAttnKNorm), "layers.#.self_attn.k_norm"}}));
  qwen3.gguf = {{.architecture = "qwen3"}};
  qwen3.peft = {{"q_proj", "v_proj"}, {"q_proj", "v_proj", "down_proj"}, {"down_proj"}};
  return {std::move(qwen3)};
}

}  // namespace graft
