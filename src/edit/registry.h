// Every edit there is, by the name it has in YAML.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "edit/edit.h"

namespace graft {

// What an edit is built for. Needs no weights: `graft plan` counts from config.json alone.
struct EditTarget {
  const ModelConfig& config;
  const Sites& sites;
};

// Builds one entry of an `edits:` list, such as {lora: {rank: 8}}. `source` and `path` name the entry in messages. Throws InputError.
std::unique_ptr<Edit> make_edit(const Node& entry, const EditTarget& target, const std::string& source, const std::string& path);

std::vector<std::string> known_edits();

// One maker per method; each lives in the file of its name. Faults go into `options`.
std::unique_ptr<Edit> make_lora(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_bitfit(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_full(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_top_layers(Options& options, const EditTarget& target);

// The options `sites` and `layers` that most methods share, as written and as matched against the target.
struct SiteChoice {
  std::vector<std::string> patterns;
  std::vector<int64_t> layers;
  std::vector<Site> sites;

  void describe(Node& options) const;   // adds both options
};

// A fault is noted in `options` and gives no sites.
SiteChoice read_sites(Options& options, const EditTarget& target, const std::vector<std::string>& default_patterns);

}  // namespace graft
