// Every operation and its plain form, one by the other: values, gradients, dtypes, devices. What is
// particular to an operation is in the test of its own file.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tensor/dispatch.h"
#include "tensor/plain/plain.h"
#include "tests/tensor/gradient_check.h"

namespace graft::test_plain {
namespace {

using at::Tensor;
using Tensors = std::vector<Tensor>;

// One struct for both forms: that it compiles says that their signatures are the same.
struct Operations {
  decltype(&graft::dropout) dropout;
  decltype(&graft::norm_of_sum) norm_of_sum;
  decltype(&graft::sum_and_norm) sum_and_norm;
  decltype(&graft::activate) activate;
  decltype(&graft::gated) gated;
  decltype(&graft::scale_and_shift) scale_and_shift;
  decltype(&graft::rotate) rotate;
  decltype(&graft::linear) linear;
  decltype(&graft::add_low_rank) add_low_rank;
  decltype(&graft::pooled_gate) pooled_gate;
  decltype(&graft::vocabulary_loss) vocabulary_loss;
  decltype(&graft::packed_attention) packed_attention;
};

const Operations kOperations{
    &graft::dropout,     &graft::norm_of_sum,     &graft::sum_and_norm,
    &graft::activate,    &graft::gated,           &graft::scale_and_shift,
    &graft::rotate,      &graft::linear,          &graft::add_low_rank,
    &graft::pooled_gate, &graft::vocabulary_loss, &graft::packed_attention};
const Operations kPlainForms{
    &plain::dropout,     &plain::norm_of_sum,     &plain::sum_and_norm,
    &plain::activate,    &plain::gated,           &plain::scale_and_shift,
    &plain::rotate,      &plain::linear,          &plain::add_low_rank,
    &plain::pooled_gate, &plain::vocabulary_loss, &plain::packed_attention};

// float64; `is_wide`: of the type that sums run in where the others are bfloat16.
struct Input {
  Tensor value;
  bool is_wide = false;
};

struct Call {
  std::string name;
  std::vector<Input> inputs;
  std::function<Tensors(const Operations&, const Tensors&)> run;

  Tensors in(at::ScalarType type) const {
    Tensors out;
    for (const Input& input : inputs) {
      const at::ScalarType own = input.is_wide && type == at::kBFloat16 ? at::kFloat : type;
      out.push_back(input.value.to(at::kBFloat16)
                        .to(own)
                        .set_requires_grad(true));  // the same numbers in every type
    }
    return out;
  }
};

Tensor random(at::IntArrayRef shape) { return at::randn(shape, at::kDouble); }

// Names of 48 bits, and a filler row's.
RowDropout drop_some(int64_t rows) {
  auto ids = std::make_shared<RowIds>();
  for (int64_t t = 0; t < rows; ++t) {
    ids->example.push_back(t == 0 ? -1 : (int64_t{1} << 47) + t / 2);
    ids->position.push_back(t % 2);
  }
  // Two lanes, and one that drops nothing.
  return {{{0.3, RandomKey{5}.with("plain"), 2},
           {0.0, RandomKey{6}, 3},
           {0.4, RandomKey{7}.with("plain")}},
          ids};
}

void add_row_calls(std::vector<Call>& calls) {
  const RowDropout drop = drop_some(3);
  const Tensor x = random({3, 21}), y = random({3, 21}), w = random({21}), b = random({21});
  calls.push_back({"dropout", {{x}}, [=](const Operations& of, const Tensors& in) {
                     return Tensors{of.dropout(in[0], drop)};
                   }});
  calls.push_back({"norm_of_sum",
                   {{x}, {y}, {w, true}, {b, true}},
                   [=](const Operations& of, const Tensors& in) {
                     return Tensors{of.norm_of_sum(in[0], in[1], in[2], in[3], 1e-5, drop)};
                   }});
  calls.push_back({"norm_of_sum, without bias",
                   {{x}, {y}, {w, true}},
                   [=](const Operations& of, const Tensors& in) {
                     return Tensors{of.norm_of_sum(in[0], in[1], in[2], {}, 1e-5, drop)};
                   }});
  calls.push_back(
      {"sum_and_norm, without bias", {{x}, {y}, {w}}, [=](const Operations& of, const Tensors& in) {
         const Normed out = of.sum_and_norm(in[0], in[1], Norm::kLayer, in[2], {}, 1e-5, drop);
         return Tensors{out.sum, out.normed};
       }});
  calls.push_back(
      {"sum_and_norm, layer", {{x}, {y}, {w}, {b}}, [=](const Operations& of, const Tensors& in) {
         const Normed out = of.sum_and_norm(in[0], in[1], Norm::kLayer, in[2], in[3], 1e-5, drop);
         return Tensors{out.sum, out.normed};
       }});
  calls.push_back(
      {"sum_and_norm, root mean square", {{x}, {w}}, [=](const Operations& of, const Tensors& in) {
         const Normed out =
             of.sum_and_norm(in[0], {}, Norm::kRootMeanSquare, in[1], {}, 1e-5, drop);
         return Tensors{out.sum * 1, out.normed};
       }});
  for (const Activation each :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu, Activation::kSilu}) {
    const std::string number = std::to_string(static_cast<int>(each));
    const Tensor off_the_kink = at::where(x.abs() < 1e-2, at::full_like(x, 0.5), x);
    calls.push_back(
        {"activate " + number, {{off_the_kink}}, [=](const Operations& of, const Tensors& in) {
           return Tensors{of.activate(in[0], each)};
         }});
    calls.push_back(
        {"gated " + number, {{off_the_kink}, {y}}, [=](const Operations& of, const Tensors& in) {
           return Tensors{of.gated(in[0], in[1], each)};
         }});
  }
  calls.push_back({"scale_and_shift",
                   {{x}, {random({3, 3}), true}, {b, true}},
                   [](const Operations& of, const Tensors& in) {
                     return Tensors{of.scale_and_shift(in[0], in[1], in[2])};
                   }});
  calls.push_back(
      {"rotate", {{x.narrow(1, 0, 20)}}, [](const Operations& of, const Tensors& in) {
         const Tensor angle = at::arange(15, at::kDouble).view({3, 5});
         return Tensors{
             of.rotate(in[0], {angle.cos().to(in[0].device()), angle.sin().to(in[0].device())}, 2)};
       }});
}

void add_product_calls(std::vector<Call>& calls) {
  const Tensor x = random({5, 8}), w = random({6, 8}), b = random({6});
  calls.push_back({"linear", {{x}, {w}, {b}}, [](const Operations& of, const Tensors& in) {
                     return Tensors{of.linear(in[0], in[1], in[2])};
                   }});
  calls.push_back({"add_low_rank",
                   {{x}, {random({5, 2})}, {random({8, 2})}},
                   [](const Operations& of, const Tensors& in) {
                     return Tensors{of.add_low_rank(in[0], in[1], in[2])};
                   }});
  // Row 3 is in no group; the last group counts nothing.
  const auto groups = std::make_shared<const RowGroups>(RowGroups{{0, 4}, {3, 5}, {1, 0, 1, 1, 0}});
  calls.push_back(
      {"pooled_gate", {{x}, {w, true}, {b, true}}, [=](const Operations& of, const Tensors& in) {
         const PooledGate gate = of.pooled_gate(in[0], in[1], in[2], groups);
         return Tensors{gate.by_group, gate.by_row};
       }});
  calls.push_back(
      {"vocabulary_loss", {{x}, {w}, {b}}, [](const Operations& of, const Tensors& in) {
         const OutputLayer layer{in[1], in[2], 0.5, std::nullopt};
         return Tensors{of.vocabulary_loss(in[0], layer, {0, 5, 2, 2, 1}, {0.1, 1e-2}).sum};
       }});
}

// Sequences of 3, 1 and 4 queries, two of them over the same keys; two lanes of prefixes of
// different length.
void add_attention_calls(std::vector<Call>& calls) {
  const auto spans = std::make_shared<const Spans>(
      Spans{{{0, 3, 1, 6, 2, 7}, {3, 4, 1, 6, 4, int64_t{1} << 47}, {5, 9, 5, 9, 0, 9}}});
  AttentionOptions options{.num_heads = 4, .num_key_heads = 2, .scale = 0.5};
  options.dropout = {{0.4, RandomKey{11}.with("plain"), 1},
                     {0.0, RandomKey{12}, 2},
                     {0.2, RandomKey{13}.with("plain")}};
  const Tensor q = random({9, 8}), k = random({10, 4}), v = random({10, 4});
  const Tensor distances = random({4, 13}), scales = at::rand({2}, at::kDouble), bias = random({1});
  const Tensor keys = random({3, 2, 2}), values = random({3, 2, 2});
  calls.push_back({"attention", {{q}, {k}, {v}}, [=](const Operations& of, const Tensors& in) {
                     return Tensors{of.packed_attention(in[0], in[1], in[2], spans, options, {})};
                   }});
  options.window = 2;
  calls.push_back(
      {"attention, window", {{q}, {k}, {v}}, [=](const Operations& of, const Tensors& in) {
         return Tensors{of.packed_attention(in[0], in[1], in[2], spans, options, {})};
       }});
  options.is_causal = true;
  calls.push_back({"attention, causal, window, prefix",
                   {{q}, {k}, {v}, {keys}, {values}},
                   [=](const Operations& of, const Tensors& in) {
                     const LanePrefix lane{1, 3, in[3], in[4], {}, {}, {}};
                     return Tensors{
                         of.packed_attention(in[0], in[1], in[2], spans, options, {lane})};
                   }});
  options.window = {};
  calls.push_back(
      {"attention, causal, prefixes, distances",
       {{q}, {k}, {v}, {distances}, {keys}, {values}, {scales}, {bias}},
       [=](const Operations& of, const Tensors& in) {
         AttentionOptions own = options;
         own.distance_bias = in[3];
         const LanePrefix longer{2, 3, in[4], in[5], {}, {}, {}};
         const LanePrefix shorter{0,
                                  1,
                                  in[4].narrow(0, 0, 2),
                                  in[5].narrow(0, 1, 2),
                                  in[6].narrow(0, 0, 1),
                                  in[6].narrow(0, 1, 1),
                                  in[7]};
         return Tensors{of.packed_attention(in[0], in[1], in[2], spans, own, {longer, shorter})};
       }});
}

std::vector<Call> calls() {
  at::manual_seed(20261129);
  std::vector<Call> all;
  add_row_calls(all);
  add_product_calls(all);
  add_attention_calls(all);
  return all;
}

// Of a sum in which every value counts differently.
Tensors gradients(const Tensors& out, const Tensors& in) {
  Tensor sum = at::zeros({}, at::kDouble);
  for (const Tensor& each : out) {
    if (each.requires_grad()) sum = sum + (each.to(at::kDouble) * probe(each.sizes())).sum();
  }
  return torch::autograd::grad({sum}, in);
}

// float64 and float32: sums of a few numbers in another order. bfloat16: both forms round their
// results once, to 2^-8; the plain gradients of a value that is read twice are added in bfloat16,
// which rounds once more.
TEST(PlainForms, GiveValuesAndGradientsOfTheKernels) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const double bound = type == at::kDouble ? 1e-12 : type == at::kFloat ? 2e-6 : 1e-2;
    for (const Call& call : calls()) {
      SCOPED_TRACE(::testing::Message() << call.name << ", " << at::toString(type));
      const Tensors in = call.in(type), judge_in = call.in(type);
      const Tensors out = call.run(kOperations, in), judge = call.run(kPlainForms, judge_in);
      const auto expect_like = [&](const Tensor& a, const Tensor& b, const std::string& what) {
        ASSERT_EQ(a.scalar_type(), b.scalar_type()) << what;
        expect_close(a, b, bound * std::max(1.0, b.abs().max().item<double>()), bound, what);
      };
      ASSERT_EQ(out.size(), judge.size());
      for (size_t i = 0; i < out.size(); ++i) {
        EXPECT_EQ(out[i].requires_grad(), judge[i].requires_grad());
        expect_like(out[i], judge[i], "result " + std::to_string(i));
      }
      const Tensors own = gradients(out, in), expected = gradients(judge, judge_in);
      for (size_t i = 0; i < own.size(); ++i)
        expect_like(own[i], expected[i], "gradient " + std::to_string(i));
    }
  }
}

TEST(PlainForms, HaveTheGradientsOfCentralDifferences) {
  for (const Call& call : calls()) {
    SCOPED_TRACE(call.name);
    expect_gradients(
        [&](const Tensors& in) {
          Tensors flat;
          for (const Tensor& each : call.run(kPlainForms, in)) flat.push_back(each.reshape({-1}));
          return at::cat(flat);
        },
        call.in(at::kDouble));
  }
}

// The device `meta` knows shapes and dtypes but no values: nothing that lies on the CPU can take
// part, and no kernel can read it.
TEST(PlainForms, ServeOtherDevices) {
  for (const Call& call : calls()) {
    SCOPED_TRACE(call.name);
    Tensors there;
    for (const Tensor& each : call.in(at::kBFloat16)) there.push_back(each.detach().to(at::kMeta));
    const Tensors expected = call.run(kOperations, call.in(at::kBFloat16));
    Tensors out;
    try {
      out = call.run(kOperations, there);
    } catch (const c10::Error& error) {
      ADD_FAILURE() << error.what_without_backtrace();
    }
    for (size_t i = 0; i < out.size(); ++i) {
      EXPECT_TRUE(out[i].is_meta());
      EXPECT_EQ(out[i].sizes(), expected[i].sizes());
      EXPECT_EQ(out[i].scalar_type(), expected[i].scalar_type());
    }
  }
  const FrozenLinear layer(at::empty({6, 8}, at::kMeta), at::empty({6}, at::kMeta));
  EXPECT_TRUE(layer(at::empty({5, 8}, at::kMeta)).is_meta());
  const JoinedLinears joined({at::empty({6, 8}, at::kMeta), at::empty({2, 8}, at::kMeta)}, {});
  EXPECT_EQ(joined(at::empty({5, 8}, at::kMeta))[1].sizes(), (std::vector<int64_t>{5, 2}));
}

// Draws are numbers of the method, not of the device: they agree bit for bit.
TEST(PlainForms, DrawTheSameNumbers) {
  const RowDropout drop = drop_some(40);
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Tensor x = at::randn({40, 300}).to(type);
    expect_same_bits(plain::dropout(x, drop), dropout(x, drop), at::toString(type));
  }
  const Tensor y = (at::randn({200, 130}) * 3).to(at::kBFloat16), mul = 1 + at::randn({130}) * 0.01;
  expect_same_bits(plain::scale_and_shift(y, mul, {}), scale_and_shift(y, mul, {}), "dithered");
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor special = at::tensor({infinity, -infinity, std::nanf(""), 0.0F, -0.0F, 3e38F})
                             .view({1, 6})
                             .to(at::kBFloat16);
  const auto bits = [](const Tensor& x) { return x.view(at::kShort); };
  const Tensor factor = at::full({6}, 1.001);
  expect_same_bits(bits(plain::scale_and_shift(special, factor, {})),
                   bits(scale_and_shift(special, factor, {})), "no numbers");
}

// Padding reads row 0 in the place of rows that are not there, and a cache may hold anything in it.
TEST(PlainForms, AttentionReadsNothingOutsideItsSpans) {
  const auto spans = std::make_shared<const Spans>(Spans{{{0, 1, 1, 3, 1, 0}, {1, 2, 3, 4, 0, 1}}});
  Tensor k = at::randn({5, 4}), v = at::randn({5, 4});
  const Tensor q = at::randn({2, 4});
  const Tensor expected = packed_attention(q, k, v, spans, {.num_heads = 1});
  for (const Tensor& each : {k, v}) {
    each[0].fill_(std::numeric_limits<float>::quiet_NaN());
    each[4].fill_(std::numeric_limits<float>::quiet_NaN());
  }
  expect_close(plain::packed_attention(q, k, v, spans, {.num_heads = 1}), expected, 1e-6, 1e-6);
}

}  // namespace
}  // namespace graft::test_plain
