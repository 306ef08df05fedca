#include "data/mixture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/data/expect_error.h"

namespace graft::test_mixture {
namespace {

std::vector<MixturePart> parsed(const std::string& yaml) {
  return parse_mixture(parse_yaml(yaml, "run.yaml"), "run.yaml");
}

TEST(Mixture, ReadsBackEqual) {
  const auto parts = parsed(
      "- {name: a, task: rte, data: a.tsv}\n- {name: b, task: b.yaml, data: b.json, cap: 500000, "
      "templates: 9}\n- {name: c, "
      "task: c, data: d, rate: 2.5}\n");
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[1].cap, 500000);
  EXPECT_EQ(parts[2].rate, 2.5);
  EXPECT_EQ(parse_mixture(mixture_to_node(parts), "memory"), parts);
}

// Sanh et al. 2022: at most 500,000 rows count and are shared by the templates; a smaller set
// counts in full for each template.
TEST(Mixture, RatesAreT0s) {
  std::vector<MixturePart> parts(4);
  parts[0].cap = parts[1].cap = parts[2].cap = 500000;
  parts[0].templates = 6;
  parts[1].templates = 9;
  parts[3].rate = 1000;
  // QQP has 363,846 rows; an amazon_polarity of 3,600,000 has 9 templates; 500,000 is not yet too
  // many.
  EXPECT_EQ(mixture_rates(parts, {363846, 3600000, 500000, 7}),
            (std::vector<double>{363846, 55555, 500000, 1000}));
}

TEST(Mixture, EpochIsAPureFunction) {
  const std::vector<int64_t> sizes = {50, 20, 7};
  const std::vector<double> rates = {5, 2, 3};
  const auto epoch = mixture_epoch(sizes, rates, 500, 7, 3);
  EXPECT_EQ(epoch, mixture_epoch(sizes, rates, 500, 7, 3));
  EXPECT_NE(epoch, mixture_epoch(sizes, rates, 500, 8, 3));
  EXPECT_NE(epoch, mixture_epoch(sizes, rates, 500, 7, 4));
  auto shorter = mixture_epoch(sizes, rates, 100, 7, 3);
  EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(),
                         epoch.begin()));  // a longer epoch begins like a shorter one
}

TEST(Mixture, EveryRowOfAPartOnceBeforeAnyTwice) {
  const std::vector<int64_t> sizes = {50, 20, 7};
  for (uint64_t seed = 0; seed < 5; ++seed) {
    std::vector<std::vector<int64_t>> rows(sizes.size());
    for (const MixtureRow& row : mixture_epoch(sizes, {5, 2, 3}, 1000, seed, 0))
      rows[static_cast<size_t>(row.part)].push_back(row.row);
    for (size_t part = 0; part < rows.size(); ++part) {
      const auto size = static_cast<size_t>(sizes[part]);
      for (size_t begin = 0; begin + size <= rows[part].size(); begin += size) {
        const std::set<int64_t> pass(
            rows[part].begin() + static_cast<std::ptrdiff_t>(begin),
            rows[part].begin() + static_cast<std::ptrdiff_t>(begin + size));
        EXPECT_EQ(pass.size(), size);
        EXPECT_EQ(*pass.begin(), 0);
        EXPECT_EQ(*pass.rbegin(), sizes[part] - 1);
      }
      const std::vector<int64_t> first(rows[part].begin(),
                                       rows[part].begin() + static_cast<std::ptrdiff_t>(size));
      const std::vector<int64_t> second(rows[part].begin() + static_cast<std::ptrdiff_t>(size),
                                        rows[part].begin() + static_cast<std::ptrdiff_t>(2 * size));
      EXPECT_NE(first, second);
    }
  }
}

// Each draw is of part i with probability rate_i / sum: the count of 20,000 lies within five
// deviations of its mean.
TEST(Mixture, PartsComeByTheirRates) {
  const std::vector<double> rates = {363846, 55555, 1000};
  const double draws = 20000, sum = 363846 + 55555 + 1000;
  std::vector<double> counts(3);
  for (const MixtureRow& row : mixture_epoch({100, 100, 100}, rates, 20000, 1, 0))
    ++counts[static_cast<size_t>(row.part)];
  for (size_t i = 0; i < rates.size(); ++i) {
    const double p = rates[i] / sum;
    EXPECT_NEAR(counts[i], draws * p, 5 * std::sqrt(draws * p * (1 - p)));
  }
}

TEST(Mixture, Messages) {
  const std::string part = "task: t, data: d";
  EXPECT_EQ(input_error([] { parsed("{}"); }),
            "run.yaml: /mixture: expected a list of {name, task, data}");
  for (const auto& [yaml, message] : std::vector<std::pair<std::string, std::string>>{
           {"- {task: t, data: d}\n", "run.yaml: /mixture/0/name: missing; expected a text"},
           {"- {name: a, " + part + ", cap: 5, rate: 2}\n",
            "run.yaml:1:36: /mixture/0/cap: a rate is not capped; remove one of the two"},
           {"- {name: a, " + part + ", templates: 5}\n",
            "run.yaml:1:42: /mixture/0/templates: templates share a cap; give one"},
           {"- {name: a, " + part + "}\n- {name: a, " + part + "}\n",
            "run.yaml:2:10: /mixture/1/name: the name \"a\" appears twice"},
           {"- {name: a, " + part + ", rates: 5}\n",
            "run.yaml:1:38: /mixture/0/rates: unknown key (did you mean 'rate'?)"}}) {
    SCOPED_TRACE(yaml);
    const std::string found = input_error([&text = yaml] { parsed(text); });
    EXPECT_EQ(found.substr(0, message.size()), message) << found;
  }
  std::vector<MixturePart> parts(1);
  parts[0].name = "a";
  EXPECT_EQ(input_error([&] { mixture_rates(parts, {0}); }), "mixture: part 'a' has no rows");
  parts[0].cap = 5;
  parts[0].templates = 6;
  EXPECT_EQ(input_error([&] { mixture_rates(parts, {7}); }),
            "mixture: part 'a' would never be drawn: its cap of 5 is shared by 6 templates");
}

}  // namespace
}  // namespace graft::test_mixture
