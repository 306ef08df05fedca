// Names of other tools. That each of Graft's is one that an edit, a run or a model has is checked
// by tests/cli/test_settings.py.
#include "base/aliases.h"

#include <gtest/gtest.h>

namespace graft::test_aliases {
namespace {

using Names = std::vector<std::string>;

TEST(Aliases, CountWhereTheyAreKnown) {
  EXPECT_EQ(did_you_mean_setting("lr", {"learning_rate", "seed"}),
            " (did you mean 'learning_rate'?)");
  EXPECT_EQ(did_you_mean_setting("lr", {"rank", "alpha"}), "");
  EXPECT_EQ(did_you_mean_setting("max_train_samples", {"data", "seed"}),
            " (did you mean 'data.rows'?)");
  EXPECT_EQ(did_you_mean_setting("lora_alpha", {"alpha", "lora_dropout"}),
            " (did you mean 'alpha'?)");
  EXPECT_EQ(did_you_mean_setting("held_out", {"data.rows", "data.held_out"}),
            " (did you mean 'data.held_out'?)")
      << "a setting of a section";
  EXPECT_EQ(did_you_mean_setting("rnak", {"rank"}), " (did you mean 'rank'?)")
      << "else as did_you_mean";
  EXPECT_EQ(own_names("query"), (Names{"attn.q"}));
  EXPECT_EQ(own_names("rank"), Names{});
}

}  // namespace
}  // namespace graft::test_aliases
