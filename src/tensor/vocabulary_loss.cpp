// The idea: every gradient that a loss of logits = (s h) W^T + b can ask for is a product with the
// gradient G of the logits: s G W, G^T (s h) and the column sums of G. So a chunk of rows goes all
// the way there and back while its logits are in the caches, and what stays is as small as the
// hidden states. In backward all of it is multiplied by the gradient of the scalar.
#include "tensor/vocabulary_loss.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "tensor/autograd_call.h"
#include "tensor/chunk.h"
#include "tensor/dispatch.h"
#include "tensor/parallel.h"
#include "tensor/plain/plain.h"

namespace graft {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor scaled(const OutputLayer& layer, const at::Tensor& hidden) {
  return layer.scale == 1.0 ? hidden : hidden * layer.scale;
}

// In the dtype of the hidden states.
at::Tensor logits_of(const OutputLayer& layer, const at::Tensor& hidden) {
  const at::Tensor input = scaled(layer, hidden);
  return layer.frozen ? (*layer.frozen)(input) : linear(input, layer.weight, layer.bias);
}

// One call: what is asked for, and what has been summed so far.
class Chunks {
 public:
  // Takes the logits of a chunk, and returns its loss; where gradients are wanted, the logits
  // become their own gradients.
  using Step = std::function<double(variable_list& logits, int64_t first_row)>;

  Chunks(const variable_list& hiddens, const OutputLayer& layer) : layer_(layer) {
    for (const at::Tensor& hidden : hiddens) {
      ensure(hidden.dim() == 2 && hidden.sizes() == hiddens[0].sizes() &&
                 hidden.scalar_type() == hiddens[0].scalar_type(),
             "vocabulary loss: the hidden states must be [R, C], alike in every pass");
      ensure(hidden.size(1) == weight().size(1) && hidden.scalar_type() == weight().scalar_type(),
             "vocabulary loss: the hidden states do not fit the output layer");
      inputs_.push_back(hidden);
    }
    wants_weight_ = !layer.frozen && needs_graph({layer.weight});
    wants_bias_ = !layer.frozen && needs_graph({layer.bias});
    for (const at::Tensor& hidden : hiddens) {
      hiddens_.push_back(hidden.detach());
      gradients_.push_back(needs_graph({hidden})
                               ? at::empty_like(hiddens_.back(), at::MemoryFormat::Contiguous)
                               : at::Tensor());
    }
  }

  bool wants_gradients() const {
    return wants_weight_ || wants_bias_ ||
           std::any_of(gradients_.begin(), gradients_.end(),
                       [](const auto& g) { return g.defined(); });
  }

  // The sum of the chunks' losses; differentiable where gradients are wanted.
  at::Tensor run(const Step& step) {
    const at::NoGradGuard no_grad;
    const int64_t rows = hiddens_[0].size(0);
    const auto row_bytes = static_cast<int64_t>(hiddens_.size()) *
                           static_cast<int64_t>(hiddens_[0].element_size()) * weight().size(0);
    const int64_t chunk = std::max<int64_t>(kChunkBytes / std::max<int64_t>(row_bytes, 1), 1);
    double sum = 0;
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t count = std::min(chunk, rows - begin);
      variable_list logits;
      for (const at::Tensor& hidden : hiddens_)
        logits.push_back(logits_of(layer_, hidden.narrow(0, begin, count)));
      sum += step(logits, begin);
      for (size_t pass = 0; pass < hiddens_.size(); ++pass)
        take_gradients(pass, begin, logits[pass]);
    }
    return recorded(at::scalar_tensor(
        sum, hiddens_[0].options().dtype(accumulator_type(hiddens_[0].scalar_type()))));
  }

 private:
  struct Scaled : torch::autograd::Function<Scaled> {
    // The gradients come along as an ordinary value: autograd need not see them.
    static at::Tensor forward(AutogradContext* context, const at::Tensor& sum,
                              const variable_list& gradients, at::TensorList) {
      keep(context, gradients);
      return sum.clone();
    }
    static variable_list backward(AutogradContext* context, const variable_list& grads) {
      const auto& gradients = kept<variable_list>(context);
      variable_list result(2);
      for (const at::Tensor& each : gradients)
        result.push_back(each.defined() ? each * grads[0] : each);
      return result;
    }
  };

  const at::Tensor& weight() const {
    return layer_.frozen ? layer_.frozen->weight() : layer_.weight;
  }

  void take_gradients(size_t pass, int64_t begin, const at::Tensor& grad) {
    if (gradients_[pass].defined()) {
      at::Tensor d = layer_.frozen ? layer_.frozen->input_gradient(grad)
                                   : LinearGradients::input(grad, layer_.weight);
      if (layer_.scale != 1.0) d = d * layer_.scale;
      gradients_[pass].narrow(0, begin, grad.size(0)).copy_(d);
    }
    if (wants_weight_) {
      const at::Tensor rows = scaled(layer_, hiddens_[pass].narrow(0, begin, grad.size(0)));
      add(d_weight_, LinearGradients::weight(grad, rows));
    }
    if (wants_bias_) add(d_bias_, LinearGradients::bias(grad));
  }

  static void add(at::Tensor& sum, const at::Tensor& more) {
    if (sum.defined()) {
      sum.add_(more);
    } else {
      sum = more.to(accumulator_type(more.scalar_type()));
    }
  }

  at::Tensor recorded(const at::Tensor& sum) {
    if (!wants_gradients()) return sum;
    const at::AutoGradMode grad_mode(true);
    const auto offer = [&](const at::Tensor& input, bool wanted, at::Tensor& gradient) {
      if (!wanted) return;
      inputs_.push_back(input);
      gradients_.push_back(gradient.defined() ? gradient.to(input.scalar_type())
                                              : at::zeros_like(input));  // no rows, no chunk
    };
    offer(layer_.weight, wants_weight_, d_weight_);
    offer(layer_.bias, wants_bias_, d_bias_);
    return Scaled::apply(sum, gradients_, at::TensorList(inputs_));
  }

  const OutputLayer& layer_;
  variable_list inputs_, hiddens_,
      gradients_;  // in the order of the inputs: every pass, then weight and bias if they train
  at::Tensor d_weight_, d_bias_;
  bool wants_weight_ = false, wants_bias_ = false;
};

// ---- cross entropy

template <class T>
struct RowSums {
  using A = typename Chunk<T>::Accumulator;
  A log_denominator, logits;  // log sum e^z, sum z
};

// Four sums side by side: a vocabulary is long enough for the order of additions to show in
// float32, and for their delay to cost.
template <class T>
RowSums<T> row_sums(const T* row, int64_t columns) {
  using C = Chunk<T>;
  using A = typename C::Accumulator;
  constexpr int64_t kWays = 4;
  const int64_t whole = columns - columns % C::kWidth;
  typename C::Value largest = typename C::Value{} - std::numeric_limits<A>::infinity();
  for (int64_t c = 0; c < whole; c += C::kWidth) largest = C::max(largest, C::load(row + c));
  A shift = C::largest(largest);
  for (int64_t c = whole; c < columns; ++c) shift = std::max(shift, static_cast<A>(row[c]));
  typename C::Value sums[kWays]{}, logits[kWays]{};
  int64_t c = 0;
  for (; c + kWays * C::kWidth <= columns; c += kWays * C::kWidth) {
    for (int64_t way = 0; way < kWays; ++way) {
      const typename C::Value z = C::load(row + c + way * C::kWidth);
      sums[way] += simd::exp(z - shift);
      logits[way] += z;
    }
  }
  A sum = C::sum((sums[0] + sums[1]) + (sums[2] + sums[3])),
    total = C::sum((logits[0] + logits[1]) + (logits[2] + logits[3]));
  for (; c < columns; ++c) {
    sum += std::exp(static_cast<A>(row[c]) - shift);
    total += static_cast<A>(row[c]);
  }
  return {shift + std::log(sum), total};
}

// The loss of a row of logits. With `takes_gradient` the row becomes its gradient:
// p_v (1 + 2 z_loss log-denominator) - (1-e) [v = target] - e/V.
template <class T>
typename Chunk<T>::Accumulator row_loss(T* row, int64_t columns, int64_t target,
                                        const VocabularyLossOptions& options, bool takes_gradient) {
  using C = Chunk<T>;
  using A = typename C::Accumulator;
  const RowSums<T> sums = row_sums<T>(row, columns);
  const A smoothing = static_cast<A>(options.label_smoothing),
          z_loss = static_cast<A>(options.z_loss), own = static_cast<A>(row[target]);
  const A log_denominator = sums.log_denominator, mean = sums.logits / static_cast<A>(columns);
  if (takes_gradient) {
    const A factor = 1 + 2 * z_loss * log_denominator, off = smoothing / static_cast<A>(columns);
    for_chunks<T>(columns, [&](int64_t c, auto n) {
      C::store(row + c, simd::exp(C::load(row + c, n) - log_denominator) * factor - off, n);
    });
    row[target] = static_cast<T>(std::exp(own - log_denominator) * factor - off -
                                 (1 - smoothing));  // rounded once
  }
  return (1 - smoothing) * (log_denominator - own) + smoothing * (log_denominator - mean) +
         z_loss * log_denominator * log_denominator;
}

}  // namespace

at::Tensor whole_logits(const at::Tensor& hidden, const OutputLayer& layer) {
  const at::NoGradGuard no_grad;
  return logits_of(layer, hidden).to(accumulator_type(hidden.scalar_type())).contiguous();
}

VocabularyLoss vocabulary_loss(const at::Tensor& hidden, const OutputLayer& layer,
                               const std::vector<int64_t>& targets,
                               const VocabularyLossOptions& options) {
  Chunks chunks({hidden}, layer);
  const int64_t columns = layer.frozen ? layer.frozen->weight().size(0) : layer.weight.size(0);
  ensure(static_cast<int64_t>(targets.size()) == hidden.size(0),
         "vocabulary loss: there must be one target per row");
  ensure(std::all_of(targets.begin(), targets.end(),
                     [&](int64_t target) { return 0 <= target && target < columns; }),
         "vocabulary loss: a target lies outside the vocabulary");
  if (!uses_kernels(hidden)) return plain::vocabulary_loss(hidden, layer, targets, options);
  const bool wants = chunks.wants_gradients();
  const at::Tensor rows = at::empty(
      {hidden.size(0)},
      hidden.options().dtype(accumulator_type(hidden.scalar_type())).requires_grad(false));
  const at::Tensor sum = chunks.run([&](variable_list& logits, int64_t first_row) {
    const at::Tensor matrix = logits[0] = logits[0].contiguous();
    with_scalar(matrix.scalar_type(), [&]<class T>(T*) {
      using A = typename Chunk<T>::Accumulator;
      T* values = matrix.mutable_data_ptr<T>();
      A* losses = rows.mutable_data_ptr<A>() + first_row;
      parallel_tasks(matrix.size(0), [&](int64_t i) {
        losses[i] = row_loss<T>(values + i * columns, columns,
                                targets[static_cast<size_t>(first_row + i)], options, wants);
      });
    });
    return rows.narrow(0, first_row, matrix.size(0)).sum(at::kDouble).item<double>();
  });
  return {sum, rows};
}

at::Tensor chunked_loss(const std::vector<at::Tensor>& hiddens, const OutputLayer& layer,
                        const ChunkLoss& loss) {
  ensure(!hiddens.empty(), "vocabulary loss: there must be one pass at least");
  Chunks chunks(hiddens, layer);
  const bool wants = chunks.wants_gradients();
  return chunks.run([&](variable_list& logits, int64_t first_row) {
    const at::AutoGradMode grad_mode(wants);
    variable_list leaves;
    for (const at::Tensor& each : logits) {
      leaves.push_back(
          each.to(accumulator_type(each.scalar_type())).detach().set_requires_grad(wants));
    }
    const at::Tensor sum = loss(leaves, first_row);
    if (wants) {
      const variable_list grads =
          torch::autograd::grad({sum}, leaves, {}, std::nullopt, false, true);
      for (size_t pass = 0; pass < logits.size(); ++pass) {
        logits[pass] = grads[pass].defined() ? grads[pass].to(logits[pass].scalar_type())
                                             : at::zeros_like(logits[pass]);
      }
    }
    return sum.item<double>();
  });
}

}  // namespace graft
