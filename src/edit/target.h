// What an edit is built for, and the options that most methods share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "model/config.h"
#include "model/sites.h"

namespace graft {

// Needs no weights: `graft plan` counts from config.json alone.
struct EditTarget {
  const ModelConfig& config;
  const Sites& sites;
};

// The options `sites` and `layers`, as written and as matched against the target.
struct SiteChoice {
  std::vector<std::string> patterns;
  std::vector<int64_t> layers;
  std::vector<Site> sites;

  void describe(Node& options) const;  // adds both options
};

// A fault is noted in `options` and gives no sites.
SiteChoice read_sites(Options& options, const EditTarget& target, const std::vector<std::string>& default_patterns);

}  // namespace graft
