// Packed attention as autograd sees it; the work is in attention_forward.cpp and
// attention_backward.cpp.
#include "tensor/packed_attention.h"

#include <ATen/ATen.h>

#include <utility>

#include "base/error.h"
#include "tensor/attention_kernels.h"
#include "tensor/attention_plan.h"
#include "tensor/autograd_call.h"
#include "tensor/chunk.h"
#include "tensor/dispatch.h"
#include "tensor/plain/plain.h"

namespace graft {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Every tensor of a call in one list: q, k, v, the distance bias, then keys, values, key_scale,
// value_scale, logit_bias of every lane. Autograd takes no undefined tensors, so it sees the
// defined ones, and `place` says where each of the list went (-1: undefined).
constexpr size_t kFirstLane = 4, kLaneTensors = 5;

variable_list flattened(const AttentionInputs& inputs) {
  variable_list flat{inputs.q, inputs.k, inputs.v, inputs.distance_bias};
  for (const LanePrefix& lane : inputs.lanes) {
    for (const at::Tensor& each :
         {lane.keys, lane.values, lane.key_scale, lane.value_scale, lane.logit_bias})
      flat.push_back(each);
  }
  return flat;
}

struct Recorded {
  std::shared_ptr<const AttentionPlan> plan;
  std::vector<int64_t> place;

  variable_list restored(at::TensorList defined) const {
    variable_list flat;
    for (const int64_t i : place)
      flat.push_back(i < 0 ? at::Tensor() : defined[static_cast<size_t>(i)]);
    return flat;
  }
};

AttentionInputs inputs_of(const AttentionPlan& plan, const variable_list& flat) {
  AttentionInputs inputs{flat[0], flat[1], flat[2], flat[3], {}};
  for (size_t lane = 0; lane < plan.lane_rows.size(); ++lane) {
    const size_t i = kFirstLane + lane * kLaneTensors;
    inputs.lanes.push_back({plan.lane_first[lane], plan.lane_end[lane], flat[i], flat[i + 1],
                            flat[i + 2], flat[i + 3], flat[i + 4]});
  }
  return inputs;
}

// From the gradient of the scaled rows of each sequence [N, P, K, D]: that of the rows themselves,
// and of the scale.
at::Tensor rows_gradient(const at::Tensor& sums, const at::Tensor& scale, const at::Tensor& rows) {
  const at::Tensor scaled =
      scale.defined() ? sums * scale.to(sums.scalar_type()).view({-1, 1, 1, 1}) : sums;
  return scaled.sum(0).to(rows.scalar_type());
}

at::Tensor scale_gradient(const at::Tensor& sums, const at::Tensor& scale, const at::Tensor& rows) {
  return (sums * rows.to(sums.scalar_type())).sum({1, 2, 3}).to(scale.scalar_type());
}

struct AttentionFunction : torch::autograd::Function<AttentionFunction> {
  static at::Tensor forward(AutogradContext* context, const Recorded& call,
                            at::TensorList defined) {
    const at::Tensor& q = defined[0];
    const at::Tensor log_sums = at::empty({call.plan->options.num_heads, q.size(0)},
                                          q.options().dtype(accumulator_type(q.scalar_type())));
    const at::Tensor out =
        attention_forward(*call.plan, inputs_of(*call.plan, call.restored(defined)), log_sums);
    variable_list saved = defined.vec();
    saved.push_back(log_sums);
    context->save_for_backward(saved);
    keep(context, call);
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const Recorded& call = kept<Recorded>(context);
    const variable_list saved = context->get_saved_variables(), flat = call.restored(saved);
    const auto needs = [&](size_t i) {
      return call.place[i] >= 0 && context->needs_input_grad(static_cast<size_t>(call.place[i]));
    };
    AttentionWants wants{needs(0), needs(1), needs(2), needs(3), {}, {}, {}};
    for (size_t i = kFirstLane; i < flat.size(); i += kLaneTensors) {
      wants.prefix_keys.push_back(needs(i) || needs(i + 2));
      wants.prefix_values.push_back(needs(i + 1) || needs(i + 3));
      wants.prefix_bias.push_back(needs(i + 4));
    }
    const AttentionGradients out = attention_backward(*call.plan, inputs_of(*call.plan, flat),
                                                      grads[0].contiguous(), saved.back(), wants);

    variable_list result(saved.size());  // one for the call, one for each defined tensor
    const auto give = [&](size_t i, const at::Tensor& gradient) {
      result[static_cast<size_t>(call.place[i]) + 1] = gradient;
    };
    give(0, out.q);
    give(1, out.k);
    give(2, out.v);
    if (needs(3)) give(3, out.distance_bias.to(flat[3].scalar_type()));
    for (size_t lane = 0; lane < out.lanes.size(); ++lane) {
      const size_t i = kFirstLane + lane * kLaneTensors;
      const LaneSums& sums = out.lanes[lane];
      if (needs(i)) give(i, rows_gradient(sums.keys, flat[i + 2], flat[i]));
      if (needs(i + 1)) give(i + 1, rows_gradient(sums.values, flat[i + 3], flat[i + 1]));
      if (needs(i + 2)) give(i + 2, scale_gradient(sums.keys, flat[i + 2], flat[i]));
      if (needs(i + 3)) give(i + 3, scale_gradient(sums.values, flat[i + 3], flat[i + 1]));
      if (needs(i + 4)) give(i + 4, sums.bias.sum(1).to(flat[i + 4].scalar_type()));
    }
    return result;
  }
};

void check_matrices(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionOptions& options) {
  ensure(q.dim() == 2 && k.dim() == 2 && k.sizes() == v.sizes(),
         "attention: q must be [T, H*D], k and v [S, K*D]");
  ensure(options.num_heads > 0 && options.num_key_heads > 0 &&
             options.num_heads % options.num_key_heads == 0,
         "attention: the number of key heads must divide the number of heads");
  ensure(q.size(1) % options.num_heads == 0 &&
             k.size(1) == q.size(1) / options.num_heads * options.num_key_heads,
         "attention: the widths of q, k and v do not fit the number of heads");
  ensure(q.scalar_type() == k.scalar_type() && k.scalar_type() == v.scalar_type(),
         "attention: q, k and v must have one dtype");
}

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::shared_ptr<const Spans> spans, const AttentionOptions& options,
                            const std::vector<LanePrefix>& prefixes) {
  check_matrices(q, k, v, options);
  const auto plan = std::make_shared<const AttentionPlan>(plan_attention(
      spans, options, prefixes, q.size(0), k.size(0), q.size(1) / options.num_heads));
  if (!uses_kernels(q))
    return plain::packed_attention(q, k, v, std::move(spans), options, prefixes);
  const AttentionInputs inputs{dense_columns(q), dense_columns(k), dense_columns(v),
                               options.distance_bias, prefixes};
  const variable_list flat = flattened(inputs);
  Recorded call{plan, {}};
  variable_list defined;
  bool needs = false;
  for (const at::Tensor& each : flat) {
    call.place.push_back(each.defined() ? static_cast<int64_t>(defined.size()) : -1);
    if (each.defined()) defined.push_back(each);
    needs = needs || needs_graph({each});
  }
  return needs ? AttentionFunction::apply(call, at::TensorList(defined))
               : attention_forward(*plan, inputs, {});
}

}  // namespace graft
