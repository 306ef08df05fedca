// Writing token by token: the passes of a decoder over a cache, which give the logits of one next
// token after the other.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "edit/lanes.h"
#include "model/cache.h"
#include "model/trunk.h"

namespace graft {

// Prompts that go through one adapter with one route.
struct PromptLane {
  LaneAdapter lane;
  std::vector<const Sequence*> prompts;
};

// Several adapters may write at once if none of them replaces the trunk's weights. The logits of a
// sequence have the same bits whatever is written at the same time. Nothing is differentiated.
class Decoding {
 public:
  // Runs the prompts, and an encoder once. A decoder-only model continues its prompt; in an
  // encoder-decoder the encoder reads it. Prompt n, counted over all lanes, may grow by
  // new_tokens[n] tokens. Throws InputError for a model without a decoder, for an adapter whose
  // edits cannot decode (check_decoding), and for a prompt that leaves no room for the new tokens.
  Decoding(const Model& model, const std::vector<PromptLane>& prompts,
           const std::vector<int64_t>& new_tokens);
  Decoding(const Model& model, const std::vector<PromptLane>& prompts, int64_t new_tokens);

  int64_t num_sequences() const { return cache_->num_sequences(); }
  // [N, V] float32 (float64 for a float64 trunk), contiguous: those of the token after each
  // sequence.
  const at::Tensor& logits() const { return logits_; }

  // new[n] = old[from[n]]; indices may repeat. The sequences of a lane stay together, and the lanes
  // in their order.
  void select(const std::vector<int64_t>& from);
  // Appends one token to each sequence and computes the logits after it.
  void write(const std::vector<int64_t>& tokens);

  // What the decoder reads before new tokens: the prompt, or in an encoder-decoder the start token.
  static std::vector<int64_t> text_of(const ModelConfig& config, const Sequence& prompt);
  // Of an encoder-decoder that reads `read`: what its decoder begins each text with, in order.
  static std::vector<Sequence> starts_of(const ModelConfig& config,
                                         const std::vector<LaneInput>& read);
  // How many new tokens fit into the model's positions after a prompt; in an encoder-decoder, after
  // the start token. May be 0 or negative.
  static int64_t room_behind(const ModelConfig& config, const RowLayout& layout,
                             const Sequence& prompt);

 private:
  void check(const std::vector<PromptLane>& prompts) const;
  void check_room(const Pack& first, const std::vector<int64_t>& new_tokens) const;
  void run(const ModelInput& input, std::vector<RowRange> wanted);

  const Model& model_;
  std::vector<LaneAdapter> lanes_;
  std::unique_ptr<Cache> cache_;
  at::Tensor logits_;
};

// Sends one token through the bare model. This packs the weights that decoding reads and lets the
// matrix library compile its kernels, so that the first text does not wait for that.
void warm_up(const Model& model);

}  // namespace graft
