#include "edit/registry.h"

#include "base/error.h"

namespace graft {

namespace {

constexpr const Method* kMethods[] = {
    &kLora,
    &kDora,
    &kReft,
    &kAffine,
    &kBottleneck,
    &kPrefix,
    &kPrompt,
    &kBitfit,
    &kFull,
    &kTopLayers,
    &kVera,
    &kInterchange,
    &kCollect,
    // Combinators.
    &kGate,
    &kStochastic,
    &kRouter,
};

const Method* find_method(const std::string& name) {
  for (const Method* method : kMethods) {
    if (name == method->name) return method;
  }
  return nullptr;
}

// Of a name that is known to be there.
const Method& method_at(const std::string& name) {
  const Method* method = find_method(name);
  if (method == nullptr) throw InternalError("no method is called " + quote(name));
  return *method;
}

// What stands below `of`: one edit, or a list of them.
EditList make_children(Options& outer, const Method& combinator, const EditTarget& target,
                       const std::string& path) {
  const std::string name = combinator.name;
  const Node* of = outer.raw("of");
  if (of == nullptr || (of->kind != Node::Kind::kMap && of->kind != Node::Kind::kList)) {
    outer.fault("of", "expected the edit that " + name + " is put around");
    return {};
  }
  const bool is_list = of->kind == Node::Kind::kList;
  if (is_list && !combinator.takes_several)
    outer.fault("of", name + " takes one edit, found a list");
  EditList children;
  for (size_t i = 0; i < (is_list ? of->items.size() : 1); ++i) {
    const std::string place = path + "/of" + (is_list ? "/" + std::to_string(i) : "");
    std::unique_ptr<Edit> edit =
        make_edit(is_list ? of->items[i] : *of, target, outer.source(), place);
    for (const std::string& inner : edit->methods()) {
      const std::optional<std::string> reason = composition_fault(name, inner);
      if (!reason) continue;
      const std::string own = edit->method(), what = inner == own ? inner : own + " of " + inner;
      outer.fault("of", name + " does not go around " + what + ": " + *reason);
    }
    children.push_back(std::move(edit));
  }
  if (children.empty()) outer.fault("of", "expected at least one edit, found an empty list");
  return children;
}

std::unique_ptr<Edit> make_one(const Method& method, Options& outer, const EditTarget& target,
                               const std::string& path) {
  if (!method.is_combinator()) {
    if (outer.has("of")) {
      outer.fault("of", std::string(method.name) +
                            " is put around no other edit; combinators are " +
                            joined(known_combinators(), "and"));
      outer.ignore("of");
    }
    return method.make(outer.section(method.name), target);
  }
  EditList children = make_children(outer, method, target, path);
  Options& options = outer.section(method.name);
  if (children.empty()) outer.finish();  // throws: there is a fault
  return method.make_around(options, target, std::move(children));
}

}  // namespace

std::vector<std::string> known_edits() {
  std::vector<std::string> names;
  for (const Method* method : kMethods) names.emplace_back(method->name);
  return names;
}

std::vector<std::string> known_combinators() {
  std::vector<std::string> names;
  for (const Method* method : kMethods) {
    if (method->is_combinator()) names.emplace_back(method->name);
  }
  return names;
}

const Method& method_named(const std::string& name) {
  if (const Method* method = find_method(name)) return *method;
  throw InputError("unknown method " + quote(name) + did_you_mean(name, known_edits()) +
                   "; there are " + joined(known_edits()));
}

const Method& method_of(const Edit& edit) { return method_at(edit.method()); }

std::unique_ptr<Edit> make_edit(const Node& entry, const EditTarget& target,
                                const std::string& source, const std::string& path) {
  Options outer(entry, source, path);
  std::vector<std::string> found;
  for (const std::string& name : known_edits()) {
    if (outer.has(name)) found.push_back(name);
  }
  for (size_t i = 1; i < found.size(); ++i) {
    outer.fault(found[i], "expected one edit in an entry of the list, found two");
    outer.ignore(found[i]);
  }
  if (found.empty() && entry.members.empty())
    outer.fault("", "expected an edit: " + joined(known_edits(), "or"));
  std::unique_ptr<Edit> edit;
  if (!found.empty()) edit = make_one(method_at(found.front()), outer, target, path);
  outer.finish();
  return edit;
}

std::optional<std::string> composition_fault(const std::string& combinator,
                                             const std::string& child) {
  const char* reason = method_at(child).nesting.*method_at(combinator).refusal;
  return reason == nullptr ? std::nullopt : std::optional<std::string>(reason);
}

std::string composition_table() {
  const std::vector<std::string> combinators = known_combinators();
  std::string out = "| edit |", rule = "|---|";
  for (const std::string& combinator : combinators) {
    out += " " + combinator + " of it |";
    rule += "---|";
  }
  out += "\n" + rule + "\n";
  for (const std::string& child : known_edits()) {
    out += "| " + child + " |";
    for (const std::string& combinator : combinators) {
      const std::optional<std::string> fault = composition_fault(combinator, child);
      out += fault ? " no: " + *fault + " |" : " yes |";
    }
    out += "\n";
  }
  return out;
}

}  // namespace graft
