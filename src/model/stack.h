// One stack of a trunk, an encoder or a decoder: blocks of attention, attention to an encoder, and
// FFN.
//
// For each sublayer f, as NormPlace says:
//   kAfter  (post-norm: BERT, BART; Vaswani et al. 2017)   h = norm(x + dropout(f(x)))
//   kBefore (pre-norm: GPT-2, T5, LLaMA)                   h = x + dropout(f(norm(x)))
// FFN:  W_down act(W_up x), or gated  W_down (act(W_gate x) * W_up x)  (Shazeer 2020).
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "model/trunk.h"
#include "tensor/fused.h"
#include "tensor/rotary.h"

namespace graft {

// What the decoder of an encoder-decoder reads: the encoder's last states [T, C], and their pack.
struct EncoderStates {
  at::Tensor rows;
  const Pack* pack = nullptr;
};

// Some of a pack's rows.
using WantedRows = std::shared_ptr<const NarrowedPack>;

class Stack {
 public:
  // `encoder`: for a decoder that attends to an encoder. It has no rows if the cache holds what the
  // decoder reads of them.
  Stack(const Model& model, const Weights& weights, const Hooks& hooks,
        const ForwardOptions& options, StackId id, const Pack& pack,
        const EncoderStates& encoder = {});

  // Rows [T, C], and what edits gave on the way.
  struct Result {
    at::Tensor x;
    SideOutputs side;
  };
  // The vector of every row before the first block.
  Result embed();
  // x: [T, C]. `wanted`: the rows of the block's output that are computed; null: all.
  Result block(int64_t layer, const at::Tensor& x, const WantedRows& wanted);
  // The norm after the last block; x itself if the stack has none.
  at::Tensor finish(const at::Tensor& x);

  // What all blocks read beside x. When a block is computed again, detached copies replace these
  // tensors.
  struct Shared {
    at::Tensor encoder_rows;   // [S, C] if the stack attends to an encoder, else undefined
    at::Tensor distance_bias;  // [H, 2R-1], or undefined
  };
  Shared shared() const { return {encoder_.rows, distance_bias_}; }
  void replace_inputs(const Shared& shared);
  // Whether tensors of the block itself may be trained.
  bool has_trained_tensors(int64_t layer) const;

 private:
  // The state between two sublayers: the residual stream, and what the next sublayer reads (the
  // stream itself, unless a norm stands before that sublayer).
  struct Flow {
    at::Tensor stream, read;
  };
  struct Angles {
    RotaryTable all, rows;  // of pack_; of rows_
  };

  at::Tensor embedded();
  at::Tensor block_output(int64_t layer, const at::Tensor& x);
  const Site& site(int64_t layer, Part part) const;
  at::Tensor attend(int64_t layer, const at::Tensor& read, const at::Tensor& read_by_all);
  at::Tensor attend_encoder(int64_t layer, const at::Tensor& read);
  at::Tensor ffn(int64_t layer, const at::Tensor& read);
  const Site* norm_after(int64_t layer, Part part) const;
  const Site* norm_before(int64_t layer, Part part) const;
  at::Tensor gated_activation(const Site& act, const at::Tensor& read, const at::Tensor& gate,
                              const at::Tensor& up);
  Flow read_stream(const Site* norm_site, const at::Tensor& x);
  Flow add_sublayer(const Site& sublayer, const Site* own_norm, const Site* next_norm,
                    const at::Tensor& x, const at::Tensor& y, const at::Tensor& residual);

  at::Tensor listened(SiteResult result);
  at::Tensor apply_site(const Site& site, const Pack& pack, const at::Tensor& x,
                        const at::Tensor& y);
  at::Tensor changed_linear(const Site& site, const Pack& pack, const at::Tensor& x);
  // Passes over a cache have few rows; nothing of them is differentiated.
  template <size_t N>
  std::array<at::Tensor, N> joint_linears(const std::array<Place, N>& layers, const at::Tensor& x) {
    std::vector<at::Tensor> each = weights_.linears(layers, x);
    std::array<at::Tensor, N> out;
    std::move(each.begin(), each.end(), out.begin());
    return out;
  }
  at::Tensor norm(const Place& place, const at::Tensor& x);
  at::Tensor norm_bias(const Place& place);  // undefined without
  at::Tensor head_norm(const Place& place, const at::Tensor& x);
  at::Tensor norm_with(const Place& place, const at::Tensor& x, const at::Tensor& residual,
                       const RowDropout& drop = {});  // of dropout(x) + residual
  std::vector<LanePrefix> prefixes(const Site& site, const Pack& pack, const at::Tensor& x);
  void make_positions();
  void make_keys();
  void use_rows(const WantedRows& wanted);
  std::shared_ptr<const Spans> spans_over(const std::vector<RowRange>& keys) const;
  const Angles* angles_of(int64_t layer) const;
  AttentionOptions attention_options(const Site& site) const;
  RowDropout row_dropout(double DropoutRates::*rate, std::string_view use, const Pack& pack) const;

  const ModelConfig& config_;
  const StackConfig& stack_config_;
  const Sites& sites_;
  const Weights& weights_;
  const Hooks& hooks_;
  const ForwardOptions& options_;
  StackId id_;
  bool is_decoder_;
  const Pack& pack_;
  EncoderStates encoder_;
  WantedRows wanted_;           // that the block computes; null: all
  const Pack* rows_ = nullptr;  // pack_, or that of wanted_
  std::vector<RowRange> own_keys_,
      cross_keys_;  // [N] in the cache; in the encoder's rows; empty without
  std::shared_ptr<const Spans> own_spans_, cross_spans_;  // of rows_ over their keys
  std::vector<Angles> angles_;  // of rotary positions: of blocks that see all keys, then of local
                                // blocks; empty without
  at::Tensor distance_bias_;    // [H, 2R-1], or undefined
  SideOutputs side_;            // of the block so far
};

}  // namespace graft
