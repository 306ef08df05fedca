#include "data/text_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "data/text_words.h"
#include "tests/data/expect_error.h"

namespace graft::test_text_metrics {
namespace {

using nlohmann::json;

const json& golden() {
  static const json kGolden = [] {
    std::ifstream file(std::string(GRAFT_SOURCE_DIR) + "/tests/golden/data/text_metrics.json");
    return json::parse(file);
  }();
  return kGolden;
}

TEST(TextMetrics, EqualThePackages) {
  ASSERT_GE(golden()["cases"].size(), 150u);
  const std::vector<std::pair<const char*, double (*)(const Texts&, const References&)>> metrics = {
      {"bleu", bleu}, {"ter", ter}, {"nist", nist}, {"rouge_l", rouge_l}, {"cider", cider}};
  for (const json& c : golden()["cases"]) {
    const auto texts = c["texts"].get<Texts>();
    const auto references = c["references"].get<References>();
    for (const auto& [name, metric] : metrics) {
      SCOPED_TRACE(c["name"].get<std::string>() + ": " + name);
      const double found = metric(texts, references);
      if (c[name].is_null())
        EXPECT_TRUE(std::isfinite(found));  // the package divides by zero; ours: NoWordsNoScore
      else
        EXPECT_NEAR(found, c[name].get<double>(),
                    1e-9 * std::max(1.0, c[name].get<double>()));  // sums in another order
    }
  }
}

TEST(TextMetrics, WordsEqualSacrebleuAndPython) {
  ASSERT_GE(golden()["words"].size(), 50u);
  for (const json& c : golden()["words"]) {
    const auto text = c["text"].get<std::string>();
    SCOPED_TRACE(text);
    EXPECT_EQ(words_13a(text), c["tokens"].get<Words>());
    EXPECT_EQ(split_words(lower_text(text)), c["lower"].get<Words>());
  }
  EXPECT_EQ(words_rouge("Don't STOP: 3rd É-time\tİ"),
            (Words{"don", "t", "stop", "3rd", "time", "i"}));
  EXPECT_EQ(strip("\u3000 a b\u00a0\n"), "a b");
  EXPECT_EQ(strip(" \u2028 "), "");
}

// Where the packages divide by zero.
TEST(TextMetrics, NoWordsNoScore) {
  EXPECT_EQ(nist({"a b"}, {{""}}), 0);
  EXPECT_EQ(nist({"", " "}, {{"a b"}, {"c"}}), 0);
  EXPECT_NEAR(nist({"a b", "a c"}, {{"a b"}, {"a c"}}), 1.5 + 1.0,
              1e-12);  // words: (1 + 2 + 1 + 2) / 4; pairs: log2(2/1); no triple
  EXPECT_EQ(cider({"a"}, {{""}}), 0);
  EXPECT_EQ(ter({""}, {{""}}), 0);
  EXPECT_EQ(ter({"a b"}, {{""}}), 100);
}

TEST(TextMetrics, OrderOfReferencesDoesNotCount) {
  for (const json& c : golden()["cases"]) {
    const auto texts = c["texts"].get<Texts>();
    auto references = c["references"].get<References>();
    const double before[] = {bleu(texts, references), ter(texts, references),
                             nist(texts, references), rouge_l(texts, references),
                             cider(texts, references)};
    for (auto& of_text : references) std::reverse(of_text.begin(), of_text.end());
    const double after[] = {bleu(texts, references), ter(texts, references),
                            nist(texts, references), rouge_l(texts, references),
                            cider(texts, references)};
    for (size_t i = 0; i < std::size(before); ++i)
      EXPECT_NEAR(before[i], after[i], 1e-9 * std::max(1.0, before[i])) << c["name"];
  }
}

TEST(TextMetrics, Messages) {
  EXPECT_EQ(input_error([] { bleu({}, {}); }), "metric: expected at least one text, found none");
  EXPECT_EQ(input_error([] {
              ter({"a"}, {{"a"}, {"b"}});
            }),
            "metric: expected references for each text, found 1 texts and references for 2");
  EXPECT_EQ(input_error([] { nist({"a", "b"}, {{"a"}, {}}); }), "metric: text 1 has no reference");
  EXPECT_EQ(input_error([] { rouge_l({"a"}, {{}}); }), "metric: text 0 has no reference");
  std::string longest;
  for (int i = 0; i < 12000; ++i) longest += "a ";
  EXPECT_EQ(input_error([&] { ter({longest}, {{longest}}); }),
            "ter: a text of 12000 words is too long to compare with a reference of 12000");
  EXPECT_EQ(input_error([] { cider({"a"}, {{}}); }), "metric: text 0 has no reference");
}

}  // namespace
}  // namespace graft::test_text_metrics
