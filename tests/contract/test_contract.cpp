// The contract of an edit, for every row of the table on every family: identity, what trains,
// files, merging, and that nothing but an example itself decides its result.
#include <gtest/gtest.h>

#include <ATen/ops/cat.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <set>

#include "base/error.h"

#include "edit/adapter_file.h"
#include "model/families.h"
#include "tests/contract/compositions.h"
#include "tests/contract/subject.h"
#include "tests/contract/table.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"
#include "train/optimizer.h"
#include "train/plan.h"

namespace graft::testing::test_contract {
namespace {

using at::Tensor;

class Contract : public ::testing::TestWithParam<Case> {
 protected:
  std::shared_ptr<const Model> model() const { return contract_model(GetParam().family); }
  Rig rig() const { return Rig(model(), GetParam().adapter(), contract_task(*model())); }
  Rig shaken() const {
    Rig rig = this->rig();
    rig.shake(0.1);
    return rig;
  }
  std::vector<Sequence> sequences(int64_t count) const {
    return contract_texts(*model(), count, 23, 3);
  }
  std::vector<Sequence> sequences() const {
    return sequences(model()->config.has_decoder() ? 4 : 7);
  }
  Traits traits(const Rig& rig) const { return rig.adapter->traits(); }
};

TEST_P(Contract, EqualsTheBareTrunkAtInitialValuesWherePromised) {
  const Rig rig = this->rig();
  const std::vector<Sequence> sequences = this->sequences();
  const std::vector<StackStates> bare = bare_states_of(*model(), sequences),
                                 edited = states_of(rig, sequences);
  if (!traits(rig).identity_at_init) {
    EXPECT_FALSE(edited.back().hidden.back().equal(bare.back().hidden.back()))
        << "an identity that is not promised";
    return;
  }
  for (size_t stack = 0; stack < bare.size(); ++stack) {
    for (size_t layer = 0; layer < bare[stack].hidden.size(); ++layer) {
      expect_bits(edited[stack].hidden[layer], bare[stack].hidden[layer],
                  "hidden state " + std::to_string(layer) + " of stack " + std::to_string(stack));
    }
  }
}

TEST_P(Contract, GivesRecordsWherePromised) {
  const Rig rig = this->rig();
  EXPECT_EQ(!records_of(rig, sequences()).empty(), traits(rig).gives_records);
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
  const LossAndGradients found = contract_gradients(rig, sequences);
  for (const ParamSpec& param : rig.adapter->params()) {
    ASSERT_EQ(found.gradients.contains(param.name), param.role == Role::kTrained) << param.name;
    if (param.role != Role::kTrained) continue;
    EXPECT_TRUE(at::isfinite(found.gradients.at(param.name)).all().item<bool>()) << param.name;
  }
  for (const auto& [name, tensor] : model()->weights.all_base()) {
    EXPECT_FALSE(tensor.requires_grad()) << name;
    EXPECT_FALSE(tensor.grad().defined()) << "the trunk's " << name << " has a gradient";
  }
}

// What the loss may leave where it is, whatever its value. The softmax does not see keys that all
// move alike, unless rotary positions turn each by an angle of its own. Of the last block a head
// reads few rows: ReFT's other positions reach nothing there. The relu of a central gate may be
// closed for every row of a tiny model.
bool may_stand_still(const Rig& rig, const ParamSpec& param, const std::string& definition) {
  const std::optional<Place> at =
      param.replaces ? std::optional(param.replaces->place) : param.site;
  const bool is_of_key = at && (at->part == Part::kAttnK || at->part == Part::kCrossK);
  const bool is_added = param.name.ends_with(".shift") || param.name.ends_with("bias");
  if (is_of_key && is_added && rig.model->config.last().rotary() == nullptr) return true;
  if (param.use == ParamUse::kGate && definition.find("kind: central") != std::string::npos)
    return true;
  const bool is_at_tokens = definition.find("reft") != std::string::npos ||
                            definition.find("interchange") != std::string::npos;
  return is_at_tokens && definition.find("positions: all") == std::string::npos;
}

// In float64 and away from initial values, where a tensor may stand behind one that is zero: a zero
// is below 1e-15 there.
TEST_P(Contract, EveryTensorIsWithinReachOfTheLoss) {
  const auto wide = contract_model(GetParam().family, Precision::kFloat64);
  Rig rig(wide, GetParam().adapter(), contract_task(*wide));
  rig.shake(0.1);
  rig.widen();
  const LossAndGradients found = contract_gradients(rig, sequences());
  std::optional<double> of_gates;
  for (const ParamSpec& param : rig.adapter->params()) {
    if (param.role != Role::kTrained) continue;
    const Tensor& gradient = found.gradients.at(param.name);
    ASSERT_TRUE(gradient.defined()) << param.name;
    if (param.use == ParamUse::kGate)
      of_gates = std::max(of_gates.value_or(0), gradient.abs().max().item<double>());
    if (may_stand_still(rig, param, GetParam().row->definition)) continue;
    EXPECT_GT(gradient.abs().max().item<double>(), 1e-10) << param.name;
  }
  EXPECT_GT(of_gates.value_or(1), 1e-10) << "some gate is open";
}

TEST_P(Contract, DescribesItselfSoThatItCanBeBuiltAgain) {
  const Rig rig = this->rig();
  const Node described = rig.adapter->describe();
  const Adapter again(described, "described", {model()->config, model()->sites},
                      contract_task(*model()));
  EXPECT_EQ(to_yaml(again.describe()), to_yaml(described));
  ASSERT_EQ(again.params().size(), rig.adapter->params().size());
  for (size_t i = 0; i < again.params().size(); ++i) {
    const ParamSpec a = again.params()[i], b = rig.adapter->params()[i];
    EXPECT_EQ(std::tie(a.name, a.shape, a.use, a.role, a.decays, a.rate_scale),
              std::tie(b.name, b.shape, b.use, b.role, b.decays, b.rate_scale));
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
  EXPECT_EQ(loaded.adapter.task(), rig.adapter->task());
  EXPECT_EQ(loaded.provenance.steps, 4);
  for (const ParamSpec& param : rig.adapter->params()) {
    EXPECT_EQ(loaded.tensors.at(param.name).requires_grad(), param.role == Role::kTrained)
        << param.name;
  }
  Rig read(rig.model, std::move(loaded.adapter));
  read.tensors = loaded.tensors;
  expect_bits(outcome_of(read, sequences()).outputs, outcome_of(rig, sequences()).outputs,
              "logits");
}

TEST_P(Contract, FoldsIntoTheWeights) {
  const Rig rig = shaken();
  if (rig.adapter->parts().size() != 1 || traits(rig).acts == Acts::kInForward) return;
  const at::NoGradGuard no_grad;
  const AdapterTensors derived = rig.adapter->derive(rig.tensors, model()->weights);
  NamedTensors base = model()->weights.all_base();
  const Adapter::Part& part = rig.adapter->parts().front();
  const Params own(derived.parts[0]);
  size_t folded = 0;
  const auto fold = [&](const TrunkTensors& rewritten) {
    folded += rewritten.size();
    for (const auto& [id, tensor] : rewritten) base.at(to_name(id)) = tensor.clone();
  };
  fold(part.edit->rewrite(own, model()->weights));
  fold(part.edit->rewrite_readers(own, Weights(model()->config, base, Precision::kFloat32)));
  ASSERT_GT(folded, 0U);
  const auto merged =
      std::make_shared<const Model>(Model{"merged", model()->config, model()->sites,
                                          Weights(model()->config, base, Precision::kFloat32)});
  Rig bare(merged, "{}", contract_task(*model()));
  for (auto& [name, tensor] : bare.tensors) tensor = rig.tensors.at(name);
  const Tensor expected = outcome_of(rig, sequences()).outputs,
               found = outcome_of(bare, sequences()).outputs;
  measured(case_name({GetParam(), 0}) + " folded", difference_of(found, expected).absolute);
  expect_near(found, expected, {1e-5, 1e-4}, "logits of the merged model");
}

// An example's result is its own: permuting and filling changes no bit, and neither do batch-mates
// as long as only the trunk and the head compute. The narrow products of an edit that acts in the
// forward pass go through a kernel that adds in another order for very few rows: the largest
// differences measured are 8.3e-7 in hidden states of about 3, and 3.3e-7 in logits of about 1.
constexpr double kAloneBound = 1e-6;
// Of a decoder: hidden states of about 10, logits of about 20.
constexpr double kDecoderAloneBound = 2e-5;

double alone_bound(const Rig& rig) {
  return rig.model->config.has_decoder() ? kDecoderAloneBound : kAloneBound;
}

bool acts_in_forward(const Adapter& adapter) {
  return std::any_of(adapter.parts().begin(), adapter.parts().end(),
                     [](const Adapter::Part& part) { return !part.spec().sites.empty(); });
}

void expect_own(const Rig& rig, const Tensor& alone, const Tensor& together, double bound,
                const std::string& what) {
  if (acts_in_forward(*rig.adapter)) expect_near(alone, together, {bound, 0}, what);
  else expect_bits(alone, together.contiguous(), what);
}

TEST_P(Contract, OrderBatchMatesAndFillersChangeNothing) {
  const Rig rig = shaken();
  for (const bool is_training : {false, true}) {
    const Pass pass{.dropout = 0.1, .is_training = is_training};
    const std::vector<Sequence> sequences = this->sequences();
    const LaneOutcome all = outcome_of(rig, sequences, pass);
    const std::vector<Tensor> together = by_sequence(all);
    std::vector<Sequence> shuffled;
    std::vector<Tensor> expected;
    for (const int64_t i : permutation(static_cast<int64_t>(sequences.size()), RandomKey{9})) {
      shuffled.push_back(sequences[static_cast<size_t>(i)]);
      expected.push_back(together[static_cast<size_t>(i)]);
    }
    const Tensor permuted = outcome_of(rig, shuffled, pass).outputs;
    if (model()->config.width < 16)  // the kernels look at a row's place
      expect_near(permuted, at::cat(expected), {alone_bound(rig), 0}, "permuted");
    else expect_bits(permuted, at::cat(expected), "permuted");

    for (const int64_t rounding : {64, 256}) {
      const Tensor rounded = outcome_of(rig, sequences, pass, rounding).outputs;
      const std::string what = "rows rounded up to " + std::to_string(rounding);
      // The products of a router, of two or three columns, add in an order that depends on the
      // number of rows on some processors: up to 4e-7 in logits of about 1.
      if (traits(rig).mixes_by_shares)
        expect_near(rounded, all.outputs, {alone_bound(rig), 0}, what);
      else expect_bits(rounded, all.outputs, what);
    }
    for (size_t i = 0; i < sequences.size(); ++i) {
      const Tensor alone = outcome_of(rig, {sequences[i]}, pass).outputs;
      measured(case_name({GetParam(), 0}) + " alone " + std::to_string(i) + " of " +
                   std::to_string(sequences[i].ids.size()) + " tokens",
               difference_of(alone, together[i]).absolute);
      expect_own(rig, alone, together[i], alone_bound(rig),
                 "sequence " + std::to_string(i) + " alone");
    }
  }
}

// The same for every row of every hidden state.
TEST_P(Contract, HiddenStatesAreThoseOfTheSequenceAlone) {
  const Rig rig = shaken();
  const std::vector<Sequence> sequences = this->sequences();
  const std::vector<StackStates> together = states_of(rig, sequences);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const std::vector<StackStates> alone = states_of(rig, {sequences[i]});
    for (size_t stack = 0; stack < together.size(); ++stack) {
      // Its tokens, and the rows that the edit puts beside them.
      const RowRange& rows = together[stack].sequences[i];
      for (size_t layer = 0; layer < together[stack].hidden.size(); ++layer) {
        const std::string what = "hidden state " + std::to_string(layer) + " of stack " +
                                 std::to_string(stack) + " of sequence " + std::to_string(i);
        const Tensor own = together[stack].hidden[layer].slice(0, rows.begin, rows.end);
        // The pack that a classifier's decoder reads ends in fillers.
        const Tensor found =
            alone[stack].hidden[layer].slice(0, 0, alone[stack].sequences.back().end);
        expect_own(rig, found, own, 3 * alone_bound(rig), what);
        measured(case_name({GetParam(), 0}) + " " + what, difference_of(found, own).absolute);
      }
    }
  }
}

// The last block may compute only the rows that are read; that changes no result, masks of dropout
// included.
TEST_P(Contract, SkippedRowsOfTheLastBlockChangeNothing) {
  const Rig rig = shaken();
  for (const bool is_training : {false, true}) {
    const Pass narrow{.dropout = 0.1, .is_training = is_training},
        wide{.dropout = 0.1, .is_training = is_training, .keep_hidden = true};
    expect_near(outcome_of(rig, sequences(), narrow).outputs,
                outcome_of(rig, sequences(), wide).outputs, {alone_bound(rig), 0}, "logits");
  }
}

// The text with another token at `index` of what its decoder reads.
Sequence with_other_token(Sequence text, const Model& model, size_t index) {
  int64_t& id = model.config.has_encoder()
                    ? std::get<TargetIds>(text.asked).ids[index - 1]
                    : text.ids[index];  // in an encoder-decoder the start token comes first
  id = id + 1 < model.config.vocabulary ? id + 1 : 1;
  return text;
}

// Rows of a decoder from before a changed token: no bit of them moves; where an edit reads all of
// the prompt, they move with every token of it and with none that follows it.
TEST_P(Contract, NothingKnowsWhatFollows) {
  if (is_classified(*model())) return;
  const Rig rig = shaken();
  const Reads reads = traits(rig).reads;
  EXPECT_NE(reads, Reads::kSequence);
  const bool reads_prompt = reads == Reads::kPrompt;
  const bool only_records = GetParam().row->edit == "collect";  // and y does not show what it reads
  for (const Sequence& text : sequences(3)) {
    const size_t length = model()->config.has_encoder()
                              ? text.target_ids().size()
                              : text.ids.size();  // tokens that the decoder reads
    const auto prompt =
        static_cast<size_t>(model()->config.has_encoder() ? 1 : text.prompt_length());
    const StackStates before = states_of(rig, {text}).back();
    for (const size_t changed : {size_t{1}, prompt - 1, prompt, length - 1}) {
      if (changed == 0 || changed >= length) continue;
      const StackStates after = states_of(rig, {with_other_token(text, *model(), changed)}).back();
      const auto extra =
          before.sequences[0].end - static_cast<int64_t>(length);  // rows of a prompt of vectors
      for (size_t layer = 0; layer < before.hidden.size(); ++layer) {
        const std::string what = "hidden state " + std::to_string(layer) + ", token " +
                                 std::to_string(changed) + " of " + std::to_string(length);
        const auto rows = static_cast<int64_t>(changed) + extra;
        const Tensor own = before.hidden[layer].slice(0, 0, rows),
                     other = after.hidden[layer].slice(0, 0, rows);
        const bool is_last = layer + 1 == before.hidden.size();
        if (!reads_prompt || changed >= prompt) {
          expect_bits(other, own, what);
        } else if (is_last && !only_records) {
          EXPECT_FALSE(other.equal(own)) << what << " does not see the prompt";
        }
        if (is_last) {
          EXPECT_FALSE(after.hidden[layer].equal(before.hidden[layer])) << what;
        }
      }
    }
  }
}

TEST_P(Contract, SameSeedSameBits) {
  Rig rig = shaken();
  const std::vector<Sequence> sequences = this->sequences();
  const auto run = [&](uint64_t seed) {
    return contract_gradients(rig, sequences, {.dropout = 0.1, .is_training = true, .seed = seed});
  };
  const LossAndGradients first = run(1), second = run(1), other = run(2);
  EXPECT_EQ(first.loss, second.loss);
  expect_all_bits(second.gradients, first.gradients, "gradients");
  EXPECT_NE(first.loss, other.loss);
  expect_all_bits(Rig(rig.model, GetParam().adapter(), rig.adapter->task(), 3).tensors,
                  Rig(rig.model, GetParam().adapter(), rig.adapter->task(), 3).tensors,
                  "initial values");
}

// Whether the loss of a frozen output layer moves little: vectors at a prompt's first tokens, rows
// of a prompt, queries and keys, which only say what attention looks at, and some coordinates that
// are exchanged for fixed values.
bool reaches_little(const Rig& rig, const std::string& edit) {
  if (edit == "interchange" && rig.adapter->parts().size() == 1) return true;
  const std::vector<Site>& sites = rig.adapter->parts().front().spec().sites;
  const bool is_of_scores = std::all_of(sites.begin(), sites.end(), [](const Site& site) {
    return site.part == Part::kAttnQ || site.part == Part::kCrossQ || site.part == Part::kAttnK ||
           site.part == Part::kCrossK;
  });
  return is_of_scores || rig.adapter->traits().acts_on == ActsOn::kPrompt ||
         rig.adapter->layout().virtual_rows > 0;
}

// A classifier learns eight labels by heart; a decoder's, which is one linear layer, and one with a
// prompt before windows of tokens need most of the steps. A decoder without a head could not: there
// the loss of one text has to fall by 5 %, or by 0.5 % where little is within reach.
TEST_P(Contract, OverfitsOneBatch) {
  Rig rig = this->rig();
  const bool has_head = rig.adapter->head() != nullptr;
  const std::vector<Sequence> sequences = this->sequences(has_head ? 8 : 1);
  AdamW optimizer(rig.adapter->params(), {.weight_decay = 0});
  double loss = 0, enough = 0.05;
  for (int step = 0; step < 1000; ++step) {
    BoundAdapter bound(*rig.model, *rig.adapter, rig.tensors);
    const LaneOutcome outcome = run_texts(*rig.model, {lane_of(rig, sequences)}, {&bound}).front();
    const Tensor mean = outcome.loss / static_cast<double>(outcome.outputs.size(0));
    loss = mean.item<double>();
    if (step == 0 && !has_head)
      enough = loss * (reaches_little(rig, GetParam().row->edit) ? 0.995 : 0.95);
    if (loss < enough) break;
    torch::autograd::backward({mean}, {});
    bound.add_gradients_to_stored();
    optimizer.step(rig.tensors, 1e-2);
  }
  EXPECT_LT(loss, enough);
}

INSTANTIATE_TEST_SUITE_P(Edits, Contract, ::testing::ValuesIn(contract_cases()), case_name);

TEST(ContractCounts, ArePublishedOnes) {
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
  // UniPELT (Mao et al. 2022), table of trainable parameters: BitFit and LoRA (r 8, query and
  // value) on BERT-base.
  EXPECT_EQ(count("{edits: [{bitfit: {}}]}"), 102'912);
  EXPECT_EQ(count("{edits: [{lora: {rank: 8}}]}"), 294'912);
  EXPECT_EQ(count("{edits: [{full: {}}]}"), 109'482'240);
}

TEST(ContractTable, HasARowForEveryRegisteredEdit) {
  std::set<std::string> rows;
  for (const Row& row : contract_rows()) rows.insert(row.edit);
  const std::vector<std::string> known = known_edits();
  EXPECT_EQ(rows, std::set<std::string>(known.begin(), known.end()))
      << "a registered edit needs a row in tests/contract/table.cpp";
}

// What makes no sense on a family is refused with its reason.
TEST(ContractTable, RefusesWhatAFamilyCannotDo) {
  size_t refused = 0;
  for (const Row& row : contract_rows()) {
    for (const std::string& family : contract_families()) {
      const auto model = contract_model(family);
      const std::string reason = row.refusal(model->config);
      if (reason.empty()) continue;
      ++refused;
      expect_message<InputError>(
          [&] {
            Rig(model, Case{&row, family}.adapter(), contract_task(*model));
          },
          reason);
    }
  }
  EXPECT_GE(refused, 71U);
}

// The seed was chosen so: nothing is left out of the draw.
TEST(ContractTable, ComposesEveryCombinatorAndLeaf) {
  std::string all;
  for (const Row& row : composition_rows()) all += row.definition + "\n";
  EXPECT_GE(composition_rows().size(), 30U);
  for (const char* part :
       {"gate: {}", "stochastic: {", "router: {", "{lora: {rank", "{lora: {sites",
        "sites: [ffn.act]", "sites: [attn.k]", "shift: true", "pfeiffer", "sequential",
        "positions: f2", "positions: all", "{prefix", "{dora", "{vera"}) {
    EXPECT_NE(all.find(part), std::string::npos) << part << " is in no composition:\n" << all;
  }
}

}  // namespace
}  // namespace graft::testing::test_contract
