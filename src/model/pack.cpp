#include "model/pack.h"

#include <ATen/ops/tensor.h>

#include "base/error.h"

namespace graft {

namespace {

constexpr int kPassShift = 48;   // data sets have fewer rows than that

}  // namespace

namespace {

struct RowLists {
  std::vector<int64_t> ids, type_ids, positions;
};

// Appends the rows of one sequence; returns how many of them others attend to.
int64_t add_rows(const Sequence& sequence, const RowLayout& layout, const PackOptions& options, RowLists& lists, Pack& pack) {
  const auto length = static_cast<int64_t>(sequence.ids.size());
  const int64_t visible = length + layout.virtual_rows, all = std::max(visible, layout.padded_length);
  const int64_t first_virtual = layout.virtual_rows_follow_first ? 1 : 0;
  for (int64_t p = 0; p < all; ++p) {
    const bool is_pad = p >= visible, is_virtual = p >= first_virtual && p < first_virtual + layout.virtual_rows;
    const int64_t token = is_pad || is_virtual ? -1 : p - (p < first_virtual ? 0 : layout.virtual_rows);
    lists.ids.push_back(token < 0 ? options.pad_id : sequence.ids[static_cast<size_t>(token)]);
    lists.type_ids.push_back(token < 0 ? 0 : sequence.type_ids[static_cast<size_t>(token)]);
    // A family whose table begins after the pad id keeps one row of it for pad tokens.
    lists.positions.push_back(is_pad && options.position_offset > 0 ? options.position_offset - 1 : layout.first_position + p + options.position_offset);
    pack.token.push_back(token);
  }
  return visible;
}

// [N, S] of all sequences, or undefined when none has an embedding.
at::Tensor embeddings_of(const std::vector<PackLane>& lanes) {
  std::vector<float> values;
  int64_t count = 0, width = -1;
  for (const PackLane& lane : lanes) {
    for (const Sequence* sequence : lane.sequences) {
      const auto own = static_cast<int64_t>(sequence->embedding.size());
      ensure(width < 0 || own == width, "all sequences of a pack have embeddings of one width");
      width = own;
      values.insert(values.end(), sequence->embedding.begin(), sequence->embedding.end());
      ++count;
    }
  }
  return width > 0 ? at::tensor(values, at::kFloat).view({count, width}) : at::Tensor();
}

}  // namespace

Pack make_pack(const std::vector<PackLane>& lanes, const PackOptions& options) {
  RowLists lists;
  auto rows = std::make_shared<RowIds>();
  auto spans = std::make_shared<Spans>();
  Pack pack;
  pack.offsets.push_back(0);
  for (const PackLane& lane : lanes) {
    LaneRange range{pack.offsets.back(), 0, pack.num_sequences(), static_cast<int64_t>(lane.sequences.size())};
    for (const Sequence* sequence : lane.sequences) {
      const auto length = static_cast<int64_t>(sequence->ids.size());
      if (length == 0) throw InputError("example " + std::to_string(sequence->example) + " has no tokens");
      ensure(sequence->type_ids.size() == sequence->ids.size(), "a sequence has as many type ids as ids");
      const int64_t begin = pack.offsets.back();
      const int64_t visible = add_rows(*sequence, lane.layout, options, lists, pack);
      const auto end = static_cast<int64_t>(lists.ids.size());
      const int64_t stream = sequence->example | (lane.pass << kPassShift);
      for (int64_t p = 0; p < end - begin; ++p) rows->position.push_back(p);
      rows->example.insert(rows->example.end(), static_cast<size_t>(end - begin), stream);
      spans->sequences.push_back({begin, end, begin, begin + visible, 0, stream});
      pack.offsets.push_back(end);
      pack.lengths.push_back(length);
      pack.num_tokens += length;
    }
    range.num_rows = pack.offsets.back() - range.first_row;
    pack.lanes.push_back(range);
  }
  const int64_t used = pack.offsets.back();
  pack.num_rows = (used + options.round_rows_to - 1) / options.round_rows_to * options.round_rows_to;
  const auto all = static_cast<size_t>(pack.num_rows);
  pack.lanes.back().num_rows += pack.num_rows - used;
  lists.ids.resize(all, options.pad_id);
  lists.type_ids.resize(all, 0);
  lists.positions.resize(all, options.position_offset);
  pack.token.resize(all, -1);
  rows->example.resize(all, -1);
  rows->position.resize(all, 0);
  pack.ids = at::tensor(lists.ids, at::kLong);
  pack.type_ids = at::tensor(lists.type_ids, at::kLong);
  pack.positions = at::tensor(lists.positions, at::kLong);
  pack.embedding = embeddings_of(lanes);
  pack.rows = std::move(rows);
  pack.spans = std::move(spans);
  return pack;
}

Pack first_rows_of(const Pack& pack, at::Tensor& first_rows) {
  const int64_t count = pack.num_sequences();
  Pack out;
  auto rows = std::make_shared<RowIds>();
  auto spans = std::make_shared<Spans>();
  std::vector<int64_t> index;
  out.offsets.push_back(0);
  for (int64_t n = 0; n < count; ++n) {
    const Spans::Span& span = pack.spans->sequences[static_cast<size_t>(n)];
    index.push_back(span.query_begin);
    out.token.push_back(pack.token[static_cast<size_t>(span.query_begin)]);
    rows->example.push_back(span.example);
    rows->position.push_back(0);
    spans->sequences.push_back({n, n + 1, span.key_begin, span.key_end, 0, span.example});
    out.offsets.push_back(n + 1);
  }
  first_rows = at::tensor(index, at::kLong);
  out.ids = pack.ids.index_select(0, first_rows);
  out.type_ids = pack.type_ids.index_select(0, first_rows);
  out.positions = pack.positions.index_select(0, first_rows);
  out.rows = std::move(rows);
  out.spans = std::move(spans);
  for (const LaneRange& lane : pack.lanes) out.lanes.push_back({lane.first_sequence, lane.num_sequences, lane.first_sequence, lane.num_sequences});
  out.lengths = pack.lengths;
  out.embedding = pack.embedding;
  out.num_rows = out.num_tokens = count;
  return out;
}

}  // namespace graft
