// Decoding with a cache: the logits of every step are those of one pass over the whole text,
// whatever happened to the batch between.
#include "infer/decoding.h"

#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "base/error.h"
#include "tensor/vocabulary_loss.h"
#include "tests/infer/decoding_rig.h"
#include "tests/support/compare.h"
#include "tests/support/limited_allocator.h"
#include "tests/support/testing.h"

namespace graft::testing::test_decoding {
namespace {

using at::Tensor;
using Ids = std::vector<int64_t>;

// Rounding of a float32 pass over a tiny trunk; a cached step adds in the same order but for the
// running mean of a gate.
constexpr Tolerance kFloat{2e-5, 1e-4};
constexpr Tolerance kDouble{1e-12, 1e-12};

// What the decoder reads: the prompt, or the start token, then what was written.
Sequence whole_text(const ModelConfig& config, const Sequence& prompt, const Ids& written) {
  Sequence out{.example = prompt.example, .ids = Decoding::text_of(config, prompt)};
  std::vector<bool> is_target(out.ids.size(), false);
  out.ids.insert(out.ids.end(), written.begin(), written.end());
  is_target.resize(out.ids.size(), true);
  out.asked = TargetMarks{std::move(is_target)};
  return out;
}

// [1 + written, V]: logits after the prompt and after each written token, of one pass over
// everything.
Tensor recomputed(const DecodingRig& own, const Sequence& prompt, const Ids& written) {
  const at::NoGradGuard no_grad;
  const Model& model = *own.rig.model;
  const Sequence text = whole_text(model.config, prompt, written);
  const Pack encoder = pack_of(model, {lane_of(own.rig, {prompt})});
  LaneInput lane{{&text}, model.config.has_encoder() ? RowLayout{} : own.rig.adapter->layout()};
  Pack decoder = pack_of(model, {lane});
  if (model.config.has_encoder()) decoder.sources = {0};
  const ModelInput input{model.config.has_encoder() ? &encoder : nullptr, &decoder};
  const Tensor last = forward_lanes(model, input, {{own.bound.get(), {}}}, {}).last;
  Ids rows;
  for (int64_t row = 0; row < decoder.num_rows; ++row) {
    if (decoder.token[static_cast<size_t>(row)] >= decoder.prompts[0] - 1) rows.push_back(row);
  }
  const OutputLayer layer = own.bound->weights().output_layer(model.config);
  const Tensor weight = layer.frozen ? layer.frozen->weight() : layer.weight;
  return at::mm(last.index_select(0, at::tensor(rows, at::kLong)) * layer.scale, weight.t());
}

// The token that a sequence writes next: none in particular.
int64_t next_token(const Sequence& prompt, const Ids& written) {
  int64_t sum = prompt.example * 3 + prompt.ids.back();
  for (const int64_t token : written) sum = sum * 5 + token + 1;
  return 2 + sum % 10;
}

struct Writing {
  size_t rig = 0;
  Sequence prompt;
  Ids written;
};

void expect_recomputed(const Decoding& decoding, const std::vector<const DecodingRig*>& rigs,
                       const std::vector<Writing>& all, const Tolerance& tolerance,
                       const std::string& what) {
  ASSERT_EQ(decoding.logits().size(0), static_cast<int64_t>(all.size()));
  for (size_t n = 0; n < all.size(); ++n) {
    const Tensor expected = recomputed(*rigs[all[n].rig], all[n].prompt, all[n].written);
    const auto step = static_cast<int64_t>(all[n].written.size());
    expect_near(decoding.logits()[static_cast<int64_t>(n)], expected[step], tolerance,
                what + " sequence " + std::to_string(n) + " step " + std::to_string(step));
    measured(
        what,
        (decoding.logits()[static_cast<int64_t>(n)] - expected[step]).abs().max().item<double>());
  }
}

// Steps and selections in turn, compared after each. `orders`: one selection before each step;
// empty: none.
void write_and_compare(const std::vector<const DecodingRig*>& rigs,
                       const std::vector<std::vector<Sequence>>& prompts,
                       const std::vector<Ids>& orders, const Tolerance& tolerance,
                       const std::string& what) {
  std::vector<PromptLane> lanes;
  std::vector<Writing> all;
  for (size_t r = 0; r < rigs.size(); ++r) {
    lanes.push_back(rigs[r]->lane(prompts[r]));
    for (const Sequence& prompt : prompts[r]) all.push_back({r, prompt, {}});
  }
  Decoding decoding(*rigs.front()->rig.model, lanes, static_cast<int64_t>(orders.size()));
  expect_recomputed(decoding, rigs, all, tolerance, what);
  int64_t copies = 0;
  for (const Ids& order : orders) {
    if (!order.empty()) {
      std::vector<Writing> chosen;
      for (const int64_t n : order) chosen.push_back(all[static_cast<size_t>(n)]);
      all = std::move(chosen);
      decoding.select(order);
    }
    Ids tokens;
    for (Writing& each : all) {
      tokens.push_back((next_token(each.prompt, each.written) + copies++ % 3) % 11 +
                       2);  // copies part ways
      each.written.push_back(tokens.back());
    }
    decoding.write(tokens);
    expect_recomputed(decoding, rigs, all, tolerance, what);
  }
}

struct Case {
  std::string name, edits;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"bare", ""},
      {"lora", "{lora: {rank: 2, sites: ['attn.[qkvo]', ffn.up, ffn.down]}}"},
      {"dora", "{dora: {rank: 2}}"},
      {"mov",
       "{router: {experts: 3}, of: {affine: {sites: [attn.k, attn.v, 'cross.[kv]?', ffn.act]}}}"},
      {"molora",
       "{router: {experts: 2, top_k: 1}, of: {lora: {sites: ['attn.[qkvo]', 'cross.[qkvo]?', "
       "ffn.down], rank: 2, init: "
       "normal}}}"},
      {"loreft", "{reft: {sites: ['enc.*.out|out'], rank: 2, positions: f2+l2, tied: false}}"},
      {"loreft_f1", "{reft: {sites: ['enc.*.out|out'], rank: 2, positions: f1}}"},
      {"direft_all",
       "{reft: {sites: [out], rank: 2, rotation: false, subtract: false, positions: all}}"},
      {"prefix", "{prefix: {length: 3}}"},
      {"prefix_counted", "{prefix: {length: 2, counts_positions: true}}"},
      {"prefix_fixed_gate", "{gate: {value: 0.4, prefix_logits: log}, of: {prefix: {length: 3}}}"},
      {"prompt", "{prompt: {length: 2}}"},
      {"prompt_after_first", "{prompt: {length: 2, position: after_first}}"},
      {"bottleneck", "{bottleneck: {sites: [ffn.out], placement: sequential, width: 3}}"},
      {"adamix",
       "{stochastic: {experts: 3}, of: {bottleneck: {sites: [ffn.down], placement: sequential, "
       "width: 3}}}"},
      {"causal_gate", "{gate: {}, of: {lora: {sites: [attn.q, attn.v], rank: 2}}}"},
      {"causal_gate_shared",
       "{gate: {share: layer}, of: {lora: {sites: [attn.q, attn.v], rank: 2}}}"},
      {"causal_gate_last",
       "{gate: {}, of: {bottleneck: {sites: [ffn.out], placement: sequential, width: 3}}}"},
      {"causal_gates_mixed", "{router: {experts: 2}, of: {gate: {}, of: {lora: {rank: 2}}}}"},
      {"prompt_gate",
       "{gate: {pool: prompt_mean}, of: {lora: {rank: 2, sites: ['attn.[qv]', ffn.down]}}}"},
      {"gate_of_prefix", "{gate: {}, of: {prefix: {length: 2}}}"},
      {"central_gate", "{gate: {kind: central}, of: [{lora: {rank: 2}}, {prefix: {length: 2}}]}"},
      {"gate_of_reft",
       "{gate: {}, of: {reft: {sites: ['enc.*.out|out'], rank: 2, positions: f1+l1}}}"},
      {"everything",
       "{prompt: {length: 2}}, {prefix: {length: 2}}, {lora: {rank: 2}}, {reft: {sites: "
       "['enc.*.out|out'], rank: 2, positions: "
       "l2}}, {gate: {}, of: {affine: {sites: [ffn.act]}}}"},
      {"full", "{full: {}}"},
      {"bitfit", "{bitfit: {}}"},
  };
  return all;
}

class CachedDecoding : public ::testing::TestWithParam<std::string> {
 protected:
  static bool has_two_stacks() { return GetParam() == "t5" || GetParam() == "bart"; }
  // Of the table, what this family can have.
  void for_cases(const std::function<void(const Case&)>& f) {
    for (const Case& each : cases()) {
      if (each.name == "bitfit" && (GetParam() == "llama" || GetParam() == "t5"))
        continue;                                                       // no biases
      if (each.name == "prefix_counted" && has_two_stacks()) continue;  // refused there
      f(each);
    }
  }
};

TEST_P(CachedDecoding, EqualsOnePassOverTheText) {
  for (const auto& [precision, tolerance] :
       {std::pair{Precision::kFloat64, kDouble}, std::pair{Precision::kFloat32, kFloat}}) {
    const auto model = tiny_model(GetParam(), precision);
    for_cases([&, &bound = tolerance](const Case& each) {
      const DecodingRig rig(model, each.edits);
      write_and_compare({&rig}, {short_prompts()}, {{}, {}, {}, {}}, bound,
                        GetParam() + " " + each.name);
    });
  }
}

TEST_P(CachedDecoding, EqualsItAfterSelections) {
  const auto model = tiny_model(GetParam(), Precision::kFloat64);
  for_cases([&](const Case& each) {
    const DecodingRig rig(model, each.edits);
    // More copies than there are slots; an exchange in which one is dropped and its slot taken by a
    // copy; fewer.
    write_and_compare({&rig}, {short_prompts()},
                      {{3, 0, 0, 2, 2, 2}, {1, 2, 1, 0, 1, 3}, {5, 5, 0}, {1, 0, 1}}, kDouble,
                      GetParam() + " " + each.name);
  });
}

TEST_P(CachedDecoding, OfSeveralAdapters) {
  const auto model = tiny_model(GetParam(), Precision::kFloat64);
  std::vector<std::unique_ptr<DecodingRig>> rigs;
  for_cases([&](const Case& each) {
    if (each.name != "full" && each.name != "bitfit")
      rigs.push_back(std::make_unique<DecodingRig>(model, each.edits));
  });
  for (size_t i = 0; i + 2 < rigs.size(); i += 3) {
    // The same examples in every lane: only lanes tell their rows apart.
    // In the end the second lane has no text left, then the last.
    const std::vector<Sequence> prompts = short_prompts();
    write_and_compare({rigs[i].get(), rigs[i + 1].get(), rigs[i + 2].get()},
                      {prompts, prompts, prompts},
                      {{3, 0, 7, 6, 6, 6, 8, 8, 9}, {1, 0, 0, 3, 3, 5, 8}, {0, 0, 2, 6}, {1, 0, 2}},
                      kDouble, GetParam() + " lanes from " + std::to_string(i));
  }
}

// What is written beside a sequence does not show in it: not in a bit of the trunk, and not beyond
// the rounding of what edits add, whose small products a library computes another way for other
// numbers of rows.
TEST_P(CachedDecoding, DoesNotDependOnTheBatch) {
  const auto model = tiny_model(GetParam(), Precision::kFloat32);
  for (const bool is_bare : {true, false}) {
    const DecodingRig first(model, is_bare ? "" : cases()[1].edits),
        second(model, is_bare ? ""
                              : "{gate: {}, of: {bottleneck: {sites: [ffn.out], placement: "
                                "sequential, width: 3}}}");
    const std::vector<Sequence> prompts = short_prompts();
    Decoding together(*model, {first.lane(prompts), second.lane(prompts)}, 2);
    std::vector<std::unique_ptr<Decoding>> alone;
    for (const DecodingRig* rig : {&first, &second}) {
      for (const Sequence& prompt : prompts)
        alone.push_back(
            std::make_unique<Decoding>(*model, std::vector<PromptLane>{rig->lane({prompt})}, 2));
    }
    const Ids tokens = {3, 4, 5, 6, 7, 8, 9, 10};
    for (int step = 0; step < 3; ++step) {
      for (size_t n = 0; n < alone.size(); ++n) {
        const std::string what = "sequence " + std::to_string(n) + " step " + std::to_string(step);
        const Tensor own = together.logits()[static_cast<int64_t>(n)],
                     expected = alone[n]->logits()[0];
        if (is_bare) expect_bits(own, expected, what);
        else expect_near(own, expected, {5e-6, 0}, what);
        if (step < 2) alone[n]->write({tokens[n]});
      }
      if (step < 2) together.write(tokens);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CachedDecoding, ::testing::Values("gpt2", "llama", "t5", "bart"),
                         parameter_name);

// All rows of an encoder are there before the first token, and keys and values that a decoder reads
// of them, too.
TEST(Decoding, PoolsAnEncodersRows) {
  for (const char* sites : {"'enc.*.attn.[qv]'", "'dec.*.cross.[kv]'"}) {
    const DecodingRig rig(
        tiny_model("bart", Precision::kFloat64),
        std::string("{gate: {pool: mean}, of: {lora: {rank: 2, sites: [") + sites + "]}}}");
    write_and_compare({&rig}, {short_prompts()}, {{}, {2, 2, 0}, {}}, kDouble, sites);
  }
}

// Gates refuse such pools in a decoder when they are made; an edit from elsewhere need not.
class LooksAhead final : public Edit {
 public:
  explicit LooksAhead(Site site) {
    spec_.sites = {std::move(site)};
    spec_.traits.reads = Reads::kSequence;
  }
  std::string method() const override { return "looks_ahead"; }
  Node describe_options() const override { return Node::map(); }
};

// Wherever an allocation is refused, that of the cache too: who asked for the texts can tell it
// from a wrong input.
TEST(Decoding, LeavesTheAllocatorsErrorAsItIs) {
  const auto model = tiny_model("gpt2", Precision::kFloat32);
  const DecodingRig rig(model, "");
  int64_t refusals = 0;
  for (bool was_refused = true; was_refused; ++refusals) {
    was_refused = false;
    try {
      LimitedAllocator memory;
      memory.refused = refusals;
      Decoding decoding(*model, {rig.lane(short_prompts())}, 3);
      decoding.select({0, 0, 1, 1, 2, 2, 3, 3});  // the cache grows
    } catch (const c10::Error&) {
      was_refused = true;
    }
  }
  EXPECT_GT(refusals, 8) << "two tensors of each of two layers, twice";
}

TEST(Decoding, RefusesEditsThatLookAhead) {
  const auto model = tiny_model("bart", Precision::kFloat32);
  for (const auto& [site, is_refused] : {std::pair{"dec.0.out", true},
                                         {"enc.0.out", false},
                                         {"dec.1.cross.v", false},
                                         {"embed", false}}) {
    EditList edits;
    edits.push_back(std::make_unique<LooksAhead>(model->sites.at(site)));
    const Adapter adapter(std::move(edits), {model->config, model->sites}, std::nullopt);
    if (!is_refused) check_decoding(model->config, adapter);
    else
      expect_message<InputError>([&] { check_decoding(model->config, adapter); },
                                 "edit \"0.looks_ahead/\": what it does at dec.0.out to a token "
                                 "depends on the tokens after it, "
                                 "which are still to be written");
  }
}

TEST(Decoding, RefusesAnEncoderAndPromptsWithoutRoom) {
  const DecodingRig bert(tiny_model("bert", Precision::kFloat32), ""),
      gpt2(tiny_model("gpt2", Precision::kFloat32), "{prompt: {length: 2}}"),
      full(gpt2.rig.model, "{full: {}}");
  expect_message<InputError>([&] { Decoding(*bert.rig.model, {bert.lane(short_prompts())}, 2); },
                             "a bert model is an encoder and writes no text; take a decoder");
  const std::vector<Sequence> prompts = {{4, {5, 3, 9}}, {9, {5, 3, 9, 4}}};
  Decoding(*gpt2.rig.model, {gpt2.lane(prompts)}, 4);
  expect_message<InputError>([&] { Decoding(*gpt2.rig.model, {gpt2.lane(prompts)}, 5); },
                             "example 9 takes 6 of the 10 positions that tiny gpt2 has, and 6 new "
                             "tokens are asked for: ask for "
                             "at most 5, or shorten the prompt");
  expect_message<InputError>(
      [&] {
        Decoding(*gpt2.rig.model, {gpt2.lane(prompts), full.lane(prompts)}, 2);
      },
      "an adapter that replaces weights of the model does not write beside another one");
}

}  // namespace
}  // namespace graft::testing::test_decoding
