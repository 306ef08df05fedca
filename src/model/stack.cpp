#include "model/stack.h"

#include <ATen/ops/index_select.h>

#include <algorithm>

#include "base/error.h"
#include "model/positions.h"

namespace graft {

using at::Tensor;

Stack::Stack(const Model& model, const Weights& weights, Hooks& hooks, const ForwardOptions& options, const std::string& name,
             const Pack& pack, const EncoderStates& encoder)
    : config_(model.config),
      stack_config_(model.config.stack(name)),
      sites_(model.sites),
      weights_(weights),
      hooks_(hooks),
      options_(options),
      name_(name),
      is_decoder_(name == "dec"),
      pack_(pack),
      encoder_(encoder) {
  make_positions();
  make_keys();
  use_rows(pack_);
}

void Stack::make_positions() {
  if (config_.position_kind == PositionKind::kRotary) {
    frequencies_ = rotary_frequencies(config_);
    rotary_ = rotary_rows_ = rotary_table(frequencies_, pack_.positions, weights_.dtype());
  }
  if (config_.position_kind != PositionKind::kDistanceBias) return;
  int64_t range = 1;
  for (const Spans::Span& span : pack_.spans->sequences)
    range = std::max(range, span.first_position + span.query_end - span.query_begin);
  const Tensor table = weights_.at(name_ + ".distance.weight");  // [buckets, H]
  const Tensor by_distance = table.index_select(0, distance_buckets(config_, is_decoder_, range)).t();
  distance_bias_ = by_distance.to(table.scalar_type() == at::kDouble ? at::kDouble : at::kFloat).contiguous();
}

// Where the keys of each sequence lie, when not among the rows of the pack itself: the same in every block.
void Stack::make_keys() {
  if (!is_decoder_) return;
  Cache* cache = options_.cache;
  if (cache != nullptr) own_keys_ = cache->key_rows();
  if (!config_.has_encoder()) return;
  if (encoder_.pack == nullptr) {
    ensure(cache != nullptr && !cache->encoder_rows.empty(),
           "a decoder beside an encoder gets its rows, or a cache that holds them");
    cross_keys_ = cache->encoder_rows;
    return;
  }
  ensure(static_cast<int64_t>(pack_.sources.size()) == pack_.num_sequences(), "each sequence of a decoder has one that it reads");
  for (const int64_t source : pack_.sources) {
    const Spans::Span& span = encoder_.pack->spans->sequences[static_cast<size_t>(source)];
    cross_keys_.push_back({span.key_begin, span.key_end});
  }
  if (cache != nullptr) cache->encoder_rows = cross_keys_;
}

// Blocks compute these rows from here on.
void Stack::use_rows(const Pack& rows) {
  rows_ = &rows;
  own_spans_ = own_keys_.empty() ? rows.spans : spans_over(own_keys_);
  cross_spans_ = cross_keys_.empty() ? nullptr : spans_over(cross_keys_);
}

Tensor Stack::embed() {
  const bool is_first = !is_decoder_ || !config_.has_encoder();  // of the model's stacks
  const std::string table = is_first ? "embed" : name_ + ".embed";
  Tensor x = weights_.rows("embed.word.weight", pack_.ids);
  if (config_.embedding_scale != 1.0) x = x * config_.embedding_scale;
  if (is_first) x = changed(sites_.word(), pack_, {}, x);
  if (config_.position_kind == PositionKind::kTable) x = x + weights_.rows(table + ".position.weight", pack_.positions);
  if (config_.type_vocabulary > 0) x = x + weights_.rows("embed.type.weight", pack_.type_ids);
  if (!config_.is_pre_norm) x = norm(table + ".norm", x);
  x = dropout(x, row_dropout(options_.embed_dropout, table, pack_));
  return is_first ? changed(sites_.embed(), pack_, {}, x) : x;
}

Tensor Stack::block(int64_t layer, const Tensor& x, const std::vector<RowRange>& wanted) {
  const BlockSites& s = is_decoder_ ? sites_.decoder_block(layer) : sites_.block(layer);
  const AttentionSites own{s.q, s.k, s.v, s.attention, s.attn_mid, s.o, s.attn_out, s.attn_norm};
  const AttentionSites cross{s.cross_q,   s.cross_k, s.cross_v,   s.cross_attention,
                             s.cross_mid, s.cross_o, s.cross_out, s.cross_norm};
  const bool has_cross = s.cross_q.index >= 0;
  if (rows_ != &pack_) {  // a block may be computed again after the last one narrowed them
    use_rows(pack_);
    rotary_rows_ = rotary_;
  }

  Flow flow = enter(s.attn_norm, x);
  const Tensor read_by_all = flow.read;
  if (!wanted.empty()) {
    Tensor index;
    narrow(wanted, index);
    flow = {flow.stream.index_select(0, index), flow.read.index_select(0, index)};
  }
  Tensor mixed = changed(own.mid, *rows_, flow.read, attend(own, layer, flow.read, read_by_all));  // [T', H*D]
  flow = leave(s.attn_out, s.attn_norm, has_cross ? &s.cross_norm : &s.ffn_norm, mixed, changed_linear(s.o, *rows_, mixed),
               flow.stream);
  if (has_cross) {
    mixed = changed(cross.mid, *rows_, flow.read, attend_encoder(cross, layer, flow.read));
    flow = leave(s.cross_out, s.cross_norm, &s.ffn_norm, mixed, changed_linear(s.cross_o, *rows_, mixed), flow.stream);
  }
  const Tensor read = flow.read;
  flow = leave(s.ffn_out, s.ffn_norm, nullptr, read, ffn(s, read), flow.stream);
  return changed(s.out, *rows_, {}, flow.stream);
}

Tensor Stack::finish(const Tensor& x) {
  if (!config_.is_pre_norm) return x;
  const Tensor last = norm(name_ + ".norm", x);
  // T5 drops out here; the other pre-norm families do not.
  return config_.position_kind == PositionKind::kDistanceBias
             ? dropout(last, row_dropout(options_.hidden_dropout, name_ + ".norm", *rows_))
             : last;
}

void Stack::share(const Shared& shared) {
  encoder_.rows = shared.encoder_rows;
  distance_bias_ = shared.distance_bias;
}

bool Stack::learns(int64_t layer) const {
  const auto listens = [&](const Site& site) { return site.stack == name_ && site.layer == layer && hooks_.wants(site); };
  return weights_.replaces_below(name_ + "." + std::to_string(layer) + ".") ||
         std::any_of(sites_.all().begin(), sites_.all().end(), listens);
}

// read: what queries are made of, [T', C]; read_by_all: the same of every row, for keys and values.
Tensor Stack::attend(const AttentionSites& a, int64_t layer, const Tensor& read, const Tensor& read_by_all) {
  const bool is_joint = options_.cache != nullptr && rows_ == &pack_;  // all three read the same rows
  const auto [plain_q, plain_k, plain_v] =
      is_joint ? joint_linears<3>({&a.q, &a.k, &a.v}, read)
               : std::array{weights_.linear(a.q.name, read), weights_.linear(a.k.name, read_by_all),
                            weights_.linear(a.v.name, read_by_all)};
  Tensor k = changed(a.k, pack_, read_by_all, plain_k);  // [T, K*D]
  const Tensor v = changed(a.v, pack_, read_by_all, plain_v);
  const std::vector<LanePrefix> before = prefixes(a.whole, pack_, read_by_all);
  Tensor q = changed(a.q, *rows_, read, plain_q);  // [T', H*D]
  if (!frequencies_.empty()) {
    k = rotate(k, rotary_, stack_config_.key_heads);
    q = rotate(q, rotary_rows_, stack_config_.heads);
  }
  AttentionOptions options = attention_options(a.whole);
  options.is_causal = is_decoder_;
  options.distance_bias = distance_bias_;
  if (options_.cache == nullptr || !is_decoder_) return packed_attention(q, k, v, own_spans_, options, before);
  const Cache::Rows cached = options_.cache->add(layer, k, v);
  return packed_attention(q, cached.keys, cached.values, own_spans_, options, before);
}

Tensor Stack::attend_encoder(const AttentionSites& a, int64_t layer, const Tensor& read) {
  const Tensor q = changed_linear(a.q, *rows_, read);
  const std::vector<LanePrefix> before = prefixes(a.whole, *rows_, read);
  const auto l = static_cast<size_t>(layer);
  Cache* cache = options_.cache;
  if (cache != nullptr && cache->cross[l]) {
    return packed_attention(q, cache->cross[l]->keys, cache->cross[l]->values, cross_spans_, attention_options(a.whole), before);
  }
  ensure(encoder_.pack != nullptr, "the first pass of a decoder beside an encoder gets the encoder's rows");
  const Tensor k = changed_linear(a.k, *encoder_.pack, encoder_.rows), v = changed_linear(a.v, *encoder_.pack, encoder_.rows);
  if (cache != nullptr) cache->cross[l] = Cache::Fixed{k, v};
  return packed_attention(q, k, v, cross_spans_, attention_options(a.whole), before);
}

Tensor Stack::ffn(const BlockSites& s, const Tensor& read) {
  Tensor a;  // [T', F]: what enters ffn.down
  if (config_.has_gated_ffn) {
    const auto [plain_gate, plain_up] = options_.cache != nullptr
                                            ? joint_linears<2>({&s.gate, &s.up}, read)
                                            : std::array{weights_.linear(s.gate.name, read), weights_.linear(s.up.name, read)};
    const Tensor gate = changed(s.gate, *rows_, read, plain_gate), up = changed(s.up, *rows_, read, plain_up);
    const bool is_heard = hooks_.wants(s.act);
    a = is_heard ? changed(s.act, *rows_, read, activate(gate, config_.activation)) * up : gated(gate, up, config_.activation);
    a = changed(s.mid, *rows_, read, a);
  } else {
    a = changed(s.act, *rows_, read, activate(changed_linear(s.up, *rows_, read), config_.activation));
  }
  return changed_linear(s.down, *rows_, dropout(a, row_dropout(options_.activation_dropout, s.act.name, *rows_)));
}

// What the first sublayer of a block reads: the stream, or its norm.
Stack::Flow Stack::enter(const Site& norm_site, const Tensor& x) {
  return {x, config_.is_pre_norm ? changed(norm_site, pack_, {}, norm(norm_site.name, x)) : x};
}

// Adds a sublayer's y to the residual stream, in one pass over the rows with the norm that comes next, unless somebody listens
// between dropout and sum. `next_norm`: of the block's next sublayer, in a pre-norm stack; null after the last.
Stack::Flow Stack::leave(const Site& sublayer, const Site& own_norm, const Site* next_norm, const Tensor& x, const Tensor& y,
                         const Tensor& residual) {
  RowDropout drop = row_dropout(options_.hidden_dropout, sublayer.name, *rows_);
  Tensor added = y;
  if (hooks_.wants(sublayer)) {
    std::function<Tensor(const Tensor&, const Tensor&)> post_norm;
    if (!config_.is_pre_norm)
      post_norm = [&](const Tensor& own, const Tensor& beside) { return layer_norm(own_norm.name, own, beside); };
    added = hooks_.apply({sublayer, *rows_, rows_->whole(), x, dropout(y, drop), residual, post_norm});
    drop = {};
  }
  if (!config_.is_pre_norm) {
    const Tensor stream = changed(own_norm, *rows_, {}, layer_norm(own_norm.name, added, residual, drop));
    return {stream, stream};
  }
  if (next_norm == nullptr) return {residual + dropout(added, drop), {}};
  const Tensor bias = config_.norm == Norm::kLayer ? weights_.at(next_norm->name + ".bias") : Tensor();
  Normed normed =
      add_then_norm(residual, added, config_.norm, weights_.at(next_norm->name + ".weight"), bias, config_.norm_epsilon, drop);
  return {std::move(normed.sum), changed(*next_norm, *rows_, {}, normed.normed)};
}

Tensor Stack::changed(const Site& site, const Pack& pack, const Tensor& x, const Tensor& y) {
  return hooks_.wants(site) ? hooks_.apply({site, pack, pack.whole(), x, y, {}, {}}) : y;
}

Tensor Stack::changed_linear(const Site& site, const Pack& pack, const Tensor& x) {
  return changed(site, pack, x, weights_.linear(site.name, x));
}

// Passes over a cache have few rows; nothing of them is differentiated.
template <size_t N>
std::array<Tensor, N> Stack::joint_linears(const std::array<const Site*, N>& sites, const Tensor& x) {
  std::vector<std::string> names;
  for (const Site* site : sites) names.push_back(site->name);
  std::vector<Tensor> each = weights_.linears(names, x);
  std::array<Tensor, N> out;
  std::move(each.begin(), each.end(), out.begin());
  return out;
}

Tensor Stack::norm(const std::string& name, const Tensor& x) {
  if (config_.norm == Norm::kLayer) return layer_norm(name, x, {});
  return add_then_norm(x, {}, config_.norm, weights_.at(name + ".weight"), {}, config_.norm_epsilon).normed;
}

Tensor Stack::layer_norm(const std::string& name, const Tensor& x, const Tensor& residual, const RowDropout& drop) {
  return add_norm(x, residual, weights_.at(name + ".weight"), weights_.at(name + ".bias"), config_.norm_epsilon, drop);
}

// Prefix rows are made of what the first pass shows; later passes find them in the cache.
std::vector<LanePrefix> Stack::prefixes(const Site& site, const Pack& pack, const Tensor& x) {
  if (!hooks_.wants(site)) return {};
  if (options_.cache == nullptr || !is_decoder_) return hooks_.prefix({site, pack, pack.whole(), x, {}, {}, {}});
  auto& kept = options_.cache->prefixes;
  if (kept.empty()) kept.resize(sites_.all().size());
  auto& own = kept[static_cast<size_t>(site.index)];
  if (!own) own = hooks_.prefix({site, pack, pack.whole(), x, {}, {}, {}});
  return *own;
}

void Stack::narrow(const std::vector<RowRange>& wanted, Tensor& index) {
  narrowed_ = narrowed(pack_, wanted, options_.round_rows_to, index);
  use_rows(narrowed_);
  if (!frequencies_.empty()) rotary_rows_ = {rotary_.cosine.index_select(0, index), rotary_.sine.index_select(0, index)};
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

AttentionOptions Stack::attention_options(const Site& site) const {
  AttentionOptions attention;
  attention.num_heads = stack_config_.heads;
  attention.num_key_heads = stack_config_.key_heads;
  attention.scale = stack_config_.attention_scale;
  attention.dropout = options_.attention_dropout;
  attention.dropout_key = options_.key.with(site.name);
  return attention;
}

RowDropout Stack::row_dropout(double probability, const std::string& use, const Pack& pack) const {
  if (probability == 0.0) return {};
  return {probability, options_.key.with(use), pack.rows};
}

}  // namespace graft
