#include "edit/recorders.h"

#include <algorithm>

namespace graft {

bool holds_kind(const Node& edits, std::string_view kind) {
  const auto holds = [kind](const Node& each) { return holds_kind(each, kind); };
  if (edits.kind == Node::Kind::kList)
    return std::any_of(edits.items.begin(), edits.items.end(), holds);
  if (edits.kind != Node::Kind::kMap) return false;
  const Node* inner = edits.find("of");
  return edits.find(kind) != nullptr || (inner != nullptr && holds(*inner));
}

bool has_kind(const Adapter& adapter, std::string_view kind) {
  const Node definition = adapter.describe();
  const Node* edits = definition.find("edits");
  return edits != nullptr && holds_kind(*edits, kind);
}

bool has_recorder(const Adapter& adapter) {
  return has_kind(adapter, "gate") || has_kind(adapter, "router") || has_kind(adapter, "collect");
}

bool changes_sites(const Adapter& adapter) {
  return std::any_of(adapter.parts().begin(), adapter.parts().end(), [](const Adapter::Part& part) {
    const EditSpec& spec = part.spec();
    const auto is_changed = [](const Site& site) { return site.kind != SiteKind::kAttention; };
    return spec.traits.acts != Acts::kReplacesWeights &&
           std::any_of(spec.sites.begin(), spec.sites.end(), is_changed);
  });
}

bool draws_experts(const Adapter& adapter) {
  return std::any_of(adapter.parts().begin(), adapter.parts().end(),
                     [](const Adapter::Part& part) { return part.spec().traits.is_stochastic; });
}

}  // namespace graft
