// Optimizers over named tensors, and what is done to gradients before a step.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "edit/edit.h"
#include "train/config.h"

namespace graft {

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // One update of `tensors` from their .grad(), which it clears.
  virtual void step(NamedTensors& tensors, double learning_rate) = 0;
  // Tensors that had a gradient in some step, but none that was not zero.
  virtual std::vector<std::string> still_tensors() const = 0;
  // Everything that a later step depends on, by name: "<kind>/<param>".
  virtual NamedTensors state() const = 0;
  // Throws InputError for state that fits no param.
  virtual void restore(const NamedTensors& state) = 0;
};

std::unique_ptr<Optimizer> make_optimizer(const std::vector<ParamSpec>& params,
                                          const RunConfig& config);

// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr wd p;
//   p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
// In the form of transformers (AdamWForm::kTransformers) the last two are
//   p -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps);  p -= lr wd p
// Decay acts only where the tensor's spec says so. A tensor that never had a gradient has no state
// and does not move. Once it had one, a missing gradient counts as zero and it keeps moving
// (MissingGradient::kZero: the zero-filled gradients of AdaMix's released code), or it waits, its
// count too (MissingGradient::kSkip).
class AdamW final : public Optimizer {
 public:
  struct Options {
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.01;
    MissingGradient missing_gradient = MissingGradient::kZero;
    AdamWForm form = AdamWForm::kTorch;
  };

  AdamW(const std::vector<ParamSpec>& params, const Options& options);
  void step(NamedTensors& tensors, double learning_rate) override;
  std::vector<std::string> still_tensors() const override;
  NamedTensors state() const override;  // "m/", "v/" and "t/" (a scalar count)
  void restore(const NamedTensors& state) override;

 private:
  struct Slot {
    ParamSpec spec;
    at::Tensor m, v, t;  // undefined until the first gradient
  };
  Options options_;
  std::vector<Slot> slots_;
};

// Adafactor (Shazeer & Stern 2018, arXiv:1804.04235) as T5X applies it: no momentum, no decay, and
// to adapters nothing factored.
//   b = 1 - (t+1)^-0.8;  v = b v + (1 - b)(g^2 + 1e-30);  y = g / sqrt(v);  y /= max(1, RMS(y))
//   p -= lr max(RMS(p), 1e-3) y
// Each tensor is one unit: both RMS are over all experts that it stacks. t counts steps from
// `first_step`.
// Factored (their alg. 4), where the two largest dimensions of a tensor are 128 or more:
//   r = b r + (1 - b) mean_j(g^2 + 1e-30);  c = b c + (1 - b) mean_i(g^2 + 1e-30)
//   v_ij = r_i c_j / mean(r)
// j: the largest dimension, i: the next, of equals the last is the larger.
class Adafactor final : public Optimizer {
 public:
  Adafactor(const std::vector<ParamSpec>& params, const AdafactorConfig& config);
  void step(NamedTensors& tensors, double learning_rate) override;
  std::vector<std::string> still_tensors() const override;
  NamedTensors state() const override;  // "v/", or "row/" and "column/", and "t/" of the whole
  void restore(const NamedTensors& state) override;

 private:
  struct Slot {
    ParamSpec spec;
    at::Tensor v;            // undefined until the first gradient, and where factored
    at::Tensor row, column;  // r and c, with dimensions of 1 where they are means
    int64_t row_dim = -1, column_dim = -1;  // i and j where factored

    bool is_factored() const { return row_dim >= 0; }
    bool has_state() const { return v.defined() || row.defined(); }
  };
  // g / sqrt(v) after its update.
  static at::Tensor normalized(Slot& slot, const at::Tensor& gradient, double decay);

  AdafactorConfig config_;
  std::vector<Slot> slots_;
  int64_t steps_ = 0;
};

// The saved tensor of a slot, with its shape checked; counts it as used. For `restore`.
at::Tensor saved_state(const NamedTensors& state, const std::string& name,
                       const std::vector<int64_t>& shape, size_t& used);

// The 2-norm of all gradients together, in float64.
double gradient_norm(const NamedTensors& tensors);

// Scales all gradients so that their norm is at most `limit`: by limit / (norm + 1e-6) where that
// is below 1.
void clip_gradients(NamedTensors& tensors, double norm, double limit);

}  // namespace graft
