// What an adapter's definition may say, and the message for each thing it may not.
#include <gtest/gtest.h>

#include "base/error.h"
#include "edit/adapter.h"
#include "tests/support/compare.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_definitions {
namespace {

Adapter built(const std::string& definition, const std::optional<Task>& task = class_task(3),
              const std::string& family = "bert") {
  const auto model = golden_model(family + "-tiny");
  return Adapter(yaml(definition), "run.yaml", {model->config, model->sites}, task);
}

TEST(Definitions, RefuseEachByItsPlace) {
  const struct {
    const char *definition, *message;
  } rows[] = {
      {"{edits: [{lora: {rank: eight}}]}",
       R"(/edits/0/lora/rank: expected an integer in 1..4096, found "eight")"},
      {"{edits: [{lora: {rank: 0}}]}",
       R"(/edits/0/lora/rank: expected an integer in 1..4096, found "0")"},
      {"{edits: [{lora: {alpha: -1}}]}",
       R"(/edits/0/lora/alpha: expected a number in 0..1e+06, found "-1")"},
      {"{edits: [{lora: {dropout: 1}}]}",
       R"(/edits/0/lora/dropout: expected a number in 0..0.99, found "1")"},
      {"{edits: [{lora: {rslora: maybe}}]}",
       R"(/edits/0/lora/rslora: expected true or false, found "maybe")"},
      {"{edits: [{lora: {init: gausian}}]}",
       R"(/edits/0/lora/init: expected kaiming, gaussian or normal, found "gausian" (did you mean 'gaussian'?))"},
      {"{edits: [{lora: {rnak: 8}}]}", "/edits/0/lora/rnak: unknown key (did you mean 'rank'?)"},
      {"{edits: [{lora: {sites: attn.qq}}]}",
       R"(/edits/0/lora/sites: site pattern "attn.qq" matches no site of this model (did you mean 'attn.q'?))"},
      {"{edits: [{lora: {sites: []}}]}",
       "/edits/0/lora/sites: expected at least one site, found an empty list"},
      {"{edits: [{lora: {sites: enc.0.attn.q, layers: [1]}}]}",
       R"(site pattern "enc.0.attn.q" matches no site in the layers asked for)"},
      {"{edits: [{lora: {layers: [2]}}]}",
       "layers: expected numbers in 0..1 (or -1 for the last), found 2"},
      {"{edits: [{lora: {layers: [x]}}]}",
       R"(/edits/0/lora/layers: expected a list of integers in -1000..1000, found "x")"},
      {"{edits: [{lora: {sites: ffn.out}}]}",
       "/edits/0/lora/sites: lora acts on linear sites; enc.0.ffn.out is a sublayer site"},
      {"{edits: [{lora: {sites: [attn.q, attn]}}]}",
       "lora acts on linear sites; enc.0.attn is a attention site"},
      {"{edits: [{lora: 8}]}",
       R"(/edits/0/lora: expected a section of keys and values, found "8")"},
      {"{edits: [{lora: {}, bitfit: {}}]}",
       "/edits/0/bitfit: expected one edit in an entry of the list, found two"},
      {"{edits: [{lroa: {}}]}", "/edits/0/lroa: unknown key (did you mean 'lora'?)"},
      {"{edits: [{}]}", "/edits/0: expected an edit: lora, "},
      {"{edits: [null]}", "/edits/0: expected an edit: lora, "},
      {"{edits: [lora]}", R"(/edits/0: expected a section of keys and values, found "lora")"},
      {"{edits: {lora: {}}}", "/edits: expected a list of edits"},
      {"{edits: [], heads: {}}", "/heads: unknown key (did you mean 'head'?)"},
      {"{head: {pooler: cold}}", R"(/head/pooler: expected frozen or trained, found "cold")"},
      {"{head: {dropout: 2}}", R"(/head/dropout: expected a number in 0..0.99, found "2")"},
      {"{edits: [{bitfit: {pooler: 1}}]}",
       R"(/edits/0/bitfit/pooler: expected true or false, found "1")"},
      {"{edits: [{full: {poolr: true}}]}",
       "/edits/0/full/poolr: unknown key (did you mean 'pooler'?)"},
      {"{edits: [{top-layers: {count: 3}}]}",
       R"(/edits/0/top-layers/count: expected an integer in 1..2, found "3")"},
      {"{edits: [{top-layers: {count: 0}}]}",
       R"(/edits/0/top-layers/count: expected an integer in 1..2, found "0")"},
  };
  for (const auto& row : rows) {
    expect_message<InputError>([&] { built(row.definition); }, row.message);
    expect_message<InputError>([&] { built(row.definition); }, "run.yaml");
  }
  expect_message<InputError>([] { built("{head: {pooler: trained}}", class_task(3), "roberta"); },
                             "/head/pooler: unknown key");
}

TEST(Definitions, ReportEveryFaultAtOnce) {
  const std::string message = message_of<InputError>([] {
    built(
        "{edits: [{lora: {rank: x, alpha: y}}, {bitfit: {pooler: z}}, {nothing: {}}], head: "
        "{dropout: 7}}");
  });
  for (const char* place : {"/edits/0/lora/rank", "/edits/0/lora/alpha", "/edits/1/bitfit/pooler",
                            "/edits/2/nothing", "/head/dropout"}) {
    EXPECT_NE(message.find(place), std::string::npos) << place << " is not in: " << message;
  }
}

TEST(Definitions, NameTheirTensorsByPlaceAndKind) {
  const Adapter adapter = built(
      "{edits: [{lora: {layers: [1], sites: attn.q}}, {lora: {layers: [0], sites: ffn.up}}]}");
  std::string names;
  for (const ParamSpec& param : adapter.params()) names += param.name + " ";
  EXPECT_EQ(names,
            "0.lora/enc.1.attn.q.lora_a 0.lora/enc.1.attn.q.lora_b 1.lora/enc.0.ffn.up.lora_a "
            "1.lora/enc.0.ffn.up.lora_b "
            "head/out.weight head/out.bias ");
  EXPECT_EQ(adapter.parts().front().spec().sites.size(), 1U);
  EXPECT_TRUE(built("{edits: [{bitfit: {}}]}").parts().front().spec().sites.empty());
  EXPECT_EQ(built("{}", std::nullopt).head(), nullptr);
  EXPECT_TRUE(built("{}", std::nullopt).params().empty());
}

TEST(Definitions, RefuseTwoPartsThatTrainOneTensor) {
  const auto model = golden_model("bert-tiny");
  for (const char* definition :
       {"{edits: [{full: {}}, {bitfit: {}}]}", "{edits: [{full: {}}], head: {pooler: trained}}"}) {
    const Rig rig(model, definition);
    expect_message<InputError>([&] { BoundAdapter(*rig.model, *rig.adapter, rig.tensors); },
                               "two parts of the adapter train '");
  }
}

// The documented starting values: uniform within 1/sqrt(in), normal with deviation 1/R or 0.02; B,
// new biases zero.
TEST(InitialValues, HaveTheirDocumentedSpread) {
  const auto model = golden_model("bert-tiny");
  const struct {
    const char* init;
    double deviation, largest;
  } rows[] = {{"kaiming", 1 / std::sqrt(3.0 * 32), 1 / std::sqrt(32.0)},
              {"gaussian", 1.0 / 64, 0.1},
              {"normal", 0.02, 0.12}};
  for (const auto& row : rows) {
    const Rig rig(model,
                  std::string("{edits: [{lora: {sites: attn.q, layers: [0], rank: 64, init: ") +
                      row.init + "}}]}");
    const at::Tensor& a =
        rig.tensors.at("0.lora/enc.0.attn.q.lora_a");  // 2048 draws: the deviation is known to 2 %
    EXPECT_NEAR(a.std().item<double>() / row.deviation, 1, 0.06) << row.init;
    EXPECT_LE(a.abs().max().item<double>(), row.largest) << row.init;
    EXPECT_EQ(rig.tensors.at("0.lora/enc.0.attn.q.lora_b").abs().max().item<double>(), 0)
        << row.init;
    EXPECT_EQ(rig.tensors.at("head/out.bias").abs().max().item<double>(), 0);
  }
  const Rig one(model, "{edits: [{lora: {}}]}", class_task(3), 1),
      two(model, "{edits: [{lora: {}}]}", class_task(3), 2);
  EXPECT_FALSE(one.tensors.at("head/out.weight").equal(two.tensors.at("head/out.weight")));
  EXPECT_FALSE(one.tensors.at("0.lora/enc.0.attn.q.lora_a")
                   .equal(one.tensors.at("0.lora/enc.1.attn.q.lora_a")));
}

}  // namespace
}  // namespace graft::testing::test_definitions
