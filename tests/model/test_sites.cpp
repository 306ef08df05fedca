// Sites: their names, widths and order, and how patterns and layers choose among them.
#include "model/sites.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing {
namespace {

Sites tiny_sites() { return Sites(parse_config(tiny_config("bert", parse_json(R"({"num_hidden_layers": 3})", "")), "tiny")); }

std::string names(const std::vector<std::string>& patterns, const std::vector<int64_t>& layers = {}) {
  std::string out;
  for (const Site& site : tiny_sites().match(patterns, layers)) out += (out.empty() ? "" : " ") + site.name;
  return out;
}

TEST(Sites, AreTheSameForEveryFamilyInOrderOfExecution) {
  for (const char* family : {"bert", "roberta"}) {
    const Sites sites(parse_config(tiny_config(family), "tiny"));
    ASSERT_EQ(sites.all().size(), 1U + 2U * 13U);
    std::string second_layer;
    for (size_t i = 0; i < sites.all().size(); ++i) {
      const Site& site = sites.all()[i];
      EXPECT_EQ(site.index, static_cast<int64_t>(i));
      if (site.layer == 1) second_layer += site.part + ":" + kind_name(site.kind) + " ";
    }
    EXPECT_EQ(sites.embed().name, "embed");
    EXPECT_EQ(second_layer,
              "attn.q:linear attn.k:linear attn.v:linear attn:attention attn.o:linear attn.out:sublayer attn.norm:norm ffn.up:linear "
              "ffn.act:activation ffn.down:linear ffn.out:sublayer ffn.norm:norm out:layer ");
    EXPECT_EQ(sites.at("enc.1.ffn.up").output_width, 12);
    EXPECT_EQ(sites.at("enc.1.ffn.act").input_width, 12);
    EXPECT_EQ(sites.at("enc.0.ffn.down").input_width, 12);
    EXPECT_EQ(sites.at("enc.0.ffn.down").output_width, 8);
    EXPECT_EQ(sites.block(1).ffn_out.name, "enc.1.ffn.out");
  }
}

TEST(Sites, AreMatchedByPatterns) {
  EXPECT_EQ(names({"enc.1.attn.q"}), "enc.1.attn.q");
  EXPECT_EQ(names({"attn.[qv]"}, {1}), "enc.1.attn.q enc.1.attn.v");
  EXPECT_EQ(names({"attn.v", "attn.q", "attn.[qv]"}, {2}), "enc.2.attn.q enc.2.attn.v");    // once, in order of execution
  EXPECT_EQ(names({"enc.0.*.out"}), "enc.0.attn.out enc.0.ffn.out");
  EXPECT_EQ(names({"enc.*.out"}), "enc.0.out enc.1.out enc.2.out");     // '*' crosses no dot
  EXPECT_EQ(names({"*"}, {0}), "embed enc.0.attn enc.0.out");
  EXPECT_EQ(names({"ffn.*n"}, {0}), "enc.0.ffn.down");
  EXPECT_EQ(names({"out"}, {-1, 0}), "enc.0.out enc.2.out");
  EXPECT_EQ(names({"out"}, {2, -1}), "enc.2.out");
  EXPECT_EQ(names({"embed", "out"}, {-3}), "embed enc.0.out");          // the embedding belongs to no layer
}

TEST(Sites, RefuseWhatMatchesNothing) {
  expect_message<InputError>([] { names({"attn.qq"}); }, R"(site pattern "attn.qq" matches no site of this model (did you mean 'attn.q'?))");
  expect_message<InputError>([] { names({"out", "attn.[xy]"}); }, R"(site pattern "attn.[xy]" matches no site)");
  expect_message<InputError>([] { names({"attn.[q"}); }, R"(site pattern "attn.[q" matches no site)");
  expect_message<InputError>([] { names({""}); }, R"(site pattern "" matches no site)");
  expect_message<InputError>([] { names({}); }, "expected at least one site, found an empty list");
  expect_message<InputError>([] { names({"out"}, {3}); }, "layers: expected numbers in 0..2 (or -1 for the last), found 3");
  expect_message<InputError>([] { names({"out"}, {-4}); }, "layers: expected numbers in 0..2 (or -1 for the last), found -4");
  expect_message<InputError>([] { names({"out", "enc.1.out"}, {0}); }, R"(site pattern "enc.1.out" matches no site in the layers asked for)");
  expect_message<InputError>([] { tiny_sites().at("enc.1.attn.qq"); }, "unknown site 'enc.1.attn.qq' (did you mean 'enc.1.attn.q'?)");
}

}  // namespace
}  // namespace graft::testing
