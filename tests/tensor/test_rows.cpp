// The draws behind dropout masks, and the sharing-out of work.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "tensor/dropout_bits.h"
#include "tensor/parallel.h"
#include "tensor/rows.h"

namespace graft::test_rows {
namespace {

// The layout that the header promises, written with the plain generator.
TEST(DropoutBits, AreThePlainGeneratorsWords) {
  const RandomKey root = RandomKey{42}.with("dropout");
  const RowName name = row_name(int64_t{123456789012}, 7, 300);
  for (const uint32_t group : {0u, 1u, 5u, 6u}) {
    const RandomKey key = root.in_stream(group < 6 ? 0 : 3);
    uint16_t draws[kDrawGroup];
    draw_group(key, name, group, draws);
    for (uint32_t c = 0; c < kDrawGroup; ++c) {
      const uint64_t block = group * 16 + c % 16;
      const auto words = philox(key, (uint64_t{name.position} << 32) | block, name.high);
      EXPECT_EQ(draws[c], static_cast<uint16_t>(words[(c / 16) % 4] >> (c / 64 * 16)))
          << "column " << c;
    }
  }
}

TEST(DropoutBits, ColumnsDoNotDependOnHowManyThereAre) {
  const RandomKey key{1};
  const DropRate rate(0.5);
  std::vector<float> wide(1008), narrow(144);
  fill_mask(key, row_name(3, 4), rate, 0, 1000, wide.data());
  fill_mask(key, row_name(3, 4), rate, 0, 130, narrow.data());
  std::vector<float> later(160);  // of two groups, and none of them whole
  fill_mask(key, row_name(3, 4), rate, 112, 150, later.data());
  EXPECT_EQ(later, std::vector<float>(wide.begin() + 112, wide.begin() + 112 + 160));
  wide.resize(narrow.size());
  EXPECT_EQ(wide, narrow);
}

TEST(DropoutBits, DrawsAreUniform) {
  std::array<int64_t, 16> counts{};
  uint16_t draws[kDrawGroup];
  for (uint32_t group = 0; group < 1000; ++group) {
    draw_group(RandomKey{9}, row_name(group / 10, group % 10), group % 10, draws);
    for (const uint16_t draw : draws) ++counts[draw >> 12];
  }
  double chi_square = 0;
  for (const int64_t count : counts)
    chi_square +=
        (static_cast<double>(count) - 8000.0) * (static_cast<double>(count) - 8000.0) / 8000.0;
  EXPECT_LT(chi_square, 37.7);  // 15 degrees of freedom, one in a thousand
}

TEST(DropRate, IsUnbiased) {
  const DropRate rate(0.1);
  EXPECT_EQ(rate.threshold, 6554u);
  EXPECT_DOUBLE_EQ(rate.scale * (1 - 6554.0 / 65536), 1.0);
  EXPECT_FALSE(DropRate(0.0).active());
  EXPECT_FALSE(DropRate(1e-9).active());
}

TEST(Parallel, RunsEveryTaskOnce) {
  for (const int64_t count : {0, 1, 2, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
    parallel_tasks(count, [&](int64_t i) { ++runs[static_cast<size_t>(i)]; });
    for (const auto& each : runs) EXPECT_EQ(each, 1);
  }
}

TEST(Parallel, CutsRangesTheSameWayForAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    std::vector<std::atomic<int>> sizes(4);
    parallel_ranges(10, 3, [&](int64_t begin, int64_t end) {
      sizes[static_cast<size_t>(begin / 3)] += static_cast<int>(end - begin);
    });
    EXPECT_EQ(sizes[0], 3);
    EXPECT_EQ(sizes[3], 1);
  }
  at::set_num_threads(threads);
}

TEST(Parallel, UsesAllThreads) {
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  // Each task waits until the other has begun: with one thread this would not end, so it gives up
  // after a while.
  std::atomic<int> begun{0};
  parallel_tasks(2, [&](int64_t) {
    ++begun;
    for (int64_t i = 0; i < 2'000'000'000 && begun < 2; ++i) {
    }
  });
  EXPECT_EQ(begun, 2);
  at::set_num_threads(threads);
}

TEST(Parallel, RethrowsAndNests) {
  EXPECT_THROW(parallel_tasks(8,
                              [](int64_t i) {
                                if (i == 3) throw std::runtime_error("three");
                              }),
               std::runtime_error);
  std::atomic<int> runs{0};
  parallel_tasks(4, [&](int64_t) { parallel_tasks(4, [&](int64_t) { ++runs; }); });
  EXPECT_EQ(runs, 16);
}

}  // namespace
}  // namespace graft::test_rows
