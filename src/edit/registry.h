// Every edit there is, by the name it has in YAML.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "edit/combinator.h"
#include "edit/edit.h"

namespace graft {

// What an edit is built for. Needs no weights: `graft plan` counts from config.json alone.
struct EditTarget {
  const ModelConfig& config;
  const Sites& sites;
};

// Builds one entry of an `edits:` list, such as {lora: {rank: 8}} or {gate: {}, of: {lora: {}}}. `source` and `path` name the
// entry in messages. Throws InputError.
std::unique_ptr<Edit> make_edit(const Node& entry, const EditTarget& target, const std::string& source, const std::string& path);

std::vector<std::string> known_edits();  // combinators too
std::vector<std::string> known_combinators();
std::string kind_of(const Edit& edit);  // its name here

// One maker per method; each lives in the file of its name. Faults go into `options`.
std::unique_ptr<Edit> make_lora(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_dora(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_reft(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_affine(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_bottleneck(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_prefix(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_prompt(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_bitfit(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_full(Options& options, const EditTarget& target);
std::unique_ptr<Edit> make_top_layers(Options& options, const EditTarget& target);

// Combinators get the edits below their `of`, at least one, each of a kind that they take.
std::unique_ptr<Edit> make_gate(Options& options, const EditTarget& target, std::vector<Child> children);
std::unique_ptr<Edit> make_stochastic(Options& options, const EditTarget& target, std::vector<Child> children);
std::unique_ptr<Edit> make_router(Options& options, const EditTarget& target, std::vector<Child> children);

// The options `sites` and `layers` that most methods share, as written and as matched against the target.
struct SiteChoice {
  std::vector<std::string> patterns;
  std::vector<int64_t> layers;
  std::vector<Site> sites;

  void describe(Node& options) const;  // adds both options
};

// A fault is noted in `options` and gives no sites.
SiteChoice read_sites(Options& options, const EditTarget& target, const std::vector<std::string>& default_patterns);

// Whether a shift at this site has no effect, and so no gradient: the softmax does not see keys that all move alike, unless
// rotary positions turn each by an angle of its own.
bool is_lost_on_keys(const Site& site, const ModelConfig& config);

}  // namespace graft
