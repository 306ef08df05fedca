#include "base/edit_paths.h"

namespace graft {

namespace {

// N: Node, or the same const.
template <class N>
struct EditWalk {
  std::vector<std::pair<std::string, N*>> found = {};

  void list(N& edits, const std::string& path) {
    if (edits.kind != Node::Kind::kList) return;
    for (size_t i = 0; i < edits.items.size(); ++i)
      entry(edits.items[i], path + std::to_string(i) + ".");
  }

  void entry(N& edit, const std::string& path) {
    std::string kind;
    N* inner = nullptr;
    for (auto& [name, options] : edit.members) {
      if (name == "of") {
        inner = &options;
        continue;
      }
      kind = name;
      if (options.kind == Node::Kind::kMap) found.emplace_back(path + name, &options);
    }
    if (inner == nullptr) return;
    const std::string within = path + kind + ".of.";
    if (inner->kind == Node::Kind::kMap) entry(*inner, within);
    else list(*inner, within);
  }
};

template <class N>
std::vector<std::pair<std::string, N*>> walked(N& edits) {
  EditWalk<N> walk;
  walk.list(edits, "");
  return std::move(walk.found);
}

}  // namespace

std::vector<std::pair<std::string, Node*>> edit_options(Node& edits) { return walked(edits); }

std::vector<std::pair<std::string, const Node*>> edit_options(const Node& edits) {
  return walked(edits);
}

}  // namespace graft
