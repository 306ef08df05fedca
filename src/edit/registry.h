// All methods, by their names in YAML.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "edit/edit.h"
#include "edit/nesting.h"

namespace graft {

// A method. Its own file defines the object; registry.cpp lists it.
struct Method {
  const char* name;   // the key of an entry of `edits:`
  const char* about;  // what it is, in one line
  // Its options with their defaults.
  std::vector<OptionRow> (*options)();
  Nesting nesting;
  // Makes a plain edit; null for a combinator. Faults go into `options`.
  std::unique_ptr<Edit> (*make)(Options& options, const EditTarget& target) = nullptr;
  // Makes a combinator, else null. `children` are the edits below `of`: at least one, each of a
  // kind that the combinator takes.
  std::unique_ptr<Edit> (*make_around)(Options& options, const EditTarget& target,
                                       EditList children) = nullptr;
  // For a combinator: where an edit says why it may not stand inside.
  const char* Nesting::*refusal = nullptr;
  // Why it cannot be folded into weights; for a method that can be at some sites, why not at the
  // others.
  const char* no_fold = "not all of its sites are followed or made by weights that could hold it";
  // For a combinator: `of` may be a list.
  bool takes_several = false;

  bool is_combinator() const { return make_around != nullptr; }
};

extern const Method kLora, kDora, kReft, kAffine, kBottleneck, kPrefix, kPrompt, kBitfit, kFull,
    kTopLayers, kVera, kInterchange, kCollect;
extern const Method kGate, kStochastic, kRouter;

// Builds one entry of an `edits:` list, such as {lora: {rank: 8}} or {gate: {}, of: {lora: {}}}.
// `source` and `path` name the entry in messages. Throws InputError.
std::unique_ptr<Edit> make_edit(const Node& entry, const EditTarget& target,
                                const std::string& source, const std::string& path);

// The names of all methods, those of combinators last.
std::vector<std::string> known_edits();
std::vector<std::string> known_combinators();
// Throws InputError if no method has the name.
const Method& method_named(const std::string& name);
const Method& method_of(const Edit& edit);

// Why `combinator` may not stand around `child`; nothing if it may. Both are names of methods.
std::optional<std::string> composition_fault(const std::string& combinator,
                                             const std::string& child);

// A line per edit, a column per combinator (Markdown), for `graft inspect compositions` and
// doc/methods.md.
std::string composition_table();

}  // namespace graft
