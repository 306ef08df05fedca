// Sites: the named places of a trunk where an edit may act. Names are the same for every family:
// "<stack>.<layer>.<part>". The stack is `enc` for an encoder, `dec` for a decoder, also for one
// that stands alone. Layers count from 0 in each stack.
//
//   enc.3.attn.q|k|v|o   linear      x -> y = x W^T + b; widths C -> H*D, C -> K*D twice, H*D -> C
//   enc.3.attn           attention   prefix rows before the keys and values
//   enc.3.attn.mid       activation  y = the heads side by side, what enters attn.o; H*D wide
//   enc.3.attn.out       sublayer    y = dropout(o), before the residual is added; residual and
//                                    norm in reach
//   dec.3.cross...       the same for attention to the encoder's output: cross.q|k|v|o, cross,
//                        cross.mid, cross.out, cross.norm
//   enc.3.ffn.up|down    linear      C -> F, F -> C
//   enc.3.ffn.gate       linear      C -> F, gated FFN only: the branch that goes through the
//                                    activation; ffn.up is the other one
//   enc.3.ffn.act        activation  y = activation(up), or of gate where the FFN is gated
//   enc.3.ffn.mid        activation  gated FFN only: y = act * up, what enters ffn.down
//   enc.3.ffn.out        sublayer    y = dropout(down), before the residual is added
//   enc.3.attn.norm, enc.3.ffn.norm  norm: y = norm(...), after the sublayer or, in pre-norm
//                                    families, before it
//   enc.3.out            layer       the residual stream after the block
//   embed.word           embed       y = word embeddings, before those of position and type are
//                                    added
//   embed                embed       what enters the first block (of the encoder where there is
//                                    one)
//   pooler               linear      BERT only: the layer under a classifier, C -> C, of the rows
//                                    that it reads and no others
//   mask.dense           linear      ModernBERT only: the same; the first layer of its head for
//                                    masks, which no '*' matches
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/place.h"

namespace graft {

enum class SiteKind { kLinear, kActivation, kSublayer, kNorm, kLayer, kAttention, kEmbed };

struct Site : Place {
  int64_t index = -1;  // in Sites::all(); -1 = this model has no such site
  std::string name;    // "enc.3.attn.q", for messages and for random keys
  SiteKind kind = SiteKind::kLinear;
  int64_t input_width = 0;   // width of x
  int64_t output_width = 0;  // width of y; of an attention site: of a prefix row's key, K*D
};

class Sites {
 public:
  explicit Sites(const ModelConfig& config);

  const std::vector<Site>& all() const { return all_; }  // in order of execution
  const Site& word() const { return all_[0]; }
  const Site& embed() const { return all_[1]; }
  // The layer under a classifier (pooler, mask.dense); index -1 where the family has none.
  const Site& pooler() const { return pooler_; }
  const Site* find(const Place& place) const;     // null where the model has no such site
  const Site& at(const Place& place) const;       // Requires: the model has it
  const Site& at(const std::string& name) const;  // Throws InputError with a suggestion.
  // The linear layer that reads what leaves an activation site: attn.o of attn.mid, ffn.down of
  // ffn.act and ffn.mid.
  const Site& reader_of(const Site& activation) const;
  // The activation site that gives a linear layer all that it reads, and gives it to no other; null
  // where there is none.
  const Site* input_of(const Site& linear) const;

  // Sites that match any pattern, in execution order. A pattern is a site name or a part name with
  // '*' for anything without a dot and '[qv]' for one of several letters: "attn.q", "attn.[qv]",
  // "enc.3.*.out". `layers`: empty = all; they count in each stack by itself, a negative number
  // from its last (-1). A '?' at the end: where the model has it ("cross.k?"). Throws InputError
  // for another pattern that matches nothing (in those layers), for no site at all, and for a layer
  // that no stack has. Of patterns joined by '|' the first that the model has counts
  // ("ffn.gate|ffn.up", "enc.*.out|out").
  std::vector<Site> match(const std::vector<std::string>& patterns,
                          const std::vector<int64_t>& layers) const;

 private:
  Site add(const Place& place, SiteKind kind, int64_t in, int64_t out);
  void add_block(const ModelConfig& config, StackId stack, int64_t layer);

  std::vector<Site> all_;
  int64_t encoder_layers_, decoder_layers_;
  PlaceIndex places_;
  std::vector<int32_t> index_;  // [place]: in all_, or -1
  Site pooler_;
};

const char* kind_name(SiteKind kind);

// Whether the rows at a site are a decoder's: each sees those before it and none after it, and what
// follows a prompt is still to be given. cross.k and cross.v show the encoder's.
bool holds_decoder_rows(const Site& site, const ModelConfig& config);

}  // namespace graft
