// Internal to src/study.
//
// A tree out of a file that a run or a study keeps, and that may be another's or changed by hand
// since: what is asked of it is there, of its type and in its range, or the file is damaged.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/document.h"

namespace graft {

// Every method throws InputError "SOURCE: is damaged: /reliability/3/rows: expected a number, ...".
class KeptNode {
 public:
  // `node` must outlive the object. `source`: the file, as messages name it.
  KeptNode(const Node& node, std::string source) : KeptNode(node, std::move(source), "") {}

  void expect_map() const;
  KeptNode at(std::string_view key) const;  // of a map
  // Of a list, of `count` items where that is given.
  std::vector<KeptNode> items(std::optional<size_t> count = {}) const;
  const std::string& text() const;
  double number() const;  // at most 1e300 from zero, so that differences are finite, too
  int64_t integer(int64_t least, int64_t most) const;
  const Node& node() const { return *node_; }

 private:
  KeptNode(const Node& node, std::string source, std::string path)
      : node_(&node), source_(std::move(source)), path_(std::move(path)) {}
  KeptNode below(const Node& node, std::string_view step) const;
  [[noreturn]] void refuse(const std::string& expected) const;

  const Node* node_;
  std::string source_, path_;
};

}  // namespace graft
