// Times of the kernels of src/tensor beside the operators of libtorch they replace: attention over
// packed rows against padded scaled_dot_product_attention, linear layers of oneDNN against
// at::linear, fused elementwise work against compositions of ATen.
//
//   bench_kernels --benchmark_filter=attention --benchmark_repetitions=5
//   --benchmark_report_aggregates_only=true
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <numeric>

#include "tensor/fused.h"
#include "tensor/linear.h"
#include "tensor/packed_attention.h"

namespace graft {
namespace {

constexpr int64_t kFloat = 0, kBfloat16 = 1;
at::ScalarType type_of(int64_t arg) { return arg == kFloat ? at::kFloat : at::kBFloat16; }

// The lengths of a batch: about 25 tokens a sequence (a row of SST-2), or 512.
std::vector<int64_t> lengths(bool is_long) {
  if (is_long) return std::vector<int64_t>(8, 512);
  std::vector<int64_t> out;
  for (int64_t n = 0; n < 32; ++n) out.push_back(5 + n * 37 % 41);
  return out;
}

struct Batch {
  at::Tensor q, k, v, grad;
  std::shared_ptr<const Spans> spans;
  AttentionOptions options;
};

// BERT-base: 12 heads of 64.
Batch batch(const benchmark::State& state) {
  Batch out;
  Spans spans;
  int64_t row = 0;
  for (const int64_t length : lengths(state.range(0) != 0)) {
    spans.sequences.push_back({row, row + length, row, row + length, 0, row});
    row += length;
  }
  const auto matrix = [&] { return at::randn({row, 768}).to(type_of(state.range(1))); };
  out.q = matrix().set_requires_grad(true);
  out.k = matrix().set_requires_grad(true);
  out.v = matrix().set_requires_grad(true);
  out.grad = matrix();
  out.spans = std::make_shared<const Spans>(std::move(spans));
  out.options.num_heads = out.options.num_key_heads = 12;
  out.options.scale = 0.125;
  return out;
}

void attention_packed(benchmark::State& state) {
  const Batch b = batch(state);
  const bool with_backward = state.range(2) != 0;
  AttentionOptions options = b.options;
  options.dropout = {{state.range(3) != 0 ? 0.1 : 0.0, {}}};
  for (auto _ : state) {
    const at::Tensor out = packed_attention(b.q, b.k, b.v, b.spans, options);
    if (with_backward)
      benchmark::DoNotOptimize(torch::autograd::grad({out}, {b.q, b.k, b.v}, {b.grad}));
  }
}

// The same numbers of tokens, padded to the longest sequence, with a mask when lengths differ.
void attention_padded(benchmark::State& state) {
  const std::vector<int64_t> of = lengths(state.range(0) != 0);
  const auto count = static_cast<int64_t>(of.size()),
             longest = *std::max_element(of.begin(), of.end());
  const auto matrix = [&] {
    return at::randn({count, 12, longest, 64}).to(type_of(state.range(1)));
  };
  const at::Tensor q = matrix().set_requires_grad(true), k = matrix().set_requires_grad(true),
                   v = matrix().set_requires_grad(true), grad = matrix();
  at::Tensor mask = at::zeros({count, 1, 1, longest}, at::kBool);
  bool ragged = false;
  for (int64_t n = 0; n < count; ++n) {
    mask[n].narrow(2, 0, of[static_cast<size_t>(n)]).fill_(true);
    ragged = ragged || of[static_cast<size_t>(n)] < longest;
  }
  const std::optional<at::Tensor> optional_mask = ragged ? std::optional(mask) : std::nullopt;
  for (auto _ : state) {
    const at::Tensor out = at::scaled_dot_product_attention(q, k, v, optional_mask);
    if (state.range(2) != 0)
      benchmark::DoNotOptimize(torch::autograd::grad({out}, {q, k, v}, {grad}));
  }
}

// Arguments: long sequences, dtype, with backward, with dropout.
BENCHMARK(attention_packed)
    ->ArgsProduct({{0, 1}, {kFloat, kBfloat16}, {0, 1}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(attention_padded)
    ->ArgsProduct({{0, 1}, {kFloat, kBfloat16}, {0, 1}, {0}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// ---- linear

struct Product {
  at::Tensor x, weight, bias, grad;
};

Product product(const benchmark::State& state) {
  const auto type = type_of(state.range(3));
  const int64_t rows = state.range(0), in = state.range(1), out = state.range(2);
  return {at::randn({rows, in}).to(type), at::randn({out, in}).to(type), at::randn({out}).to(type),
          at::randn({rows, out}).to(type)};
}

void count_operations(benchmark::State& state, double products) {
  state.counters["GF/s"] = benchmark::Counter(
      2e-9 * products * static_cast<double>(state.range(0) * state.range(1) * state.range(2)),
      benchmark::Counter::kIsIterationInvariantRate);
}

void linear_frozen(benchmark::State& state) {
  const Product p = product(state);
  const FrozenLinear layer(p.weight, p.bias);
  for (auto _ : state) benchmark::DoNotOptimize(layer(p.x));
  count_operations(state, 1);
}

void linear_frozen_backward(benchmark::State& state) {
  const Product p = product(state);
  const FrozenLinear layer(p.weight, p.bias);
  const at::Tensor x = p.x.clone().set_requires_grad(true), y = layer(x);
  for (auto _ : state) benchmark::DoNotOptimize(torch::autograd::grad({y}, {x}, {p.grad}, true));
  count_operations(state, 1);
}

void linear_aten(benchmark::State& state) {
  const Product p = product(state);
  for (auto _ : state) benchmark::DoNotOptimize(at::linear(p.x, p.weight, p.bias));
  count_operations(state, 1);
}

template <bool kOurs>
void linear_trained_all(benchmark::State& state) {
  Product p = product(state);
  for (at::Tensor* each : {&p.x, &p.weight, &p.bias}) each->set_requires_grad(true);
  for (auto _ : state) {
    const at::Tensor y = kOurs ? linear(p.x, p.weight, p.bias) : at::linear(p.x, p.weight, p.bias);
    benchmark::DoNotOptimize(torch::autograd::grad({y}, {p.x, p.weight, p.bias}, {p.grad}));
  }
  count_operations(state, 3);
}

void products(benchmark::internal::Benchmark* b) {
  for (const int64_t type : {kFloat, kBfloat16}) {
    for (const int64_t rows : {1, 32, 640}) {
      b->Args({rows, 768, 768, type})->Args({rows, 768, 3072, type})->Args({rows, 3072, 768, type});
    }
  }
  b->UseRealTime()->Unit(benchmark::kMicrosecond);
}

// Arguments: T, in, out, dtype.
void ranks(benchmark::internal::Benchmark* b) {
  for (const int64_t type : {kFloat, kBfloat16}) {
    for (const int64_t rank : {4, 8, 16, 32, 64, 768})
      b->Args({640, 768, rank, type})->Args({640, rank, 768, type});
  }
  b->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK(linear_frozen)->Apply(products);
BENCHMARK(linear_frozen_backward)->Apply(products);
BENCHMARK(linear_aten)->Apply(products);
BENCHMARK(linear_trained_all<true>)->Apply(ranks);
BENCHMARK(linear_trained_all<false>)->Apply(ranks);

// ---- elementwise

template <bool kOurs>
void add_norm_all(benchmark::State& state) {
  const auto type = type_of(state.range(0));
  const at::Tensor x = at::randn({800, 768}).to(type).set_requires_grad(true),
                   r = at::randn({800, 768}).to(type).set_requires_grad(true),
                   grad = at::randn({800, 768}).to(type), w = at::ones({768}).to(type),
                   b = at::zeros({768}).to(type);
  auto ids = std::make_shared<RowIds>(RowIds{std::vector<int64_t>(800), std::vector<int64_t>(800)});
  std::iota(ids->position.begin(), ids->position.end(), int64_t{0});
  const double probability = state.range(1) != 0 ? 0.1 : 0.0;
  const RowDropout dropped{{{probability, RandomKey{1}}}, ids};
  for (auto _ : state) {
    const at::Tensor y =
        kOurs ? norm_of_sum(x, r, w, b, 1e-5, dropped)
              : at::layer_norm(at::dropout(x, probability, probability > 0) + r, {768}, w, b, 1e-5);
    benchmark::DoNotOptimize(torch::autograd::grad({y}, {x, r}, {grad}));
  }
}

template <bool kOurs>
void gelu_all(benchmark::State& state) {
  const auto type = type_of(state.range(0));
  const at::Tensor x = at::randn({800, 3072}).to(type).set_requires_grad(true),
                   grad = at::randn({800, 3072}).to(type);
  for (auto _ : state) {
    const at::Tensor y = kOurs ? activate(x, Activation::kGelu) : at::gelu(x);
    benchmark::DoNotOptimize(torch::autograd::grad({y}, {x}, {grad}));
  }
}

// Arguments: dtype, with dropout. Forward and backward.
BENCHMARK(add_norm_all<true>)
    ->ArgsProduct({{kFloat, kBfloat16}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(add_norm_all<false>)
    ->ArgsProduct({{kFloat, kBfloat16}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(gelu_all<true>)
    ->Arg(kFloat)
    ->Arg(kBfloat16)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(gelu_all<false>)
    ->Arg(kFloat)
    ->Arg(kBfloat16)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace graft

BENCHMARK_MAIN();
