// Places and tensors of a trunk: their names are a bijection, and the numbers of an index are
// distinct.
#include "model/place.h"

#include <gtest/gtest.h>

#include <set>

#include "model/families.h"
#include "model/sites.h"
#include "tests/support/models.h"

namespace graft::testing::test_place {
namespace {

// Every value that a place can have, of three layers.
std::vector<Place> all_values() {
  std::vector<Place> out;
  for (const StackId stack : {StackId::kNone, StackId::kEncoder, StackId::kDecoder}) {
    for (int16_t layer = -1; layer < 3; ++layer) {
      for (size_t part = 0; part < kParts; ++part)
        out.push_back({stack, layer, static_cast<Part>(part)});
    }
  }
  return out;
}

TEST(Place, HasANameOfItsOwnOrNone) {
  std::set<std::string> names;
  size_t unnamed = 0;
  for (const Place& place : all_values()) {
    std::string name;
    try {
      name = to_name(place);
    } catch (const InternalError&) {
      ++unnamed;  // a block's part without a layer, and the like
      continue;
    }
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(parse_place(name), place) << name;
  }
  // Of blocks in two stacks of three layers; of the stacks; the decoder's own tables; of the trunk.
  EXPECT_EQ(names.size(), 2 * 3 * kBlockParts + 2 * 2 + 2 + (kParts - kBlockParts - 2));
  EXPECT_EQ(names.size() + unnamed, all_values().size());
}

TEST(Place, NamesOfSitesAndTensorsOfEveryFamilyComeBack) {
  for (const std::string& family : tiny_names()) {
    const ModelConfig config = parse_config(tiny_config(family), "tiny");
    const PlaceIndex index(config);
    const Sites sites(config);
    std::set<size_t> cells;
    for (const Site& site : sites.all()) {
      EXPECT_EQ(parse_place(site.name), Place(site)) << family << " " << site.name;
      EXPECT_EQ(sites.find(site), &site);
      EXPECT_LT(index.of(site).value(), index.size());
      EXPECT_TRUE(cells.insert(index.of(site).value()).second) << family << " " << site.name;
    }
    for (const TensorSlot& slot : all_slots(config)) {
      EXPECT_EQ(parse_tensor(slot.name()), slot.id) << family << " " << slot.name();
      EXPECT_LT(index.of(slot.id.place).value(), index.size());
    }
  }
}

TEST(Place, NamesAreThoseOfFiles) {
  EXPECT_EQ(to_name(Place{StackId::kEncoder, 3, Part::kAttnQ}), "enc.3.attn.q");
  EXPECT_EQ(to_name(bias_of({StackId::kDecoder, 12, Part::kCrossNorm})), "dec.12.cross.norm.bias");
  EXPECT_EQ(to_name(weight_of({StackId::kDecoder, -1, Part::kEmbedPosition})),
            "dec.embed.position.weight");
  EXPECT_EQ(to_name(weight_of({StackId::kEncoder, -1, Part::kDistance})), "enc.distance.weight");
  EXPECT_EQ(to_name(bias_of({.part = Part::kMask})), "mask.bias");
  EXPECT_EQ(to_name(kWordTable), "embed.word.weight");
  EXPECT_EQ(to_name(kOutputTable), "lm.weight");
  EXPECT_EQ(to_name(kPoolerPlace), "pooler");
}

TEST(Place, OtherNamesAreRefused) {
  for (const char* name : {"",
                           "enc",
                           "enc.",
                           "enc.3",
                           "enc.3.",
                           "enc.3.attn.",
                           "enc.3.attn.qq",
                           "enc..attn.q",
                           "enc.x3.out",
                           "enc.-1.out",
                           "enc.+1.out",
                           "enc.03.out",
                           "enc.99999.out",
                           "enc. 3.out",
                           "enc.3.norm",
                           "enc.attn.q",
                           "attn.q",
                           "out",
                           "norm",
                           "enc.pooler",
                           "dec.0.pooler",
                           "enc.embed.norm",
                           "dec.embed.word",
                           "decoder.3.out",
                           "enc.3.out ",
                           "Enc.3.out",
                           "enc.3.out.weight"}) {
    EXPECT_EQ(parse_place(name), std::nullopt) << name;
  }
  for (const char* name :
       {"", ".weight", "enc.3.attn.q", "enc.3.attn.q.", "enc.3.attn.q.weights", "enc.3.attn.weight",
        "enc.3.out.weight", "embed.weight", "embed.word.bias", "lm.bias", "mask.weight",
        "enc.3.attn.q.weight.weight"}) {
    EXPECT_EQ(parse_tensor(name), std::nullopt) << name;
  }
}

TEST(PlaceIndex, HasNoCellForALayerThatIsNotThere) {
  const PlaceIndex index(parse_config(tiny_config("bert"), "tiny"));
  EXPECT_TRUE(index.of({StackId::kEncoder, 1, Part::kOut}).has_value());
  EXPECT_EQ(index.of({StackId::kEncoder, 2, Part::kOut}), std::nullopt);
  EXPECT_EQ(index.of({StackId::kDecoder, 0, Part::kOut}), std::nullopt);
}

}  // namespace
}  // namespace graft::testing::test_place
