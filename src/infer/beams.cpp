#include "infer/beams.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace graft {

namespace {

constexpr double kNoBeam = -1e9;  // the sum of a beam that is there in name only

}  // namespace

BeamSearch::BeamSearch(BeamOptions options)
    : options_(std::move(options)), running_(static_cast<size_t>(options_.beams)) {
  ensure(options_.beams > 0 && options_.max_new_tokens > 0,
         "beam search has beams and tokens to write");
  for (size_t b = 1; b < running_.size(); ++b) running_[b].sum = kNoBeam;
}

bool BeamSearch::ends(int64_t token) const {
  return std::find(options_.end_ids.begin(), options_.end_ids.end(), token) !=
         options_.end_ids.end();
}

// The K best, best first; of equals the one of the lower beam, then of the lower token.
std::vector<BeamSearch::Continuation> BeamSearch::best_continuations(
    const std::vector<std::span<const float>>& scores) const {
  const auto wanted = static_cast<size_t>(
      std::max<int64_t>(2, 1 + static_cast<int64_t>(options_.end_ids.size())) * options_.beams);
  const auto is_better = [](const Continuation& a, const Continuation& b) {
    if (a.sum != b.sum) return a.sum > b.sum;
    return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
  };
  std::vector<Continuation> best;  // a heap with the worst on top
  for (size_t b = 0; b < scores.size(); ++b) {
    const double before = running_[b].sum;
    for (size_t v = 0; v < scores[b].size(); ++v) {
      const Continuation each{before + static_cast<double>(scores[b][v]), static_cast<int64_t>(b),
                              static_cast<int64_t>(v)};
      if (best.size() == wanted) {
        if (!is_better(each, best.front())) continue;
        std::pop_heap(best.begin(), best.end(), is_better);
        best.pop_back();
      }
      best.push_back(each);
      std::push_heap(best.begin(), best.end(), is_better);
    }
  }
  std::sort_heap(best.begin(), best.end(), is_better);
  return best;
}

std::vector<int64_t> BeamSearch::advance(
    const std::vector<std::span<const float>>& scores,
    const std::vector<std::span<const float>>& log_probabilities) {
  ensure(
      !is_over_ && scores.size() == running_.size() && log_probabilities.size() == running_.size(),
      "scores of every running beam");
  const auto length = static_cast<int64_t>(running_.front().tokens.size()) + 1;
  const bool is_last = length == options_.max_new_tokens;
  std::vector<Beam> next;
  std::vector<FinishedBeam> ended;
  std::vector<int64_t> from;
  const std::vector<Continuation> best = best_continuations(scores);
  for (size_t rank = 0; rank < best.size(); ++rank) {
    const auto& [sum, beam, token] = best[rank];
    const bool has_ended = ends(token), goes_on = !has_ended && !is_last;
    if (goes_on ? next.size() == running_.size() : rank >= running_.size()) continue;
    Beam grown = running_[static_cast<size_t>(beam)];
    grown.tokens.push_back(token);
    grown.sum = sum;
    grown.log_probability += static_cast<double>(
        log_probabilities[static_cast<size_t>(beam)][static_cast<size_t>(token)]);
    if (!goes_on) {
      const double score = sum / std::pow(static_cast<double>(length), options_.length_penalty);
      ended.push_back({std::move(grown), score, has_ended});
      continue;
    }
    next.push_back(std::move(grown));
    from.push_back(beam);
  }
  finish(std::move(ended));
  const bool is_full = finished_.size() == running_.size();
  is_over_ =
      next.size() < running_.size() || (is_full && options_.early_stopping == EarlyStopping::kYes);
  if (next.empty()) return from;
  running_ = std::move(next);
  is_over_ = is_over_ || !may_improve(length);
  return from;
}

void BeamSearch::finish(std::vector<FinishedBeam> more) {
  std::move(more.begin(), more.end(), std::back_inserter(finished_));
  std::stable_sort(finished_.begin(), finished_.end(),
                   [](const FinishedBeam& a, const FinishedBeam& b) { return a.score > b.score; });
  if (static_cast<int64_t>(finished_.size()) > options_.beams)
    finished_.resize(static_cast<size_t>(options_.beams));
}

// Whether the best running beam may still become better than a finished one.
bool BeamSearch::may_improve(int64_t length) const {
  if (static_cast<int64_t>(finished_.size()) < options_.beams) return true;
  const bool grows =
      options_.early_stopping == EarlyStopping::kNever && options_.length_penalty > 0;
  const auto judged = static_cast<double>(grows ? options_.max_new_tokens : length);
  return running_.front().sum / std::pow(judged, options_.length_penalty) > finished_.back().score;
}

}  // namespace graft
