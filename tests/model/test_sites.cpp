// Sites: their names, widths and order, and how patterns and layers choose among them.
#include "model/sites.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_sites {
namespace {

Sites tiny_sites() {
  return Sites(
      parse_config(tiny_config("bert", parse_json(R"({"num_hidden_layers": 3})", "")), "tiny"));
}

std::string names(const std::vector<std::string>& patterns,
                  const std::vector<int64_t>& layers = {}) {
  std::string out;
  for (const Site& site : tiny_sites().match(patterns, layers))
    out += (out.empty() ? "" : " ") + site.name;
  return out;
}

TEST(Sites, AreTheSameForEveryFamilyInOrderOfExecution) {
  for (const char* family : {"bert", "roberta"}) {
    const Sites sites(parse_config(tiny_config(family), "tiny"));
    ASSERT_EQ(sites.all().size(), 2U + 2U * 14U + (std::string(family) == "bert" ? 1U : 0U));
    std::string second_layer;
    for (size_t i = 0; i < sites.all().size(); ++i) {
      const Site& site = sites.all()[i];
      EXPECT_EQ(site.index, static_cast<int64_t>(i));
      if (site.layer == 1)
        second_layer += std::string(part_name(site.part)) + ":" + kind_name(site.kind) + " ";
    }
    EXPECT_EQ(sites.embed().name, "embed");
    EXPECT_EQ(second_layer,
              "attn.q:linear attn.k:linear attn.v:linear attn:attention attn.mid:activation "
              "attn.o:linear attn.out:sublayer attn.norm:norm "
              "ffn.up:linear ffn.act:activation ffn.down:linear ffn.out:sublayer ffn.norm:norm "
              "out:layer ");
    EXPECT_EQ(sites.at("enc.1.ffn.up").output_width, 12);
    EXPECT_EQ(sites.at("enc.1.ffn.act").input_width, 8);  // what enters ffn.up
    EXPECT_EQ(sites.at("enc.1.ffn.act").output_width, 12);
    EXPECT_EQ(sites.at("enc.0.ffn.down").input_width, 12);
    EXPECT_EQ(sites.at("enc.0.ffn.down").output_width, 8);
    EXPECT_EQ(sites.at({StackId::kEncoder, 1, Part::kFfnOut}).name, "enc.1.ffn.out");
  }
}

std::string parts_of(const Sites& sites, StackId stack, int64_t layer) {
  std::string out;
  for (const Site& site : sites.all()) {
    if (site.stack == stack && site.layer == layer) out += std::string(part_name(site.part)) + " ";
  }
  return out;
}

TEST(Sites, MayBeOptional) {
  const Sites bert(parse_config(tiny_config("bert"), "tiny")),
      t5(parse_config(tiny_config("mt5"), "tiny"));
  EXPECT_EQ(bert.match({"attn.k", "cross.k?"}, {}).size(), bert.match({"attn.k"}, {}).size());
  EXPECT_EQ(t5.match({"cross.k?"}, {}).size(), t5.match({"cross.k"}, {}).size());
  expect_message<InputError>([&] { bert.match({"cross.k?"}, {}); },
                             "none of the patterns, which all end in '?', matches");
}

TEST(Sites, OfDecodersHaveTheSameNames) {
  const Sites bart(parse_config(tiny_config("bart"), "tiny")),
      t5(parse_config(tiny_config("mt5"), "tiny")),
      llama(parse_config(tiny_config("llama"), "tiny"));
  EXPECT_EQ(parts_of(bart, StackId::kEncoder, 1),
            "attn.q attn.k attn.v attn attn.mid attn.o attn.out attn.norm ffn.up ffn.act ffn.down "
            "ffn.out ffn.norm out ");
  EXPECT_EQ(parts_of(bart, StackId::kDecoder, 1),
            "attn.q attn.k attn.v attn attn.mid attn.o attn.out attn.norm cross.q cross.k cross.v "
            "cross cross.mid cross.o cross.out cross.norm "
            "ffn.up ffn.act ffn.down ffn.out ffn.norm out ");
  EXPECT_EQ(parts_of(t5, StackId::kDecoder, 0),
            "attn.norm attn.q attn.k attn.v attn attn.mid attn.o attn.out cross.norm cross.q "
            "cross.k cross.v cross cross.mid cross.o cross.out "
            "ffn.norm ffn.gate ffn.act ffn.up ffn.mid ffn.down ffn.out out ");
  const Sites modernbert(parse_config(tiny_config("modernbert"), "tiny"));
  const std::string behind_norm =
      "attn.q attn.k attn.v attn attn.mid attn.o attn.out ffn.norm ffn.gate ffn.act ffn.up ffn.mid "
      "ffn.down ffn.out out ";
  EXPECT_EQ(parts_of(modernbert, StackId::kEncoder, 0), behind_norm) << "no norm of its own";
  EXPECT_EQ(parts_of(modernbert, StackId::kEncoder, 1), "attn.norm " + behind_norm);
  EXPECT_EQ(parts_of(llama, StackId::kEncoder, 0), "");
  EXPECT_EQ(parts_of(llama, StackId::kDecoder, 0),
            "attn.norm attn.q attn.k attn.v attn attn.mid attn.o attn.out ffn.norm ffn.gate "
            "ffn.act ffn.up ffn.mid ffn.down ffn.out out ");
  EXPECT_EQ(bart.at({StackId::kDecoder, 1, Part::kCrossK}).name, "dec.1.cross.k");
  EXPECT_EQ(bart.find({StackId::kEncoder, 1, Part::kCrossK}), nullptr);
  EXPECT_EQ(bart.find({StackId::kDecoder, 1, Part::kFfnGate}), nullptr);
  EXPECT_EQ(bart.find({StackId::kDecoder, 9, Part::kOut}), nullptr);
  EXPECT_EQ(bart.at("dec.0.cross").kind, SiteKind::kAttention);
}

TEST(Sites, KnowTheWidthsOfHeads) {
  const auto widths = [](const Site& site) {
    return std::pair(site.input_width, site.output_width);
  };
  const auto pair = [](int64_t in, int64_t out) { return std::pair(in, out); };
  const Sites t5(parse_config(tiny_config("t5"), "tiny")),
      llama(parse_config(tiny_config("llama"), "tiny"));
  EXPECT_EQ(widths(t5.at("dec.1.cross.q")), pair(8, 6));  // two heads of 3 beside a width of 8
  EXPECT_EQ(widths(t5.at("dec.1.cross.k")), pair(8, 6));
  EXPECT_EQ(widths(t5.at("dec.1.cross.o")), pair(6, 8));
  EXPECT_EQ(widths(t5.at("enc.1.attn")), pair(8, 6));
  EXPECT_EQ(widths(t5.at("dec.1.cross.mid")), pair(8, 6));
  EXPECT_EQ(widths(llama.at("dec.1.attn.q")), pair(8, 8));
  EXPECT_EQ(widths(llama.at("dec.1.attn.v")), pair(8, 4));  // two heads share the key of one
  EXPECT_EQ(widths(llama.at("dec.1.ffn.gate")), pair(8, 12));
  EXPECT_EQ(widths(llama.at("dec.1.ffn.mid")), pair(8, 12));
}

// The pooler belongs to no stack: BERT's alone.
TEST(Sites, HaveAPoolerWhereTheFamilyHasOne) {
  const Sites bert(parse_config(tiny_config("bert"), "tiny")),
      roberta(parse_config(tiny_config("roberta"), "tiny"));
  EXPECT_EQ(bert.all().back().name, "pooler");
  EXPECT_EQ(bert.pooler().index, bert.all().back().index);
  EXPECT_EQ(bert.pooler().stack, StackId::kNone);
  EXPECT_EQ(bert.match({"attn.q", "pooler"}, {0}).size(), 2U);
  EXPECT_EQ(roberta.pooler().index, -1);
  expect_message<InputError>([&] { roberta.match({"pooler"}, {}); },
                             R"(site pattern "pooler" matches no site)");
}

// So does the first layer of the head for masks, which ModernBERT's classifier reads: its name
// alone chooses it.
TEST(Sites, HaveALayerUnderModernBertsClassifier) {
  const Sites sites(parse_config(tiny_config("modernbert"), "tiny"));
  EXPECT_EQ(sites.all().back().name, "mask.dense");
  EXPECT_EQ(sites.pooler().index, sites.all().back().index);
  EXPECT_EQ(sites.pooler().kind, SiteKind::kLinear);
  EXPECT_EQ(std::pair(sites.pooler().input_width, sites.pooler().output_width), std::pair(8L, 8L));
  EXPECT_EQ(sites.match({"mask.dense"}, {0}).size(), 1U);
  for (const char* pattern : {"*", "*.*", "attn.*", "ffn.*", "enc.*.out", "enc.*.*.*"}) {
    for (const Site& site : sites.match({pattern}, {}))
      EXPECT_NE(site.name, "mask.dense") << pattern;
  }
}

// Which layer reads an activation, and which activation a layer reads alone.
TEST(Sites, KnowWhatReadsAnActivation) {
  for (const std::string& family : tiny_names()) {
    const Sites sites(parse_config(tiny_config(family), "tiny"));
    for (const Site& site : sites.all()) {
      if (site.kind == SiteKind::kActivation) {
        const Site& reader = sites.reader_of(site);
        EXPECT_EQ(reader.kind, SiteKind::kLinear) << site.name;
        EXPECT_EQ(reader.input_width, site.output_width) << site.name;
        EXPECT_EQ(std::pair(reader.stack, reader.layer), std::pair(site.stack, site.layer));
      }
      const bool is_last = is_attention_output(site.part) || site.part == Part::kFfnDown;
      EXPECT_EQ(sites.input_of(site) != nullptr, is_last) << site.name;
    }
  }
  const Sites t5(parse_config(tiny_config("mt5"), "tiny")),
      bert(parse_config(tiny_config("bert"), "tiny"));
  EXPECT_EQ(t5.reader_of(t5.at("dec.1.ffn.act")).name, "dec.1.ffn.down");
  EXPECT_EQ(t5.input_of(t5.at("dec.1.ffn.down"))->name, "dec.1.ffn.mid");
  EXPECT_EQ(t5.input_of(t5.at("dec.1.cross.o"))->name, "dec.1.cross.mid");
  EXPECT_EQ(bert.input_of(bert.at("enc.1.ffn.down"))->name, "enc.1.ffn.act");
}

TEST(Sites, CountLayersInEachStack) {
  const Sites sites(
      parse_config(tiny_config("bart", parse_json(R"({"decoder_layers": 3})", "")), "tiny"));
  const auto matched = [&](const std::vector<std::string>& patterns,
                           const std::vector<int64_t>& layers) {
    std::string out;
    for (const Site& site : sites.match(patterns, layers))
      out += (out.empty() ? "" : " ") + site.name;
    return out;
  };
  EXPECT_EQ(matched({"out"}, {0}), "enc.0.out dec.0.out");
  EXPECT_EQ(matched({"out"}, {-1}), "enc.1.out dec.2.out");  // the last of each
  EXPECT_EQ(matched({"out"}, {2}), "dec.2.out");
  EXPECT_EQ(matched({"dec.*.out"}, {}), "dec.0.out dec.1.out dec.2.out");
  EXPECT_EQ(matched({"cross.[kv]"}, {1}), "dec.1.cross.k dec.1.cross.v");
  expect_message<InputError>([&] { matched({"out"}, {3}); },
                             "layers: expected numbers in 0..2 (or -1 for the last), found 3");
}

TEST(Sites, AreMatchedByPatterns) {
  EXPECT_EQ(names({"enc.1.attn.q"}), "enc.1.attn.q");
  EXPECT_EQ(names({"attn.[qv]"}, {1}), "enc.1.attn.q enc.1.attn.v");
  EXPECT_EQ(names({"attn.v", "attn.q", "attn.[qv]"}, {2}),
            "enc.2.attn.q enc.2.attn.v");  // once, in order of execution
  EXPECT_EQ(names({"enc.0.*.out"}), "enc.0.attn.out enc.0.ffn.out");
  EXPECT_EQ(names({"enc.*.out"}), "enc.0.out enc.1.out enc.2.out");  // '*' crosses no dot
  EXPECT_EQ(names({"*"}, {0}), "embed enc.0.attn enc.0.out pooler");
  EXPECT_EQ(names({"ffn.*n"}, {0}), "enc.0.ffn.down");
  EXPECT_EQ(names({"out"}, {-1, 0}), "enc.0.out enc.2.out");
  EXPECT_EQ(names({"out"}, {2, -1}), "enc.2.out");
  EXPECT_EQ(names({"embed", "out"}, {-3}), "embed enc.0.out");  // the embedding belongs to no layer
}

TEST(Sites, RefuseWhatMatchesNothing) {
  expect_message<InputError>(
      [] { names({"attn.qq"}); },
      R"(site pattern "attn.qq" matches no site of this model (did you mean 'attn.q'?))");
  expect_message<InputError>(
      [] {
        names({"out", "attn.[xy]"});
      },
      R"(site pattern "attn.[xy]" matches no site)");
  expect_message<InputError>([] { names({"attn.[q"}); },
                             R"(site pattern "attn.[q" matches no site)");
  expect_message<InputError>([] { names({""}); }, R"(site pattern "" matches no site)");
  expect_message<InputError>([] { names({}); }, "expected at least one site, found an empty list");
  expect_message<InputError>([] { names({"out"}, {3}); },
                             "layers: expected numbers in 0..2 (or -1 for the last), found 3");
  expect_message<InputError>([] { names({"out"}, {-4}); },
                             "layers: expected numbers in 0..2 (or -1 for the last), found -4");
  expect_message<InputError>(
      [] {
        names({"out", "enc.1.out"}, {0});
      },
      R"(site pattern "enc.1.out" matches no site in the layers asked for)");
  expect_message<InputError>([] { tiny_sites().at("enc.1.attn.qq"); },
                             "unknown site 'enc.1.attn.qq' (did you mean 'enc.1.attn.q'?)");
}

// Of patterns joined by '|' the first that the model has.
TEST(Sites, TakeTheFirstOfSeveralPatterns) {
  const auto names = [](const char* family, const char* pattern) {
    std::string out;
    for (const Site& site : Sites(parse_config(tiny_config(family), "tiny")).match({pattern}, {0}))
      out += site.name + " ";
    return out;
  };
  EXPECT_EQ(names("gpt2", "ffn.gate|ffn.up"), "dec.0.ffn.up ");
  EXPECT_EQ(names("llama", "ffn.gate|ffn.up"), "dec.0.ffn.gate ");
  EXPECT_EQ(names("llama", "enc.*.out|out"), "dec.0.out ");
  EXPECT_EQ(names("bart", "enc.*.out|out"), "enc.0.out ");
  expect_message<InputError>([&] { names("bart", "ffn.gate|ffn.mid"); },
                             R"(site pattern "ffn.mid" matches no site of this model)");
}

}  // namespace
}  // namespace graft::testing::test_sites
