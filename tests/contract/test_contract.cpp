// The contract of an edit, for every row of the table on every family: identity, what trains, files, merging, and that nothing
// but an example itself decides its result.
#include <gtest/gtest.h>

#include <set>

#include "edit/adapter_file.h"
#include "infer/predict.h"
#include "model/families.h"
#include "tests/contract/compositions.h"
#include "tests/contract/table.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/plan.h"

namespace graft::testing {
namespace {

using at::Tensor;

class Contract : public ::testing::TestWithParam<Case> {
 protected:
  std::shared_ptr<const Model> model() const { return golden_model(GetParam().family + "-tiny"); }
  Rig rig() const { return Rig(model(), GetParam().adapter()); }
  Rig shaken() const {
    Rig rig = this->rig();
    rig.shake(0.1);
    return rig;
  }
  std::vector<Sequence> sequences(int64_t count = 7) const { return random_sequences(model()->config, count, 23, 3); }
  Traits traits(const Rig& rig) const { return traits_of(*rig.adapter); }
};

std::vector<Tensor> hidden_of(const Rig& rig, const std::vector<Sequence>& sequences) {
  const at::NoGradGuard no_grad;
  const Bound bound(*rig.model, *rig.adapter, rig.tensors);
  return run_lanes(*rig.model, pack_of(*rig.model, {lane_of(rig, sequences)}), {&bound}, {.keep_hidden = true}).hidden;
}

TEST_P(Contract, EqualsTheBareTrunkAtInitialValuesWherePromised) {
  const Rig rig = this->rig();
  const std::vector<Sequence> sequences = this->sequences();
  NoHooks nothing;
  const at::NoGradGuard no_grad;
  const std::vector<Tensor> bare = forward(*model(), model()->weights, pack_of(*model(), {lane_of(sequences)}), nothing, {.key = {}, .keep_hidden = true}).hidden;
  const std::vector<Tensor> edited = hidden_of(rig, sequences);
  if (!traits(rig).identity_at_init) {
    EXPECT_FALSE(edited.back().equal(bare.back())) << "an identity that is not promised";
    return;
  }
  for (size_t layer = 0; layer < bare.size(); ++layer) {
    expect_bits(edited[layer], bare[layer], "hidden state " + std::to_string(layer));
  }
}

TEST_P(Contract, TrainsWhatItDeclaresAndNothingElse) {
  Rig rig = shaken();
  const Row& row = *GetParam().row;
  int64_t trained = 0;
  std::set<std::string> declared;
  for (const ParamSpec& param : rig.adapter->params()) {
    EXPECT_TRUE(declared.insert(param.name).second) << param.name << " is declared twice";
    const Tensor& tensor = rig.tensors.at(param.name);
    EXPECT_EQ(tensor.sizes(), at::IntArrayRef(param.shape)) << param.name;
    EXPECT_EQ(tensor.scalar_type(), at::kFloat) << param.name;
    EXPECT_EQ(tensor.requires_grad(), param.role == Role::kTrained) << param.name;
    if (param.role == Role::kTrained && !param.name.starts_with("head/")) trained += tensor.numel();
  }
  EXPECT_EQ(rig.tensors.size(), declared.size());
  EXPECT_EQ(trained, row.trained(model()->config));
  EXPECT_EQ(make_plan(*rig.adapter, model()->config, {}).edit_parameters, trained);

  const std::vector<Sequence> sequences = this->sequences();
  const LossAndGradients found = gradients_of(rig, sequences, class_labels(7, 3));
  for (const ParamSpec& param : rig.adapter->params()) {
    ASSERT_EQ(found.gradients.contains(param.name), param.role == Role::kTrained) << param.name;
    if (param.role == Role::kBuffer) continue;
    EXPECT_TRUE(at::isfinite(found.gradients.at(param.name)).all().item<bool>()) << param.name;
  }
  for (const auto& [name, tensor] : model()->weights.all_base()) {
    EXPECT_FALSE(tensor.requires_grad()) << name;
    EXPECT_FALSE(tensor.grad().defined()) << "the trunk's " << name << " has a gradient";
  }
}

// What the trait promises about the very first step is what happens there. In float64, where the smallest gradient of small initial
// values (a prefix made by a network) is still 1e-7, and a zero is below 1e-15; below 1e-8 where it comes of a magnitude of DoRA, which
// equals its norm to float32 only.
TEST_P(Contract, StartsWithoutGradientExactlyWhereItSaysSo) {
  Rig rig(golden_model(GetParam().family + "-tiny", Precision::kFloat64), GetParam().adapter());
  rig.widen();
  const LossAndGradients found = gradients_of(rig, sequences(), class_labels(7, 3));
  for (const ParamSpec& param : rig.adapter->params()) {
    if (param.role == Role::kBuffer) continue;
    const double largest = found.gradients.at(param.name).abs().max().item<double>();
    const bool is_drawn = traits(rig).is_stochastic && !param.name.starts_with("head/");   // here merged; a route may leave it out
    if (!param.starts_without_gradient) {
      EXPECT_GT(largest, 1e-8) << param.name;
    } else if (!is_drawn) {
      EXPECT_LT(largest, 1e-8) << param.name;
    }
  }
}

TEST_P(Contract, DescribesItselfSoThatItCanBeBuiltAgain) {
  const Rig rig = this->rig();
  const Node described = rig.adapter->describe();
  const Adapter again(described, "described", {model()->config, model()->sites}, class_task(3));
  EXPECT_EQ(to_yaml(again.describe()), to_yaml(described));
  ASSERT_EQ(again.params().size(), rig.adapter->params().size());
  for (size_t i = 0; i < again.params().size(); ++i) {
    const ParamSpec a = again.params()[i], b = rig.adapter->params()[i];
    EXPECT_EQ(std::tie(a.name, a.shape, a.group, a.role, a.decays, a.rate_scale), std::tie(b.name, b.shape, b.group, b.role, b.decays, b.rate_scale));
  }
}

TEST_P(Contract, SavesAndLoadsBitForBit) {
  const Rig rig = shaken();
  const TempFolder folder;
  Provenance provenance;
  provenance.model = "here";
  provenance.steps = 4;
  save_adapter(folder / "a", *rig.adapter, rig.tensors, *rig.model, provenance);
  LoadedAdapter loaded = load_adapter(folder / "a", *rig.model);
  expect_all_bits(loaded.tensors, rig.tensors, "tensors");
  EXPECT_EQ(to_yaml(loaded.adapter.describe()), to_yaml(rig.adapter->describe()));
  EXPECT_EQ(*loaded.adapter.task(), *rig.adapter->task());
  EXPECT_EQ(loaded.provenance.steps, 4);
  for (const ParamSpec& param : rig.adapter->params()) {
    EXPECT_EQ(loaded.tensors.at(param.name).requires_grad(), param.role == Role::kTrained) << param.name;
  }
  Rig read(rig.model, std::move(loaded.adapter));
  read.tensors = loaded.tensors;
  expect_bits(logits_of(read, sequences()), logits_of(rig, sequences()), "logits");
}

TEST_P(Contract, FoldsIntoTheWeights) {
  const Rig rig = shaken();
  if (!traits(rig).is_foldable) return;
  const at::NoGradGuard no_grad;
  const NamedTensors derived = rig.adapter->derive(rig.tensors, model()->weights);
  NamedTensors base = model()->weights.all_base();
  const Adapter::Part& part = rig.adapter->parts().front();
  const NamedTensors rewritten = part.edit->rewrite(Params(derived, part.path), model()->weights);
  ASSERT_FALSE(rewritten.empty());
  for (const auto& [name, tensor] : rewritten) base.at(name) = tensor.clone();
  const auto merged = std::make_shared<const Model>(Model{"merged", model()->config, model()->sites, Weights(model()->config, base, Precision::kFloat32)});
  Rig bare(merged, "{}");
  for (auto& [name, tensor] : bare.tensors) tensor = rig.tensors.at(name);
  const Tensor expected = logits_of(rig, sequences()), found = logits_of(bare, sequences());
  measured(case_name({GetParam(), 0}) + " folded", difference_of(found, expected).absolute);
  expect_near(found, expected, {1e-5, 1e-4}, "logits of the merged model");
}

// An example's result is its own: permuting and filling changes no bit, and neither do batch-mates as long as only the trunk and the
// head compute. The narrow products of an edit that acts in the forward pass go through a kernel that adds in another order for
// very few rows: the largest differences measured are 8.3e-7 in hidden states of about 3, and 3.3e-7 in logits of about 1.
constexpr double kAloneBound = 1e-6;

void expect_own(const Rig& rig, const Tensor& alone, const Tensor& together, double bound, const std::string& what) {
  if (rig.adapter->acts_in_forward()) expect_near(alone, together, {bound, 0}, what);
  else expect_bits(alone, together.contiguous(), what);
}

TEST_P(Contract, OrderBatchMatesAndFillersChangeNothing) {
  const Rig rig = shaken();
  for (const bool is_training : {false, true}) {
    const Pass pass{.dropout = 0.1, .is_training = is_training};
    const std::vector<Sequence> sequences = this->sequences();
    const Tensor together = logits_of(rig, sequences, pass);
    std::vector<Sequence> shuffled;
    std::vector<int64_t> order = permutation(static_cast<int64_t>(sequences.size()), RandomKey{9});
    for (const int64_t i : order) shuffled.push_back(sequences[static_cast<size_t>(i)]);
    const Tensor permuted = logits_of(rig, shuffled, pass);
    const Tensor expected = together.index_select(0, at::tensor(order, at::kLong));
    expect_bits(permuted, expected, "permuted");

    for (const int64_t rounding : {64, 256}) {
      expect_bits(logits_of(rig, sequences, pass, rounding), together, "rows rounded up to " + std::to_string(rounding));
    }
    for (size_t i = 0; i < sequences.size(); ++i) {
      const auto n = static_cast<int64_t>(i);
      const Tensor alone = logits_of(rig, {sequences[i]}, pass);
      measured(case_name({GetParam(), 0}) + " alone " + std::to_string(i) + " of " + std::to_string(sequences[i].ids.size()) + " tokens", difference_of(alone, together.slice(0, n, n + 1)).absolute);
      expect_own(rig, alone, together.slice(0, n, n + 1), kAloneBound, "sequence " + std::to_string(i) + " alone");
    }
  }
}

// The same for every row of every hidden state.
TEST_P(Contract, HiddenStatesAreThoseOfTheSequenceAlone) {
  const Rig rig = shaken();
  const std::vector<Sequence> sequences = this->sequences();
  const std::vector<Tensor> together = hidden_of(rig, sequences);
  int64_t begin = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const std::vector<Tensor> alone = hidden_of(rig, {sequences[i]});
    const int64_t end = begin + alone.front().size(0);   // its tokens, and the rows that the edit puts beside them
    for (size_t layer = 0; layer < alone.size(); ++layer) {
      const std::string what = "hidden state " + std::to_string(layer) + " of sequence " + std::to_string(i);
      expect_own(rig, alone[layer], together[layer].slice(0, begin, end), 3 * kAloneBound, what);
      measured(case_name({GetParam(), 0}) + " " + what, difference_of(alone[layer], together[layer].slice(0, begin, end)).absolute);
    }
    begin = end;
  }
}

// The last block may compute first rows only; that changes no result, masks of dropout included.
TEST_P(Contract, SkippedRowsOfTheLastBlockChangeNothing) {
  const Rig rig = shaken();
  for (const bool is_training : {false, true}) {
    const Pass narrow{.dropout = 0.1, .is_training = is_training}, wide{.dropout = 0.1, .is_training = is_training, .keep_hidden = true};
    expect_near(logits_of(rig, sequences(), narrow), logits_of(rig, sequences(), wide), {kAloneBound, 0}, "logits");
  }
}

TEST_P(Contract, SameSeedSameBits) {
  Rig rig = shaken();
  const std::vector<Sequence> sequences = this->sequences();
  const std::vector<double> labels = class_labels(7, 3);
  const auto run = [&](uint64_t seed) { return gradients_of(rig, sequences, labels, {.dropout = 0.1, .is_training = true, .seed = seed}); };
  const LossAndGradients first = run(1), second = run(1), other = run(2);
  EXPECT_EQ(first.loss, second.loss);
  expect_all_bits(second.gradients, first.gradients, "gradients");
  EXPECT_NE(first.loss, other.loss);
  expect_all_bits(Rig(rig.model, GetParam().adapter(), std::nullopt, 3).tensors, Rig(rig.model, GetParam().adapter(), std::nullopt, 3).tensors, "initial values");
}

TEST_P(Contract, OverfitsOneBatch) {
  Rig rig = this->rig();
  const std::vector<Sequence> sequences = this->sequences(8);
  const std::vector<double> labels = class_labels(8, 3);
  AdamW optimizer(rig.adapter->params(), {.weight_decay = 0});
  double loss = 0;
  for (int step = 0; step < 200; ++step) {
    Bound bound(*rig.model, *rig.adapter, rig.tensors);
    const LogitsResult result = run_lanes(*rig.model, pack_of(*rig.model, {lane_of(rig, sequences)}), {&bound}, {});
    const Tensor mean = summed_loss(TaskKind::kClassification, result.logits.front(), labels) / 8.0;
    loss = mean.item<double>();
    if (loss < 0.05) break;
    torch::autograd::backward({mean}, {});
    bound.join();
    optimizer.step(rig.tensors, 1e-2);
  }
  EXPECT_LT(loss, 0.05);
}

INSTANTIATE_TEST_SUITE_P(Edits, Contract, ::testing::ValuesIn(contract_cases()), case_name);

TEST(ContractCounts, ArePublishedOnes) {
  const Node json = parse_json(R"({"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
      "intermediate_size": 3072, "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2})", "bert-base");
  const ModelConfig config = parse_config(json, "bert-base");
  const Sites sites(config);
  const auto count = [&](const std::string& definition) {
    return make_plan(Adapter(yaml(definition), "test", {config, sites}, class_task(2)), config, {}).edit_parameters;
  };
  // UniPELT (Mao et al. 2022), table of trainable parameters: BitFit and LoRA (r 8, query and value) on BERT-base.
  EXPECT_EQ(count("{edits: [{bitfit: {}}]}"), 102'912);
  EXPECT_EQ(count("{edits: [{lora: {rank: 8}}]}"), 294'912);
  EXPECT_EQ(count("{edits: [{full: {}}]}"), 109'482'240);
}

TEST(ContractTable, HasARowForEveryRegisteredEdit) {
  std::set<std::string> rows;
  for (const Row& row : contract_rows()) rows.insert(row.edit);
  const std::vector<std::string> known = known_edits();
  EXPECT_EQ(rows, std::set<std::string>(known.begin(), known.end())) << "a registered edit needs a row in tests/contract/table.cpp";
}

// The seed was chosen so: nothing is left out of the draw.
TEST(ContractTable, ComposesEveryCombinatorAndLeaf) {
  std::string all;
  for (const Row& row : composition_rows()) all += row.definition + "\n";
  EXPECT_GE(composition_rows().size(), 30U);
  for (const char* part : {"gate: {}", "stochastic: {", "router: {", "{lora: {rank", "{lora: {sites", "sites: [ffn.act]", "sites: [attn.k]", "shift: true", "pfeiffer", "sequential",
                           "positions: f2", "positions: all", "{prefix", "{dora"}) {
    EXPECT_NE(all.find(part), std::string::npos) << part << " is in no composition:\n" << all;
  }
}

}  // namespace
}  // namespace graft::testing
