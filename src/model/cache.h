// What a decoder keeps of the rows it has seen, so that each new row is computed once: keys and
// values of every layer, prefix rows as edits gave them at the first pass, the encoder's keys and
// values, and what edits remember of a sequence.
//
// Each sequence has a slot of rows [begin, begin + capacity) in one tensor per layer; attention
// reads the filled part of a slot as one range of keys. Used by one generation at a time; nothing
// in it is differentiated.
#pragma once

#include <ATen/core/Tensor.h>

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/pack.h"
#include "tensor/packed_attention.h"

namespace graft {

// What an edit keeps of the rows of texts that are being written.
struct MemoryKey {
  const void* edit = nullptr;  // whose it is,
  int64_t expert = 0;          // and of which of its experts
  int64_t site = 0;            // its index
  int use = 0;                 // of several tensors at one site

  friend auto operator<=>(const MemoryKey&, const MemoryKey&) = default;
};
using Memory = std::map<MemoryKey, at::Tensor>;

class Cache {
 public:
  // For the sequences of `first`, the decoder's pack of the first pass (prompts, or the start token
  // in an encoder-decoder), each with room for new_tokens[n] more. Throws InputError when a
  // sequence would pass max_positions.
  Cache(const ModelConfig& config, at::ScalarType dtype, const Pack& first,
        const std::vector<int64_t>& new_tokens);

  int64_t num_sequences() const { return static_cast<int64_t>(slots_.size()); }
  bool is_begun() const { return is_begun_; }  // the first pass is over
  // Tokens held of a sequence, those of its prompt first.
  const std::vector<int64_t>& tokens(int64_t sequence) const {
    return slots_[static_cast<size_t>(sequence)].tokens;
  }
  const std::vector<LaneRows>& lanes() const {
    return lanes_;
  }  // of sequences; their rows are not told

  // The pack of the next pass: ids[n] follow the tokens of sequence n; at least one each.
  // Throws InternalError when the room is used up.
  Pack next(const std::vector<std::vector<int64_t>>& ids, const PackOptions& options) const;

  // Sequence n becomes a copy of the present sequence from[n], which need not be another, nor only
  // one of its kind. Sequences of a lane stay side by side: `from` names lanes in their order. Rows
  // are copied only for sequences named more than once.
  void select(const std::vector<int64_t>& from);

  // Below: for the trunk, and for edits.

  // Between these two calls rows of `pack` may be added.
  void open(const Pack& pack);
  void close();

  // [N]: the filled rows of each slot, those of the open pack among them.
  std::vector<RowRange> key_rows() const;

  struct Rows {
    at::Tensor keys, values;  // all slots of the layer
  };
  // k, v: [T, K*D] of the open pack.
  Rows add(int64_t layer, const at::Tensor& k, const at::Tensor& v);

  // Keys and values that do not grow: of the encoder's rows (cross-attention), and prefix rows by
  // attention site.
  struct Fixed {
    at::Tensor keys, values;
  };
  std::vector<std::optional<Fixed>> cross;                       // [layer]
  std::vector<std::optional<std::vector<LanePrefix>>> prefixes;  // [site index]; scales by sequence
  std::vector<RowRange> encoder_rows;  // [N]: in `cross`; of an encoder-decoder's decoder

  // What the edits of a lane remember of its sequences: [sequences of the lane, ...] each.
  Memory& memory(int64_t lane) { return memories_[static_cast<size_t>(lane)]; }

 private:
  struct Slot {
    int64_t begin = 0, capacity = 0;
    int64_t rows = 0;      // filled
    int64_t position = 0;  // of the next token
    int64_t example = 0, prompt = 0, lane = 0;
    std::vector<int64_t> tokens = {};
  };

  void allocate();
  Slot free_slot(const Slot& source);
  static int64_t first_difference(const Slot& own, const Slot& other);
  void select_lanes(const std::vector<int64_t>& from);

  int64_t key_width_;
  at::ScalarType dtype_;
  std::vector<Slot> slots_;
  std::vector<Slot> free_;  // no sequence's; rows as its last one left them
  int64_t num_rows_ = 0;    // of all slots, the free ones too
  bool is_begun_ = false;
  std::vector<LaneRows> lanes_;
  std::vector<Memory> memories_;
  std::vector<at::Tensor> keys_, values_;        // [layer]: [rows of all slots, K*D]
  at::Tensor embedding_;                         // [N, S] of the sequences, where routers read one
  std::vector<std::vector<int64_t>> subspaces_;  // as those of a pack

  at::Tensor index_;            // of the open pack: where its rows go
  std::vector<int64_t> added_;  // of the open pack: rows a sequence
  const Pack* open_ = nullptr;
};

}  // namespace graft
