#include "edit/registry.h"

#include "base/error.h"

namespace graft {

namespace {

struct Entry {
  const char* name;
  std::unique_ptr<Edit> (*make)(Options&, const EditTarget&);
};

constexpr Entry kEntries[] = {
    {"lora", make_lora},
    {"bitfit", make_bitfit},
    {"full", make_full},
    {"top-layers", make_top_layers},
};

}  // namespace

std::vector<std::string> known_edits() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  return names;
}

std::unique_ptr<Edit> make_edit(const Node& entry, const EditTarget& target, const std::string& source, const std::string& path) {
  Options outer(entry, source, path);
  std::unique_ptr<Edit> edit;
  for (const Entry& known : kEntries) {
    if (!outer.has(known.name)) continue;
    if (edit != nullptr) outer.fault(known.name, "expected one edit in an entry of the list, found two");
    edit = known.make(outer.section(known.name), target);
  }
  if (edit == nullptr && entry.members.empty()) outer.fault("", "expected an edit: " + joined(known_edits(), "or"));
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

void SiteChoice::describe(Node& options) const {
  std::vector<Node> names, numbers;
  for (const std::string& pattern : patterns) names.push_back(Node::text(pattern));
  for (const int64_t layer : layers) numbers.push_back(Node::integer(layer));
  options["sites"] = Node::list(std::move(names));
  options["layers"] = Node::list(std::move(numbers));
}

}  // namespace graft
