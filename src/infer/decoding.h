// Writing token by token: the passes of a decoder over a cache, from prompts to the logits of one
// next token after the other.
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

// Several adapters may write at once, as long as none of them replaces the trunk's weights. A
// sequence's logits have the same bits whatever is written beside it. Nothing is differentiated.
class Decoding {
 public:
  // Runs the prompts (and an encoder, once). Of a decoder-only model a prompt is what it
  // goes on from; in an encoder-decoder, what the encoder reads. Prompt n, counted over all lanes,
  // may grow by new_tokens[n] tokens, or each by as many. Throws InputError for a model without a
  // decoder, an adapter whose edits cannot be decoded (check_decoding), or a prompt that leaves no
  // room for the new tokens.
  Decoding(const Model& model, const std::vector<PromptLane>& prompts,
           const std::vector<int64_t>& new_tokens);
  Decoding(const Model& model, const std::vector<PromptLane>& prompts, int64_t new_tokens);

  int64_t num_sequences() const { return cache_->num_sequences(); }
  // [N, V] float32 (float64 of such a trunk), contiguous: of the token after each sequence.
  const at::Tensor& logits() const { return logits_; }

  // The sequences become copies of the present ones from[n]; those of a lane stay side by side and
  // lanes in their order.
  void select(const std::vector<int64_t>& from);
  // One more token each, and the logits after it.
  void write(const std::vector<int64_t>& tokens);

  // What a decoder has of a prompt's text: the prompt, or in an encoder-decoder the start token.
  static std::vector<int64_t> text_of(const ModelConfig& config, const Sequence& prompt);
  // How many new tokens the model's positions leave room for behind a prompt; in an
  // encoder-decoder, behind the start token. Maybe none.
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

// One token through the bare model: packs the weights that decoding reads and lets the matrix
// library compile its kernels, which the first text would wait for otherwise.
void warm_up(const Model& model);

}  // namespace graft
