// The contract's rarer doors, by toy edits: prefix rows per lane, weights per example and per
// expert, chosen rows, mul and add, and every kind of site.
#include <gtest/gtest.h>

#include "edit/registry.h"
#include "tests/contract/toy_edits.h"
#include "tests/support/compare.h"
#include "tests/support/gradients.h"
#include "tests/support/models.h"
#include "train/objective.h"

namespace graft::testing::test_doors {
namespace {

using at::Tensor;

constexpr Tolerance kLaneBound{5e-6, 0};

std::unique_ptr<Edit> edit_of(const Model& model, const std::string& definition) {
  return make_edit(yaml(definition), {model.config, model.sites}, "test", "");
}

std::vector<Site> sites_of(const Model& model, const std::vector<std::string>& patterns) {
  return model.sites.match(patterns, {});
}

const char* const kLora = "{lora: {sites: [attn.q, ffn.down], rank: 2, alpha: 2}}";
// Every site that shows a y; the attention sites take prefix rows instead.
const std::vector<std::string> kEverywhere = {"embed",   "attn.[qkvo]", "attn.out", "attn.norm",
                                              "ffn.up",  "pooler?",     "ffn.act",  "ffn.down",
                                              "ffn.out", "ffn.norm",    "out",      "attn.mid"};

struct Door {
  const char* name;
  std::unique_ptr<Edit> (*make)(const Model&);
};
const Door kDoors[] = {
    {"prefix", [](const Model& m) { return make_toy_prefix(m.config, m.sites, 3); }},
    {"gate", [](const Model& m) { return make_toy_gate(edit_of(m, kLora)); }},
    {"router", [](const Model& m) { return make_toy_router(edit_of(m, kLora), 3); }},
    {"affine", [](const Model& m) { return make_toy_affine(sites_of(m, kEverywhere)); }},
    {"first_rows",
     [](const Model& m) {
       return make_toy_first_rows(sites_of(m, {"out", "attn.v", "embed"}));
     }},
};

Rig rig_of(const Door& door, std::shared_ptr<const Model> model, uint64_t seed) {
  EditList edits;
  edits.push_back(door.make(*model));
  Rig rig(model, Adapter(std::move(edits), {model->config, model->sites}, class_task(3)), seed);
  rig.shake(0.1, seed + 1);
  return rig;
}

class Doors : public ::testing::TestWithParam<Door> {};

TEST_P(Doors, ChangeSomething) {
  const auto model = golden_model("bert-tiny");
  const Rig rig = rig_of(GetParam(), model, 1);
  Rig bare(model, "{}");
  for (auto& [name, tensor] : bare.tensors) tensor = rig.tensors.at(name);
  const std::vector<Sequence> rows = random_sequences(model->config, 6, 15, 2);
  EXPECT_GT(difference_of(logits_of(rig, rows), logits_of(bare, rows)).absolute, 1e-3);
}

TEST_P(Doors, ASequenceDependsOnNoOther) {
  const auto model = golden_model("bert-tiny");
  const Rig rig = rig_of(GetParam(), model, 1);
  const std::vector<Sequence> rows = random_sequences(model->config, 6, 15, 2);
  const Tensor together = logits_of(rig, rows, {}, 64);
  expect_near(logits_of(rig, rows, {.keep_hidden = true}), together, kLaneBound,
              "all rows of the last block");
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto n = static_cast<int64_t>(i);
    expect_near(logits_of(rig, {rows[i]}), together.slice(0, n, n + 1), kLaneBound,
                "sequence " + std::to_string(i) + " alone");
  }
}

TEST_P(Doors, TwoLanesEqualEachAlone) {
  const auto model = golden_model("roberta-tiny");
  const Rig first = rig_of(GetParam(), model, 1), second = rig_of(GetParam(), model, 2);
  const std::vector<Sequence> a = random_sequences(model->config, 4, 15, 2),
                              b = random_sequences(model->config, 3, 19, 3, 4);
  const at::NoGradGuard no_grad;
  const BoundAdapter one(*model, *first.adapter, first.tensors),
      two(*model, *second.adapter, second.tensors);
  for (const bool keep_hidden : {false, true}) {
    const Pass pass{.dropout = 0.1, .is_training = true, .keep_hidden = keep_hidden};
    const std::vector<LaneResult> both =
        run_lanes(*model, pack_of(*model, {lane_of(a), lane_of(b)}, 64), {&one, &two}, pass);
    expect_near(both[0].logits, logits_of(first, a, pass), kLaneBound, "first lane");
    expect_near(both[1].logits, logits_of(second, b, pass), kLaneBound, "second lane");
  }
}

TEST_P(Doors, GradientsEqualCentralDifferences) {
  const auto model = tiny_model("bert", Precision::kFloat64);
  Rig first = rig_of(GetParam(), model, 1), second = rig_of(GetParam(), model, 2);
  first.widen();
  second.widen();
  const std::vector<Sequence> a = random_sequences(model->config, 3, 7, 2),
                              b = random_sequences(model->config, 2, 6, 3, 4);
  const std::vector<double> labels_a = class_labels(3, 3), labels_b = class_labels(2, 3);
  const Pass pass{.dropout = 0.1, .is_training = true};
  const auto loss_of = [&](BoundAdapter& one, BoundAdapter& two) {
    const std::vector<LaneResult> both =
        run_lanes(*model, pack_of(*model, {lane_of(a), lane_of(b)}), {&one, &two}, pass);
    return summed_loss(TaskKind::kClassification, both[0].logits, labels_a) +
           summed_loss(TaskKind::kClassification, both[1].logits, labels_b);
  };
  {
    BoundAdapter one(*model, *first.adapter, first.tensors),
        two(*model, *second.adapter, second.tensors);
    torch::autograd::backward({loss_of(one, two)}, {});
    one.add_gradients_to_stored();
    two.add_gradients_to_stored();
  }
  const auto loss = [&] {
    BoundAdapter one(*model, *first.adapter, first.tensors),
        two(*model, *second.adapter, second.tensors);
    return loss_of(one, two).item<double>();
  };
  for (Rig* rig : {&first, &second}) {
    NamedTensors gradients;
    for (auto& [name, tensor] : rig->tensors) {
      ASSERT_TRUE(tensor.grad().defined()) << name;
      gradients[name] = tensor.grad();
    }
    expect_gradients(loss, rig->tensors, gradients, 8,
                     rig == &first ? "first lane" : "second lane");
  }
  for (const auto& [name, tensor] : model->weights.all_base())
    EXPECT_FALSE(tensor.grad().defined()) << name;
}

INSTANTIATE_TEST_SUITE_P(Toys, Doors, ::testing::ValuesIn(kDoors),
                         [](const auto& door) { return std::string(door.param.name); });

// One site, called by hand, against the formula.
struct ByHand {
  std::shared_ptr<const Model> model = tiny_model("bert", Precision::kFloat64);
  std::vector<Sequence> rows = random_sequences(model->config, 2, 4, 5);
  Pack pack = pack_of(*model, {lane_of(rows)});
  const Site& site = model->sites.at("enc.0.attn.q");
  Tensor x = at::sin(at::arange(pack.num_rows * 8, at::kDouble)).view({-1, 8}),
         y = at::cos(at::arange(pack.num_rows * 8, at::kDouble)).view({-1, 8});
  SiteView view{site, pack, pack.whole(), x, y, {}, {}};
  std::unique_ptr<Edit> lora =
      edit_of(*model, "{lora: {sites: attn.q, layers: [0], rank: 2, alpha: 6}}");
  Context context;

  Tensor drawn(std::vector<int64_t> shape, double phase) const {
    return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 0.7 + phase)
        .view(shape);
  }
};

TEST(ByHandTest, BlendIsTheSumOverExperts) {
  ByHand h;
  const Tensor a = h.drawn({3, 2, 8}, 0.1), b = h.drawn({3, 8, 2}, 0.2);
  const TensorList stacked{a, b};
  for (const int64_t groups :
       {1, 2}) {  // one weight a row and expert, or one for each half of the outputs
    const Tensor weights = h.drawn({h.pack.num_rows, groups, 3}, 0.3);
    const Change found = h.lora->blend(Params(stacked), 3, h.view, h.x,
                                       {h.lora->scale(h.site), weights.flatten(1)}, h.context);
    Tensor expected = h.y;
    for (int64_t e = 0; e < 3; ++e) {
      const Tensor delta = at::mm(at::mm(h.x, a[e].t()), b[e].t()) * 3.0;
      expected = expected + delta * weights.select(2, e).repeat_interleave(8 / groups, 1);
    }
    expect_near(apply_change(h.y, found), expected, {1e-12, 0}, std::to_string(groups) + " groups");
  }
}

TEST(ByHandTest, AWeightReplacesTheScaleAndActsPerRow) {
  ByHand h;
  const Tensor a = h.drawn({2, 8}, 0.1), b = h.drawn({8, 2}, 0.2);
  const TensorList tensors{a, b};
  const Tensor product = at::mm(at::mm(h.x, a.t()), b.t());
  const auto changed = [&](const Weight& weight) {
    return apply_change(h.y, h.lora->change(Params(tensors), h.view, h.x, weight, h.context));
  };
  EXPECT_EQ(h.lora->scale(h.site), 3.0);
  expect_near(changed({0.5, {}}), h.y + 0.5 * product, {1e-12, 0}, "a number");
  const Tensor gate = h.drawn({h.pack.num_rows, 1}, 0.4),
               heads = h.drawn({h.pack.num_rows, 2}, 0.5);
  expect_near(changed({2.0, gate}), h.y + 2.0 * gate * product, {1e-12, 0}, "a number a row");
  expect_near(changed({2.0, heads}), h.y + 2.0 * heads.repeat_interleave(4, 1) * product,
              {1e-12, 0}, "a number a row and head");
}

TEST(ByHandTest, AChangeIsMulThenAddThenTheLowRankPart) {
  ByHand h;
  const Tensor mul = h.drawn({8}, 0.1), add = h.drawn({8}, 0.2),
               code = h.drawn({h.pack.num_rows, 2}, 0.3), basis = h.drawn({8, 2}, 0.4);
  expect_near(apply_change(h.y, {mul, add, code, basis, {}}),
              mul * h.y + add + at::mm(code, basis.t()), {1e-12, 0}, "all rows");
  expect_bits(apply_change(h.y, {}), h.y, "nothing");

  const Tensor rows = at::tensor({3, 0}, at::kLong), two = code.slice(0, 0, 2);
  const Tensor changed = apply_change(h.y, {mul, add, two, basis, rows});
  Tensor expected = h.y.clone();
  for (int64_t i = 0; i < 2; ++i) {
    const int64_t row = rows[i].item<int64_t>();
    expected[row].copy_(mul * h.y[row] + add + at::mm(two.slice(0, i, i + 1), basis.t())[0]);
  }
  expect_near(changed, expected, {1e-12, 0}, "chosen rows");
  expect_bits(changed[1], h.y[1], "a row that was not chosen");
}

// mul and add at a linear site are a change of its weight and bias.
TEST(Affine, AtALinearSiteIsAnotherWeight) {
  const auto model = golden_model("bert-tiny");
  EditList edits;
  edits.push_back(make_toy_affine(sites_of(*model, {"attn.[qkvo]", "ffn.up", "ffn.down"})));
  const Rig rig(model, Adapter(std::move(edits), {model->config, model->sites}, class_task(3)));
  const at::NoGradGuard no_grad;
  NamedTensors base = model->weights.all_base();
  for (const Site& site : rig.adapter->parts().front().spec().sites) {
    const Tensor mul = rig.tensors.at("0.affine/" + site.name + ".mul"),
                 add = rig.tensors.at("0.affine/" + site.name + ".add");
    base.at(site.name + ".weight") = base.at(site.name + ".weight") * mul.unsqueeze(1);
    base.at(site.name + ".bias") = base.at(site.name + ".bias") * mul + add;
  }
  Rig other(std::make_shared<const Model>(Model{"changed", model->config, model->sites,
                                                Weights(model->config, base, Precision::kFloat32)}),
            "{}");
  for (auto& [name, tensor] : other.tensors) tensor = rig.tensors.at(name);
  const std::vector<Sequence> rows = random_sequences(model->config, 6, 15, 2);
  expect_near(logits_of(rig, rows), logits_of(other, rows), {1e-5, 1e-4}, "logits");
}

// Prefix rows whose logits are far below all others count for nothing.
TEST(Prefix, WithALowBiasIsTheBareTrunk) {
  const auto model = golden_model("bert-tiny");
  Rig rig = rig_of(kDoors[0], model, 1);
  Rig bare(model, "{}");
  for (auto& [name, tensor] : bare.tensors) tensor = rig.tensors.at(name);
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : rig.tensors) {
    if (name.ends_with("attn.bias")) tensor.fill_(-1e4);
  }
  const std::vector<Sequence> rows = random_sequences(model->config, 6, 15, 2);
  expect_near(logits_of(rig, rows), logits_of(bare, rows), kLaneBound, "logits");
}

// Several edits act in their order, each on the y that the one before left.
TEST(Order, OfTheListCounts) {
  const auto model = golden_model("bert-tiny");
  const auto rig_with = [&](bool lora_first) {
    EditList edits;
    edits.push_back(make_toy_affine(sites_of(*model, {"attn.q"})));
    edits.push_back(edit_of(*model, "{lora: {sites: attn.q, rank: 2, alpha: 2}}"));
    if (lora_first) std::swap(edits[0], edits[1]);
    return Rig(model, Adapter(std::move(edits), {model->config, model->sites}, class_task(3)));
  };
  Rig affine_first = rig_with(false), lora_first = rig_with(true);
  affine_first.shake(0.2);
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : lora_first.tensors) {
    std::string other = name;
    if (name.starts_with("0.")) other[0] = '1';
    if (name.starts_with("1.")) other[0] = '0';
    tensor.copy_(affine_first.tensors.at(other));
  }
  const std::vector<Sequence> rows = random_sequences(model->config, 6, 15, 2);
  const Tensor first = logits_of(affine_first, rows);
  EXPECT_GT(difference_of(logits_of(lora_first, rows), first).absolute, 1e-4);
  // mul y + add, then + B A x, is mul y + add + (B A / mul) mul x only when LoRA comes first with B
  // / mul.
  for (auto& [name, tensor] : lora_first.tensors) {
    if (!name.ends_with(".lora_b")) continue;
    const std::string site = name.substr(7, name.size() - 7 - 7);  // "0.lora/" ... ".lora_b"
    tensor.div_(lora_first.tensors.at("1.affine/" + site + ".mul").unsqueeze(1));
  }
  expect_near(logits_of(lora_first, rows), first, {1e-4, 1e-4},
              "the same function in the other order");  // 1/mul is up to 100
}

}  // namespace
}  // namespace graft::testing::test_doors
