// A batch as packed rows: all sequences end to end, no padding.
//
// Rows are in lanes. Each lane goes through one adapter with one route, and has its own key and
// rates of dropout. Row t of every tensor in a trunk belongs to one sequence of one lane. Filler
// rows, which round T up, belong to a lane but to no sequence.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "base/random.h"
#include "tensor/packed_attention.h"
#include "tensor/rows.h"

namespace graft {

// The mask of a text: its place, and the tokens among which a classifier chooses there.
struct Mask {
  int64_t token = 0;                                  // index in ids
  std::shared_ptr<const std::vector<int64_t>> words;  // by label
};

// For a decoder-only model: the tokens of a text that it shall learn to give.
struct TargetMarks {
  std::vector<bool> is_target;  // as many as ids
  int64_t prompt = -1;  // tokens of the prompt, in which targets may stand, too; -1: those before
                        // the first target
};

// For an encoder-decoder: all tokens that its decoder shall give.
struct TargetIds {
  std::vector<int64_t> ids;
};

// One tokenised text or pair of texts.
struct Sequence {
  int64_t example = 0;  // names the row of the data set, for dropout and for messages
  std::vector<int64_t> ids = {};
  std::vector<int64_t> type_ids = {};  // same length as ids
  std::vector<float> embedding = {};   // of the whole text, if routers read one; else empty
  // Rows of an edit's subspace that act for the text; empty: all that the edit has.
  std::vector<int64_t> subspace = {};
  // What is asked of the text. Nothing for a text that a head classifies, and for a prompt.
  std::variant<std::monostate, Mask, TargetMarks, TargetIds> asked = {};

  const Mask* mask() const { return std::get_if<Mask>(&asked); }
  // Of TargetMarks and TargetIds; empty if the sequence has none.
  const std::vector<bool>& is_target() const;
  const std::vector<int64_t>& target_ids() const;
  // Tokens that the encoder and the decoder read.
  int64_t num_tokens() const { return static_cast<int64_t>(ids.size() + target_ids().size()); }
  // Tokens before the first target, or as many as the marks say; all tokens if there is no target.
  int64_t prompt_length() const;
};

// The rows of a sequence beside its tokens.
struct RowLayout {
  int64_t virtual_rows = 0;  // for the vectors of a prompt; their word embeddings are the pad
                             // token's until an edit replaces them
  bool virtual_rows_follow_first = false;  // after the first token instead of before it
  int64_t first_position = 0;  // of the first row: past those that a prefix counts as its own
  int64_t padded_length =
      0;  // shorter sequences get pad tokens, which attend but are not attended to; 0 = none

  friend auto operator<=>(const RowLayout&, const RowLayout&) = default;
};

// Rows [begin, end) of one sequence, counted from its first.
struct RowRange {
  int64_t begin = 0, end = 0;
};

// Where a trunk drops out, with which probability. None at evaluation.
struct DropoutRates {
  double embed = 0.0;       // of the embeddings
  double hidden = 0.0;      // of what a block adds to its residual stream
  double attention = 0.0;   // of the probabilities
  double activation = 0.0;  // of what enters ffn.down
};

// Rows and sequences of a lane. Lanes lie end to end and cover the whole pack.
struct LaneRows {
  int64_t first_row = 0, num_rows = 0;
  int64_t first_sequence = 0, num_sequences = 0;
  // As its LaneInput has them.
  RandomKey key = {};
  DropoutRates dropout = {};
  bool ends_run = false;
  // Those that the masks of its texts choose among; null without masks.
  std::shared_ptr<const std::vector<int64_t>> words = nullptr;
};

struct Pack {
  at::Tensor ids, type_ids, positions;  // [T] int64
  std::shared_ptr<const RowIds> rows;   // T entries; filler rows have example -1
  std::shared_ptr<const Spans> spans;   // self-attention
  std::vector<RowRange> sequences;      // [N]: the rows of each; fillers may lie between two lanes
  std::vector<int64_t>
      token;  // [T]: index of the row's token in its sequence; -1 for virtual, pad and filler rows
  std::vector<int64_t>
      prompts;  // [N]: tokens of each sequence's prompt, also of one whose rows are not all here
  std::vector<int64_t> sources;    // [N], of an encoder-decoder's decoder: the sequence that each
                                   // reads there; else empty
  std::vector<int64_t> mask_rows;  // [N]: the row of each sequence's mask, -1 without one
  at::Tensor embedding;            // [N, S] float32 of the sequences; undefined when they have none
  std::vector<std::vector<int64_t>>
      subspaces;                // [N] of the sequences; empty when all have all rows
  std::vector<LaneRows> lanes;  // at least one
  int64_t num_rows = 0;         // T, fillers included
  int64_t num_tokens = 0;       // real rows

  int64_t num_sequences() const { return static_cast<int64_t>(sequences.size()); }
  LaneRows whole() const { return {0, num_rows, 0, num_sequences()}; }
};

struct PackOptions {
  // T becomes a multiple of this (the matrix kernels are compiled once per T), and so do the rows
  // up to the end of each run.
  int64_t round_rows_to = 1;
  int64_t position_offset = 0;
  int64_t pad_id = 0;
};

// Sequences of one lane.
struct LaneInput {
  std::vector<const Sequence*> sequences = {};
  RowLayout layout = {};
  // (seed, step, micro-batch): all that is drawn in the lane begins with it. Lanes over the same
  // examples (AdaMix's two passes) have streams of their own.
  RandomKey key = {};
  DropoutRates dropout = {};  // of the trunk; none at evaluation
  // The last lane of its run, when several runs share a pass: fillers end it, so that the lanes of
  // each run have the rows that they have in a pass of their own.
  bool ends_run = false;
};

// Requires: at least one lane, no empty sequence. Throws InputError naming the example of one that
// is empty.
Pack make_pack(const std::vector<LaneInput>& lanes, const PackOptions& options);

// The pack of an encoder-decoder's decoder: read[i] attends to the i-th sequence of `lanes`, the
// encoder's, and is of its lane. Requires: as many as those sequences; `read` outlives the call
// only.
Pack make_decoder_pack(const std::vector<LaneInput>& lanes, const std::vector<Sequence>& read,
                       const PackOptions& options);

// Ends a lane of a pack that is being made, whose sequences and tokens stand: adds fillers until it
// has `least_rows` and all rows are a multiple of `round_rows_to`. `like`: what else the lane has.
void end_lane(Pack& pack, RowIds& rows, const LaneRows& like, int64_t round_rows_to,
              int64_t least_rows = 0);

struct NarrowedPack {
  Pack pack;
  // [R] int64: the row of the whole pack that each row is; undefined where all are there.
  at::Tensor index;
};

// Some rows of every sequence, as queries over the keys of the whole pack: all that is read of the
// last block. `ranges`: one a sequence, maybe empty. A lane whose entry in `keeps_lane` is true
// keeps all of its rows instead; an empty list: none does. Fillers, to a multiple of
// `round_rows_to`, repeat the first row of their lane.
NarrowedPack narrowed(const Pack& pack, const std::vector<RowRange>& ranges, int64_t round_rows_to,
                      const std::vector<bool>& keeps_lane = {});

// [R] int64: where the rows of narrowed(pack, ranges, ...) lie in narrowed(pack, ranges, ...,
// keeps_lane).
at::Tensor rows_within(const Pack& pack, const NarrowedPack& few, const Pack& more,
                       const std::vector<bool>& keeps_lane);

// The row of the last token of each sequence: virtual rows may come after it.
std::vector<RowRange> last_token_rows(const Pack& pack);

}  // namespace graft
