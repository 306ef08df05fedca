// Packing: rows end to end, fillers at the end, lanes side by side.
#include "model/pack.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/models.h"
#include "tests/support/testing.h"

namespace graft::testing::test_pack {
namespace {

std::vector<int64_t> values(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
}
using Ints = std::vector<int64_t>;
Ints ranges(const std::vector<RowRange>& all) {
  Ints out;
  for (const RowRange& range : all) out.insert(out.end(), {range.begin, range.end});
  return out;
}

const std::vector<Sequence> kFirst = {{7, {5, 6, 8}, {0, 0, 1}}, {9, {4}, {0}}};
const std::vector<Sequence> kSecond = {{7, {5, 6, 8}, {0, 0, 1}}};

TEST(Pack, LaysSequencesEndToEnd) {
  const Pack pack =
      make_pack({lane_of(kFirst)}, {.round_rows_to = 3, .position_offset = 2, .pad_id = 1});
  EXPECT_EQ(values(pack.ids), (Ints{5, 6, 8, 4, 1, 1}));
  EXPECT_EQ(values(pack.type_ids), (Ints{0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(values(pack.positions), (Ints{2, 3, 4, 2, 2, 2}));
  EXPECT_EQ(pack.rows->example, (Ints{7, 7, 7, 9, -1, -1}));
  EXPECT_EQ(pack.rows->position, (Ints{0, 1, 2, 0, 0, 0}));
  EXPECT_EQ(ranges(pack.sequences), (Ints{0, 3, 3, 4}));
  EXPECT_EQ(pack.num_tokens, 4);
  EXPECT_EQ(pack.num_rows, 6);
  ASSERT_EQ(pack.spans->sequences.size(), 2U);
  EXPECT_EQ(pack.spans->sequences[1].query_begin, 3);
  EXPECT_EQ(pack.spans->sequences[1].key_end, 4);
}

TEST(Pack, LanesLieSideBySideAndTheLastHoldsTheFillers) {
  const Pack pack = make_pack({lane_of(kFirst, 0), lane_of(kSecond, 1)},
                              {.round_rows_to = 8, .position_offset = 0, .pad_id = 0});
  ASSERT_EQ(pack.lanes.size(), 2U);
  const LaneRows a = pack.lanes[0], b = pack.lanes[1];
  EXPECT_EQ((Ints{a.first_row, a.num_rows, a.first_sequence, a.num_sequences}), (Ints{0, 4, 0, 2}));
  EXPECT_EQ((Ints{b.first_row, b.num_rows, b.first_sequence, b.num_sequences}), (Ints{4, 4, 2, 1}));
  EXPECT_EQ(pack.rows->example, (Ints{7, 7, 7, 9, 7, 7, 7, -1}));
  EXPECT_FALSE(a.key == b.key) << "two passes over one example draw apart";
}

// The lanes of a run have the rows that they have in a pass of their own.
TEST(Pack, FillersEndEveryRun) {
  LaneInput one = lane_of(kFirst, 0), two = lane_of(kSecond, 1), three = lane_of(kSecond, 2);
  two.ends_run = true;
  const Pack pack =
      make_pack({one, two, three}, {.round_rows_to = 4, .position_offset = 3, .pad_id = 1});
  EXPECT_EQ(ranges(pack.sequences), (Ints{0, 3, 3, 4, 4, 7, 8, 11}));
  EXPECT_EQ(values(pack.ids), (Ints{5, 6, 8, 4, 5, 6, 8, 1, 5, 6, 8, 1}));
  EXPECT_EQ(values(pack.positions), (Ints{3, 4, 5, 3, 3, 4, 5, 3, 3, 4, 5, 3}));
  EXPECT_EQ(pack.rows->example, (Ints{7, 7, 7, 9, 7, 7, 7, -1, 7, 7, 7, -1}));
  EXPECT_EQ(pack.token, (Ints{0, 1, 2, 0, 0, 1, 2, -1, 0, 1, 2, -1}));
  Ints lanes;
  for (const LaneRows& lane : pack.lanes)
    lanes.insert(lanes.end(),
                 {lane.first_row, lane.num_rows, lane.first_sequence, lane.num_sequences});
  EXPECT_EQ(lanes, (Ints{0, 4, 0, 2, 4, 4, 2, 1, 8, 4, 3, 1}));
  // Some rows of the second run's lane, all of the first's.
  const NarrowedPack some =
      narrowed(pack, {{0, 1}, {0, 1}, {1, 2}, {2, 3}}, 4, {true, true, false});
  EXPECT_EQ(values(some.index), (Ints{0, 1, 2, 3, 4, 5, 6, 7, 10, 8, 8, 8}));
  const NarrowedPack few = narrowed(pack, {{0, 1}, {0, 1}, {1, 2}, {2, 3}}, 4);
  EXPECT_EQ(values(few.index), (Ints{0, 3, 5, 4, 10, 8, 8, 8}));
  EXPECT_EQ(values(rows_within(pack, few, some.pack, {true, true, false})),
            (Ints{0, 3, 5, 4, 8, 8, 8, 8}));
}

TEST(Pack, FirstRowsReadTheKeysOfAll) {
  const Pack whole = make_pack({lane_of(kFirst, 0), lane_of(kSecond, 1)}, {.round_rows_to = 8});
  const auto [pack, index] = narrowed(whole, {{0, 1}, {0, 1}, {0, 1}}, 1);
  EXPECT_EQ(values(index), (Ints{0, 3, 4}));
  EXPECT_EQ(values(pack.ids), (Ints{5, 4, 5}));
  EXPECT_EQ(pack.num_rows, 3);
  EXPECT_EQ(ranges(pack.sequences), (Ints{0, 1, 1, 2, 2, 3}));
  EXPECT_EQ(pack.lanes[1].first_row, 2);
  EXPECT_EQ(pack.lanes[1].num_rows, 1);
  const Spans::Span& last = pack.spans->sequences[2];
  EXPECT_EQ((Ints{last.query_begin, last.query_end, last.key_begin, last.key_end}),
            (Ints{2, 3, 4, 7}));
  EXPECT_EQ(last.example, pack.rows->example[2]);
}

TEST(Pack, KnowsWhichRowsOfASubspaceItsTextsName) {
  std::vector<Sequence> named = kSecond;
  named[0].subspace = {2, 5};
  EXPECT_TRUE(make_pack({lane_of(kFirst)}, {}).subspaces.empty());
  const Pack whole = make_pack({lane_of(kFirst, 0), lane_of(named, 1)}, {});
  const std::vector<Ints> expected = {{}, {}, {2, 5}};
  EXPECT_EQ(whole.subspaces, expected);
  EXPECT_EQ(narrowed(whole, {{0, 1}, {0, 1}, {0, 1}}, 1).pack.subspaces, expected);
}

TEST(Pack, RefusesAnEmptySequence) {
  const std::vector<Sequence> rows = {{3, {5}, {0}}, {41, {}, {}}};
  expect_message<InputError>([&] { make_pack({lane_of(rows)}, {}); }, "example 41 has no tokens");
}

}  // namespace
}  // namespace graft::testing::test_pack
