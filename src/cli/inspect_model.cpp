#include "cli/inspect_model.h"

#include <cstdio>
#include <string>

#include "base/printable.h"
#include "base/wording.h"
#include "model/checkpoint.h"
#include "model/sites.h"
#include "model/trunk.h"

namespace graft {

namespace {

// "12 layers, 12 heads of 64, FFN 3072"; of an encoder-decoder both stacks.
std::string stacks_text(const ModelConfig& c) {
  const auto text = [](const StackConfig& stack, const std::string& layers) {
    return std::to_string(stack.layers) + layers + ", " + std::to_string(stack.heads) +
           " heads of " + std::to_string(stack.head_width()) + ", FFN " +
           std::to_string(stack.ffn_width);
  };
  if (!c.is_encoder_decoder()) return text(c.last(), " layers");
  return text(*c.encoder, " layers of an encoder") + ", " + text(*c.decoder, " of a decoder");
}

// A family whose positions are a bias by distance has no longest text.
std::string positions_text(const ModelConfig& c) {
  return c.max_positions < ModelConfig::kAnyLength
             ? "at most " + std::to_string(c.max_positions) + " tokens"
             : "texts of any length";
}

}  // namespace

int inspect_model(const Path& model, const IgnoredKeys& ignored) {
  ModelConfig c = read_config(model, ignored);
  const NamedTensors base = load_base(model, c, at::kFloat);
  int64_t parameters = 0;
  for (const auto& [name, tensor] : base) parameters += tensor.numel();
  std::printf("%s: %s, width %lld, %s, vocabulary %lld, %s\n%s parameters in %zu tensors\n\n",
              bare_name(model.string()).c_str(), c.model_type.c_str(),
              static_cast<long long>(c.width), stacks_text(c).c_str(),
              static_cast<long long>(c.vocabulary), positions_text(c).c_str(),
              count_text(parameters).c_str(), base.size());
  std::printf("%-18s %-12s %8s %8s\n", "site", "kind", "in", "out");
  const Sites sites(c);
  for (const Site& site : sites.all()) {
    if (site.layer > 0) continue;  // a block of a stack is like its first
    std::printf("%-18s %-12s %8lld %8lld\n", site.name.c_str(), kind_name(site.kind),
                static_cast<long long>(site.input_width),
                static_cast<long long>(site.output_width));
  }
  for (const auto& [stack, layers] :
       {std::pair{"enc", c.encoder_layers()}, std::pair{"dec", c.decoder_layers()}}) {
    if (layers > 1)
      std::printf("... the same for layers 1..%lld of %s\n", static_cast<long long>(layers - 1),
                  stack);
  }
  const char* stack = c.encoder_layers() > 0 ? "enc" : "dec";
  std::printf(
      "\nsites of an edit: %s.0.attn.q is one, attn.q the same in every layer; attn.[qv] are two\n",
      stack);
  return 0;
}

}  // namespace graft
