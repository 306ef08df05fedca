#include "model/stack.h"

#include <ATen/ops/alias.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/index_select.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "model/positions.h"
#include "tensor/autograd_call.h"

namespace graft {

using at::Tensor;

Stack::Stack(const Model& model, const Weights& weights, const Hooks& hooks,
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
  use_rows(nullptr);
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

// Blocks compute these rows from here on.
void Stack::use_rows(const WantedRows& wanted) {
  wanted_ = wanted;
  rows_ = wanted_ != nullptr ? &wanted_->pack : &pack_;
  own_spans_ = own_keys_.empty() ? rows_->spans : spans_over(own_keys_);
  cross_spans_ = cross_keys_.empty() ? nullptr : spans_over(cross_keys_);
  const bool is_narrowed = wanted_ != nullptr && wanted_->index.defined();
  for (Angles& angles : angles_) {
    angles.rows = angles.all;
    if (is_narrowed) {
      angles.rows = {angles.all.cosine.index_select(0, wanted_->index),
                     angles.all.sine.index_select(0, wanted_->index)};
    }
  }
}

Stack::Result Stack::embed() {
  Tensor x = embedded();
  return {std::move(x), std::exchange(side_, {})};
}

Tensor Stack::embedded() {
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
  x = dropout(x, row_dropout(&DropoutRates::embed, is_first ? "embed" : "dec.embed", pack_));
  return is_first ? apply_site(sites_.embed(), pack_, {}, x) : x;
}

const Site& Stack::site(int64_t layer, Part part) const {
  return sites_.at({id_, static_cast<int16_t>(layer), part});
}

namespace {

// Where a lane keeps all of its rows they are a tensor of their own too, so that its gradients are
// summed in one order whether or not other lanes keep theirs.
Tensor rows_of(const NarrowedPack& wanted, const Tensor& all) {
  if (wanted.index.defined()) return all.index_select(0, wanted.index);
  return needs_graph({all}) ? at::alias(all) : all;
}

}  // namespace

Stack::Result Stack::block(int64_t layer, const Tensor& x, const WantedRows& wanted) {
  // A block may be computed again after the last one computed fewer rows.
  if (wanted != wanted_) use_rows(wanted);
  Tensor out = block_output(layer, x);
  return {std::move(out), std::exchange(side_, {})};
}

Tensor Stack::block_output(int64_t layer, const Tensor& x) {
  const auto at = [&](Part part) -> const Site& { return site(layer, part); };
  const bool has_cross = is_decoder_ && config_.has_encoder();
  Flow flow = read_stream(norm_before(layer, Part::kAttnNorm), x);
  const Tensor read_by_all = flow.read;
  if (wanted_ != nullptr) flow = {rows_of(*wanted_, flow.stream), rows_of(*wanted_, flow.read)};
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
             ? dropout(last, row_dropout(&DropoutRates::hidden,
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
    a = apply_site(site(layer, Part::kFfnMid), *rows_, read, gated_activation(act, read, gate, up));
  } else {
    a = apply_site(act, *rows_, read, activate(changed_linear(up_site, *rows_, read), activation));
  }
  const RowDropout drop = row_dropout(&DropoutRates::activation, act.name, *rows_);
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

// act(gate) * up; in one pass over the rows of lanes in which nobody listens between the two.
Tensor Stack::gated_activation(const Site& act, const Tensor& read, const Tensor& gate,
                               const Tensor& up) {
  if (!hooks_.wants(act)) return gated(gate, up, stack_config_.activation);
  const Tensor heard = apply_site(act, *rows_, read, activate(gate, stack_config_.activation)) * up;
  std::vector<bool> is_heard;
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < rows_->lanes.size(); ++i) {
    is_heard.push_back(hooks_.wants_in_lane(act, i));
    sizes.push_back(rows_->lanes[i].num_rows);
  }
  if (std::find(is_heard.begin(), is_heard.end(), false) == is_heard.end()) return heard;
  std::vector<Tensor> lanes = heard.split_with_sizes(sizes, 0);
  const std::vector<Tensor> gates = gate.split_with_sizes(sizes, 0),
                            ups = up.split_with_sizes(sizes, 0);
  for (size_t i = 0; i < lanes.size(); ++i) {
    if (!is_heard[i]) lanes[i] = gated(gates[i], ups[i], stack_config_.activation);
  }
  return at::cat(lanes, 0);
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
  RowDropout drop = row_dropout(&DropoutRates::hidden, sublayer.name, *rows_);
  Tensor added = y;
  if (hooks_.wants(sublayer)) {
    std::function<Tensor(const Tensor&, const Tensor&)> post_norm;
    if (own_norm != nullptr)
      post_norm = [&](const Tensor& own, const Tensor& beside) {
        return norm_with(*own_norm, own, beside);
      };
    // Lanes in which nobody listens drop out where they are added, in one pass with the sum.
    RowDropout heard = drop;
    for (size_t i = 0; i < drop.lanes.size(); ++i)
      (hooks_.wants_in_lane(sublayer, i) ? drop : heard).lanes[i].probability = 0.0;
    added = listened(hooks_.apply(
        {sublayer, *rows_, rows_->whole(), x, dropout(y, heard), residual, post_norm}));
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

Tensor Stack::listened(SiteResult result) {
  side_.append(std::move(result.side));
  return std::move(result.y);
}

Tensor Stack::apply_site(const Site& site, const Pack& pack, const Tensor& x, const Tensor& y) {
  return hooks_.wants(site) ? listened(hooks_.apply({site, pack, pack.whole(), x, y, {}, {}})) : y;
}

Tensor Stack::changed_linear(const Site& site, const Pack& pack, const Tensor& x) {
  return apply_site(site, pack, x, weights_.linear(site, x));
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

namespace {

// By lanes of rows, or of sequences, that end where `end_of` says; none where no lane drops out.
LaneDropouts lane_dropouts(const Pack& pack, double DropoutRates::*rate, std::string_view use,
                           int64_t (*end_of)(const LaneRows& lane)) {
  LaneDropouts out;
  bool is_needed = false;
  for (const LaneRows& lane : pack.lanes) {
    out.push_back({lane.dropout.*rate, lane.key.with("trunk").with(use), end_of(lane)});
    is_needed = is_needed || lane.dropout.*rate != 0.0;
  }
  return is_needed ? out : LaneDropouts{};
}

}  // namespace

AttentionOptions Stack::attention_options(const Site& site) const {
  AttentionOptions attention;
  attention.num_heads = stack_config_.heads;
  attention.num_key_heads = stack_config_.key_heads;
  attention.scale = stack_config_.attention_scale;
  attention.dropout =
      lane_dropouts(*rows_, &DropoutRates::attention, site.name,
                    [](const LaneRows& lane) { return lane.first_sequence + lane.num_sequences; });
  return attention;
}

RowDropout Stack::row_dropout(double DropoutRates::*rate, std::string_view use,
                              const Pack& pack) const {
  LaneDropouts lanes = lane_dropouts(
      pack, rate, use, [](const LaneRows& lane) { return lane.first_row + lane.num_rows; });
  if (lanes.empty()) return {};
  return {std::move(lanes), pack.rows};
}

}  // namespace graft
