// The way to the options of nested edits, as settings spell it.
#include "base/edit_paths.h"

#include <gtest/gtest.h>

namespace graft::test_edit_paths {
namespace {

TEST(EditPaths, LeadIntoCombinators) {
  Node edits = parse_yaml(
      "[{lora: {rank: 1}}, {gate: {rank: 2}, of: {lora: {rank: 3}}}, "
      "{router: {rank: 4}, of: [{bitfit: }, {gate: {rank: 5}, of: {reft: {rank: 6}}}]}]",
      "x");
  std::string found;
  for (const auto& [path, options] : edit_options(std::as_const(edits)))
    found += path + " " + options->find("rank")->scalar + "\n";
  EXPECT_EQ(found,
            "0.lora 1\n1.gate 2\n1.gate.of.lora 3\n2.router 4\n2.router.of.1.gate 5\n"
            "2.router.of.1.gate.of.reft 6\n");
  for (const auto& [path, options] : edit_options(edits)) (*options)["rank"] = Node::integer(7);
  EXPECT_EQ(to_json(edits, -1).find("rank\":6"), std::string::npos);
  EXPECT_TRUE(edit_options(Node::map({{"lora", Node::map()}})).empty()) << "no list";
}

}  // namespace
}  // namespace graft::test_edit_paths
