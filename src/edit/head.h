// The task head: logits from one row of each sequence. Which row is the model's ReadRow
// (model/config.h); this is what is computed of it. Part of an adapter, but not an edit (logits
// are not y + change).
//
//   pooler  z = dropout(tanh(W_p h + b_p));  logits = W_o z + b_o
//           BERT. W_p is the model's pooler, frozen or trained, and a site like other layers.
//   states  z = dropout(norm(f(W_m h + b_m)));  logits = W_o z + b_o
//           ModernBERT. W_m and the norm are the model's head for masks, frozen or trained
//           (`pooler`), and W_m is a site like other layers.
//   mask    z = norm(f(W_m h + b_m));  logits = E_words z + c_words
//           A cloze: the frozen head for masks, and the word table E.
//   dense   z = dropout(tanh(W_d dropout(h) + b_d));  logits = W_o z + b_o
//           RoBERTa, T5, BART. W_d is new and trained.
//   score   logits = W_o dropout(h)
//           Decoder-only families; no bias.
// Computed in float32 (float64 for a float64 trunk). New weights start as N(0, 0.02^2), new biases
// as 0.
#pragma once

#include <ATen/core/Tensor.h>

#include "base/option_visitor.h"
#include "base/options.h"
#include "edit/edit.h"
#include "model/families.h"

namespace graft {

// The tensors of the head that a run trains. In UniPELT's released code the head keeps its initial
// values beside methods without an adapter (kNothing), and beside BitFit only its biases are
// trained (kBiases).
enum class HeadTrains { kAll, kBiases, kNothing };

// A classifier may read a layer of the model itself, such as the pooler. Whether a place belongs to
// that layer; what the layer is called; whether the checkpoint holds it (true if the classifier
// reads no such layer).
bool is_under_head(const Place& place, const ModelConfig& config);
std::string layer_under_head(const ModelConfig& config);
bool has_layer_under_head(const ModelConfig& config, const Weights& weights);

struct HeadOptions {
  bool has_pooler = true;  // the head reads a layer of the model
  bool trains_pooler = false;
  HeadTrains trains = HeadTrains::kAll;
  double dropout = 0.1;

  void visit(OptionVisitor& v);
};

class Head {
 public:
  // `outputs`: the number of classes, or 1 for a regression. A cloze has neither options nor
  // params: its classes are words.
  Head(Options& options, const ModelConfig& config, int64_t outputs, bool is_cloze = false);

  const std::vector<ParamSpec>& params() const { return params_; }
  Node describe() const;
  TensorList init(const Weights& weights, RandomKey key) const;

  // The trained pooler, or head for masks, which replaces the model's own; nothing if the head does
  // not train it.
  TrunkTensors rewrite(const Params& derived) const;

  // Whether `rows` below are the output of the model's pooler (W_p h + b_p), or of its head for
  // masks (norm(f(W_m h + b_m))); else they are the last states.
  bool reads_pooler() const { return style_ == HeadStyle::kPooler; }
  bool reads_mask_states() const { return style_ == HeadStyle::kMaskStates; }
  // One of the two: a layer of the model lies under the head.
  bool reads_layer() const { return reads_pooler() || reads_mask_states(); }
  bool trains_pooler() const { return options_.trains_pooler; }
  // rows: [N, C] -> logits [N, outputs] float32. `ids` names the examples, for dropout.
  // `pooled` receives z before its dropout; not in the score style, which has none.
  at::Tensor logits(const Params& derived, const at::Tensor& rows,
                    const std::shared_ptr<const RowIds>& ids, const Context& context,
                    at::Tensor* pooled = nullptr) const;
  // The same for a cloze: [N, words].
  at::Tensor word_logits(const Weights& weights, const at::Tensor& mask_rows,
                         const std::vector<int64_t>& words) const;

  int64_t outputs() const { return outputs_; }

 private:
  // A linear layer of the head; without bias in the score style.
  struct Layer {
    ParamId weight, bias;
  };
  Layer declare(const std::string& name, int64_t out);
  void declare_mask_head();
  bool is_moved(bool is_matrix) const;

  const ModelConfig config_;
  HeadStyle style_;
  int64_t outputs_;
  HeadOptions options_;
  std::vector<ParamSpec> params_;
  Layer pooler_, dense_, out_;
  std::vector<std::pair<TensorId, ParamId>> mask_head_;  // where it is trained
};

}  // namespace graft
