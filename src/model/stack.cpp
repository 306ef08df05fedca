#include "model/stack.h"

#include <ATen/ops/index_select.h>

#include <algorithm>

#include "base/error.h"
#include "model/positions.h"

namespace graft {

using at::Tensor;

Stack::Stack(const Model& model, const Weights& weights, Hooks& hooks,
             const ForwardOptions& options, StackId id, const Pack& pack,
             const EncoderStates& encoder)
    : config_(model.config),
      stack_config_(model.config.stack(id)),
      sites_(model.sites),
      weights_(weights),
      hooks_(hooks),
      options_(options),
      id_(id),
      is_decoder_(id == StackId::kDecoder),
      pack_(pack),
      encoder_(encoder) {
  make_positions();
  make_keys();
  use_rows(pack_);
}

void Stack::make_positions() {
  const auto add_angles = [&](const Rotary& rotary) {
    const RotaryTable table = rotary_table(rotary_frequencies(rotary, stack_config_.head_width()),
                                           pack_.positions, weights_.dtype());
    angles_.push_back({table, table});
  };
  if (const Rotary* rotary = stack_config_.rotary()) {
    add_angles(*rotary);
    if (stack_config_.local) add_angles(stack_config_.local->rotary);
  }
  const DistanceBias* bias = stack_config_.distance_bias();
  if (bias == nullptr) return;
  int64_t range = 1;
  for (const Spans::Span& span : pack_.spans->sequences)
    range = std::max(range, span.first_position + span.query_end - span.query_begin);
  const Tensor table = weights_.at(weight_of({id_, -1, Part::kDistance}));  // [buckets, H]
  const Tensor by_distance = table.index_select(0, distance_buckets(*bias, is_decoder_, range)).t();
  distance_bias_ =
      by_distance.to(table.scalar_type() == at::kDouble ? at::kDouble : at::kFloat).contiguous();
}

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

// Blocks compute these rows from here on.
void Stack::use_rows(const Pack& rows) {
  rows_ = &rows;
  own_spans_ = own_keys_.empty() ? rows.spans : spans_over(own_keys_);
  cross_spans_ = cross_keys_.empty() ? nullptr : spans_over(cross_keys_);
}

Tensor Stack::embed() {
  const bool is_first = !is_decoder_ || !config_.has_encoder();  // of the model's stacks
  const StackId owner = is_first ? StackId::kNone : id_;         // of the tensors below
  Tensor x = weights_.rows(kWordTable, pack_.ids);
  if (config_.embedding_scale != 1.0) x = x * config_.embedding_scale;
  if (is_first) x = apply_site(sites_.word(), pack_, {}, x);
  if (stack_config_.has_position_table())
    x = x + weights_.rows(weight_of({owner, -1, Part::kEmbedPosition}), pack_.positions);
  if (config_.type_vocabulary > 0)
    x = x + weights_.rows(weight_of({.part = Part::kEmbedType}), pack_.type_ids);
  if (stack_config_.embed_norm) x = norm({owner, -1, Part::kEmbedNorm}, x);
  x = dropout(x, row_dropout(options_.embed_dropout, is_first ? "embed" : "dec.embed", pack_));
  return is_first ? apply_site(sites_.embed(), pack_, {}, x) : x;
}

const Site& Stack::site(int64_t layer, Part part) const {
  return sites_.at({id_, static_cast<int16_t>(layer), part});
}

Tensor Stack::block(int64_t layer, const Tensor& x, const std::vector<RowRange>& wanted) {
  const auto at = [&](Part part) -> const Site& { return site(layer, part); };
  const bool has_cross = is_decoder_ && config_.has_encoder();
  if (rows_ != &pack_) {  // a block may be computed again after the last one narrowed them
    use_rows(pack_);
    for (Angles& angles : angles_) angles.rows = angles.all;
  }

  Flow flow = read_stream(norm_before(layer, Part::kAttnNorm), x);
  const Tensor read_by_all = flow.read;
  if (!wanted.empty()) {
    Tensor index;
    narrow(wanted, index);
    flow = {flow.stream.index_select(0, index), flow.read.index_select(0, index)};
  }
  const Site* ffn_norm = norm_before(layer, Part::kFfnNorm);
  Tensor mixed = apply_site(at(Part::kAttnMid), *rows_, flow.read,
                            attend(layer, flow.read, read_by_all));  // [T', H*D]
  flow = add_sublayer(at(Part::kAttnOut), norm_after(layer, Part::kAttnNorm),
                      has_cross ? norm_before(layer, Part::kCrossNorm) : ffn_norm, mixed,
                      changed_linear(at(Part::kAttnO), *rows_, mixed), flow.stream);
  if (has_cross) {
    mixed = apply_site(at(Part::kCrossMid), *rows_, flow.read, attend_encoder(layer, flow.read));
    flow = add_sublayer(at(Part::kCrossOut), norm_after(layer, Part::kCrossNorm), ffn_norm, mixed,
                        changed_linear(at(Part::kCrossO), *rows_, mixed), flow.stream);
  }
  const Tensor read = flow.read;
  flow = add_sublayer(at(Part::kFfnOut), norm_after(layer, Part::kFfnNorm), nullptr, read,
                      ffn(layer, read), flow.stream);
  return apply_site(at(Part::kOut), *rows_, {}, flow.stream);
}

Tensor Stack::finish(const Tensor& x) {
  if (!stack_config_.final_norm) return x;
  const Tensor last = norm({id_, -1, Part::kNorm}, x);
  return stack_config_.drops_last_states
             ? dropout(last, row_dropout(options_.hidden_dropout,
                                         is_decoder_ ? "dec.norm" : "enc.norm", *rows_))
             : last;
}

void Stack::replace_inputs(const Shared& shared) {
  encoder_.rows = shared.encoder_rows;
  distance_bias_ = shared.distance_bias;
}

bool Stack::has_trained_tensors(int64_t layer) const {
  const auto listens = [&](const Site& site) {
    return site.stack == id_ && site.layer == layer && hooks_.wants(site);
  };
  return weights_.replaces_in(id_, layer) ||
         std::any_of(sites_.all().begin(), sites_.all().end(), listens);
}

// read: what queries are made of, [T', C]; read_by_all: the same of every row, for keys and values.
Tensor Stack::attend(int64_t layer, const Tensor& read, const Tensor& read_by_all) {
  const Site &q_site = site(layer, Part::kAttnQ), &k_site = site(layer, Part::kAttnK),
             &v_site = site(layer, Part::kAttnV), &whole = site(layer, Part::kAttn);
  const bool is_joint =
      options_.cache != nullptr && rows_ == &pack_;  // all three read the same rows
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

Tensor Stack::ffn(int64_t layer, const Tensor& read) {
  const Site &up_site = site(layer, Part::kFfnUp), &act = site(layer, Part::kFfnAct);
  Tensor a;  // [T', F]: what enters ffn.down
  const Activation activation = stack_config_.activation;
  if (stack_config_.has_gated_ffn) {
    const Site& gate_site = site(layer, Part::kFfnGate);
    const auto [plain_gate, plain_up] =
        options_.cache != nullptr
            ? joint_linears<2>({gate_site, up_site}, read)
            : std::array{weights_.linear(gate_site, read), weights_.linear(up_site, read)};
    const Tensor gate = apply_site(gate_site, *rows_, read, plain_gate),
                 up = apply_site(up_site, *rows_, read, plain_up);
    const bool is_heard = hooks_.wants(act);
    a = is_heard ? apply_site(act, *rows_, read, activate(gate, activation)) * up
                 : gated(gate, up, activation);
    a = apply_site(site(layer, Part::kFfnMid), *rows_, read, a);
  } else {
    a = apply_site(act, *rows_, read, activate(changed_linear(up_site, *rows_, read), activation));
  }
  const RowDropout drop = row_dropout(options_.activation_dropout, act.name, *rows_);
  return changed_linear(site(layer, Part::kFfnDown), *rows_, dropout(a, drop));
}

// The norm of a sublayer, where it stands after it, or before it; null elsewhere.
const Site* Stack::norm_after(int64_t layer, Part part) const {
  return stack_config_.norm_place == NormPlace::kAfter ? &site(layer, part) : nullptr;
}

const Site* Stack::norm_before(int64_t layer, Part part) const {
  const bool is_there = stack_config_.norm_place == NormPlace::kBefore &&
                        (part != Part::kAttnNorm || stack_config_.has_attention_norm(layer));
  return is_there ? &site(layer, part) : nullptr;
}

// What the first sublayer of a block reads: the stream, or its norm.
Stack::Flow Stack::read_stream(const Site* norm_site, const Tensor& x) {
  return {x, norm_site != nullptr ? apply_site(*norm_site, pack_, {}, norm(*norm_site, x)) : x};
}

// Adds a sublayer's y to the residual stream, in one pass over the rows with the norm that comes
// next, unless somebody listens between dropout and sum. `own_norm`: of the sum, or null;
// `next_norm`: before the block's next sublayer, or null.
Stack::Flow Stack::add_sublayer(const Site& sublayer, const Site* own_norm, const Site* next_norm,
                                const Tensor& x, const Tensor& y, const Tensor& residual) {
  RowDropout drop = row_dropout(options_.hidden_dropout, sublayer.name, *rows_);
  Tensor added = y;
  if (hooks_.wants(sublayer)) {
    std::function<Tensor(const Tensor&, const Tensor&)> post_norm;
    if (own_norm != nullptr)
      post_norm = [&](const Tensor& own, const Tensor& beside) {
        return norm_with(*own_norm, own, beside);
      };
    added =
        hooks_.apply({sublayer, *rows_, rows_->whole(), x, dropout(y, drop), residual, post_norm});
    drop = {};
  }
  if (own_norm != nullptr) {
    const Tensor stream =
        apply_site(*own_norm, *rows_, {}, norm_with(*own_norm, added, residual, drop));
    return {stream, stream};
  }
  if (next_norm == nullptr) return {residual + dropout(added, drop), {}};
  const NormConfig& next = norm_at(*next_norm, config_);
  Normed normed = sum_and_norm(residual, added, next.kind, weights_.at(weight_of(*next_norm)),
                               norm_bias(*next_norm), next.epsilon, drop);
  return {std::move(normed.sum), apply_site(*next_norm, *rows_, {}, normed.normed)};
}

Tensor Stack::apply_site(const Site& site, const Pack& pack, const Tensor& x, const Tensor& y) {
  return hooks_.wants(site) ? hooks_.apply({site, pack, pack.whole(), x, y, {}, {}}) : y;
}

Tensor Stack::changed_linear(const Site& site, const Pack& pack, const Tensor& x) {
  return apply_site(site, pack, x, weights_.linear(site, x));
}

// Passes over a cache have few rows; nothing of them is differentiated.
template <size_t N>
std::array<Tensor, N> Stack::joint_linears(const std::array<Place, N>& layers, const Tensor& x) {
  std::vector<Tensor> each = weights_.linears(layers, x);
  std::array<Tensor, N> out;
  std::move(each.begin(), each.end(), out.begin());
  return out;
}

Tensor Stack::norm(const Place& place, const Tensor& x) { return norm_with(place, x, {}); }

Tensor Stack::norm_bias(const Place& place) {
  return norm_at(place, config_).has_bias ? weights_.at(bias_of(place)) : Tensor();
}

// x: [T, heads * D]; each head by itself.
Tensor Stack::head_norm(const Place& place, const Tensor& x) {
  return norm(place, x.reshape({-1, stack_config_.head_width()})).view(x.sizes());
}

Tensor Stack::norm_with(const Place& place, const Tensor& x, const Tensor& residual,
                        const RowDropout& drop) {
  const NormConfig& config = norm_at(place, config_);
  const Tensor weight = weights_.at(weight_of(place)), bias = norm_bias(place);
  if (config.kind == Norm::kLayer)
    return norm_of_sum(x, residual, weight, bias, config.epsilon, drop);
  const bool is_sum = residual.defined();
  return sum_and_norm(is_sum ? residual : x, is_sum ? x : Tensor(), config.kind, weight, bias,
                      config.epsilon, drop)
      .normed;
}

// Prefix rows are made of what the first pass shows; later passes find them in the cache.
std::vector<LanePrefix> Stack::prefixes(const Site& site, const Pack& pack, const Tensor& x) {
  if (!hooks_.wants(site)) return {};
  if (options_.cache == nullptr || !is_decoder_)
    return hooks_.prefix({site, pack, pack.whole(), x, {}, {}, {}});
  auto& kept = options_.cache->prefixes;
  if (kept.empty()) kept.resize(sites_.all().size());
  auto& own = kept[static_cast<size_t>(site.index)];
  if (!own) own = hooks_.prefix({site, pack, pack.whole(), x, {}, {}, {}});
  return *own;
}

void Stack::narrow(const std::vector<RowRange>& wanted, Tensor& index) {
  narrowed_ = narrowed(pack_, wanted, options_.round_rows_to, index);
  use_rows(narrowed_);
  for (Angles& angles : angles_)
    angles.rows = {angles.all.cosine.index_select(0, index),
                   angles.all.sine.index_select(0, index)};
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

AttentionOptions Stack::attention_options(const Site& site) const {
  AttentionOptions attention;
  attention.num_heads = stack_config_.heads;
  attention.num_key_heads = stack_config_.key_heads;
  attention.scale = stack_config_.attention_scale;
  attention.dropout = options_.attention_dropout;
  attention.dropout_key = options_.key.with(site.name);
  return attention;
}

RowDropout Stack::row_dropout(double probability, std::string_view use, const Pack& pack) const {
  if (probability == 0.0) return {};
  return {probability, options_.key.with(use), pack.rows};
}

}  // namespace graft
