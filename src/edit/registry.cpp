#include "edit/registry.h"

#include <array>

#include "base/error.h"

namespace graft {

namespace {

struct Entry {
  const char* name;
  std::unique_ptr<Edit> (*make)(Options&, const EditTarget&);
};

struct CombinatorEntry {
  const char* name;
  bool takes_several;  // `of` may be a list
  std::unique_ptr<Edit> (*make)(Options&, const EditTarget&, std::vector<Child>);
};

constexpr Entry kEntries[] = {
    {"lora", make_lora},
    {"dora", make_dora},
    {"reft", make_reft},
    {"affine", make_affine},
    {"bottleneck", make_bottleneck},
    {"prefix", make_prefix},
    {"prompt", make_prompt},
    {"bitfit", make_bitfit},
    {"full", make_full},
    {"top-layers", make_top_layers},
};

constexpr std::array<CombinatorEntry, 3> kCombinators = {{
    {"gate", true, make_gate},
    {"stochastic", false, make_stochastic},
    {"router", false, make_router},
}};

// The kinds of a described edit and of all that it is put around.
void collect_kinds(const Node& described, std::vector<std::string>& kinds) {
  kinds.push_back(described.members.front().first);
  const Node* of = described.find("of");
  if (of == nullptr) return;
  if (of->kind == Node::Kind::kMap) collect_kinds(*of, kinds);
  for (const Node& item : of->items) collect_kinds(item, kinds);
}

// The kind of a described edit, and of every edit below its `of`.
std::vector<std::string> kinds_within(const Node& described) {
  std::vector<std::string> kinds{described.members.front().first};
  const Node* of = described.find("of");
  if (of == nullptr) return kinds;
  for (const Node& child : of->kind == Node::Kind::kList ? of->items : std::vector<Node>{*of}) {
    for (const std::string& kind : kinds_within(child)) kinds.push_back(kind);
  }
  return kinds;
}

// What stands below `of`: one edit, or a list of them.
std::vector<Child> make_children(Options& outer, const CombinatorEntry& entry, const EditTarget& target,
                                 const std::string& path) {
  const Node* of = outer.raw("of");
  if (of == nullptr || (of->kind != Node::Kind::kMap && of->kind != Node::Kind::kList)) {
    outer.fault("of", std::string("expected the edit that ") + entry.name + " is put around");
    return {};
  }
  const bool is_list = of->kind == Node::Kind::kList;
  if (is_list && !entry.takes_several) outer.fault("of", std::string(entry.name) + " takes one edit, found a list");
  std::vector<Child> children;
  for (size_t i = 0; i < (is_list ? of->items.size() : 1); ++i) {
    const std::string place = path + "/of" + (is_list ? "/" + std::to_string(i) : "");
    std::unique_ptr<Edit> edit = make_edit(is_list ? of->items[i] : *of, target, outer.source(), place);
    std::vector<std::string> kinds;
    collect_kinds(edit->describe(), kinds);
    for (const std::string& kind : kinds) {
      for (const std::string& inner : kinds_within(edit->describe())) {
        const auto reason = composition_fault(entry.name, inner);
        if (reason)
          outer.fault("of", std::string(entry.name) + " does not go around " + (inner == kind ? kind : kind + " of " + inner) +
                                ": " + *reason);
      }
    }
    children.push_back({kinds.front(), std::move(edit)});
  }
  if (children.empty()) outer.fault("of", "expected at least one edit, found an empty list");
  return children;
}

}  // namespace

std::vector<std::string> known_edits() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  for (const std::string& name : known_combinators()) names.push_back(name);
  return names;
}

std::vector<std::string> known_combinators() {
  std::vector<std::string> names;
  for (const CombinatorEntry& entry : kCombinators) names.emplace_back(entry.name);
  return names;
}

std::string kind_of(const Edit& edit) { return edit.describe().members.front().first; }

std::unique_ptr<Edit> make_edit(const Node& entry, const EditTarget& target, const std::string& source, const std::string& path) {
  Options outer(entry, source, path);
  std::vector<std::string> found;
  for (const std::string& name : known_edits()) {
    if (outer.has(name)) found.push_back(name);
  }
  for (size_t i = 1; i < found.size(); ++i)
    outer.fault(found[i], "expected one edit in an entry of the list, found two"), outer.ignore(found[i]);
  if (found.empty() && entry.members.empty()) outer.fault("", "expected an edit: " + joined(known_edits(), "or"));
  std::unique_ptr<Edit> edit;
  if (!found.empty()) {
    for (const Entry& known : kEntries) {
      if (found.front() != known.name) continue;
      if (outer.has("of"))
        outer.fault("of", found.front() + " is put around no other edit; combinators are " + joined(known_combinators(), "and")),
            outer.ignore("of");
      edit = known.make(outer.section(known.name), target);
    }
    for (const CombinatorEntry& known : kCombinators) {
      if (found.front() != known.name) continue;
      std::vector<Child> children = make_children(outer, known, target, path);
      Options& options = outer.section(known.name);
      if (children.empty()) outer.finish();  // throws: there is a fault
      edit = known.make(options, target, std::move(children));
    }
  }
  outer.finish();
  return edit;
}

SiteChoice read_sites(Options& options, const EditTarget& target, const std::vector<std::string>& default_patterns) {
  SiteChoice choice;
  choice.patterns = options.texts("sites", default_patterns);
  choice.layers = options.integers("layers", std::vector<int64_t>{}, -1000, 1000);
  try {
    choice.sites = target.sites.match(choice.patterns, choice.layers);
  } catch (const InputError& error) {
    options.fault("sites", error.what());
  }
  return choice;
}

bool is_lost_on_keys(const Site& site, const ModelConfig& config) {
  return site.part.ends_with(".k") && config.position_kind != PositionKind::kRotary;
}

void SiteChoice::describe(Node& options) const {
  std::vector<Node> names, numbers;
  for (const std::string& pattern : patterns) names.push_back(Node::text(pattern));
  for (const int64_t layer : layers) numbers.push_back(Node::integer(layer));
  options["sites"] = Node::list(std::move(names));
  options["layers"] = Node::list(std::move(numbers));
}

}  // namespace graft
