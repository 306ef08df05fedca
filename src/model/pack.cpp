#include "model/pack.h"

#include <ATen/ops/tensor.h>

#include <algorithm>

#include "base/error.h"

namespace graft {

const std::vector<bool>& Sequence::is_target() const {
  static const std::vector<bool> kNone;
  const auto* own = std::get_if<TargetMarks>(&asked);
  return own != nullptr ? own->is_target : kNone;
}

const std::vector<int64_t>& Sequence::target_ids() const {
  static const std::vector<int64_t> kNone;
  const auto* own = std::get_if<TargetIds>(&asked);
  return own != nullptr ? own->ids : kNone;
}

int64_t Sequence::prompt_length() const {
  const auto* own = std::get_if<TargetMarks>(&asked);
  if (own != nullptr && own->prompt >= 0) return own->prompt;
  const std::vector<bool>& marks = is_target();
  const auto first = std::find(marks.begin(), marks.end(), true);
  return marks.empty() ? static_cast<int64_t>(ids.size()) : first - marks.begin();
}

namespace {

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

// [N] of all sequences, or nothing when none names a row.
std::vector<std::vector<int64_t>> subspaces_of(const std::vector<LaneInput>& lanes) {
  std::vector<std::vector<int64_t>> out;
  bool is_named = false;
  for (const LaneInput& lane : lanes) {
    for (const Sequence* sequence : lane.sequences) {
      out.push_back(sequence->subspace);
      is_named = is_named || !sequence->subspace.empty();
    }
  }
  if (!is_named) out.clear();
  return out;
}

}  // namespace

void end_lane(Pack& pack, RowIds& rows, const LaneRows& like, int64_t round_rows_to,
              int64_t least_rows) {
  LaneRows lane = like;
  if (pack.lanes.empty()) {
    lane.first_row = lane.first_sequence = 0;
  } else {
    const LaneRows& before = pack.lanes.back();
    lane.first_row = before.first_row + before.num_rows;
    lane.first_sequence = before.first_sequence + before.num_sequences;
  }
  lane.num_sequences = pack.num_sequences() - lane.first_sequence;
  const int64_t used = std::max(std::ssize(pack.token), lane.first_row + least_rows);
  pack.num_rows = (used + round_rows_to - 1) / round_rows_to * round_rows_to;
  lane.num_rows = pack.num_rows - lane.first_row;
  const auto all = static_cast<size_t>(pack.num_rows);
  pack.token.resize(all, -1);
  rows.example.resize(all, -1);
  rows.position.resize(all, 0);
  pack.lanes.push_back(lane);
}

namespace {

// Appends the rows of one sequence to all that a pack knows of rows.
void add_sequence(const Sequence& sequence, const LaneInput& lane, const PackOptions& options,
                  RowLists& lists, RowIds& rows, Spans& spans, Pack& pack) {
  const auto length = static_cast<int64_t>(sequence.ids.size());
  if (length == 0)
    throw InputError("example " + std::to_string(sequence.example) + " has no tokens");
  ensure(sequence.type_ids.empty() || sequence.type_ids.size() == sequence.ids.size(),
         "a sequence has as many type ids as ids, or none");
  ensure(sequence.is_target().empty() || sequence.is_target().size() == sequence.ids.size(),
         "a sequence has a mark for every id, or none");
  const auto begin = std::ssize(pack.token);
  const int64_t visible = add_rows(sequence, lane.layout, options, lists, pack);
  const auto end = std::ssize(pack.token);
  for (int64_t p = 0; p < end - begin; ++p) rows.position.push_back(p);
  rows.example.insert(rows.example.end(), static_cast<size_t>(end - begin), sequence.example);
  spans.sequences.push_back({begin, end, begin, begin + visible, 0, sequence.example});
  pack.sequences.push_back({begin, end});
  pack.prompts.push_back(sequence.prompt_length());
  pack.mask_rows.push_back(sequence.mask() != nullptr ? row_of(sequence.mask()->token, lane.layout)
                                                      : -1);
  pack.num_tokens += length;
}

// The words that the masks of a lane's texts choose among; null without masks.
std::shared_ptr<const std::vector<int64_t>> words_of(const LaneInput& lane) {
  for (const Sequence* sequence : lane.sequences) {
    if (sequence->mask() != nullptr) return sequence->mask()->words;
  }
  return nullptr;
}

// Of the i-th of `count` lanes: what its rows, and all before them, become a multiple of.
int64_t rounding_of(size_t i, size_t count, bool ends_run, int64_t round_rows_to) {
  return ends_run || i + 1 == count ? round_rows_to : 1;
}

}  // namespace

Pack make_pack(const std::vector<LaneInput>& lanes, const PackOptions& options) {
  RowLists lists;
  RowIds rows;
  Spans spans;
  Pack pack;
  for (size_t i = 0; i < lanes.size(); ++i) {
    const LaneInput& lane = lanes[i];
    for (const Sequence* sequence : lane.sequences)
      add_sequence(*sequence, lane, options, lists, rows, spans, pack);
    end_lane(pack, rows,
             {.key = lane.key,
              .dropout = lane.dropout,
              .ends_run = lane.ends_run,
              .words = words_of(lane)},
             rounding_of(i, lanes.size(), lane.ends_run, options.round_rows_to));
    const auto all = static_cast<size_t>(pack.num_rows);
    lists.ids.resize(all, options.pad_id);
    lists.type_ids.resize(all, 0);
    lists.positions.resize(all, options.position_offset);
  }
  pack.rows = std::make_shared<const RowIds>(std::move(rows));
  pack.spans = std::make_shared<const Spans>(std::move(spans));
  pack.ids = at::tensor(lists.ids, at::kLong);
  pack.type_ids = at::tensor(lists.type_ids, at::kLong);
  pack.positions = at::tensor(lists.positions, at::kLong);
  pack.embedding = embeddings_of(lanes);
  pack.subspaces = subspaces_of(lanes);
  return pack;
}

Pack make_decoder_pack(const std::vector<LaneInput>& lanes, const std::vector<Sequence>& read,
                       const PackOptions& options) {
  std::vector<LaneInput> decoder_lanes;
  size_t n = 0;
  for (const LaneInput& lane : lanes) {
    LaneInput& own = decoder_lanes.emplace_back(lane);
    own.layout = {};
    for (const Sequence*& sequence : own.sequences) sequence = &read.at(n++);
  }
  ensure(n == read.size(), "a decoder's sequence for each of the encoder's");
  Pack pack = make_pack(decoder_lanes, options);
  for (size_t i = 0; i < n; ++i) pack.sources.push_back(static_cast<int64_t>(i));
  return pack;
}

NarrowedPack narrowed(const Pack& pack, const std::vector<RowRange>& ranges, int64_t round_rows_to,
                      const std::vector<bool>& keeps_lane) {
  ensure(static_cast<int64_t>(ranges.size()) == pack.num_sequences(),
         "one range of rows a sequence");
  Pack out;
  RowIds rows;
  Spans spans;
  std::vector<int64_t> kept;
  const auto add = [&](size_t n, const RowRange& range) {
    const RowRange& own = pack.sequences[n];
    const int64_t begin = own.begin + range.begin, end = own.begin + range.end,
                  first = std::ssize(kept);
    ensure(own.begin <= begin && begin <= end && end <= own.end,
           "a range lies inside its sequence");
    for (int64_t row = begin; row < end; ++row) {
      kept.push_back(row);
      out.token.push_back(pack.token[static_cast<size_t>(row)]);
      rows.example.push_back(pack.rows->example[static_cast<size_t>(row)]);
      rows.position.push_back(pack.rows->position[static_cast<size_t>(row)]);
    }
    const Spans::Span& span = pack.spans->sequences[n];
    spans.sequences.push_back({first, std::ssize(kept), span.key_begin, span.key_end,
                               span.first_position + range.begin, span.example});
    out.sequences.push_back({first, std::ssize(kept)});
    out.num_tokens += end - begin;
  };
  for (size_t i = 0; i < pack.lanes.size(); ++i) {
    const LaneRows& lane = pack.lanes[i];
    const bool keeps_all = !keeps_lane.empty() && keeps_lane[i];
    for (int64_t s = lane.first_sequence; s < lane.first_sequence + lane.num_sequences; ++s) {
      const auto n = static_cast<size_t>(s);
      add(n, keeps_all ? RowRange{0, pack.sequences[n].end - pack.sequences[n].begin} : ranges[n]);
    }
    end_lane(out, rows, lane,
             keeps_all ? 1 : rounding_of(i, pack.lanes.size(), lane.ends_run, round_rows_to),
             keeps_all ? lane.num_rows : 0);
    while (std::ssize(kept) < out.num_rows) {  // fillers
      const int64_t in_lane = keeps_all ? std::ssize(kept) - out.lanes.back().first_row : 0;
      kept.push_back(std::min(lane.first_row + in_lane, pack.num_rows - 1));
    }
  }
  out.rows = std::make_shared<const RowIds>(std::move(rows));
  out.spans = std::make_shared<const Spans>(std::move(spans));
  const at::Tensor index = at::tensor(kept, at::kLong);
  out.ids = pack.ids.index_select(0, index);
  out.type_ids = pack.type_ids.index_select(0, index);
  out.positions = pack.positions.index_select(0, index);
  out.prompts = pack.prompts;
  out.sources = pack.sources;
  out.embedding = pack.embedding;
  out.subspaces = pack.subspaces;
  return {std::move(out), index};
}

at::Tensor rows_within(const Pack& pack, const NarrowedPack& few, const Pack& more,
                       const std::vector<bool>& keeps_lane) {
  std::vector<int64_t> index;
  const int64_t* row = few.index.const_data_ptr<int64_t>();
  for (size_t i = 0; i < pack.lanes.size(); ++i) {
    const LaneRows &own = few.pack.lanes[i], &lane = more.lanes[i];
    for (int64_t r = 0; r < own.num_rows; ++r) {
      const int64_t part = own.first_row + r;
      const bool is_filler = few.pack.rows->example[static_cast<size_t>(part)] < 0;
      const int64_t in_lane = keeps_lane[i] ? row[part] - pack.lanes[i].first_row : r;
      index.push_back(std::min(lane.first_row + (is_filler ? 0 : in_lane), more.num_rows - 1));
    }
  }
  return at::tensor(index, at::kLong);
}

std::vector<RowRange> last_token_rows(const Pack& pack) {
  std::vector<RowRange> ranges;
  for (int64_t n = 0; n < pack.num_sequences(); ++n) {
    const auto sequence = static_cast<size_t>(n);
    int64_t row = pack.sequences[sequence].end - 1;
    while (pack.token[static_cast<size_t>(row)] < 0) --row;
    const int64_t in_sequence = row - pack.sequences[sequence].begin;
    ranges.push_back({in_sequence, in_sequence + 1});
  }
  return ranges;
}

}  // namespace graft
