// What exports are called on a disk; tests/cli/test_exports.py reads the files themselves.
#include "study/exports.h"

#include <gtest/gtest.h>

namespace graft::test_exports {
namespace {

TEST(Exports, NamesOnADiskAreApartAndStayInTheirFolder) {
  std::set<std::string> taken;
  EXPECT_EQ(file_name("few-shot", taken), "few-shot");
  EXPECT_EQ(file_name("few-shot", taken), "few-shot-2");
  EXPECT_EQ(file_name("few-shot-2", taken), "few-shot-2-2");
  EXPECT_EQ(file_name("a/b", taken), "a_b");
  EXPECT_EQ(file_name("a_b", taken), "a_b-2");
  EXPECT_EQ(file_name("..", taken), "_..");
  EXPECT_EQ(file_name("", taken), "_");
  EXPECT_EQ(file_name(std::string(300, 'x'), taken), std::string(150, 'x'))
      << "with an ending less than the 255 bytes that a file system takes";
}

}  // namespace
}  // namespace graft::test_exports
