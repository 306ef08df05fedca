// Sites: the named places of a trunk where an edit may act. Names are the same for every family.
//
//   enc.3.attn.q|k|v|o   linear      x -> y = x W^T + b
//   enc.3.attn           attention   prefix rows before the keys and values
//   enc.3.attn.out       sublayer    y = dropout(o), before the residual is added; residual and norm in reach
//   enc.3.ffn.up|down    linear
//   enc.3.ffn.act        activation  y = gelu(up), what enters ffn.down
//   enc.3.ffn.out        sublayer    y = dropout(down), before the residual is added
//   enc.3.attn.norm, enc.3.ffn.norm  norm: y = LayerNorm(...)
//   enc.3.out            layer       the residual stream after the block
//   embed                embed       after the embedding norm and dropout
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace graft {

enum class SiteKind { kLinear, kActivation, kSublayer, kNorm, kLayer, kAttention, kEmbed };

struct Site {
  int64_t index = 0;          // in Sites::all()
  std::string name;           // "enc.3.attn.q"
  std::string part;           // "attn.q": the name without stack and layer
  SiteKind kind = SiteKind::kLinear;
  int64_t layer = -1;         // -1 for embed
  int64_t input_width = 0;    // width of x
  int64_t output_width = 0;   // width of y
};

// The sites of one block, by role; execution order.
struct BlockSites {
  Site q, k, v, attention, o, attn_out, attn_norm, up, act, down, ffn_out, ffn_norm, out;
};

class Sites {
 public:
  explicit Sites(const ModelConfig& config);

  const std::vector<Site>& all() const { return all_; }
  const Site& embed() const { return all_.front(); }
  const BlockSites& block(int64_t layer) const { return blocks_[static_cast<size_t>(layer)]; }
  const Site& at(const std::string& name) const;   // Throws InputError with a suggestion.

  // Sites that match any pattern, in execution order. A pattern is a site name or a part name with '*' for anything without a
  // dot and '[qv]' for one of several letters: "attn.q", "attn.[qv]", "enc.3.*.out". `layers`: empty = all; a negative number
  // counts from the last (-1). Throws InputError for a pattern that matches nothing (in those layers), no pattern at all, and a layer that is
  // not there.
  std::vector<Site> match(const std::vector<std::string>& patterns, const std::vector<int64_t>& layers) const;

 private:
  std::vector<Site> all_;
  std::vector<BlockSites> blocks_;
};

const char* kind_name(SiteKind kind);

}  // namespace graft
