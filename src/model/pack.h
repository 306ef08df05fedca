// A batch as packed rows: all sequences end to end, no padding.
//
// Row t of every tensor in a trunk belongs to sequence `sequence_of_row[t]`; filler rows (to round
// T up) belong to none.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tensor/packed_attention.h"
#include "tensor/rows.h"

namespace graft {

// Of a text with a mask: where it stands, and the tokens among which a classifier chooses there.
struct Mask {
  int64_t token = 0;                                  // index in ids
  std::shared_ptr<const std::vector<int64_t>> words;  // by label
};

// One tokenised text or pair of texts.
struct Sequence {
  int64_t example = 0;  // names the row of the data set, for dropout and for messages
  std::vector<int64_t> ids = {};
  std::vector<int64_t> type_ids = {};  // same length as ids
  std::vector<float> embedding = {};   // of the whole text, where routers read one; else empty
  std::optional<Mask> mask = {};
  std::vector<bool> is_target =
      {};  // of a decoder-only model: tokens that it shall learn to give; empty: none
  std::vector<int64_t> target_ids = {};  // of an encoder-decoder's decoder: all that it shall give

  // Of both sides.
  int64_t num_tokens() const { return static_cast<int64_t>(ids.size() + target_ids.size()); }
  // Tokens before the first target: all, where there is none.
  int64_t prompt_length() const;
};

// Rows of a sequence beside its tokens.
struct RowLayout {
  int64_t virtual_rows = 0;  // for the vectors of a prompt; their word embeddings are the pad
                             // token's until an edit replaces them
  bool virtual_rows_follow_first = false;  // after the first token instead of before it
  int64_t first_position = 0;  // of the first row: past those that a prefix counts as its own
  int64_t padded_length =
      0;  // shorter sequences get pad tokens, which attend but are not attended to; 0 = none
};

// Rows [begin, end) of one sequence, counted from its first.
struct RowRange {
  int64_t begin = 0, end = 0;
};

// Rows and sequences that go through one adapter with one route. Lanes lie end to end and cover the
// whole pack.
struct LaneRows {
  int64_t first_row = 0, num_rows = 0;
  int64_t first_sequence = 0, num_sequences = 0;
};

struct Pack {
  at::Tensor ids, type_ids, positions;  // [T] int64
  std::shared_ptr<const RowIds> rows;   // T entries; filler rows have example -1
  std::shared_ptr<const Spans> spans;   // self-attention
  std::vector<int64_t> offsets;         // [N+1]: sequence n has rows offsets[n] .. offsets[n+1]-1
  std::vector<int64_t>
      token;  // [T]: index of the row's token in its sequence; -1 for virtual, pad and filler rows
  std::vector<int64_t>
      prompts;  // [N]: tokens of each sequence's prompt, also of one whose rows are not all here
  std::vector<int64_t> sources;    // [N], of an encoder-decoder's decoder: the sequence that each
                                   // reads there; else empty
  std::vector<int64_t> mask_rows;  // [N]: the row of each sequence's mask; empty without masks
  std::shared_ptr<const std::vector<int64_t>> words;  // the masks' words; null without masks
  at::Tensor embedding;         // [N, S] float32 of the sequences; undefined when they have none
  std::vector<LaneRows> lanes;  // at least one
  int64_t num_rows = 0;         // T, fillers included
  int64_t num_tokens = 0;       // real rows

  int64_t num_sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }
  LaneRows whole() const { return {0, num_rows, 0, num_sequences()}; }
};

// Of a stream that rows and spans are named by: an example and its pass.
int64_t example_of(int64_t stream);

struct PackOptions {
  int64_t round_rows_to =
      1;  // T becomes a multiple of this: the matrix kernels are compiled once per T
  int64_t position_offset = 0;
  int64_t pad_id = 0;
};

// Sequences of one lane. `pass` tells apart lanes over the same examples (AdaMix's two passes), so
// that their dropout differs.
struct LaneInput {
  std::vector<const Sequence*> sequences;
  int64_t pass = 0;
  RowLayout layout = {};
};

// Requires: at least one lane, no empty sequence. Throws InputError naming the example of one that
// is empty.
Pack make_pack(const std::vector<LaneInput>& lanes, const PackOptions& options);

// The pack of an encoder-decoder's decoder: read[i] attends to the i-th sequence of `lanes`, the
// encoder's, and is of its lane and pass. Requires: as many as those sequences; `read` outlives the
// call only.
Pack make_decoder_pack(const std::vector<LaneInput>& lanes, const std::vector<Sequence>& read,
                       const PackOptions& options);

// What follows from a pack's sequences and tokens: fillers up to a multiple of `round_rows_to`
// rows, and the rows of its lanes, of which `lanes` tells the sequences.
void complete_rows(Pack& pack, const std::vector<LaneRows>& lanes, int64_t round_rows_to,
                   RowIds rows, Spans spans);

// The pack of some rows of every sequence, as queries over the keys of the whole pack: all that is
// read of the last block. `ranges`: one a sequence, maybe empty. `index` [R] int64 receives the
// rows' indices in `pack`; fillers, to a multiple of `round_rows_to`, repeat row 0.
Pack narrowed(const Pack& pack, const std::vector<RowRange>& ranges, int64_t round_rows_to,
              at::Tensor& index);

// The row of the last token of each sequence: virtual rows may come after it.
std::vector<RowRange> last_token_rows(const Pack& pack);

}  // namespace graft
