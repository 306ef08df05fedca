// The trunk: a frozen pretrained network as a pure function over named tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/cache.h"
#include "model/config.h"
#include "model/hooks.h"
#include "model/pack.h"
#include "model/sites.h"
#include "model/weights.h"

namespace graft {

// A loaded model: its config, the sites where it may be changed, and its tensors.
struct Model {
  std::string source;  // the folder or file, for messages
  ModelConfig config;
  Sites sites;
  Weights weights;
};

// `path`: a Hugging Face folder, or a GGUF file (or a folder with one).
std::shared_ptr<const Model> load_model(const Path& path, Precision precision,
                                        const IgnoredKeys& ignored = {});

// Packs are rounded up to a multiple of this many rows, since the matrix library compiles and keeps
// kernels for every new number of rows (rounded to 16, a run was 15 % slower and 100 MB larger).
constexpr int64_t kRowsRounding = 64;

// How packs are made for a model.
PackOptions pack_options(const Model& model);

// A place between the blocks of a trunk: before block `layer` of a stack, or behind its last block
// and before its last norm, where `layer` is their number.
struct TrunkPoint {
  StackId stack = StackId::kNone;
  int64_t layer = 0;

  friend auto operator<=>(const TrunkPoint&, const TrunkPoint&) = default;  // by execution
};

// What stands at a point, of every sequence of a pass that begins there.
struct KnownRows {
  TrunkPoint at;
  // [N]: [rows of the sequence, C] each. Behind the last block those that are read of it, where the
  // pass says which. Before a decoder's first block none: it embeds its tokens anew.
  std::vector<at::Tensor> rows = {};
  // [N], where the point lies in a decoder beside an encoder: the encoder's last states, after its
  // last norm.
  std::vector<at::Tensor> encoder_rows = {};
  at::Tensor filler = {}, encoder_filler = {};  // [1, C]: what stands there in a filler row
};

struct ForwardOptions {
  // Collect the output of every block.
  bool keep_hidden = false;
  // Activation checkpointing: keep only the input of each block, and compute the block again in the
  // backward pass. The model and everything the hooks refer to must outlive that pass.
  bool saves_memory = false;
  // The rows of the last stack that are read, one range for each sequence; empty: all. The last
  // block computes only these, except in lanes that need all rows (Hooks::needs_all_rows) and with
  // keep_hidden.
  std::vector<RowRange> wanted = {};
  // The number of those rows becomes a multiple of this.
  int64_t round_rows_to = 1;
  // For a decoder: holds the rows before those of the pack, and receives the new ones.
  Cache* cache = nullptr;
  // Where the pass begins; null: at the tokens.
  const KnownRows* from = nullptr;
  // Where the pass ends; `last` is then what stands there.
  std::optional<TrunkPoint> until = {};
};

// The model's own rates, or one rate for all of them.
DropoutRates trunk_dropout(const ModelConfig& config, std::optional<double> rate);

// What goes through a trunk: the pack of its encoder, of its decoder, or of both. If a decoder
// reads its encoder's rows from the cache, its own pack is enough.
struct ModelInput {
  const Pack* encoder = nullptr;
  const Pack* decoder = nullptr;

  const Pack& last() const {
    return decoder != nullptr ? *decoder : *encoder;
  }  // of the last stack
};

// The input of a model with a single stack.
ModelInput input_of(const ModelConfig& config, const Pack& pack);

struct ForwardResult {
  // [T, C]: the last states of the last stack, after its last norm. With `wanted` those rows only.
  at::Tensor last;
  // The pack of those rows; null if all rows are read.
  std::shared_ptr<const Pack> wanted;
  // With keep_hidden: the embeddings, then the output of each block, [T, C], of the first stack.
  std::vector<at::Tensor> hidden;
  // The same for the decoder of an encoder-decoder.
  std::vector<at::Tensor> decoder_hidden;
  // [T, C]: the last states of an encoder-decoder's encoder, after its last norm.
  at::Tensor encoder_last;
  // What edits gave, in the order in which the pass reached them.
  SideOutputs side;
};

// What the head for masks makes of rows of the last states, before the output layer: norm(f(W x +
// b)). rows: [N, C].
at::Tensor mask_states(const ModelConfig& config, const Weights& weights, const at::Tensor& rows);
// norm(f(y)): the same of what left its first layer, y = W x + b.
at::Tensor mask_states_behind(const ModelConfig& config, const Weights& weights,
                              const at::Tensor& y);

// All stacks in turn (src/model/stack.h holds the equations). `weights` may be the model's own or a
// set with replaced tensors. Throws InputError for a sequence longer than the model serves.
ForwardResult forward(const Model& model, const Weights& weights, const ModelInput& input,
                      const Hooks& hooks, const ForwardOptions& options);

}  // namespace graft
