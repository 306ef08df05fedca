// The speed limit of a training step: nothing but the matrix products of the trunk's linear layers,
// at the best rate the library has.
//
//   bench_gemm_limit CONFIG_JSON lora|full fp32|bf16 TOKENS THREADS
// prints {"tokens_per_second": ...}.
//
// lora: forward and input gradient of every linear layer, but no input gradient into the
// embeddings. full: weight gradients too.
#include <chrono>
#include <cstdio>

#include "base/error.h"
#include "base/files.h"
#include "model/config.h"
#include "tensor/linear.h"

namespace {

using at::Tensor;
using graft::ModelConfig;

struct Shape {
  int64_t in, out;
};

// Median seconds of one forward pass (with gradients as asked) of a layer.
double seconds_of(const Shape& shape, int64_t tokens, at::ScalarType dtype,
                  bool with_weight_gradient) {
  constexpr int kWarmup = 3, kTimed = 9;
  const Tensor weight = at::randn({shape.out, shape.in}).to(dtype),
               bias = at::zeros({shape.out}).to(dtype);
  const Tensor x = at::randn({tokens, shape.in}).to(dtype).requires_grad_(true),
               grad = at::randn({tokens, shape.out}).to(dtype);
  const graft::FrozenLinear frozen(weight, bias);
  const Tensor trained = weight.clone().requires_grad_(true);
  std::vector<double> seconds;
  for (int i = 0; i < kWarmup + kTimed; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const Tensor y = with_weight_gradient ? graft::linear(x, trained, bias) : frozen(x);
    torch::autograd::backward({y}, {grad});
    if (i >= kWarmup)
      seconds.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    x.mutable_grad().reset();
    trained.mutable_grad().reset();
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[kTimed / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "expected CONFIG_JSON lora|full fp32|bf16 TOKENS THREADS\n");
    return 2;
  }
  at::set_num_threads(std::stoi(argv[5]));
  const ModelConfig config =
      graft::parse_config(graft::parse_json(graft::read_file(argv[1]), argv[1]), argv[1]);
  const bool is_full = std::string(argv[2]) == "full";
  const at::ScalarType dtype = std::string(argv[3]) == "bf16" ? at::kBFloat16 : at::kFloat;
  const int64_t tokens = std::stoll(argv[4]);
  const double square = seconds_of({config.width, config.width}, tokens, dtype, is_full);
  const double up = seconds_of({config.width, config.last().ffn_width}, tokens, dtype, is_full);
  const double down = seconds_of({config.last().ffn_width, config.width}, tokens, dtype, is_full);
  const double total = static_cast<double>(config.encoder_layers()) * (4 * square + up + down);
  std::printf("{\"tokens_per_second\": %.1f, \"seconds\": %.6f}\n",
              static_cast<double>(tokens) / total, total);
  return 0;
}
