#include "edit/target.h"

#include <algorithm>

#include "base/error.h"

namespace graft {

void SiteChoice::visit(OptionVisitor& v) {
  v.texts("sites", patterns, "places to edit, by pattern (doc/sites.md)");
  v.integers("layers", layers, {-1000, 1000},
             "only these layers, counted from 0, or from the end with -1; []: all");
}

void SiteChoice::match(Options& options, const EditTarget& target) {
  try {
    sites = target.sites.match(patterns, layers);
  } catch (const InputError& error) {
    const auto several =  // in one text; within [...] a comma is one of a set of characters
        std::find_if(patterns.begin(), patterns.end(), [](const std::string& pattern) {
          return pattern.find(',') != std::string::npos;
        });
    options.fault("sites", several == patterns.end()
                               ? error.what()
                               : "several are written as a list, such as [attn.q, attn.v], found " +
                                     quote(*several));
  }
}

}  // namespace graft
