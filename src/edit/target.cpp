#include "edit/target.h"

#include "base/error.h"

namespace graft {

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
