// What a trunk shows to its hooks: every site once, in order, with the rows it promises.
#include "model/trunk.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "model/classified.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_trunk {
namespace {

using at::Tensor;

// Notes what it is shown and changes nothing.
class Listener final : public Hooks {
 public:
  bool wants(const Site&) const override { return true; }
  SiteResult apply(const SiteView& view) const override {
    visited.push_back(view.site.name);
    const int64_t rows = view.lane.num_rows;
    EXPECT_EQ(view.y.sizes(), (std::vector<int64_t>{rows, view.site.output_width}))
        << view.site.name;
    const bool is_linear = view.site.kind == SiteKind::kLinear;
    EXPECT_TRUE(view.x.defined() || !is_linear) << view.site.name;
    EXPECT_EQ(view.x.defined() ? view.x.size(0) : rows, rows) << view.site.name;
    EXPECT_EQ(view.x.defined() ? view.x.size(1) : view.site.input_width, view.site.input_width)
        << view.site.name;
    const bool is_sublayer = view.site.kind == SiteKind::kSublayer;
    EXPECT_EQ(view.residual.defined(), is_sublayer) << view.site.name;
    EXPECT_EQ(static_cast<bool>(view.norm), is_sublayer) << view.site.name;
    if (is_sublayer) expected_norm = view.norm(view.y, view.residual);
    if (view.site.kind == SiteKind::kNorm)
      expect_near(view.y, expected_norm, {1e-12, 0},
                  "the norm that a sublayer shows is the block's own");
    rows_of_last = rows;
    return {view.y};
  }
  PrefixResult prefix(const SiteView& view) const override {
    visited.push_back(view.site.name);
    EXPECT_EQ(view.x.size(0), view.pack.num_rows);
    return {};
  }
  mutable std::vector<std::string> visited;
  mutable Tensor expected_norm;
  mutable int64_t rows_of_last = 0;
};

TEST(Trunk, ShowsEverySiteOnceAndChangesNothingBySo) {
  for (const char* family : {"bert", "roberta"}) {
    const auto model = tiny_model(family, Precision::kFloat64);
    const std::vector<Sequence> rows = random_sequences(model->config, 4, 9, 3);
    const Pack pack = pack_of(*model, {lane_of(rows)}, 8);
    NoHooks nothing;
    const ForwardResult bare = forward(*model, model->weights, input_of(model->config, pack),
                                       nothing, {.keep_hidden = true});
    for (const bool first_rows_only : {false, true}) {
      Listener listener;
      const ForwardResult heard =
          forward(*model, model->weights, input_of(model->config, pack), listener,
                  {.keep_hidden = !first_rows_only,
                   .wanted = first_rows_only ? classified_pack(*model, pack).wanted
                                             : std::vector<RowRange>{}});
      std::vector<std::string> expected, found = listener.visited;
      for (const Site& site : model->sites.all()) {
        if (site.index != model->sites.pooler().index)
          expected.push_back(site.name);  // it stands behind the trunk's last states
      }
      std::sort(expected.begin(), expected.end());
      std::sort(found.begin(), found.end());
      EXPECT_EQ(found, expected);
      EXPECT_EQ(listener.rows_of_last, first_rows_only ? 4 : pack.num_rows);
      if (first_rows_only) continue;
      for (size_t i = 0; i < bare.hidden.size(); ++i)
        expect_near(heard.hidden[i], bare.hidden[i], {1e-12, 0}, "hidden " + std::to_string(i));
    }
  }
}

TEST(Trunk, FirstRowsOnlyIsTheFirstRowsOfAll) {
  const auto model = tiny_model("bert", Precision::kFloat64);
  const std::vector<Sequence> rows = random_sequences(model->config, 4, 9, 3);
  Pack pack = pack_of(*model, {lane_of(rows)});
  NoHooks nothing;
  const Tensor index = narrowed(pack, classified_pack(*model, pack).wanted, 1).index;
  for (const double dropout : {0.0, 0.2}) {
    ForwardOptions options;
    pack.lanes.front().dropout = trunk_dropout(model->config, dropout);
    const Tensor all =
        forward(*model, model->weights, input_of(model->config, pack), nothing, options)
            .last.index_select(0, index);
    options.wanted = classified_pack(*model, pack).wanted;
    expect_near(
        forward(*model, model->weights, input_of(model->config, pack), nothing, options).last, all,
        {1e-12, 0}, "first rows");
  }
}

// Each kind of dropout depends on the pass's key; the same key gives the same bits.
TEST(Trunk, DropoutFollowsItsKey) {
  const auto model = tiny_model("bert", Precision::kFloat64);
  const std::vector<Sequence> rows = random_sequences(model->config, 4, 9, 3);
  Pack pack = pack_of(*model, {lane_of(rows)});
  NoHooks nothing;
  for (const bool in_attention : {false, true}) {
    const auto last = [&](uint64_t seed, uint16_t stream = 0) {
      const double hidden = in_attention ? 0.0 : 0.3, attention = in_attention ? 0.3 : 0.0;
      pack.lanes.front().key = RandomKey{seed}.in_stream(stream);
      pack.lanes.front().dropout = {.hidden = hidden, .attention = attention};
      return forward(*model, model->weights, input_of(model->config, pack), nothing, {}).last;
    };
    expect_bits(last(1), last(1), "the same key");
    EXPECT_GT(difference_of(last(1), last(2)).absolute, 1e-3)
        << (in_attention ? "attention" : "hidden") << " dropout ignores its key";
    // A stream a pass: AdaMix's second draws masks of its own.
    EXPECT_GT(difference_of(last(1), last(1, 1)).absolute, 1e-3)
        << (in_attention ? "attention" : "hidden") << " dropout ignores its stream";
  }
}

// A post-norm block by plain formulas, in float64.
TEST(Trunk, IsTheFormulaOfItsComment) {
  const auto model = tiny_model("bert", Precision::kFloat64);
  const std::vector<Sequence> rows = random_sequences(model->config, 1, 6, 3);
  const auto w = [&](const std::string& name) {
    return model->weights.base(tensor_id(name)).to(at::kDouble);
  };
  const auto lin = [&](const std::string& name, const Tensor& x) {
    return at::linear(x, w(name + ".weight"), w(name + ".bias"));
  };
  const auto norm = [&](const std::string& name, const Tensor& x) {
    return at::layer_norm(x, {8}, w(name + ".weight"), w(name + ".bias"), 1e-5);
  };
  const Tensor ids = at::tensor(rows[0].ids, at::kLong),
               types = at::tensor(rows[0].type_ids, at::kLong);
  Tensor x = norm("embed.norm", w("embed.word.weight").index_select(0, ids) +
                                    w("embed.position.weight").slice(0, 0, 6) +
                                    w("embed.type.weight").index_select(0, types));
  for (int layer = 0; layer < 2; ++layer) {
    const std::string name = "enc." + std::to_string(layer) + ".";
    const auto heads = [&](const char* part) {
      return lin(name + part, x).view({6, 2, 4}).transpose(0, 1);
    };  // [H, T, D]
    const Tensor weights =
        at::softmax(at::matmul(heads("attn.q"), heads("attn.k").transpose(1, 2)) / 2.0, -1);
    const Tensor mixed = at::matmul(weights, heads("attn.v")).transpose(0, 1).reshape({6, 8});
    const Tensor h = norm(name + "attn.norm", x + lin(name + "attn.o", mixed));
    x = norm(name + "ffn.norm", h + lin(name + "ffn.down", at::gelu(lin(name + "ffn.up", h))));
  }
  NoHooks nothing;
  const Pack packed = pack_of(*model, {lane_of(rows)});
  expect_near(forward(*model, model->weights, input_of(model->config, packed), nothing, {}).last, x,
              {1e-12, 0}, "last hidden state");
}

}  // namespace
}  // namespace graft::testing::test_trunk
