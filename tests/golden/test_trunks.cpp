// Every model folder of tests/golden/trunks: hidden states and logits of a batch, of each sequence
// alone, and pass by pass through a cache.
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <set>

#include "base/error.h"
#include "model/positions.h"
#include "tests/golden/trunks.h"
#include "tests/support/testing.h"

namespace graft::testing::test_trunks {
namespace {

using at::Tensor;

// The result by the names of expected.safetensors, fillers cut off.
NamedTensors named(const GoldenTrunk& golden, const ForwardResult& result,
                   const TrunkPacks& packs) {
  NamedTensors out;
  const auto add = [&](const std::string& name, const Tensor& tensor, const Pack& pack) {
    out[name] = tensor.slice(0, 0, pack.num_tokens);
  };
  for (size_t i = 0; i < result.hidden.size(); ++i)
    add("hidden." + std::to_string(i), result.hidden[i], packs.first);
  for (size_t i = 0; i < result.decoder_hidden.size(); ++i)
    add("dec.hidden." + std::to_string(i), result.decoder_hidden[i], packs.second);
  const bool has_two = golden.has_two_stacks();
  const Tensor& first_last = has_two ? result.encoder_last : result.last;
  if (golden.model->config.last().final_norm) {
    add("last", first_last, packs.first);
    if (has_two) add("dec.last", result.last, packs.second);
  } else {  // without a norm of its own a stack ends as its last block does
    expect_bits(first_last, result.hidden.back(), "last");
    if (has_two) expect_bits(result.last, result.decoder_hidden.back(), "dec.last");
  }
  if (golden.model->config.has_decoder())
    add("logits",
        whole_logits(result.last, golden.model->weights.output_layer(golden.model->config)),
        packs.input.last());
  return out;
}

NamedTensors run(const GoldenTrunk& golden, const std::vector<Sequence>& sequences,
                 const std::vector<Sequence>& targets, int64_t round_rows_to) {
  const at::NoGradGuard no_grad;
  const TrunkPacks packs(*golden.model, sequences, targets, round_rows_to);
  NoHooks hooks;
  return named(
      golden,
      forward(*golden.model, golden.model->weights, packs.input, hooks, {.keep_hidden = true}),
      packs);
}

class GoldenTrunks : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenTrunks, PackedTogether) {
  const GoldenTrunk golden(GetParam(), Precision::kFloat32);
  const NamedTensors expected = golden.outputs();
  for (const int64_t rounding : {1, 64}) {
    const NamedTensors found = run(golden, golden.sequences, golden.targets, rounding);
    expect_all_near(found, expected, kTrunkFloat,
                    GetParam() + " rounded to " + std::to_string(rounding));
    measured(GetParam(), largest_difference(found, expected));
  }
}

TEST_P(GoldenTrunks, Alone) {
  const GoldenTrunk golden(GetParam(), Precision::kFloat32);
  for (size_t n = 0; n < golden.sequences.size(); ++n) {
    const std::vector<Sequence> targets = golden.has_two_stacks()
                                              ? std::vector<Sequence>{golden.targets[n]}
                                              : std::vector<Sequence>{};
    const NamedTensors found = run(golden, {golden.sequences[n]}, targets, 1);
    expect_all_near(found, golden.outputs(static_cast<int64_t>(n)), kTrunkFloat,
                    GetParam() + " sequence " + std::to_string(n));
  }
}

TEST_P(GoldenTrunks, InFloat64) {
  const GoldenTrunk golden(GetParam(), Precision::kFloat64);
  const NamedTensors found = run(golden, golden.sequences, golden.targets, 1);
  const NamedTensors expected = golden.outputs();
  expect_all_near(found, expected, kTrunkDouble, GetParam());
  measured(GetParam() + " float64", largest_difference(found, expected));
}

// Listens everywhere and changes nothing.
class Listener final : public Hooks {
 public:
  bool wants(const Site&) const override { return true; }
  SiteResult apply(const SiteView& view) const override {
    visited.push_back(view.site.name);
    return {view.y};
  }
  PrefixResult prefix(const SiteView& view) const override {
    visited.push_back(view.site.name);
    return {};
  }
  mutable std::vector<std::string> visited;
};

// Every site is passed once, and what is computed for those who listen is what the fused path
// computes.
TEST_P(GoldenTrunks, HeardEverywhere) {
  const GoldenTrunk golden(GetParam(), Precision::kFloat32);
  const at::NoGradGuard no_grad;
  const TrunkPacks packs(*golden.model, golden.sequences, golden.targets, 64);
  Listener hooks;
  const NamedTensors found = named(
      golden,
      forward(*golden.model, golden.model->weights, packs.input, hooks, {.keep_hidden = true}),
      packs);
  expect_all_near(found, golden.outputs(), kTrunkFloat, GetParam());
  std::multiset<std::string> sites;
  for (const Site& site : golden.model->sites.all()) {
    if (site.index != golden.model->sites.pooler().index)
      sites.insert(site.name);  // it stands behind the trunk's last states
  }
  EXPECT_EQ((std::multiset<std::string>{hooks.visited.begin(), hooks.visited.end()}), sites);
}

// The last block may compute some rows of each sequence only: the same rows.
TEST_P(GoldenTrunks, WantedRows) {
  const GoldenTrunk golden(GetParam(), Precision::kFloat32);
  const at::NoGradGuard no_grad;
  const TrunkPacks packs(*golden.model, golden.sequences, golden.targets, 64);
  const Pack& last = packs.input.last();
  ForwardOptions options{.round_rows_to = 16};
  std::vector<int64_t> index;
  for (size_t n = 0; n < golden.answered().size();
       ++n) {  // the second half of each, of the second sequence nothing
    const auto length = static_cast<int64_t>(golden.answered()[n].ids.size());
    options.wanted.push_back({n == 1 ? length : length / 2, length});
    for (int64_t row = options.wanted.back().begin; row < length; ++row)
      index.push_back(last.sequences[n].begin + row);
  }
  NoHooks hooks;
  const ForwardResult result =
      forward(*golden.model, golden.model->weights, packs.input, hooks, options);
  EXPECT_EQ(result.last.size(0) % 16, 0);
  const Tensor rows = result.last.slice(0, 0, static_cast<int64_t>(index.size()));
  expect_near(rows,
              golden.rows_of(golden.last_states()).index_select(0, at::tensor(index, at::kLong)),
              kTrunkFloat, GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTrunks, ::testing::ValuesIn(trunk_names()), parameter_name);

// --- Through a cache ---

// Rows of the last states that a cached pass gives, against those of the whole text.
void expect_rows(const GoldenTrunk& golden, const Tensor& last, const Pack& pack,
                 const std::vector<int64_t>& sequences, const std::vector<int64_t>& begins) {
  for (size_t n = 0; n < sequences.size(); ++n) {
    const int64_t count = pack.sequences[n].end - pack.sequences[n].begin;
    const Tensor expected =
        golden.rows_of(golden.last_states(), sequences[n]).slice(0, begins[n], begins[n] + count);
    expect_near(last.slice(0, pack.sequences[n].begin, pack.sequences[n].end), expected,
                kTrunkFloat,
                golden.name + " sequence " + std::to_string(sequences[n]) + " from " +
                    std::to_string(begins[n]));
  }
}

class GoldenTrunkCache : public ::testing::TestWithParam<std::string> {};

// All but three tokens at once, one more, then the last two; between passes sequences change
// places, and one goes on twice.
TEST_P(GoldenTrunkCache, PassByPass) {
  const GoldenTrunk golden(GetParam(), Precision::kFloat32);
  const Model& model = *golden.model;
  const at::NoGradGuard no_grad;
  std::vector<Sequence> read, beginnings;
  std::vector<int64_t> order, done;
  for (size_t n = 0; n < golden.answered().size(); ++n) {
    const Sequence& whole = golden.answered()[n];
    if (whole.ids.size() < 4) continue;
    if (golden.has_two_stacks()) read.push_back(golden.sequences[n]);
    beginnings.push_back({whole.example, {whole.ids.begin(), whole.ids.end() - 3}});
    order.push_back(static_cast<int64_t>(n));
    done.push_back(static_cast<int64_t>(beginnings.back().ids.size()));
  }
  ASSERT_GE(order.size(), 3U);
  const TrunkPacks packs(model, golden.has_two_stacks() ? read : beginnings,
                         golden.has_two_stacks() ? beginnings : std::vector<Sequence>{}, 64);
  const Pack& first = packs.input.last();
  Cache cache(model.config, model.weights.dtype(), first,
              std::vector<int64_t>(static_cast<size_t>(first.num_sequences()), 3));
  NoHooks hooks;
  const ForwardOptions options{.cache = &cache};
  expect_rows(golden, forward(model, model.weights, packs.input, hooks, options).last, first, order,
              std::vector<int64_t>(order.size(), 0));
  for (const int64_t count : {1, 2}) {
    std::vector<int64_t> from;  // the last sequence first, and the first one once more
    for (auto n = static_cast<int64_t>(order.size()) - 1; n >= 0; --n) from.push_back(n);
    if (count == 1) from.push_back(0);
    cache.select(from);
    std::vector<int64_t> new_order, new_done;
    std::vector<std::vector<int64_t>> ids;
    for (const int64_t n : from) {
      new_order.push_back(order[static_cast<size_t>(n)]);
      new_done.push_back(done[static_cast<size_t>(n)]);
      const auto begin =
          golden.answered()[static_cast<size_t>(new_order.back())].ids.begin() + new_done.back();
      ids.emplace_back(begin, begin + count);
    }
    PackOptions rounding = pack_options(model);
    rounding.round_rows_to = 8;
    const Pack next = cache.next(ids, rounding);
    expect_rows(golden, forward(model, model.weights, {nullptr, &next}, hooks, options).last, next,
                new_order, new_done);
    order = new_order;
    done = new_done;
    for (int64_t& length : done) length += count;
  }
}

std::vector<std::string> decoders() {
  std::vector<std::string> names = trunk_names();
  std::erase_if(names,
                [](const std::string& name) { return name.find("-mlm") != std::string::npos; });
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTrunkCache, ::testing::ValuesIn(decoders()), parameter_name);

// --- Refusals, buckets, the list ---

TEST(GoldenTrunkRefusals, ABiasOfLogitsThatIsNotZero) {
  expect_message<InputError>(
      [] { load_model(golden_dir("trunks") / "bart-logits-bias", Precision::kFloat32); },
      "tensor 'final_logits_bias' is not zero, which graft does not add to logits");
}

// Dynamic rotary angles differ for every length beyond those that the model was trained on: such
// texts are refused.
TEST(GoldenTrunkRefusals, DynamicAnglesBeyondTheTrainedLength) {
  const GoldenTrunk golden("llama-dynamic", Precision::kFloat32);
  EXPECT_EQ(golden.model->config.max_positions, 12);
  EXPECT_EQ(golden.sequences.size(), 5U);
  const Sequence longer{7, std::vector<int64_t>(13, 5)};
  expect_message<InputError>([&] { run(golden, {longer}, {}, 1); },
                             "example 7 takes 13 positions; ");
}

TEST(GoldenTrunkBuckets, OfEveryDistance) {
  const Path file = golden_dir("trunks") / "buckets.json";
  const Node tables = parse_json(read_file(file), file.string());
  ASSERT_EQ(tables.items.size(), 7U);
  for (const Node& table : tables.items) {
    const DistanceBias bias{static_cast<int64_t>(number_of(*table.find("num_buckets"))),
                            static_cast<int64_t>(number_of(*table.find("max_distance")))};
    const std::string what =
        std::to_string(bias.buckets) + " buckets to " + std::to_string(bias.max_distance);
    for (const auto& [key, sign, is_causal] : {std::tuple{"encoder_before", -1, false},
                                               {"encoder_after", 1, false},
                                               {"decoder_before", -1, true}}) {
      const Node* column = table.find(key);
      if (column == nullptr) continue;
      const auto range = static_cast<int64_t>(column->items.size());
      const std::vector<int64_t> found = integers_of(distance_buckets(bias, is_causal, range));
      std::vector<int64_t> own, expected;
      for (int64_t distance = 0; distance < range; ++distance) {
        own.push_back(found[static_cast<size_t>(range - 1 + sign * distance)]);
        expected.push_back(
            static_cast<int64_t>(number_of(column->items[static_cast<size_t>(distance)])));
      }
      EXPECT_EQ(own, expected) << what << " " << key;
    }
  }
}

TEST(GoldenTrunkList, HoldsEveryFolder) {
  std::set<std::string> folders, names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_dir("trunks"))) {
    if (entry.is_directory()) folders.insert(entry.path().filename().string());
  }
  for (const auto& [name, entry] : trunk_manifest().find("models")->members) names.insert(name);
  EXPECT_EQ(folders, names);
  EXPECT_GE(names.size(), 37U);
  EXPECT_EQ(trunk_names().size(), names.size() - 1);
  EXPECT_GE(trained_trunk_names().size(), 18U);
}

}  // namespace
}  // namespace graft::testing::test_trunks
