// A search for a method's settings on rows that choose: what is tried next, and what is best.
//
// A searcher is asked for a trial and told what came of it, so that any other one (Optuna, say) can
// take its place. What it asks for depends on what it was told alone: told the same again, it goes
// on where it was.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/names.h"
#include "base/random.h"

namespace graft {

// The values of a setting: a list, or a range to draw from.
struct SearchAxis {
  std::string key;                       // "learning_rate"
  std::vector<std::string> values = {};  // YAML texts; of a range none
  double low = 0, high = 0;
  bool is_logarithmic = false, is_whole = false;
  std::string place = {};  // "STUDY.yaml:7:12"
};

enum class SearchKind { kGrid, kRandom };
inline constexpr Name<SearchKind> kSearchKinds[] = {{SearchKind::kGrid, "grid"},
                                                    {SearchKind::kRandom, "random"}};

// Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): all candidates run with a
// small budget, the best of them, one in `factor`, with `factor` times as much, and so on. A run
// with a larger budget begins anew.
struct Halving {
  std::string key;  // the setting that is the budget: "epochs", "max_steps", "data.rows"
  std::vector<double> budgets;  // rising, at least two
  int64_t factor = 3;
  std::string place = {};  // "STUDY.yaml:8:12"
};

struct SearchPlan {
  SearchKind kind = SearchKind::kGrid;
  int64_t tries = 0;  // of kRandom
  int64_t draw = 0;   // its seed
  std::vector<SearchAxis> axes;
  std::vector<int64_t> seeds;  // of the runs of each trial, whose scores are averaged
  std::optional<Halving> halving = {};
};

using TrialSettings = std::vector<std::pair<std::string, std::string>>;  // keys and YAML texts

struct Trial {
  size_t candidate = 0, rung = 0;  // counted from 0
  TrialSettings settings;          // the budget among them, last
};

// What was given up, and why.
struct StoppedCandidate {
  size_t candidate = 0, rung = 0;  // the last one that it ran in
  std::string reason;
};

class Searcher {
 public:
  virtual ~Searcher() = default;
  // The next trial; none when all is known.
  virtual std::optional<Trial> ask() = 0;
  // What the trial asked for last scored, more being better; none where it failed.
  virtual void tell(std::optional<double> score) = 0;
  // When nothing more is asked for. None where every trial failed.
  virtual std::optional<Trial> best() const = 0;
  virtual const std::vector<StoppedCandidate>& stopped() const = 0;
};

// Every combination of the lists, the first moving slowest, or so many draws; of equal scores the
// earlier candidate is the better one. `key` tells searches of one plan apart.
std::unique_ptr<Searcher> make_searcher(const SearchPlan& plan, RandomKey key);

// How many trials it asks for at most.
size_t most_trials(const SearchPlan& plan);

}  // namespace graft
