// The trunk: a frozen pretrained encoder as a pure function over named tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/hooks.h"
#include "model/pack.h"
#include "model/sites.h"
#include "model/weights.h"

namespace graft {

// A model as loaded: what it is, where it may be changed, and its tensors.
struct Model {
  std::string source;          // the folder, for messages
  ModelConfig config;
  Sites sites;
  Weights weights;
};

std::shared_ptr<const Model> load_model(const Path& dir, Precision precision);

struct ForwardOptions {
  double hidden_dropout = 0.0;       // 0 at evaluation
  double attention_dropout = 0.0;
  RandomKey key;                     // (seed, step, micro-batch); each use adds its site
  bool keep_hidden = false;          // collect every block's output
  bool first_rows_only = false;      // the last block computes only the first row of each sequence
};

struct ForwardResult {
  at::Tensor last;                   // [T, C], or [N, C] with first_rows_only
  std::vector<at::Tensor> hidden;    // with keep_hidden: embeddings, then each block's output, [T, C] each
};

// Post-norm encoder (BERT, RoBERTa). For each block (Devlin et al. 2019):
//   h = norm(x + dropout(attention(x)));   x' = norm(h + dropout(W_down gelu(W_up h)))
// `weights` may be the model's own or a set with replaced tensors.
ForwardResult forward(const Model& model, const Weights& weights, const Pack& pack, Hooks& hooks, const ForwardOptions& options);

}  // namespace graft
