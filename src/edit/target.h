// The model that an edit is built for, and the options that most methods share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/option_visitor.h"
#include "base/options.h"
#include "model/config.h"
#include "model/sites.h"

namespace graft {

// Needs no weights: `graft plan` counts from config.json alone.
struct EditTarget {
  const ModelConfig& config;
  const Sites& sites;
  bool has_head = false;  // the task is answered by a head: no row predicts the token after it
};

// The options `sites` and `layers`, and the sites of the target that they choose.
struct SiteChoice {
  std::vector<std::string> patterns;
  std::vector<int64_t> layers = {};
  std::vector<Site> sites = {};

  void visit(OptionVisitor& v);
  // A fault is noted in `options` and gives no sites.
  void match(Options& options, const EditTarget& target);
};

// read_options of a struct that has a SiteChoice `where`, which is then matched.
template <class T>
T read_options_at(Options& options, const EditTarget& target, T values) {
  values = read_options(options, std::move(values));
  values.where.match(options, target);
  return values;
}

}  // namespace graft
