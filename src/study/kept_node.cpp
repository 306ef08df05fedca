#include "study/kept_node.h"

#include <cmath>

#include "base/error.h"
#include "base/printable.h"

namespace graft {

KeptNode KeptNode::below(const Node& node, std::string_view step) const {
  return {node, source_, path_ + "/" + std::string(step)};
}

void KeptNode::expect_map() const {
  if (node_->kind != Node::Kind::kMap) refuse("keys and values");
}

KeptNode KeptNode::at(std::string_view key) const {
  expect_map();
  static const Node kNothing = Node::null();
  const Node* found = node_->find(key);
  return below(found != nullptr ? *found : kNothing, key);
}

std::vector<KeptNode> KeptNode::items(std::optional<size_t> count) const {
  const bool has_all = !count || node_->items.size() == *count;
  if (node_->kind != Node::Kind::kList || !has_all)
    refuse("a list" + (count ? " of " + std::to_string(*count) : ""));
  std::vector<KeptNode> out;
  for (const Node& item : node_->items) out.push_back(below(item, std::to_string(out.size())));
  return out;
}

const std::string& KeptNode::text() const {
  if (node_->kind != Node::Kind::kScalar) refuse("a text");
  return node_->scalar;
}

double KeptNode::number() const {
  constexpr double kMost = 1e300;
  const std::optional<double> number = node_->as_number();
  if (!number || !(std::abs(*number) <= kMost)) refuse("a number");
  return *number;
}

int64_t KeptNode::integer(int64_t least, int64_t most) const {
  const std::optional<int64_t> number = node_->as_integer();
  if (!number || *number < least || *number > most)
    refuse("an integer in " + std::to_string(least) + ".." + std::to_string(most));
  return *number;
}

void KeptNode::refuse(const std::string& expected) const {
  const std::string found = node_->kind == Node::Kind::kNull     ? "nothing"
                            : node_->kind == Node::Kind::kScalar ? quote(node_->scalar)
                            : node_->kind == Node::Kind::kList
                                ? "a list of " + std::to_string(node_->items.size())
                                : "keys and values";
  throw InputError(source_ +
                   ": is damaged: " + (path_.empty() ? "" : printable(path_, 200) + ": ") +
                   "expected " + expected + ", found " + found);
}

}  // namespace graft
