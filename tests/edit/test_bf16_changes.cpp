// Changes that are small beside a bfloat16 trunk's steps: their direction and size are those of
// float32.
//
// A number of bfloat16 is 2^-9 of itself off in the mean, and what an (IA)^3 vector of 1.003
// changes is 3 in 1,000: of one number in one row little can be said, whatever is computed how.
// What is asked for is that no change is lost or one-sided: the mean over many rows, where rounding
// cancels, is that of float32 (cosine above 0.9, size within 20 %).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "edit/initial.h"
#include "edit/weighting.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"

namespace graft::testing::test_bf16_changes {
namespace {

using at::Tensor;

struct Agreement {
  double cosine = 0, size = 0;
};

Agreement agreement_of(const Tensor& found, const Tensor& expected) {
  const Tensor a = found.flatten().to(at::kDouble), b = expected.flatten().to(at::kDouble);
  const double ab = a.dot(b).item<double>(), aa = a.dot(a).item<double>(),
               bb = b.dot(b).item<double>();
  return {aa > 0 ? ab / std::sqrt(aa * bb) : 0.0, std::sqrt(aa / bb)};
}

void expect_agreement(const Tensor& found, const Tensor& expected, const std::string& what) {
  const Agreement agreement = agreement_of(found, expected);
  measured(what + ": cosine", agreement.cosine);
  measured(what + ": size", agreement.size);
  EXPECT_GT(agreement.cosine, 0.9) << what;
  EXPECT_NEAR(agreement.size, 1.0, 0.2) << what;
}

// The first edit of an adapter, asked at one of its sites for many rows.
struct ManyRows {
  Rig rig;
  std::vector<Sequence> sequences;
  Pack pack;
  const Site& site;
  Tensor x, y, residual;

  // `decoder`: of tests/golden/trunks; without one a tiny BERT.
  ManyRows(const std::string& definition, const std::string& name, Precision precision,
           const std::string& decoder = "")
      : rig(decoder.empty() ? tiny_model("bert", precision)
                            : golden_model(decoder, precision, "trunks"),
            definition, std::nullopt),
        sequences(random_sequences(rig.model->config, 800, 8, 3)),
        pack(pack_of(*rig.model, {lane_of(sequences)})),
        site(rig.model->sites.at(name)) {
    const auto drawn = [&](int64_t columns,
                           uint64_t key) {  // on bfloat16's grid in both precisions
      return normal_tensor({pack.num_rows, columns}, 1, RandomKey{key})
          .to(at::kBFloat16)
          .to(rig.model->weights.dtype());
    };
    x = drawn(site.input_width, 1);
    y = drawn(site.output_width, 2);
    residual = drawn(site.output_width, 4);
  }

  // y' - y, in float32.
  Tensor delta() {
    const at::NoGradGuard no_grad;
    const AdapterTensors derived =
        rig.adapter->derive(rig.tensors, rig.model->weights, Experts::kApart);
    const Adapter::Part& part = rig.adapter->parts().front();
    Context context;
    context.experts = Experts::kApart;
    SiteView view{site, pack, pack.whole(), x, y, {}, {}};
    if (site.kind == SiteKind::kSublayer) {
      view.residual = residual;
      view.norm = [](const Tensor& own, const Tensor& beside) { return own + beside; };
    }
    const Change change = part.edit->change(Params(derived.parts[0]), view, part.edit->input(view),
                                            {part.edit->scale(site), {}}, context);
    return apply_change(y, change).to(at::kFloat) - y.to(at::kFloat);
  }
};

using SetTensors = std::function<void(NamedTensors&)>;

// Sets the adapter's tensors alike in both precisions; compares what the change of them changes, or
// all of y' - y.
void compare_at(const std::string& definition, const std::string& site, const SetTensors& set,
                const std::string& what, const std::string& decoder = "") {
  ManyRows wide(definition, site, Precision::kFloat32, decoder),
      narrow(definition, site, Precision::kBFloat16, decoder);
  set(wide.rig.tensors);
  set(narrow.rig.tensors);
  // Over rows in hundreds: enough that rounding cancels, and few enough that the changes do not.
  const auto means = [](const Tensor& delta, const Tensor& sign) {
    const int64_t groups = delta.size(0) / 100;
    return (delta * sign).slice(0, 0, groups * 100).view({groups, 100, -1}).mean(1);
  };
  const Tensor sign = wide.y.sign();  // without it changes that are a factor have no mean
  expect_agreement(means(narrow.delta(), sign), means(wide.delta(), sign), what);
}

SetTensors scales(const std::string& part, double deviation) {
  return [=](NamedTensors& tensors) {
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : tensors) {
      if (!name.ends_with(part)) continue;
      tensor.fill_(1).add_(
          normal_tensor(tensor.sizes().vec(), deviation, RandomKey{11}.with(name)));
    }
  };
}

TEST(Bf16Changes, OfScalesNearOneAreThoseOfFloat32) {
  const auto uniform = [](NamedTensors& tensors) {
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : tensors) tensor.fill_(1.003);
  };
  for (const char* site : {"enc.0.attn.k", "enc.0.attn.v", "enc.0.ffn.act"}) {
    compare_at("{edits: [{affine: {}}]}", site, uniform, std::string("1.003 at ") + site);
    compare_at("{edits: [{affine: {}}]}", site, scales(".scale", 0.003),
               std::string("1 +- 0.003 at ") + site);
    compare_at("{edits: [{affine: {}}]}", site, scales(".scale", 0.001),
               std::string("1 +- 0.001 at ") + site);
  }
}

// What leaves the sites of a decoder. (Its logits move by the rounding of the whole trunk, too,
// which hundreds of rows do not cancel.)
TEST(Bf16Changes, OfScalesInADecoderAreThoseOfFloat32) {
  const std::string definition = "{edits: [{affine: {sites: [attn.k, attn.v, ffn.act, ffn.mid]}}]}";
  for (const char* site : {"dec.0.attn.k", "dec.1.attn.v", "dec.0.ffn.act", "dec.1.ffn.mid"}) {
    for (const double deviation : {0.003, 0.001})
      compare_at(definition, site, scales(".scale", deviation),
                 "1 +- " + std::to_string(deviation) + " at " + site, "llama-tiny");
  }
}

TEST(Bf16Changes, OfMixturesOfScalesAreThoseOfFloat32) {
  for (const char* site : {"enc.0.attn.k", "enc.0.ffn.act"})
    compare_at("{edits: [{router: {experts: 3}, of: {affine: {}}}]}", site, scales(".scale", 0.003),
               std::string("MoV at ") + site);
}

TEST(Bf16Changes, OfShiftsAndStretchesAreThoseOfFloat32) {
  const auto shifts = [](NamedTensors& tensors) {
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : tensors)
      tensor.copy_(normal_tensor(tensor.sizes().vec(), 0.001, RandomKey{5}.with(name)));
  };
  ManyRows wide("{edits: [{affine: {sites: ffn.down, scale: false, shift: true}}]}",
                "enc.0.ffn.down", Precision::kFloat32);
  ManyRows narrow("{edits: [{affine: {sites: ffn.down, scale: false, shift: true}}]}",
                  "enc.0.ffn.down", Precision::kBFloat16);
  shifts(wide.rig.tensors);
  shifts(narrow.rig.tensors);
  expect_agreement(narrow.delta().mean(0), wide.delta().mean(0), "RED's shift");
  const auto magnitudes = [](NamedTensors& tensors) {
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : tensors) {
      if (name.ends_with(".magnitude"))
        tensor.mul_(1 + normal_tensor(tensor.sizes().vec(), 0.003, RandomKey{6}.with(name)));
    }
  };
  compare_at("{edits: [{dora: {}}]}", "enc.0.attn.q", magnitudes, "DoRA's magnitude");
}

// A gate, a share or a trained scaling that moves by less than its own step in bfloat16 moves the
// change.
TEST(Bf16Changes, OfGatesMoveWithThem) {
  const auto moved = [](const std::string& definition, const std::string& site,
                        const std::string& part, double by) {
    const auto delta = [&](Precision precision, bool moves) {
      ManyRows rows(definition, site, precision);
      rows.rig.shake(0.3);
      const at::NoGradGuard no_grad;
      for (auto& [name, tensor] : rows.rig.tensors) {
        if (name.ends_with(part)) tensor.fill_(moves ? by : 0);
      }
      return rows.delta();
    };
    const Tensor wide = delta(Precision::kFloat32, true) - delta(Precision::kFloat32, false);
    const Tensor narrow = delta(Precision::kBFloat16, true) - delta(Precision::kBFloat16, false);
    const Tensor sign = delta(Precision::kFloat32, false).sign();
    expect_agreement((narrow * sign).mean(0), (wide * sign).mean(0), definition);
  };
  // A bias of 0.004 takes a gate from 0.500 to 0.501.
  moved("{edits: [{gate: {pool: mean}, of: {lora: {alpha: 64}}}]}", "enc.0.attn.q", ".gate.bias",
        0.004);
  moved("{edits: [{gate: {pool: mean}, of: {bottleneck: {scaling: 4, width: 4}}}]}",
        "enc.0.ffn.out", ".gate.bias", 0.004);
  moved("{edits: [{gate: {pool: mean}, of: {affine: {}}}]}", "enc.0.attn.k", ".gate.bias", 0.004);
}

TEST(Bf16Changes, OfATrainedScalingAreThoseOfFloat32) {
  for (const char* kind : {"learned", "channel"}) {
    const std::string definition =
        std::string("{edits: [{bottleneck: {scaling: ") + kind + ", width: 4}}]}";
    const auto delta = [&](Precision precision, double scaling) {
      ManyRows rows(definition, "enc.0.ffn.out", precision);
      rows.rig.shake(0.3);
      const at::NoGradGuard no_grad;
      for (auto& [name, tensor] : rows.rig.tensors) {
        if (name.ends_with(".scaling")) tensor.fill_(scaling);
      }
      return rows.delta();
    };
    const Tensor sign = delta(Precision::kFloat32, 1).sign();
    const auto mean = [&](Precision precision) {
      return ((delta(precision, 1.003) - delta(precision, 1)) * sign).mean(0);
    };
    expect_agreement(mean(Precision::kBFloat16), mean(Precision::kFloat32), definition);
  }
}

// A scale that is one, or that nothing has trained yet, leaves the trunk as it is, bit for bit.
TEST(Bf16Changes, OfNothingAreNone) {
  for (const char* definition :
       {"{edits: [{affine: {shift: true}}]}", "{edits: [{dora: {sites: attn.k}}]}",
        "{edits: [{gate: {pool: mean}, of: {affine: {}}}]}"}) {
    ManyRows rows(definition, "enc.0.attn.k", Precision::kBFloat16);
    EXPECT_EQ(at::count_nonzero(rows.delta()).item<int64_t>(), 0) << definition;
  }
}

Tensor hidden_of(const Rig& rig, const std::vector<Sequence>& sequences, bool is_bare) {
  const at::NoGradGuard no_grad;
  const Rig bare(rig.model, "{edits: []}", std::nullopt);
  const Rig& used = is_bare ? bare : rig;
  const BoundAdapter bound(*rig.model, *used.adapter, used.tensors);
  Pass pass;
  pass.keep_hidden = true;
  const LaneResult result =
      run_lanes(*rig.model, pack_of(*rig.model, {lane_of(sequences)}), {&bound}, pass).front();
  return result.hidden.back().to(at::kFloat);
}

// ReFT's dropout keeps an entry with the factor 1/(1-p), which bfloat16 has not: 1.0526 would be
// 1.0547 there, 2 in 1,000 more at every edited token of every site.
TEST(Bf16Changes, OfReftsDropoutKeepTheMean) {
  ManyRows rows(
      "{edits: [{reft: {sites: enc.0.out, rank: 2, positions: all, dropout: 0.05, dropout_on: "
      "output}}]}",
      "enc.0.out", Precision::kBFloat16);
  const at::NoGradGuard no_grad;
  const AdapterTensors derived =
      rows.rig.adapter->derive(rows.rig.tensors, rows.rig.model->weights);
  const Adapter::Part& part = rows.rig.adapter->parts().front();
  Context context;
  context.is_training = true;
  const SiteView view{rows.site, rows.pack, rows.pack.whole(), rows.x, rows.y, {}, {}};
  const Tensor kept =
      part.edit->change(Params(derived.parts[0]), view, part.edit->input(view), {1.0, {}}, context)
          .mul;
  // p is rounded to a multiple of 1/65536.
  EXPECT_NEAR(kept.max().item<double>(), 1 / 0.95, 1e-5);
}

// Through a whole encoder, with its attention, norms and residual stream in bfloat16.
TEST(Bf16Changes, OfATrunkAreThoseOfFloat32) {
  for (const std::string& definition :
       {std::string("{edits: [{affine: {}}]}"),
        std::string("{edits: [{router: {experts: 3}, of: {affine: {}}}]}")}) {
    Tensor change[2];
    for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
      Rig rig(golden_model("bert-tiny", precision), definition, std::nullopt);
      scales(".scale", 0.003)(rig.tensors);
      const std::vector<Sequence> sequences = random_sequences(rig.model->config, 2000, 12, 9);
      change[precision == Precision::kBFloat16] =
          (hidden_of(rig, sequences, false) - hidden_of(rig, sequences, true)).mean(0);
    }
    expect_agreement(change[1], change[0], "hidden states under " + definition);
  }
}

}  // namespace
}  // namespace graft::testing::test_bf16_changes
