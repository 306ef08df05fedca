#include "study/search.h"

#include <algorithm>
#include <cmath>

#include "base/document.h"
#include "base/error.h"

namespace graft {

namespace {

std::string drawn_value(const SearchAxis& axis, Random& random) {
  if (!axis.values.empty()) return axis.values[random.below(axis.values.size())];
  if (axis.is_whole) {
    const double count = axis.high - axis.low + 1;
    return std::to_string(std::llround(axis.low) +
                          static_cast<int64_t>(random.below(static_cast<uint64_t>(count))));
  }
  const double u = random.uniform();
  const double value = axis.is_logarithmic ? axis.low * std::pow(axis.high / axis.low, u)
                                           : axis.low + (axis.high - axis.low) * u;
  return Node::number(static_cast<double>(static_cast<float>(value))).scalar;
}

std::vector<TrialSettings> all_combinations(const std::vector<SearchAxis>& axes) {
  std::vector<TrialSettings> out = {{}};
  for (const SearchAxis& axis : axes) {
    std::vector<TrialSettings> longer;
    for (const TrialSettings& begun : out) {
      for (const std::string& value : axis.values) {
        longer.push_back(begun);
        longer.back().emplace_back(axis.key, value);
      }
    }
    out = std::move(longer);
  }
  return out;
}

std::vector<TrialSettings> candidates_of(const SearchPlan& plan, RandomKey key) {
  if (plan.kind == SearchKind::kGrid) return all_combinations(plan.axes);
  std::vector<TrialSettings> out;
  for (int64_t i = 0; i < plan.tries; ++i) {
    Random random(key.with(static_cast<uint64_t>(plan.draw)).with(static_cast<uint64_t>(i)));
    TrialSettings& own = out.emplace_back();
    for (const SearchAxis& axis : plan.axes) own.emplace_back(axis.key, drawn_value(axis, random));
  }
  return out;
}

size_t num_rungs(const SearchPlan& plan) { return plan.halving ? plan.halving->budgets.size() : 1; }

// Of `count` candidates how many go on: one in `factor`, at least one.
size_t num_kept(size_t count, const SearchPlan& plan) {
  return std::max<size_t>(1, count / static_cast<size_t>(plan.halving->factor));
}

class RungSearcher final : public Searcher {
 public:
  RungSearcher(const SearchPlan& plan, RandomKey key)
      : plan_(plan), candidates_(candidates_of(plan, key)) {
    for (size_t i = 0; i < candidates_.size(); ++i) rung_.push_back({i, std::nullopt});
  }

  std::optional<Trial> ask() override {
    if (next_ == rung_.size() && !rises()) return std::nullopt;
    return trial_of(rung_[next_].candidate, number_);
  }

  void tell(std::optional<double> score) override {
    ensure(next_ < rung_.size(), "a trial was asked for");
    Entry& entry = rung_[next_++];
    entry.score = score;
    if (!score) stopped_.push_back({entry.candidate, number_, "failed"});
  }

  std::optional<Trial> best() const override {
    const std::vector<Entry> order = ranked();
    if (order.empty()) return best_below_;
    return trial_of(order.front().candidate, number_);
  }

  const std::vector<StoppedCandidate>& stopped() const override { return stopped_; }

 private:
  struct Entry {
    size_t candidate = 0;
    std::optional<double> score;
  };

  Trial trial_of(size_t candidate, size_t rung) const {
    Trial trial{candidate, rung, candidates_[candidate]};
    if (plan_.halving) {
      const double budget = plan_.halving->budgets[rung];
      const bool is_whole = budget == std::floor(budget);
      // Steps and rows are written as whole numbers are, 100000 and not 1e+05.
      trial.settings.emplace_back(plan_.halving->key, is_whole
                                                          ? std::to_string(std::llround(budget))
                                                          : Node::number(budget).scalar);
    }
    return trial;
  }

  // Of this rung those that have a score, the best first.
  std::vector<Entry> ranked() const {
    std::vector<Entry> order;
    for (const Entry& entry : rung_) {
      if (entry.score) order.push_back(entry);
    }
    std::stable_sort(order.begin(), order.end(),
                     [](const Entry& a, const Entry& b) { return *a.score > *b.score; });
    return order;
  }

  // On to the next rung, where there is one and somebody left for it.
  bool rises() {
    const std::vector<Entry> order = ranked();
    if (number_ + 1 == num_rungs(plan_) || order.empty()) return false;
    const size_t kept = num_kept(order.size(), plan_);
    for (size_t i = kept; i < order.size(); ++i)
      stopped_.push_back({order[i].candidate, number_,
                          "place " + std::to_string(i + 1) + " of " + std::to_string(order.size()) +
                              ", and " + std::to_string(kept) +
                              (kept == 1 ? " goes on" : " go on")});
    best_below_ = trial_of(order.front().candidate, number_);
    rung_.clear();
    for (size_t i = 0; i < kept; ++i) rung_.push_back({order[i].candidate, std::nullopt});
    next_ = 0;
    ++number_;
    return true;
  }

  const SearchPlan plan_;
  std::vector<TrialSettings> candidates_;
  std::vector<Entry> rung_;
  size_t next_ = 0, number_ = 0;     // in the rung, and of it
  std::optional<Trial> best_below_;  // of the rung before, for one in which all fail
  std::vector<StoppedCandidate> stopped_;
};

}  // namespace

std::unique_ptr<Searcher> make_searcher(const SearchPlan& plan, RandomKey key) {
  return std::make_unique<RungSearcher>(plan, key);
}

size_t most_trials(const SearchPlan& plan) {
  size_t count = plan.kind == SearchKind::kRandom ? static_cast<size_t>(plan.tries) : 1;
  if (plan.kind == SearchKind::kGrid) {
    for (const SearchAxis& axis : plan.axes) count *= axis.values.size();
  }
  size_t all = count;
  for (size_t rung = 1; rung < num_rungs(plan); ++rung) all += count = num_kept(count, plan);
  return all;
}

}  // namespace graft
