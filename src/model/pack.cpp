#include "model/pack.h"

#include <ATen/ops/tensor.h>

#include "base/error.h"

namespace graft {

namespace {

constexpr int kPassShift = 48;   // data sets have fewer rows than that

}  // namespace

Pack make_pack(const std::vector<PackLane>& lanes, const PackOptions& options) {
  std::vector<int64_t> ids, type_ids, positions;
  auto rows = std::make_shared<RowIds>();
  auto spans = std::make_shared<Spans>();
  Pack pack;
  pack.offsets.push_back(0);
  for (const PackLane& lane : lanes) {
    LaneRange range{static_cast<int64_t>(ids.size()), 0, pack.num_sequences(), static_cast<int64_t>(lane.sequences.size())};
    for (const Sequence* sequence : lane.sequences) {
      const auto length = static_cast<int64_t>(sequence->ids.size());
      if (length == 0) throw InputError("example " + std::to_string(sequence->example) + " has no tokens");
      ensure(sequence->type_ids.size() == sequence->ids.size(), "a sequence has as many type ids as ids");
      const int64_t begin = pack.offsets.back(), end = begin + length;
      ids.insert(ids.end(), sequence->ids.begin(), sequence->ids.end());
      type_ids.insert(type_ids.end(), sequence->type_ids.begin(), sequence->type_ids.end());
      for (int64_t p = 0; p < length; ++p) {
        positions.push_back(p + options.position_offset);
        rows->position.push_back(p);
      }
      const int64_t stream = sequence->example | (lane.pass << kPassShift);
      rows->example.insert(rows->example.end(), static_cast<size_t>(length), stream);
      spans->sequences.push_back({begin, end, begin, end, 0, stream});
      pack.offsets.push_back(end);
    }
    range.num_rows = pack.offsets.back() - range.first_row;
    pack.lanes.push_back(range);
  }
  pack.num_tokens = pack.offsets.back();
  pack.num_rows = (pack.num_tokens + options.round_rows_to - 1) / options.round_rows_to * options.round_rows_to;
  const auto all = static_cast<size_t>(pack.num_rows);
  pack.lanes.back().num_rows += pack.num_rows - pack.num_tokens;
  ids.resize(all, options.pad_id);
  type_ids.resize(all, 0);
  positions.resize(all, options.position_offset);
  rows->example.resize(all, -1);
  rows->position.resize(all, 0);
  pack.ids = at::tensor(ids, at::kLong);
  pack.type_ids = at::tensor(type_ids, at::kLong);
  pack.positions = at::tensor(positions, at::kLong);
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
  out.num_rows = out.num_tokens = count;
  return out;
}

}  // namespace graft
