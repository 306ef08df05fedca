// Attention in a block of a stack: to its own rows, to an encoder's, over what a cache holds and
// behind prefixes.
#include "base/error.h"
#include "model/stack.h"

namespace graft {

using at::Tensor;

// Where the keys of each sequence lie, when not among the rows of the pack itself: the same in
// every block.
void Stack::make_keys() {
  if (!is_decoder_) return;
  Cache* cache = options_.cache;
  if (cache != nullptr) own_keys_ = cache->key_rows();
  if (!config_.has_encoder()) return;
  if (encoder_.pack == nullptr) {
    ensure(cache != nullptr && !cache->encoder_rows.empty(),
           "an encoder-decoder's decoder gets its rows, or a cache that holds them");
    cross_keys_ = cache->encoder_rows;
    return;
  }
  ensure(static_cast<int64_t>(pack_.sources.size()) == pack_.num_sequences(),
         "each sequence of a decoder has one that it reads");
  for (const int64_t source : pack_.sources) {
    const Spans::Span& span = encoder_.pack->spans->sequences[static_cast<size_t>(source)];
    cross_keys_.push_back({span.key_begin, span.key_end});
  }
  if (cache != nullptr) cache->encoder_rows = cross_keys_;
}

// read: what queries are made of, [T', C]; read_by_all: the same of every row, for keys and values.
Tensor Stack::attend(int64_t layer, const Tensor& read, const Tensor& read_by_all) {
  const Site &q_site = site(layer, Part::kAttnQ), &k_site = site(layer, Part::kAttnK),
             &v_site = site(layer, Part::kAttnV), &whole = site(layer, Part::kAttn);
  const bool is_joint =
      options_.cache != nullptr && (wanted_ == nullptr || !wanted_->index.defined());
  const auto [plain_q, plain_k, plain_v] =
      is_joint ? joint_linears<3>({q_site, k_site, v_site}, read)
               : std::array{weights_.linear(q_site, read), weights_.linear(k_site, read_by_all),
                            weights_.linear(v_site, read_by_all)};
  Tensor k = apply_site(k_site, pack_, read_by_all, plain_k);  // [T, K*D]
  const Tensor v = apply_site(v_site, pack_, read_by_all, plain_v);
  const std::vector<LanePrefix> before = prefixes(whole, pack_, read_by_all);
  Tensor q = apply_site(q_site, *rows_, read, plain_q);  // [T', H*D]
  if (stack_config_.head_norm) {
    k = head_norm({id_, static_cast<int16_t>(layer), Part::kAttnKNorm}, k);
    q = head_norm({id_, static_cast<int16_t>(layer), Part::kAttnQNorm}, q);
  }
  if (const Angles* angles = angles_of(layer)) {
    k = rotate(k, angles->all, stack_config_.key_heads);
    q = rotate(q, angles->rows, stack_config_.heads);
  }
  AttentionOptions options = attention_options(whole);
  options.is_causal = is_decoder_;
  if (stack_config_.is_local(layer)) options.window = stack_config_.local->window;
  options.distance_bias = distance_bias_;
  if (options_.cache == nullptr || !is_decoder_)
    return packed_attention(q, k, v, own_spans_, options, before);
  const Cache::Rows cached = options_.cache->add(layer, k, v);
  return packed_attention(q, cached.keys, cached.values, own_spans_, options, before);
}

Tensor Stack::attend_encoder(int64_t layer, const Tensor& read) {
  const Site& whole = site(layer, Part::kCross);
  const Tensor q = changed_linear(site(layer, Part::kCrossQ), *rows_, read);
  const std::vector<LanePrefix> before = prefixes(whole, *rows_, read);
  const auto l = static_cast<size_t>(layer);
  Cache* cache = options_.cache;
  if (cache != nullptr && cache->cross[l]) {
    return packed_attention(q, cache->cross[l]->keys, cache->cross[l]->values, cross_spans_,
                            attention_options(whole), before);
  }
  ensure(encoder_.pack != nullptr,
         "the first pass of an encoder-decoder's decoder gets the encoder's rows");
  const Tensor k = changed_linear(site(layer, Part::kCrossK), *encoder_.pack, encoder_.rows),
               v = changed_linear(site(layer, Part::kCrossV), *encoder_.pack, encoder_.rows);
  if (cache != nullptr) cache->cross[l] = Cache::Fixed{k, v};
  return packed_attention(q, k, v, cross_spans_, attention_options(whole), before);
}

// Prefix rows are made of what the first pass shows; later passes find them in the cache.
std::vector<LanePrefix> Stack::prefixes(const Site& site, const Pack& pack, const Tensor& x) {
  if (!hooks_.wants(site)) return {};
  const auto asked = [&] {
    PrefixResult result = hooks_.prefix({site, pack, pack.whole(), x, {}, {}, {}});
    side_.append(std::move(result.side));
    return std::move(result.lanes);
  };
  if (options_.cache == nullptr || !is_decoder_) return asked();
  auto& kept = options_.cache->prefixes;
  if (kept.empty()) kept.resize(sites_.all().size());
  auto& own = kept[static_cast<size_t>(site.index)];
  if (!own) own = asked();
  return *own;
}

// Null without rotary positions.
const Stack::Angles* Stack::angles_of(int64_t layer) const {
  if (angles_.empty()) return nullptr;
  return stack_config_.is_local(layer) ? &angles_.back() : &angles_.front();
}

// The queries of rows_ over other rows as keys, a range of them a sequence.
std::shared_ptr<const Spans> Stack::spans_over(const std::vector<RowRange>& keys) const {
  auto spans = std::make_shared<Spans>(*rows_->spans);
  for (size_t n = 0; n < keys.size(); ++n) {
    spans->sequences[n].key_begin = keys[n].begin;
    spans->sequences[n].key_end = keys[n].end;
  }
  return spans;
}

}  // namespace graft
