#include "model/pack.h"

#include <ATen/ops/tensor.h>

#include <algorithm>

#include "base/error.h"

namespace graft {

int64_t Sequence::prompt_length() const {
  const auto first = std::find(is_target.begin(), is_target.end(), true);
  return is_target.empty() ? static_cast<int64_t>(ids.size()) : first - is_target.begin();
}

namespace {

constexpr int kPassShift = 48;  // data sets have fewer rows than that
constexpr int64_t kExamples = (int64_t{1} << kPassShift) - 1;

struct RowLists {
  std::vector<int64_t> ids, type_ids, positions;
};

// The row of a token in its sequence.
int64_t row_of(int64_t token, const RowLayout& layout) {
  const bool is_before = layout.virtual_rows_follow_first && token == 0;
  return token + (is_before ? 0 : layout.virtual_rows);
}

// Appends the rows of one sequence; returns how many of them others attend to.
int64_t add_rows(const Sequence& sequence, const RowLayout& layout, const PackOptions& options,
                 RowLists& lists, Pack& pack) {
  const auto length = static_cast<int64_t>(sequence.ids.size());
  const int64_t visible = length + layout.virtual_rows,
                all = std::max(visible, layout.padded_length);
  const int64_t first_virtual = layout.virtual_rows_follow_first ? 1 : 0;
  for (int64_t p = 0; p < all; ++p) {
    const bool is_pad = p >= visible,
               is_virtual = p >= first_virtual && p < first_virtual + layout.virtual_rows;
    const int64_t token =
        is_pad || is_virtual ? -1 : p - (p < first_virtual ? 0 : layout.virtual_rows);
    lists.ids.push_back(token < 0 ? options.pad_id : sequence.ids[static_cast<size_t>(token)]);
    lists.type_ids.push_back(
        token < 0 || sequence.type_ids.empty() ? 0 : sequence.type_ids[static_cast<size_t>(token)]);
    // A family whose table begins after the pad id keeps one row of it for pad tokens.
    lists.positions.push_back(is_pad && options.position_offset > 0
                                  ? options.position_offset - 1
                                  : layout.first_position + p + options.position_offset);
    pack.token.push_back(token);
  }
  return visible;
}

// [N, S] of all sequences, or undefined when none has an embedding.
at::Tensor embeddings_of(const std::vector<LaneInput>& lanes) {
  std::vector<float> values;
  int64_t count = 0, width = -1;
  for (const LaneInput& lane : lanes) {
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

int64_t example_of(int64_t stream) { return stream & kExamples; }

void complete_rows(Pack& pack, const std::vector<LaneRows>& lanes, int64_t round_rows_to,
                   RowIds rows, Spans spans) {
  const int64_t used = pack.offsets.back();
  pack.num_rows = (used + round_rows_to - 1) / round_rows_to * round_rows_to;
  const auto all = static_cast<size_t>(pack.num_rows);
  pack.token.resize(all, -1);
  rows.example.resize(all, -1);
  rows.position.resize(all, 0);
  for (const LaneRows& lane : lanes) {
    const int64_t first = pack.offsets[static_cast<size_t>(lane.first_sequence)],
                  end = pack.offsets[static_cast<size_t>(lane.first_sequence + lane.num_sequences)];
    pack.lanes.push_back({first, end - first, lane.first_sequence, lane.num_sequences});
  }
  pack.lanes.back().num_rows += pack.num_rows - used;
  pack.rows = std::make_shared<const RowIds>(std::move(rows));
  pack.spans = std::make_shared<const Spans>(std::move(spans));
}

Pack make_pack(const std::vector<LaneInput>& lanes, const PackOptions& options) {
  RowLists lists;
  RowIds rows;
  Spans spans;
  Pack pack;
  std::vector<LaneRows> ranges;
  pack.offsets.push_back(0);
  for (const LaneInput& lane : lanes) {
    ranges.push_back({0, 0, pack.num_sequences(), static_cast<int64_t>(lane.sequences.size())});
    for (const Sequence* sequence : lane.sequences) {
      const auto length = static_cast<int64_t>(sequence->ids.size());
      if (length == 0)
        throw InputError("example " + std::to_string(sequence->example) + " has no tokens");
      ensure(sequence->type_ids.empty() || sequence->type_ids.size() == sequence->ids.size(),
             "a sequence has as many type ids as ids, or none");
      ensure(sequence->is_target.empty() || sequence->is_target.size() == sequence->ids.size(),
             "a sequence has a mark for every id, or none");
      const int64_t begin = pack.offsets.back();
      const int64_t visible = add_rows(*sequence, lane.layout, options, lists, pack);
      const auto end = static_cast<int64_t>(lists.ids.size());
      const int64_t stream = sequence->example | (lane.pass << kPassShift);
      for (int64_t p = 0; p < end - begin; ++p) rows.position.push_back(p);
      rows.example.insert(rows.example.end(), static_cast<size_t>(end - begin), stream);
      spans.sequences.push_back({begin, end, begin, begin + visible, 0, stream});
      pack.offsets.push_back(end);
      pack.prompts.push_back(sequence->prompt_length());
      if (sequence->mask) {
        pack.mask_rows.push_back(row_of(sequence->mask->token, lane.layout));
        pack.words = sequence->mask->words;
      }
      pack.num_tokens += length;
    }
  }
  complete_rows(pack, ranges, options.round_rows_to, std::move(rows), std::move(spans));
  const auto all = static_cast<size_t>(pack.num_rows);
  lists.ids.resize(all, options.pad_id);
  lists.type_ids.resize(all, 0);
  lists.positions.resize(all, options.position_offset);
  pack.ids = at::tensor(lists.ids, at::kLong);
  pack.type_ids = at::tensor(lists.type_ids, at::kLong);
  pack.positions = at::tensor(lists.positions, at::kLong);
  pack.embedding = embeddings_of(lanes);
  return pack;
}

Pack make_decoder_pack(const std::vector<LaneInput>& lanes, const std::vector<Sequence>& read,
                       const PackOptions& options) {
  std::vector<LaneInput> beside;
  size_t n = 0;
  for (const LaneInput& lane : lanes) {
    LaneInput& own = beside.emplace_back(LaneInput{{}, lane.pass, {}});
    for (size_t i = 0; i < lane.sequences.size(); ++i) own.sequences.push_back(&read.at(n++));
  }
  ensure(n == read.size(), "a decoder's sequence for each of the encoder's");
  Pack pack = make_pack(beside, options);
  for (size_t i = 0; i < n; ++i) pack.sources.push_back(static_cast<int64_t>(i));
  return pack;
}

Pack narrowed(const Pack& pack, const std::vector<RowRange>& ranges, int64_t round_rows_to,
              at::Tensor& index) {
  ensure(static_cast<int64_t>(ranges.size()) == pack.num_sequences(),
         "one range of rows a sequence");
  Pack out;
  RowIds rows;
  Spans spans;
  std::vector<int64_t> kept;
  out.offsets.push_back(0);
  for (size_t n = 0; n < ranges.size(); ++n) {
    const int64_t begin = pack.offsets[n] + ranges[n].begin, end = pack.offsets[n] + ranges[n].end;
    ensure(pack.offsets[n] <= begin && begin <= end && end <= pack.offsets[n + 1],
           "a range lies inside its sequence");
    for (int64_t row = begin; row < end; ++row) {
      kept.push_back(row);
      out.token.push_back(pack.token[static_cast<size_t>(row)]);
      rows.example.push_back(pack.rows->example[static_cast<size_t>(row)]);
      rows.position.push_back(pack.rows->position[static_cast<size_t>(row)]);
    }
    const Spans::Span& span = pack.spans->sequences[n];
    const auto last = static_cast<int64_t>(kept.size());
    spans.sequences.push_back({out.offsets.back(), last, span.key_begin, span.key_end,
                               span.first_position + ranges[n].begin, span.example});
    out.offsets.push_back(last);
  }
  out.num_tokens = out.offsets.back();
  complete_rows(out, pack.lanes, round_rows_to, std::move(rows), std::move(spans));
  kept.resize(static_cast<size_t>(out.num_rows), 0);
  index = at::tensor(kept, at::kLong);
  out.ids = pack.ids.index_select(0, index);
  out.type_ids = pack.type_ids.index_select(0, index);
  out.positions = pack.positions.index_select(0, index);
  out.prompts = pack.prompts;
  out.sources = pack.sources;
  out.embedding = pack.embedding;
  return out;
}

std::vector<RowRange> last_token_rows(const Pack& pack) {
  std::vector<RowRange> ranges;
  for (int64_t n = 0; n < pack.num_sequences(); ++n) {
    const auto sequence = static_cast<size_t>(n);
    int64_t row = pack.offsets[sequence + 1] - 1;
    while (pack.token[static_cast<size_t>(row)] < 0) --row;
    ranges.push_back({row - pack.offsets[sequence], row + 1 - pack.offsets[sequence]});
  }
  return ranges;
}

}  // namespace graft
