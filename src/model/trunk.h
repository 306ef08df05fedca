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

// A model as loaded: what it is, where it may be changed, and its tensors.
struct Model {
  std::string source;  // the folder or file, for messages
  ModelConfig config;
  Sites sites;
  Weights weights;
};

// `path`: a Hugging Face folder, or a GGUF file (or a folder with one).
std::shared_ptr<const Model> load_model(const Path& path, Precision precision,
                                        const IgnoredKeys& ignored = {});

// A new number of rows makes the matrix library compile and keep new kernels, so packs are rounded
// up to a multiple of this (rounded to 16, a run was 15 % slower and 100 MB larger).
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
  bool keep_hidden = false;  // collect every block's output
  bool saves_memory =
      false;  // keep only each block's input for the backward pass, which computes the block anew;
              // until then the model must live, and what the hooks refer to
  // Rows, one range a sequence, that are read of the last stack; empty = all. The last block
  // computes no others, but in lanes that need them (Hooks::needs_all_rows) and with keep_hidden.
  std::vector<RowRange> wanted = {};
  int64_t round_rows_to = 1;  // the number of those rows becomes a multiple of this
  Cache* cache = nullptr;  // of a decoder: holds the rows before those of the pack, and gets theirs
  const KnownRows* from = nullptr;       // where the pass begins; null: at the tokens
  std::optional<TrunkPoint> until = {};  // where it ends, and `last` is what stands there
};

// The model's own rates, or one rate for all of them.
DropoutRates trunk_dropout(const ModelConfig& config, std::optional<double> rate);

// What goes through a trunk: the pack of its encoder, of its decoder, or of both. Of a decoder that
// reads its encoder's rows from the cache: the decoder's alone.
struct ModelInput {
  const Pack* encoder = nullptr;
  const Pack* decoder = nullptr;

  const Pack& last() const {
    return decoder != nullptr ? *decoder : *encoder;
  }  // of the last stack
};

// A single pack: of the model's only stack.
ModelInput input_of(const ModelConfig& config, const Pack& pack);

struct ForwardResult {
  at::Tensor last;  // [T, C] of the last stack, after its last norm; with `wanted` those rows only
  std::shared_ptr<const Pack> wanted;  // the pack of those rows; null where all rows are read
  std::vector<at::Tensor> hidden;  // with keep_hidden: embeddings, then each block's output, [T, C]
                                   // each, of the first stack
  std::vector<at::Tensor> decoder_hidden;  // the same of an encoder-decoder's decoder
  at::Tensor encoder_last;  // [T, C] of an encoder beside a decoder, after its last norm
};

// What the head for masks makes of rows of the last states, before the output layer: norm(f(W x +
// b)). rows: [N, C].
at::Tensor mask_states(const ModelConfig& config, const Weights& weights, const at::Tensor& rows);

// All stacks in turn (src/model/stack.h holds the equations). `weights` may be the model's own or a
// set with replaced tensors. Throws InputError for a sequence longer than the model serves.
ForwardResult forward(const Model& model, const Weights& weights, const ModelInput& input,
                      Hooks& hooks, const ForwardOptions& options);

}  // namespace graft
