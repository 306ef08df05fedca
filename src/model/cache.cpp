#include "model/cache.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "base/error.h"

namespace graft {

using at::Tensor;

Cache::Cache(const ModelConfig& config, at::ScalarType dtype, const Pack& first,
             const std::vector<int64_t>& new_tokens)
    : key_width_(config.last().key_width()),
      dtype_(dtype),
      lanes_(first.lanes),
      memories_(first.lanes.size()),
      keys_(static_cast<size_t>(config.decoder_layers())),
      values_(keys_.size()),
      embedding_(first.embedding),
      subspaces_(first.subspaces) {
  cross.resize(keys_.size());
  ensure(static_cast<int64_t>(new_tokens.size()) == first.num_sequences(),
         "room for every sequence");
  const int64_t* positions = first.positions.const_data_ptr<int64_t>();
  int64_t begin = 0, lane = 0;
  for (int64_t n = 0; n < first.num_sequences(); ++n) {
    const auto sequence = static_cast<size_t>(n);
    const RowRange& own = first.sequences[sequence];
    const int64_t rows = own.end - own.begin;
    while (n >= first.lanes[static_cast<size_t>(lane)].first_sequence +
                    first.lanes[static_cast<size_t>(lane)].num_sequences)
      ++lane;
    Slot slot{.begin = begin, .capacity = rows + new_tokens[sequence], .lane = lane};
    slot.position = positions[own.begin];  // until the first pass is closed
    slot.example = first.spans->sequences[sequence].example;
    slot.prompt = first.prompts[sequence];
    const int64_t length = slot.position - config.position_offset + slot.capacity;
    if (length > config.max_positions) {
      throw InputError("example " + std::to_string(slot.example) + " takes " +
                       std::to_string(length - new_tokens[sequence]) + " positions and " +
                       std::to_string(new_tokens[sequence]) +
                       " new tokens are asked for; the model serves at most " +
                       std::to_string(config.max_positions) +
                       ": ask for fewer, or shorten the prompt");
    }
    begin += slot.capacity;
    slots_.push_back(std::move(slot));
  }
  num_rows_ = begin;
  allocate();
}

// The tensors of all layers get room for all slots.
void Cache::allocate() {
  const auto larger = [&](Tensor& tensor) {
    Tensor out = at::empty({num_rows_, key_width_}, dtype_);
    if (tensor.defined()) out.slice(0, 0, tensor.size(0)).copy_(tensor);
    tensor = std::move(out);
  };
  for (Tensor& keys : keys_) larger(keys);
  for (Tensor& values : values_) larger(values);
}

Pack Cache::next(const std::vector<std::vector<int64_t>>& ids, const PackOptions& options) const {
  ensure(static_cast<int64_t>(ids.size()) == num_sequences(), "new tokens for every sequence");
  Pack pack;
  RowIds rows;
  Spans spans;
  std::vector<int64_t> all_ids, positions;
  const auto add = [&](size_t n) {
    const Slot& slot = slots_[n];
    const auto count = static_cast<int64_t>(ids[n].size());
    ensure(count > 0 && slot.rows + count <= slot.capacity,
           "new tokens fit the room that was asked for");
    for (int64_t i = 0; i < count; ++i) {
      all_ids.push_back(ids[n][static_cast<size_t>(i)]);
      positions.push_back(slot.position + i);
      pack.token.push_back(static_cast<int64_t>(slot.tokens.size()) + i);
      rows.example.push_back(slot.example);
      rows.position.push_back(slot.rows + i);
    }
    const int64_t end = std::ssize(pack.token), begin = end - count;
    spans.sequences.push_back(
        {begin, end, 0, 0, slot.rows, slot.example});  // keys lie in the cache
    pack.sequences.push_back({begin, end});
    pack.prompts.push_back(slot.prompt);
  };
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const int64_t first = lanes_[i].first_sequence;
    for (int64_t n = first; n < first + lanes_[i].num_sequences; ++n) add(static_cast<size_t>(n));
    end_lane(pack, rows, lanes_[i], i + 1 == lanes_.size() ? options.round_rows_to : 1);
  }
  pack.num_tokens = std::ssize(all_ids);
  pack.rows = std::make_shared<const RowIds>(std::move(rows));
  pack.spans = std::make_shared<const Spans>(std::move(spans));
  const auto all = static_cast<size_t>(pack.num_rows);
  all_ids.resize(all, options.pad_id);
  positions.resize(all, options.position_offset);
  pack.ids = at::tensor(all_ids, at::kLong);
  pack.type_ids = at::zeros_like(pack.ids);
  pack.positions = at::tensor(positions, at::kLong);
  pack.embedding = embedding_;
  pack.subspaces = subspaces_;
  return pack;
}

void Cache::open(const Pack& pack) {
  ensure(pack.num_sequences() == num_sequences(), "a pass holds the cache's sequences");
  ensure(std::none_of(pack.lanes.begin(), pack.lanes.end() - 1,
                      [](const LaneRows& lane) { return lane.ends_run; }),
         "the rows of a pass over a cache have no fillers between them");
  std::vector<int64_t> index;
  added_.clear();
  for (size_t n = 0; n < slots_.size(); ++n) {
    const Slot& slot = slots_[n];
    const int64_t count = pack.sequences[n].end - pack.sequences[n].begin;
    ensure(slot.rows + count <= slot.capacity, "rows fit the room that was asked for");
    for (int64_t i = 0; i < count; ++i) index.push_back(slot.begin + slot.rows + i);
    added_.push_back(count);
  }
  index_ = at::tensor(index, at::kLong);
  open_ = &pack;
}

std::vector<RowRange> Cache::key_rows() const {
  std::vector<RowRange> rows;
  for (size_t n = 0; n < slots_.size(); ++n)
    rows.push_back({slots_[n].begin, slots_[n].begin + slots_[n].rows + added_[n]});
  return rows;
}

void Cache::close() {
  const int64_t* ids = open_->ids.const_data_ptr<int64_t>();
  for (size_t n = 0; n < slots_.size(); ++n) {
    Slot& slot = slots_[n];
    for (int64_t row = open_->sequences[n].begin; row < open_->sequences[n].end; ++row) {
      if (open_->token[static_cast<size_t>(row)] >= 0) slot.tokens.push_back(ids[row]);
    }
    slot.rows += added_[n];
    slot.position += added_[n];
  }
  open_ = nullptr;
  is_begun_ = true;
}

Cache::Rows Cache::add(int64_t layer, const Tensor& k, const Tensor& v) {
  const auto l = static_cast<size_t>(layer);
  const int64_t used = index_.numel();
  keys_[l].index_copy_(0, index_, k.slice(0, 0, used));
  values_[l].index_copy_(0, index_, v.slice(0, 0, used));
  return {keys_[l], values_[l]};
}

void Cache::select(const std::vector<int64_t>& from) {
  // The first to ask for a sequence takes its slot as it is.
  std::vector<Slot> to(from.size());
  std::vector<bool> is_taken(slots_.size(), false);
  std::vector<size_t> copies;
  for (size_t n = 0; n < from.size(); ++n) {
    const auto source = static_cast<size_t>(from[n]);
    ensure(source < slots_.size(), "a sequence of the cache");
    if (is_taken[source]) copies.push_back(n);
    else to[n] = slots_[source];
    is_taken[source] = true;
  }
  for (size_t n = 0; n < slots_.size(); ++n) {
    if (!is_taken[n]) free_.push_back(slots_[n]);
  }
  std::vector<int64_t> source_rows, target_rows;
  const int64_t old_rows = num_rows_;
  for (const size_t n : copies) {
    const Slot& source = slots_[static_cast<size_t>(from[n])];
    const Slot own = free_slot(source);
    for (int64_t i = first_difference(own, source); i < source.rows; ++i) {
      source_rows.push_back(source.begin + i);
      target_rows.push_back(own.begin + i);
    }
    to[n] = source;
    to[n].begin = own.begin;
    to[n].capacity = own.capacity;
  }
  if (num_rows_ > old_rows) allocate();
  slots_ = std::move(to);
  if (!source_rows.empty()) {
    const Tensor source = at::tensor(source_rows, at::kLong),
                 target = at::tensor(target_rows, at::kLong);
    for (std::vector<Tensor>* tensors : {&keys_, &values_}) {
      for (Tensor& each : *tensors) each.index_copy_(0, target, each.index_select(0, source));
    }
  }
  select_lanes(from);
}

// Where a copy of `source` may go: the free slot that has most of its rows already, or a new one
// behind all others.
Cache::Slot Cache::free_slot(const Slot& source) {
  auto best = free_.end();
  int64_t most = -1;
  for (auto each = free_.begin(); each != free_.end(); ++each) {
    const int64_t same = first_difference(*each, source);
    if (each->capacity < source.capacity || same <= most) continue;
    best = each;
    most = same;
  }
  if (best == free_.end()) {
    const int64_t begin = num_rows_;
    num_rows_ += source.capacity;
    return {.begin = begin, .capacity = source.capacity, .example = -1, .lane = -1};
  }
  Slot slot = std::move(*best);
  free_.erase(best);
  return slot;
}

// Rows of `own` that equal those of `other` already.
int64_t Cache::first_difference(const Slot& own, const Slot& other) {
  if (own.example != other.example || own.lane != other.lane) return 0;
  const auto [mine, its] =
      std::mismatch(own.tokens.begin(), own.tokens.end(), other.tokens.begin(), other.tokens.end());
  const int64_t same = mine - own.tokens.begin();
  if (same < other.prompt)
    return 0;  // rows of virtual tokens lie among the prompt's, the same in sequences of one
               // example
  return other.rows - (static_cast<int64_t>(other.tokens.size()) - same);
}

// Lanes, memories, prefixes and the encoder's rows follow the sequences.
void Cache::select_lanes(const std::vector<int64_t>& from) {
  const Tensor index = at::tensor(from, at::kLong);
  if (embedding_.defined()) embedding_ = embedding_.index_select(0, index);
  const auto select = [&](auto& by_sequence) {
    if (by_sequence.empty()) return;
    std::decay_t<decltype(by_sequence)> selected;
    for (const int64_t source : from) selected.push_back(by_sequence[static_cast<size_t>(source)]);
    by_sequence = std::move(selected);
  };
  select(encoder_rows);
  select(subspaces_);
  std::vector<LaneRows> lanes;
  auto next = from.begin();
  for (size_t lane = 0; lane < lanes_.size(); ++lane) {
    const int64_t first = lanes_[lane].first_sequence, end = first + lanes_[lane].num_sequences;
    const auto stop = std::find_if(next, from.end(),
                                   [&](int64_t source) { return source < first || source >= end; });
    const int64_t begin = next - from.begin(), count = stop - next;
    lanes.push_back(lanes_[lane]);
    lanes.back().first_sequence = begin;
    lanes.back().num_sequences = count;
    const Tensor own = index.slice(0, begin, begin + count) - first;
    for (auto& [key, values] : memories_[lane]) values = values.index_select(0, own);
    next = stop;
  }
  ensure(next == from.end(), "sequences of a lane lie side by side");
  for (auto& at_site : prefixes) {
    if (!at_site) continue;
    for (LanePrefix& prefix : *at_site) {
      const auto lane = static_cast<size_t>(
          std::find_if(lanes_.begin(), lanes_.end(),
                       [&](const LaneRows& range) {
                         return range.first_sequence == prefix.first_sequence &&
                                range.first_sequence + range.num_sequences == prefix.end_sequence;
                       }) -
          lanes_.begin());
      const Tensor own = index.slice(0, lanes[lane].first_sequence,
                                     lanes[lane].first_sequence + lanes[lane].num_sequences) -
                         prefix.first_sequence;
      for (Tensor* scale : {&prefix.key_scale, &prefix.value_scale, &prefix.logit_bias}) {
        if (scale->defined()) *scale = scale->index_select(0, own);
      }
      prefix.first_sequence = lanes[lane].first_sequence;
      prefix.end_sequence = prefix.first_sequence + lanes[lane].num_sequences;
    }
  }
  lanes_ = std::move(lanes);
}

}  // namespace graft
