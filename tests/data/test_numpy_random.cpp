// Permutations that NumPy made (tools/golden/numpy_permutations.py): its seeds of UniPELT's data
// and of 64 bits, of few rows whole, of GLUE's sizes the first and the last rows and a sum over
// all.
#include "data/numpy_random.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace graft::test_numpy_random {
namespace {

TEST(NumpyPermutation, IsNumpys) {
  std::ifstream file(std::string(GRAFT_SOURCE_DIR) + "/tests/golden/data/numpy_permutations.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  ASSERT_EQ(golden["permutations"].size(), 28U);
  for (const nlohmann::json& each : golden["permutations"]) {
    const auto count = each["count"].get<int64_t>();
    const std::vector<int64_t> found = numpy_permutation(count, each["seed"].get<uint64_t>());
    ASSERT_EQ(std::ssize(found), count);
    const auto first = each["first"].get<std::vector<int64_t>>();
    const auto last = each["last"].get<std::vector<int64_t>>();
    EXPECT_TRUE(std::equal(first.begin(), first.end(), found.begin())) << each["seed"] << count;
    EXPECT_TRUE(std::equal(last.rbegin(), last.rend(), found.rbegin())) << each["seed"] << count;
    uint64_t sum = 0;
    for (const int64_t row : found) sum = sum * 1000003 + static_cast<uint64_t>(row);
    EXPECT_EQ(sum, each["sum"].get<uint64_t>()) << each["seed"] << " " << count;
  }
}

}  // namespace
}  // namespace graft::test_numpy_random
