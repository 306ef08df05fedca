// Internal to src/study.
//
// What search.json holds: the trials of each search, why candidates were given up, what was found.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/document.h"
#include "study/kept_node.h"
#include "study/search.h"

namespace graft {

constexpr int64_t kSearchVersion = 1;

// A trial that is over: the score of each seed, or why it has none.
struct TrialRecord {
  Trial trial;
  std::vector<double> scores;
  std::string metric, reason;

  std::optional<double> mean() const;
};

Node to_node(const TrialRecord& record);

// What `node` keeps of `trial`. Throws InputError where it is damaged.
TrialRecord record_of(const KeptNode& node, Trial trial);

// A search so far; with what it found where it `is_over`. trials: of to_node.
Node search_node(const std::string& name, const std::vector<Node>& trials, const Searcher& searcher,
                 bool is_over);

}  // namespace graft
