// Routers (MoV, MoLoRA): what the shares read and multiply, top-k and its balance, counts, and each
// refusal.
#include <gtest/gtest.h>

#include "base/error.h"
#include "edit/initial.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/plan.h"

namespace graft::testing::test_mixtures {
namespace {

using at::Tensor;

std::string routed(const std::string& options, const std::string& of) {
  return "{edits: [{router: " + options + ", of: " + of + "}]}";
}

constexpr const char* kVectors = "{affine: {sites: attn.k}}";
constexpr const char* kPairs = "{lora: {sites: attn.q, rank: 2, alpha: 32, init: normal}}";
constexpr Tolerance kExact{1e-12, 0};  // float64, a few terms

Tensor wave(std::vector<int64_t> shape, double phase) {
  return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 0.7 + phase).view(shape);
}

// One site of a float64 model (C 8, H 2), its router called by hand.
struct OneSite {
  std::shared_ptr<const Model> model;
  Rig rig;
  std::vector<Sequence> rows = random_sequences(model->config, 3, 5, 5);
  Pack pack = pack_of(*model, {lane_of(rows)}, 4);
  const Site& site;
  Tensor x, y;
  SideOutputs side;  // of the last change

  explicit OneSite(const std::string& definition, double shaken = 0.5,
                   std::shared_ptr<const Model> of_model = tiny_model("bert", Precision::kFloat64))
      : model(std::move(of_model)),
        rig(model, definition, class_task(3)),
        site(rig.adapter->parts().front().spec().sites.front()),
        x(wave({pack.num_rows, site.input_width}, 0.3)),
        y(wave({pack.num_rows, site.output_width}, 1.1)) {
    if (shaken > 0) rig.shake(shaken);
    rig.widen();
  }

  Tensor& at(const std::string& tensor) { return rig.tensors.at("0.router/" + tensor); }
  Tensor& router() { return at(site.name + ".router"); }
  const Edit& edit() const { return *rig.adapter->parts().front().edit; }

  // y', with a weight from outside where given; of a route, where given, by drawn experts.
  Tensor changed(const Tensor& outer = {}, std::optional<RandomKey> route = {}) {
    const at::NoGradGuard no_grad;
    const AdapterTensors derived =
        rig.adapter->derive(rig.tensors, model->weights, Experts::kApart);
    const Context context{.is_training = true,
                          .keeps_records = true,
                          .route = route.value_or(RandomKey{}),
                          .route_unit = RouteUnit::kToken,
                          .draws_shares = route.has_value()};
    const SiteView view{site, pack, pack.whole(), x, y, {}, {}};
    Change change = edit().change(Params(derived.parts[0]), view, edit().input(view),
                                  {edit().scale(site), outer}, context);
    side = change.side;
    return apply_change(y, change);
  }
};

TEST(Mixture,
     AtInitialValuesIsTheTrunk) {  // line 1; bit for bit where the contract suite has it so
  OneSite mov(routed("{experts: 7}", kVectors), 0);
  expect_near(mov.changed(), mov.y, kExact, "scales of one, shares that add up to one");
  OneSite molora(routed("{experts: 7}", kPairs), 0);
  expect_bits(molora.changed(), molora.y, "B = 0");
}

// The mean over routes is the mixture, of whole shares and of those that top_k leaves.
TEST(Mixture, OfDrawnExpertsIsTheMixtureOnAverage) {
  constexpr uint64_t kRoutes = 2000;
  for (const char* options : {"{experts: 3}", "{experts: 4, top_k: 2}"}) {
    for (const char* of : {kVectors, kPairs}) {
      OneSite at(routed(options, of));
      const Tensor mixture = at.changed();
      Tensor sum = at::zeros_like(mixture), square = at::zeros_like(mixture);
      for (uint64_t route = 0; route < kRoutes; ++route) {
        const Tensor own = at.changed({}, RandomKey{9}.with(route));
        sum += own;
        square += own * own;
      }
      const double count = kRoutes;
      const Tensor mean = sum / count;
      const Tensor deviation = ((square / count - mean * mean).clamp_min(0) / count).sqrt();
      // Of some hundred numbers the farthest lies within five deviations.
      EXPECT_TRUE((mean - mixture).abs().le(5 * deviation + 1e-9).all().item<bool>())
          << options << " of " << of;
      EXPECT_GT(deviation.max().item<double>(), 1e-3) << "experts should differ";
    }
  }
}

TEST(Mixture, OfOneExpertIsThePlainEdit) {  // line 2
  const auto model = golden_model("bert-tiny", Precision::kFloat64);
  for (const std::string of : {"{affine: {}}", "{lora: {rank: 4, alpha: 16}}"}) {
    Rig one(model, routed("{experts: 1}", of)), plain(model, "{edits: [" + of + "]}");
    one.shake(0.3);
    one.widen();
    plain.widen();
    {
      const at::NoGradGuard no_grad;
      for (auto& [name, tensor] : plain.tensors) {
        if (name.starts_with("head/")) tensor.copy_(one.tensors.at(name));
        else tensor.copy_(one.tensors.at("0.router/of" + name.substr(name.find('/')))[0]);
      }
    }
    const std::vector<Sequence> rows = random_sequences(model->config, 5, 13, 2);
    expect_near(logits_of(one, rows), logits_of(plain, rows), kExact, of);
    for (const auto& [name, gradient] : gradients_of(one, rows, class_labels(5, 3)).gradients) {
      if (!name.ends_with(".router")) continue;
      EXPECT_EQ(gradient.abs().max().item<double>(), 0) << name;
    }
  }
}

TEST(Mixture, FirstGradients) {  // line 3; differences after moving: the contract suite
  const auto model = golden_model("bert-tiny", Precision::kFloat64);
  const std::vector<Sequence> rows = random_sequences(model->config, 5, 13, 2);
  for (const bool is_pairs : {false, true}) {
    Rig rig(model, routed("{experts: 4}", is_pairs ? "{lora: {}}" : "{affine: {}}"));
    rig.widen();
    for (const auto& [name, gradient] : gradients_of(rig, rows, class_labels(5, 3)).gradients) {
      const double largest = gradient.abs().max().item<double>();
      if (name.ends_with(".router") || name.ends_with(".lora_a")) {
        EXPECT_LE(largest, is_pairs ? 0.0 : 1e-15) << name;
      } else {
        EXPECT_GT(largest, 1e-6) << name;
      }
    }
  }
}

TEST(Mixture, ExpertsHaveNoOrder) {  // line 4
  for (const char* of :
       {kVectors, kPairs, "{bottleneck: {sites: attn.v, placement: sequential, width: 2}}"}) {
    OneSite at(routed("{experts: 3, top_k: 2}", of));
    const Tensor before = at.changed();
    const Tensor order = at::tensor({2, 0, 1}, at::kLong);
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : at.rig.tensors) {
      if (name.ends_with(".router")) tensor.copy_(tensor.index_select(1, order));
      else if (name.starts_with("0.router/of/")) tensor.copy_(tensor.index_select(0, order));
    }
    expect_near(at.changed(), before, kExact, std::string(of) + " permuted");
  }
  for (const char* of : {kVectors, kPairs}) {
    OneSite at(routed("{experts: 3}", of));
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : at.rig.tensors) {
      if (name.starts_with("0.router/of/")) tensor.copy_(tensor[1].expand_as(tensor).clone());
    }
    const Tensor before = at.changed();
    at.router().add_(wave(at.router().sizes().vec(), 3.0));
    expect_near(at.changed(), before, kExact, std::string(of) + " equal experts");
  }
}

TEST(Mixture, KeysAndValuesAreRoutedPerHead) {  // line 5
  for (const char* part : {"attn.k", "attn.v"}) {
    OneSite at(routed("{experts: 3}", std::string("{affine: {sites: ") + part + "}}"));
    EXPECT_EQ(at.router().sizes(), (std::vector<int64_t>{4, 3})) << "D x E, for all heads";
    const Tensor scale = at.at("of/" + at.site.name + ".scale").detach();  // [E, C]
    const Tensor p =
        at::softmax(at::matmul(at.y.view({-1, 2, 4}), at.router().detach()), 2);  // [T, H, E]
    const Tensor expected =
        at.y.view({-1, 2, 4}) * at::einsum("the,ehd->thd", {p, scale.view({3, 2, 4})});
    const Tensor before = at.changed();
    expect_near(before, expected.flatten(1), kExact, part);
    at.y = at.y.clone();
    at.y.slice(1, 4, 8).mul_(1.5);  // the second head
    const Tensor after = at.changed();
    expect_bits(after.slice(1, 0, 4).contiguous(), before.slice(1, 0, 4).contiguous(),
                "the first head's columns");
    EXPECT_GT((after.slice(1, 4, 8) - 1.5 * before.slice(1, 4, 8)).abs().max().item<double>(), 1e-3)
        << "the second head's shares moved";
  }
}

// What enters ffn.down: the gated product, which leaves the site ffn.mid, or without a gate what
// leaves ffn.act.
TEST(Mixture, MayRouteOnTheProduct) {
  const auto changed_by_hand = [](OneSite& at, const Tensor& read) {
    const Tensor scale = at.at("of/" + at.site.name + ".scale").detach();  // [E, F]
    const Tensor p = at::softmax(at::mm(read, at.router().detach()), 1);
    return at.y * at::mm(p, scale);
  };
  OneSite at(routed("{experts: 3, input: product}", "{affine: {sites: ffn.act}}"));
  const Tensor product = at.changed();
  expect_near(product, changed_by_hand(at, at.y), kExact, "product");
  OneSite site(routed("{experts: 3, input: site}", "{affine: {sites: ffn.act}}"));
  expect_bits(site.changed(), product, "the site is where the product leaves");
  OneSite gated(routed("{experts: 3, input: product}", "{affine: {sites: ffn.mid}}"), 0.5,
                tiny_model("llama", Precision::kFloat64));
  expect_near(gated.changed(), changed_by_hand(gated, gated.y), kExact, "gated product");
  OneSite block(routed("{experts: 3, input: block_input}", "{affine: {sites: ffn.act}}"));
  expect_near(block.changed(), changed_by_hand(block, block.x), kExact, "block input");
}

TEST(Mixture, QueriesMayBeRoutedPerHead) {
  OneSite at(routed("{experts: 3, per_head: true}", "{affine: {sites: attn.q}}"));
  EXPECT_EQ(at.router().sizes(), (std::vector<int64_t>{4, 3})) << "D x E, for all heads";
  const Tensor scale = at.at("of/" + at.site.name + ".scale").detach();  // [E, C]
  const Tensor heads = at.y.view({-1, 2, 4});
  const Tensor p = at::softmax(at::matmul(heads, at.router().detach()), 2);  // [T, H, E]
  expect_near(at.changed(),
              (heads * at::einsum("the,ehd->thd", {p, scale.view({3, 2, 4})})).flatten(1), kExact,
              "attn.q");
  OneSite whole(routed("{experts: 3}", "{affine: {sites: attn.q}}"));
  EXPECT_EQ(whole.router().size(0), 8) << "auto: queries are routed as a whole";
}

TEST(Mixture, OfPairsIsTheSumOfCompleteExperts) {  // line 6
  OneSite at(routed("{experts: 3}", kPairs));
  const Tensor a = at.at("of/" + at.site.name + ".lora_a").detach(),
               b = at.at("of/" + at.site.name + ".lora_b").detach();
  const Tensor p = at::softmax(at::mm(at.x, at.router().detach()), 1);
  Tensor expected = at.y.clone(), separate = at.y.clone();
  const auto weighted = [&](const Tensor& experts) {
    return at::einsum("te,eio->tio", {p, experts});
  };
  for (int64_t e = 0; e < 3; ++e)
    expected += 16.0 * p.slice(1, e, e + 1) * at::mm(at::mm(at.x, a[e].t()), b[e].t());
  separate += 16.0 * at::bmm(weighted(b), at::bmm(weighted(a), at.x.unsqueeze(2))).squeeze(2);
  expect_near(at.changed(), expected, kExact, "sum of experts");
  EXPECT_GT(difference_of(separate, expected).absolute, 1e-1)
      << "averaging A and B apart is another function";

  // The default blend, expert after expert, judges the fused one; dropout's mask is the same for
  // all.
  const auto lora =
      make_edit(yaml("{lora: {sites: attn.q, layers: [0], rank: 2, alpha: 32, dropout: 0.3}}"),
                {at.model->config, at.model->sites}, "test", "");
  const SiteView view{at.site, at.pack, at.pack.whole(), at.x, at.y, {}, {}};
  const TensorList stacked{a, b};
  for (const bool is_training : {false, true}) {
    Context context;
    context.is_training = is_training;
    const Params params(stacked);
    const Change fused = lora->blend(params, 3, view, at.x, {2.0, p}, context),
                 plain = lora->Edit::blend(params, 3, view, at.x, {2.0, p}, context);
    EXPECT_TRUE(fused.code.defined() && !plain.code.defined());
    expect_near(apply_change(at.y, fused), apply_change(at.y, plain), kExact, "fused");
  }
}

TEST(TopK, OfOneScalesByTheLargestShareUnlessRenormalized) {  // line 7
  OneSite plain(routed("{experts: 5, top_k: 1, per_head: false}", kVectors), 0),
      renormalized(routed("{experts: 5, top_k: 1, renormalize: true}", kVectors), 0);
  const Tensor p = at::softmax(at::mm(plain.y, plain.router().detach()), 1);
  expect_near(plain.changed(), plain.y * std::get<0>(p.max(1, true)), kExact, "largest share");
  expect_near(renormalized.changed(), renormalized.y, kExact, "renormalized");
}

TEST(TopK, TiesGoToTheLowerIndex) {
  OneSite at(routed("{experts: 4, top_k: 2}", kVectors));
  const at::NoGradGuard no_grad;
  at.router().zero_();
  const Tensor scale = at.at("of/" + at.site.name + ".scale");
  expect_near(at.changed(), at.y * (0.25 * (scale[0] + scale[1])), kExact, "the first two");
}

TEST(Balance, OfUniformRoutingIsKAndOfOneExpertIsE) {  // line 8
  for (const int64_t k : {1, 2, 3}) {
    OneSite at(routed("{experts: 4, balance: 0.5, top_k: " + std::to_string(k) + "}", kVectors));
    const at::NoGradGuard no_grad;
    at.router().zero_();
    at.changed();
    ASSERT_EQ(at.side.losses.size(), 1U);
    EXPECT_EQ(at.side.losses[0].name, "enc.0.attn.k.balance");
    EXPECT_NEAR(at.side.losses[0].value.item<double>(), 0.5 * static_cast<double>(k) / 2, 1e-7)
        << "a half of the mean over two sites";
  }
  OneSite one(routed("{experts: 4, balance: 1, top_k: 1, per_head: false}", kVectors));
  const at::NoGradGuard no_grad;
  one.y = one.y.abs() + 1.0;
  one.router().zero_();
  one.router().select(1, 2).fill_(100.0);
  one.changed();
  EXPECT_NEAR(one.side.losses[0].value.item<double>(), 4.0 / 2, 1e-6);
  for (const auto& [name, value, lane] : one.side.records) {
    const bool is_entropy = name == "enc.0.attn.k.router.entropy";
    EXPECT_TRUE(is_entropy || name == "enc.0.attn.k.router") << name;
    EXPECT_EQ(value.sizes(), is_entropy ? (std::vector<int64_t>{3}) : (std::vector<int64_t>{3, 4}));
    expect_near(is_entropy ? value : value.select(1, 2),
                is_entropy ? at::zeros({3}, at::kDouble) : at::ones({3}, at::kDouble), {1e-6, 0},
                name);  // means over rows have float32 divisors
  }
}

// A weight from outside: none of it leaves y as it is, all of it is the router alone.
TEST(Mixture, ObeysAWeightAroundIt) {
  for (const char* of : {kVectors, kPairs}) {
    for (const char* options : {"{experts: 3}", "{experts: 3, top_k: 1}"}) {
      OneSite at(routed(options, of));
      const Tensor whole = at.changed(), one = at::ones({at.pack.num_rows, 1}, at::kDouble);
      expect_near(at.changed(one), whole, kExact, "one");
      expect_near(at.changed(one * 0.0), at.y, kExact, "zero");
      expect_near(at.changed(one * 0.25), at.y + 0.25 * (whole - at.y), kExact, "a quarter");
    }
  }
}

TEST(Embedding, RoutesAWholeSequenceAlike) {
  const std::string definition =
      routed("{experts: 3, embedding: 2, top_k: 2, renormalize: true}", kVectors);
  OneSite at(definition);
  EXPECT_EQ(at.router().sizes(), (std::vector<int64_t>{2, 3}));
  expect_message<InputError>(
      [&] { at.changed(); },
      "a router reads an embedding of 2 numbers per example; the data has none");
  for (size_t n = 0; n < at.rows.size(); ++n)
    at.rows[n].embedding = {0.5F, static_cast<float>(n) - 1.0F};
  at.pack = pack_of(*at.model, {lane_of(at.rows)}, 4);
  const Tensor factor = at.changed() / at.y;
  for (int64_t n = 0; n < 3; ++n) {
    const Tensor own = factor.slice(0, at.pack.sequences[static_cast<size_t>(n)].begin,
                                    at.pack.sequences[static_cast<size_t>(n)].end);
    expect_near(own, own.slice(0, 0, 1).expand_as(own), {1e-12, 1e-12}, "rows of a sequence");
  }
  EXPECT_TRUE(at::isfinite(factor).all().item<bool>()) << "fillers too";
  for (Sequence& row : at.rows) row.embedding = {1.0F, 2.0F, 3.0F};
  at.pack = pack_of(*at.model, {lane_of(at.rows)}, 4);
  expect_message<InputError>(
      [&] { at.changed(); },
      "a router reads an embedding of 2 numbers per example; the data's have 3");
}

TEST(InitialRouters, HaveTheirDocumentedSpread) {
  const Rig rig(golden_model("bert-tiny"),
                routed("{experts: 100}", "{lora: {sites: attn.q, layers: [0]}}"));
  const Tensor& router = rig.tensors.at(
      "0.router/enc.0.attn.q.router");  // 3200 draws: the deviation is known to 1.3 %
  EXPECT_NEAR(router.std().item<double>() / 0.02, 1, 0.05);
  const Tensor& a = rig.tensors.at("0.router/of/enc.0.attn.q.lora_a");
  EXPECT_FALSE(a[0].equal(a[1])) << "every expert is drawn anew";
}

// Line 12, as an encoder alone shows it: E (2a + f) scales and E (f + 2c) router entries a layer,
// r (d + a) and (d + f) for pairs.
TEST(RouterCounts, FollowTheFormula) {
  const Node json = parse_json(
      R"({"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
      "intermediate_size": 3072, "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2})",
      "bert-base");
  const ModelConfig config = parse_config(json, "bert-base");
  const Sites sites(config);
  const auto count = [&](const std::string& definition) {
    return make_plan(Adapter(yaml(definition), "test", {config, sites}, class_task(2)), config, {})
        .edit_parameters;
  };
  EXPECT_EQ(count(routed("{experts: 10}", "{affine: {}}")),
            10 * 12 * ((2 * 768 + 3072) + 3072 + 2 * 64));
  EXPECT_EQ(count(routed("{experts: 10, input: block_input}", "{affine: {}}")),
            10 * 12 * ((2 * 768 + 3072) + 3 * 768));
  EXPECT_EQ(
      count(routed("{experts: 10}", "{lora: {sites: ['attn.[qkvo]', ffn.up, ffn.down], rank: 4}}")),
      10 * 12 * (4 * (4 * (768 + 768) + 2 * (768 + 3072)) + 4 * 768 + 768 + 3072));
}

TEST(RouterDefinitions, RefuseEachByItsPlace) {
  const auto model = golden_model("bert-tiny");
  const struct {
    const char *options, *of, *message;
  } rows[] = {
      {"{experts: 0}", kPairs,
       R"(/edits/0/router/experts: expected an integer in 1..1024, found "0")"},
      {"{input: token}", kPairs,
       R"(/edits/0/router/input: expected site, block_input or product, found "token")"},
      {"{per_head: maybe}", kPairs,
       R"(/edits/0/router/per_head: expected auto, true or false, found "maybe")"},
      {"{experts: 3, top_k: 4}", kPairs,
       "/edits/0/router/top_k: expected at most the 3 experts, found 4"},
      {"{renormalize: true}", kPairs,
       "/edits/0/router/renormalize: without top_k the shares of the experts sum to one already"},
      {"{balance: 0.1}", kPairs,
       "/edits/0/router/balance: the balancing loss is constant unless top_k leaves experts out"},
      {"{embedding: 4, input: block_input}", kPairs,
       "/edits/0/router/embedding: a router that reads an embedding reads no other input; found "
       "input: block_input"},
      {"{input: block_input}", "{bottleneck: {}}",
       "/edits/0/router/input: block_input is what enters a linear or activation site; "
       "enc.0.ffn.out is a sublayer site"},
      {"{input: product}", kVectors,
       "/edits/0/router/input: product is for an affine edit at ffn.act, where it reads what "
       "enters ffn.down; found affine at "
       "enc.0.attn.k"},
      {"{per_head: true, input: block_input}", kVectors,
       "/edits/0/router/per_head: a head routes on its own slice: expected input: site and no "
       "embedding"},
      {"{per_head: true}", kPairs,
       "/edits/0/router/per_head: heads are routed apart for an affine edit at attn.q, attn.k and "
       "attn.v; found lora at "
       "enc.0.attn.q"},
      {"{}", "{dora: {}}",
       "/edits/0/of: router does not go around dora: its norms are derived of several tensors, "
       "which cannot be stacked"},
      {"{}", "{gate: {}, of: {stochastic: {}, of: {lora: {}}}}",
       "/edits/0/of: router does not go around gate of stochastic: both choose among experts"},
      {"{}", "{prefix: {}}",
       "/edits/0/of: router does not go around prefix: keys and values of a prefix belong to no "
       "token"},
      {"{}", "{reft: {}}", "/edits/0/of: router does not go around reft: "},
  };
  for (const auto& row : rows)
    expect_message<InputError>([&] { Rig(model, routed(row.options, row.of)); }, row.message);
}

}  // namespace
}  // namespace graft::testing::test_mixtures
