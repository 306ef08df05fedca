// Stochastic mixtures: what a route draws, what merging keeps exactly and what it does not, counts,
// and each refusal.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"
#include "edit/stochastic.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/plan.h"

namespace graft::testing::test_adamix {
namespace {

using at::Tensor;

constexpr const char* kBottleneck =
    "{bottleneck: {sites: ffn.down, placement: sequential, width: 3, activation: gelu}}";
constexpr const char* kLora = "{lora: {sites: attn.v, rank: 2}}";

std::string mixture(const std::string& options, const std::string& of) {
  return "{edits: [{stochastic: " + options + ", of: " + of + "}]}";
}

double chi_square(const std::map<int64_t, int64_t>& counts, int64_t cells, int64_t draws) {
  const double expected = static_cast<double>(draws) / static_cast<double>(cells);
  double sum = 0;
  for (int64_t cell = 0; cell < cells; ++cell) {
    const auto found = counts.find(cell);
    const double off =
        (found == counts.end() ? 0.0 : static_cast<double>(found->second)) - expected;
    sum += off * off / expected;
  }
  return sum;
}

// Routing indices are uniform per bank, and independent between banks, sites and passes. The bounds
// are the 0.1 % points of chi-square with 3 and 15 degrees of freedom; the draws are fixed by their
// keys.
TEST(Route, IsUniformAndIndependent) {
  constexpr int64_t kExperts = 4, kDraws = 20'000;
  std::map<int64_t, int64_t> down, up, banks, sites, passes;
  for (uint64_t step = 0; step < kDraws; ++step) {
    const RandomKey first = RandomKey{17}.with(step).with("route").with(0),
                    second = RandomKey{17}.with(step).with("route").with(1);
    const int64_t d = drawn_expert(first, "enc.0.ffn.down", "down", kExperts),
                  u = drawn_expert(first, "enc.0.ffn.down", "up", kExperts);
    ASSERT_TRUE(d >= 0 && d < kExperts && u >= 0 && u < kExperts);
    ++down[d];
    ++up[u];
    ++banks[d * kExperts + u];
    ++sites[d * kExperts + drawn_expert(first, "enc.1.ffn.down", "down", kExperts)];
    ++passes[d * kExperts + drawn_expert(second, "enc.0.ffn.down", "down", kExperts)];
  }
  for (const auto* one : {&down, &up}) EXPECT_LT(chi_square(*one, kExperts, kDraws), 16.27);
  for (const auto* pair : {&banks, &sites, &passes})
    EXPECT_LT(chi_square(*pair, kExperts * kExperts, kDraws), 37.70);
}

// One site of a float64 model, its mixture called by hand.
struct OneSite {
  std::shared_ptr<const Model> model = tiny_model("bert", Precision::kFloat64);
  Rig rig;
  std::vector<Sequence> rows = random_sequences(model->config, 3, 5, 5);
  Pack pack = pack_of(*model, {lane_of(rows)});
  const Site& site;
  Tensor x, y;
  SiteView view;

  explicit OneSite(const std::string& definition)
      : rig(model, definition, class_task(3)),
        site(rig.adapter->parts().front().spec().sites.front()),
        x(wave({pack.num_rows, site.input_width}, 0.3)),
        y(wave({pack.num_rows, site.output_width}, 1.1)),
        view{site, pack, pack.whole(), x, y, {}, {}} {
    rig.shake(0.5);
    rig.widen();
  }
  static Tensor wave(std::vector<int64_t> shape, double phase) {
    return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 0.7 + phase)
        .view(shape);
  }

  const Adapter::Part& part() const { return rig.adapter->parts().front(); }
  // y' of the mean, of a route, or of one expert for all banks.
  Tensor changed(Experts experts, RandomKey route = {}, std::optional<int64_t> fixed = {}) const {
    const at::NoGradGuard no_grad;
    const AdapterTensors derived = rig.adapter->derive(rig.tensors, model->weights, experts);
    Context context;
    context.route = route;
    context.experts = experts;
    context.fixed_expert = fixed;
    const Edit& edit = *part().edit;
    return apply_change(y, edit.change(Params(derived.parts[0]), view, edit.input(view),
                                       {edit.scale(site), {}}, context));
  }
  // The mean of y' over all choices of the site's banks. A choice that no key draws would leave the
  // mean incomplete: after 100 keys a choice (a fair draw misses one of nine with a probability
  // below 1e-40) the search fails.
  Tensor mean_over_routes(const std::vector<std::string>& banks, int64_t experts) const {
    std::map<std::vector<int64_t>, Tensor> seen;
    size_t all = 1;
    for (size_t i = 0; i < banks.size(); ++i) all *= static_cast<size_t>(experts);
    for (uint64_t key = 0; seen.size() < all; ++key) {
      if (key == 100 * all) {
        ADD_FAILURE() << site.name << ": " << key << " routes reached " << seen.size() << " of "
                      << all << " choices: the banks are not drawn independently";
        return at::zeros_like(y);
      }
      std::vector<int64_t> choice;
      for (const std::string& bank : banks)
        choice.push_back(drawn_expert(RandomKey{key}, site.name, bank, experts));
      if (!seen.contains(choice)) seen[choice] = changed(Experts::kApart, RandomKey{key});
    }
    Tensor sum = at::zeros_like(y);
    for (const auto& [choice, one] : seen) sum += one;
    return sum / static_cast<double>(all);
  }
};

constexpr Tolerance kExact{1e-12, 0};  // float64, sums of a few terms

TEST(Merging, TheUpBankGivesTheExactExpectationOverItsRoutes) {  // fact (a)
  const OneSite at(mixture("{experts: 3, share: [down]}", kBottleneck));
  expect_near(at.mean_over_routes({"up"}, 3), at.changed(Experts::kMerged), kExact,
              "mean over routes");
}

TEST(Merging, BothBanksOfLoraGiveTheExactExpectation) {  // fact (b), and exhaustive averaging
  const OneSite at(mixture("{experts: 3, share: []}", kLora));
  const Tensor merged = at.changed(Experts::kMerged);
  expect_near(at.mean_over_routes({"down", "up"}, 3), merged, kExact, "mean over all pairs");
  Tensor paired = at::zeros_like(merged);
  for (int64_t expert = 0; expert < 3; ++expert)
    paired += at.changed(Experts::kApart, {}, expert) / 3.0;
  EXPECT_GT(difference_of(paired, merged).absolute, 1e-2)
      << "pairs with equal indices have a covariance term";
}

TEST(Merging, TheDownBankIsOnlyFirstOrderThroughTheActivation) {  // fact (c)
  double errors[2];
  for (const int halvings : {0, 1}) {
    OneSite at(mixture("{experts: 3}", kBottleneck));  // moved to mean + difference / 10, and / 20
    for (const char* tensor : {"down.weight", "down.bias"}) {
      const auto name = [&](int expert) {
        return "0.stochastic/expert." + std::to_string(expert) + "/" + at.site.name + "." + tensor;
      };
      const Tensor centre =
          (at.rig.tensors.at(name(0)) + at.rig.tensors.at(name(1)) + at.rig.tensors.at(name(2)))
              .detach() /
          3.0;
      const at::NoGradGuard no_grad;
      for (int expert = 0; expert < 3; ++expert)
        at.rig.tensors.at(name(expert)).sub_(centre).mul_(halvings == 0 ? 0.1 : 0.05).add_(centre);
    }
    errors[halvings] =
        difference_of(at.mean_over_routes({"down"}, 3), at.changed(Experts::kMerged)).absolute;
  }
  EXPECT_GT(errors[0], 1e-6);
  EXPECT_NEAR(errors[0] / errors[1], 4.0, 0.4)
      << "second order: half the spread, a quarter of the error";
}

TEST(Merging, IdenticalExpertsIsTheIdentity) {  // fact (d)
  for (const char* of : {kBottleneck, kLora, "{affine: {sites: attn.v, shift: true}}"}) {
    OneSite at(mixture("{experts: 4, init: copies}", of));
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : at.rig.tensors) {
      if (name.find("expert.") != std::string::npos)
        tensor.copy_(at.rig.tensors.at("0.stochastic/expert.0" + name.substr(name.find('/', 13))));
    }
    const Tensor merged = at.changed(Experts::kMerged);
    for (uint64_t route = 0; route < 4; ++route)
      expect_bits(at.changed(Experts::kApart, RandomKey{route}), merged, of);
  }
}

TEST(Merging, OfOneExpertIsThePlainEditBitForBit) {  // fact (e)
  const auto model = golden_model("bert-tiny");
  for (const std::string of : {kBottleneck, kLora, "{affine: {}}"}) {
    Rig one(model, mixture("{experts: 1}", of)), plain(model, "{edits: [" + of + "]}");
    one.shake(0.2);
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : plain.tensors) {
      const std::string inner = name.starts_with("head/") ? "" : name.substr(name.find('/') + 1);
      tensor.copy_(one.tensors.at(inner.empty() ? name
                                  : one.tensors.contains("0.stochastic/shared/" + inner)
                                      ? "0.stochastic/shared/" + inner
                                      : "0.stochastic/expert.0/" + inner));
    }
    const std::vector<Sequence> rows = random_sequences(model->config, 5, 13, 2);
    expect_bits(logits_of(one, rows), logits_of(plain, rows), of + " merged");
    expect_bits(logits_of(one, rows, {.is_training = true}),
                logits_of(plain, rows, {.is_training = true}).contiguous(), of + " drawn");
  }
}

// Evaluation has no route, and no memory: it is the plain edit with the means of what is stored
// now.
TEST(Merging, IsOfTheTensorsAsTheyAreNow) {
  const auto model = golden_model("bert-tiny");
  Rig rig(model, mixture("{experts: 3, share: []}", kBottleneck)),
      plain(model, std::string("{edits: [") + kBottleneck + "]}");
  const std::vector<Sequence> rows = random_sequences(model->config, 5, 13, 2);
  for (uint64_t round = 0; round < 3; ++round) {
    rig.shake(0.3, 20 + round);
    logits_of(rig, rows, {.is_training = true});
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : plain.tensors) {
      if (name.starts_with("head/")) {
        tensor.copy_(rig.tensors.at(name));
        continue;
      }
      const std::string inner = name.substr(name.find('/') + 1);
      tensor.zero_();
      for (int expert = 0; expert < 3; ++expert)
        tensor.add_(rig.tensors.at("0.stochastic/expert." + std::to_string(expert) + "/" + inner));
      tensor.div_(3);
    }
    expect_near(logits_of(rig, rows), logits_of(plain, rows), {1e-6, 0},
                "round " + std::to_string(round));
    expect_bits(logits_of(rig, rows, {.seed = 1}), logits_of(rig, rows, {.seed = 2}),
                "another seed");
  }
}

// Exactly the drawn members and the shared bank have gradients; two lanes give them to the members
// of both routes.
TEST(StochasticBackward, ReachesTheDrawnMembersAlone) {
  const auto model = golden_model("bert-tiny");
  constexpr int64_t kExperts = 5;
  constexpr uint64_t kKey = 7;
  Rig rig(model, mixture("{experts: 5}", kBottleneck));
  rig.shake(0.2);
  const std::vector<Sequence> rows = random_sequences(model->config, 4, 9, 2);
  std::set<std::string> expected;
  {
    BoundAdapter bound(*model, *rig.adapter, rig.tensors, Experts::kApart);
    std::vector<LaneAdapter> lanes;
    for (uint64_t pass = 0; pass < 2; ++pass) {
      const RandomKey route = RandomKey{kKey}.with(pass);
      lanes.push_back({&bound, {.is_training = true, .route = route}});
      for (const Site& site : rig.adapter->parts().front().spec().sites) {
        const int64_t expert =
            drawn_expert(route.with("0.stochastic/"), site.name, "down", kExperts);
        expected.insert("0.stochastic/expert." + std::to_string(expert) + "/" + site.name);
      }
    }
    const std::vector<LaneResult> result =
        compute_logits(*model, pack_of(*model, {lane_of(rows, 0), lane_of(rows, 1)}), lanes, {});
    torch::autograd::backward({result[0].logits.sum() + result[1].logits.pow(2).sum()}, {});
    bound.add_gradients_to_stored();
  }
  ASSERT_EQ(expected.size(), 4U) << "choose another key: the passes should differ at both sites";
  for (const auto& [name, tensor] : rig.tensors) {
    const bool is_expert = name.find("/expert.") != std::string::npos;
    const std::string member = name.substr(0, name.find(".down.", name.find("ffn.down") + 8));
    EXPECT_EQ(tensor.grad().defined(), !is_expert || expected.contains(member)) << name;
  }
}

TEST(InitialExperts, AreIndependentOrCopies) {
  const auto model = golden_model("bert-tiny");
  const auto at = [](const Rig& rig, int expert) {
    return rig.tensors.at("0.stochastic/expert." + std::to_string(expert) + "/enc.0.attn.v.lora_a");
  };
  const Rig independent(model, mixture("{experts: 3}", kLora)),
      copies(model, mixture("{experts: 3, init: copies}", kLora));
  for (int expert = 1; expert < 3; ++expert) {
    EXPECT_FALSE(at(independent, expert).equal(at(independent, 0)));
    expect_bits(at(copies, expert), at(copies, 0), "copy");
  }
  const auto in_layer_1 = [](const Rig& rig) {
    return rig.tensors.at("0.stochastic/expert.0/enc.1.attn.v.lora_a");
  };
  EXPECT_FALSE(at(copies, 0).equal(in_layer_1(copies))) << "layers differ all the same";
  const Rig layers(model, mixture("{experts: 3, init: layer_copies}",
                                  "{lora: {sites: [attn.q, attn.v], rank: 2}}"));
  expect_bits(at(layers, 2), at(layers, 0), "copy");
  expect_bits(in_layer_1(layers), at(layers, 0), "copy of the first layer's");
  EXPECT_FALSE(at(layers, 0).equal(layers.tensors.at("0.stochastic/expert.0/enc.0.attn.q.lora_a")))
      << "queries and values have their own";
}

// Wang et al. 2022: trained and merged parameters without heads; GPT-2 medium has the widths and
// depth of RoBERTa-large.
TEST(AdamixCounts, ArePublishedOnes) {
  const auto count = [](const char* shape, const std::string& definition) {
    const Node json = parse_json(
        std::string(
            R"({"model_type": "bert", "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2, )") +
            shape + "}",
        "config");
    const ModelConfig config = parse_config(json, "config");
    const Sites sites(config);
    return make_plan(Adapter(yaml(definition), "test", {config, sites}, class_task(2)), config, {})
        .edit_parameters;
  };
  const char *
      base =
         R"("hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072)",
     *large =
         R"("hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096)";
  const struct {
    const char *shape, *of, *experts;
    int64_t shared, apart, merged;
  } rows[] = {
      {large, "{bottleneck: {sites: ffn.down, placement: sequential, width: 16}}", "4", 1'992'192,
       3'245'568, 811'392},
      {base, "{bottleneck: {sites: ffn.down, placement: sequential, width: 48}}", "4", 2'223'360,
       3'578'112, 894'528},
      {large, "{bottleneck: {sites: ffn.down, placement: sequential, width: 8}}", "8", 1'795'584, 0,
       417'984},
      {large, "{lora: {rank: 4}}", "8", 1'769'472, 0, 393'216},
  };
  for (const auto& row : rows) {
    const std::string experts = std::string("{experts: ") + row.experts;
    EXPECT_EQ(count(row.shape, mixture(experts + "}", row.of)), row.shared) << row.of;
    if (row.apart > 0) {
      EXPECT_EQ(count(row.shape, mixture(experts + ", share: []}", row.of)), row.apart) << row.of;
    }
    EXPECT_EQ(count(row.shape, std::string("{edits: [") + row.of + "]}"), row.merged) << row.of;
  }
}

TEST(StochasticDefinitions, RefuseEachByItsPlace) {
  const auto model = golden_model("bert-tiny");
  const struct {
    const char *options, *of, *message;
  } rows[] = {
      {"{experts: 0}", kLora,
       R"(/edits/0/stochastic/experts: expected an integer in 1..1024, found "0")"},
      {"{init: copy}", kLora,
       R"(/edits/0/stochastic/init: expected independent, copies or layer_copies, found "copy")"},
      {"{share: [upp]}", kLora,
       R"(/edits/0/stochastic/share: lora has no bank "upp": expected down or up)"},
      {"{share: [up]}", "{affine: {}}",
       R"(/edits/0/stochastic/share: affine has no bank "up": all of its tensors are exchanged together)"},
      {"{share: [up, down]}", kLora,
       "/edits/0/stochastic/share: every bank of lora is shared: nothing is left to choose"},
      {"{}", "{full: {}}",
       "/edits/0/of: stochastic does not go around full: it changes the trunk's own weights, which "
       "all rows share"},
      {"{}", "{stochastic: {}, of: {lora: {}}}",
       "/edits/0/of: stochastic does not go around stochastic: both choose among experts"},
      {"{}", "{gate: {}, of: {router: {}, of: {lora: {}}}}",
       "/edits/0/of: stochastic does not go around gate of router: the mean of routers is not a "
       "router of the mean"},
      {"{}", "{prefix: {length: 2, mlp: 4}}",
       "/edits/0/stochastic: an expert belongs to a site, but 'table' of prefix serves all of its "
       "sites"},
  };
  for (const auto& row : rows)
    expect_message<InputError>([&] { Rig(model, mixture(row.options, row.of)); }, row.message);
  expect_message<InputError>([&] { Rig(model, "{edits: [{stochastic: {}}]}"); },
                             "/edits/0/of: expected the edit that stochastic is put around");
  expect_message<InputError>([&] { Rig(model, mixture("{}", "[{lora: {}}]")); },
                             "/edits/0/of: stochastic takes one edit, found a list");
}

TEST(StochasticDefinitions, InternalFaultsAreNamed) {
  const OneSite at(mixture("{experts: 2}", kLora));
  expect_message<InternalError>([&] { at.changed(Experts::kApart, {}, 2); },
                                "an expert that the mixture has");
  const AdapterTensors derived =
      at.rig.adapter->derive(at.rig.tensors, at.model->weights, Experts::kApart);
  expect_message<InternalError>(
      [&] { at.part().edit->rewrite(Params(derived.parts[0]), at.model->weights); },
      "only the mean of the experts can be folded");
}

}  // namespace
}  // namespace graft::testing::test_adamix
