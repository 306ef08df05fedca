// Every method there is, by the name it has in YAML.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "edit/combinator.h"
#include "edit/edit.h"
#include "edit/nesting.h"

namespace graft {

// One method. The file of the method defines the object; registry.cpp lists it.
struct Method {
  const char* name;   // the key of an entry of `edits:`
  const char* about;  // in one line
  // With the defaults of a document that gives none.
  std::vector<OptionRow> (*options)();
  Nesting nesting;
  // Of a plain edit, else null. Faults go into `options`.
  std::unique_ptr<Edit> (*make)(Options& options, const EditTarget& target) = nullptr;
  // Of a combinator, else null. It gets the edits below `of`, at least one, each of a kind that it
  // takes.
  std::unique_ptr<Edit> (*make_around)(Options& options, const EditTarget& target,
                                       std::vector<Child> children) = nullptr;
  // Of a combinator: the reason why it may not stand around an edit.
  const char* Nesting::*refusal = nullptr;
  // Why it cannot be folded into weights; of a method that can at some sites, why not at others.
  const char* no_fold = "not all of its sites are followed or made by weights that could hold it";
  // Of a combinator: `of` may be a list.
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

// Names; those of combinators stand last.
std::vector<std::string> known_edits();
std::vector<std::string> known_combinators();
// Throws InputError where no method has the name.
const Method& method_named(const std::string& name);
std::string kind_of(const Edit& edit);  // its name here
const Method& method_of(const Edit& edit);

// Why `combinator` may not be put around `child`; nothing when it may. Both are names of the
// registry.
std::optional<std::string> composition_fault(const std::string& combinator,
                                             const std::string& child);

// A line per edit, a column per combinator (Markdown), for `graft inspect compositions` and
// doc/methods.md.
std::string composition_table();

}  // namespace graft
