#include "edit/target.h"

#include "base/error.h"

namespace graft {

void SiteChoice::visit(OptionVisitor& v) {
  v.texts("sites", patterns, "places to edit, by pattern (doc/sites.md)");
  v.integers("layers", layers, {-1000, 1000},
             "only these layers, counted from 0, or from the end with -1; []: all");
}

void SiteChoice::match(Options& options, const EditTarget& target) {
  for (const std::string& pattern : patterns) {
    if (pattern.find(',') == std::string::npos) continue;
    options.fault("sites", "several are written as a list, such as [attn.q, attn.v], found " +
                               quote(pattern));
    return;
  }
  try {
    sites = target.sites.match(patterns, layers);
  } catch (const InputError& error) {
    options.fault("sites", error.what());
  }
}

}  // namespace graft
