// Times of what decoders add to the kernels, beside compositions of ATen: causal grouped-query
// attention (training and decoding over a cache), pre-norm, gates, rotary positions, the loss of a
// large vocabulary. Shapes of SmolLM2-135M: C=576, H=9, K=3, D=64, F=1536, V=49152.
//
//   bench_decoder_kernels --benchmark_filter=causal --benchmark_repetitions=5
//   --benchmark_report_aggregates_only=true
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#include "tensor/fused.h"
#include "tensor/packed_attention.h"
#include "tensor/rotary.h"
#include "tensor/vocabulary_loss.h"

namespace graft {
namespace {

constexpr int64_t kFloat = 0, kBfloat16 = 1;
constexpr int64_t kWidth = 576, kHeads = 9, kKeyHeads = 3, kHeadWidth = 64;
at::ScalarType type_of(int64_t arg) { return arg == kFloat ? at::kFloat : at::kBFloat16; }

at::Tensor random(at::IntArrayRef shape, at::ScalarType type, bool is_leaf = false) {
  return at::randn(shape).to(type).set_requires_grad(is_leaf);
}

// ---- attention

AttentionOptions causal() {
  AttentionOptions options;
  options.num_heads = kHeads;
  options.num_key_heads = kKeyHeads;
  options.scale = 0.125;
  options.is_causal = true;
  return options;
}

// Arguments: length (about 2000 tokens in all), dtype, with backward.
void causal_packed(benchmark::State& state) {
  const int64_t length = state.range(0), count = 2000 / length, rows = length * count;
  const bool with_backward = state.range(2) != 0;
  const auto type = type_of(state.range(1));
  auto spans = std::make_shared<Spans>();
  for (int64_t n = 0; n < count; ++n)
    spans->sequences.push_back({n * length, (n + 1) * length, n * length, (n + 1) * length, 0, n});
  const at::Tensor q = random({rows, kWidth}, type, with_backward),
                   k = random({rows, kKeyHeads * kHeadWidth}, type, with_backward),
                   v = random({rows, kKeyHeads * kHeadWidth}, type, with_backward),
                   grad = random({rows, kWidth}, type);
  for (auto _ : state) {
    const at::Tensor out = packed_attention(q, k, v, spans, causal());
    if (with_backward) benchmark::DoNotOptimize(torch::autograd::grad({out}, {q, k, v}, {grad}));
  }
}

// All of one length, so that nothing is padded.
void causal_sdpa(benchmark::State& state) {
  const int64_t length = state.range(0), count = 2000 / length;
  const bool with_backward = state.range(2) != 0;
  const auto type = type_of(state.range(1));
  const auto matrix = [&](int64_t heads, bool is_leaf) {
    return random({count, heads, length, kHeadWidth}, type, is_leaf);
  };
  const at::Tensor q = matrix(kHeads, with_backward), k = matrix(kKeyHeads, with_backward),
                   v = matrix(kKeyHeads, with_backward), grad = matrix(kHeads, false);
  for (auto _ : state) {
    const at::Tensor out =
        at::scaled_dot_product_attention(q, k, v, {}, 0.0, true, std::nullopt, true);
    if (with_backward) benchmark::DoNotOptimize(torch::autograd::grad({out}, {q, k, v}, {grad}));
  }
}

BENCHMARK(causal_packed)
    ->ArgsProduct({{50, 128, 250, 500}, {kFloat, kBfloat16}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(causal_sdpa)
    ->ArgsProduct({{50, 128, 250, 500}, {kFloat, kBfloat16}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// One query for each of 8 sequences over `length` keys of a cache with room for twice as many.
// Arguments: length, dtype.
void decode_packed(benchmark::State& state) {
  const int64_t length = state.range(0), room = 2 * length;
  const auto type = type_of(state.range(1));
  const at::NoGradGuard no_grad;
  auto spans = std::make_shared<Spans>();
  for (int64_t n = 0; n < 8; ++n)
    spans->sequences.push_back({n, n + 1, n * room, n * room + length, length - 1, n});
  const at::Tensor q = random({8, kWidth}, type),
                   k = random({8 * room, kKeyHeads * kHeadWidth}, type),
                   v = random({8 * room, kKeyHeads * kHeadWidth}, type);
  for (auto _ : state) benchmark::DoNotOptimize(packed_attention(q, k, v, spans, causal()));
}

void decode_sdpa(benchmark::State& state) {
  const int64_t length = state.range(0);
  const auto type = type_of(state.range(1));
  const at::NoGradGuard no_grad;
  const at::Tensor
      q = random({8, kHeads, 1, kHeadWidth}, type),
      k = random({8, 2 * length, kKeyHeads, kHeadWidth}, type).transpose(1, 2).narrow(2, 0, length),
      v = random({8, 2 * length, kKeyHeads, kHeadWidth}, type).transpose(1, 2).narrow(2, 0, length);
  for (auto _ : state)
    benchmark::DoNotOptimize(
        at::scaled_dot_product_attention(q, k, v, {}, 0.0, false, std::nullopt, true));
}

BENCHMARK(decode_packed)
    ->ArgsProduct({{64, 512, 2048}, {kFloat, kBfloat16}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(decode_sdpa)
    ->ArgsProduct({{64, 512, 2048}, {kFloat, kBfloat16}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

// ---- elementwise: forward and backward; argument: dtype

template <bool kOurs>
void pre_norm(benchmark::State& state) {
  const auto type = type_of(state.range(0));
  const at::Tensor x = random({800, kWidth}, type, true), y = random({800, kWidth}, type, true),
                   w = random({kWidth}, type), grad = random({800, kWidth}, type);
  for (auto _ : state) {
    Normed out;
    if (kOurs) {
      out = sum_and_norm(x, y, Norm::kRootMeanSquare, w, {}, 1e-5);
    } else {
      out.sum = x + y;
      const at::Tensor wide = out.sum.to(at::kFloat);
      out.normed = (wide * at::rsqrt(wide.square().mean({1}, true) + 1e-5)).to(type) * w;
    }
    benchmark::DoNotOptimize(torch::autograd::grad({out.sum, out.normed}, {x, y}, {grad, grad}));
  }
}

template <bool kOurs>
void silu_gate(benchmark::State& state) {
  const auto type = type_of(state.range(0));
  const at::Tensor g = random({800, 1536}, type, true), u = random({800, 1536}, type, true),
                   grad = random({800, 1536}, type);
  for (auto _ : state) {
    const at::Tensor out = kOurs ? gated(g, u, Activation::kSilu) : at::silu(g) * u;
    benchmark::DoNotOptimize(torch::autograd::grad({out}, {g, u}, {grad}));
  }
}

template <bool kOurs>
void rotary(benchmark::State& state) {
  const auto type = type_of(state.range(0));
  const at::Tensor x = random({800, kWidth}, type, true), grad = random({800, kWidth}, type),
                   angle = at::rand({800, kHeadWidth / 2});
  const RotaryTable table{angle.cos(), angle.sin()};
  const at::Tensor cosine = at::cat({table.cosine, table.cosine}, 1).unsqueeze(1).to(type),
                   sine = at::cat({table.sine, table.sine}, 1).unsqueeze(1).to(type);
  for (auto _ : state) {
    at::Tensor out;
    if (kOurs) {
      out = rotate(x, table, kHeads);
    } else {
      const at::Tensor heads = x.view({800, kHeads, kHeadWidth});
      const auto halves = heads.chunk(2, 2);
      out = (heads * cosine + at::cat({-halves[1], halves[0]}, 2) * sine).view({800, kWidth});
    }
    benchmark::DoNotOptimize(torch::autograd::grad({out}, {x}, {grad}));
  }
}

BENCHMARK(pre_norm<true>)
    ->Arg(kFloat)
    ->Arg(kBfloat16)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(pre_norm<false>)
    ->Arg(kFloat)
    ->Arg(kBfloat16)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(silu_gate<true>)
    ->Arg(kFloat)
    ->Arg(kBfloat16)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(silu_gate<false>)
    ->Arg(kFloat)
    ->Arg(kBfloat16)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(rotary<true>)->Arg(kFloat)->Arg(kBfloat16)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(rotary<false>)->Arg(kFloat)->Arg(kBfloat16)->UseRealTime()->Unit(benchmark::kMicrosecond);

// ---- the loss of a vocabulary: forward and backward of 500 rows with a frozen layer; argument:
// dtype

enum class Way { kFused, kChunked, kWhole };

template <Way kWay>
void vocabulary(benchmark::State& state) {
  const auto type = type_of(state.range(0));
  constexpr int64_t kRows = 500, kVocabulary = 49152;
  const at::Tensor hidden = random({kRows, kWidth}, type, true),
                   index = at::randint(kVocabulary, {kRows}, at::kLong);
  const std::vector<int64_t> targets(index.const_data_ptr<int64_t>(),
                                     index.const_data_ptr<int64_t>() + kRows);
  const OutputLayer layer{
      {}, {}, 1.0, FrozenLinear(at::mul(at::randn({kVocabulary, kWidth}), 0.05).to(type), {})};
  const auto loss_of = [&](const at::Tensor& logits, int64_t first) {
    return at::cross_entropy_loss(logits, index.narrow(0, first, logits.size(0)), {},
                                  at::Reduction::Sum);
  };
  for (auto _ : state) {
    at::Tensor loss;
    if (kWay == Way::kFused) loss = vocabulary_loss(hidden, layer, targets).sum;
    if (kWay == Way::kChunked)
      loss = chunked_loss({hidden}, layer, [&](const auto& logits, int64_t first) {
        return loss_of(logits[0], first);
      });
    if (kWay == Way::kWhole) loss = loss_of((*layer.frozen)(hidden).to(at::kFloat), 0);
    benchmark::DoNotOptimize(torch::autograd::grad({loss}, {hidden}));
  }
}

BENCHMARK(vocabulary<Way::kFused>)
    ->Arg(kFloat)
    ->Arg(kBfloat16)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(vocabulary<Way::kChunked>)
    ->Arg(kFloat)
    ->Arg(kBfloat16)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(vocabulary<Way::kWhole>)
    ->Arg(kFloat)
    ->Arg(kBfloat16)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace graft

BENCHMARK_MAIN();
