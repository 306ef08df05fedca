#include "infer/beams.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "infer/sampling.h"

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

// The best, best first; of equals the one of the lower beam, then of the lower token.
std::vector<BeamSearch::Continuation> BeamSearch::best_continuations(
    const std::vector<std::span<const float>>& scores, size_t wanted) const {
  const auto is_better = [](const Continuation& a, const Continuation& b) {
    if (a.rank != b.rank) return a.rank > b.rank;
    return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
  };
  const RandomKey key = beams_key(options_.seed, options_.example,
                                  static_cast<int64_t>(running_.front().tokens.size()));
  std::vector<Continuation> best;  // a heap with the worst on top
  for (size_t b = 0; b < scores.size(); ++b) {
    const double before = running_[b].sum;
    for (size_t v = 0; v < scores[b].size(); ++v) {
      const auto beam = static_cast<int64_t>(b), token = static_cast<int64_t>(v);
      const double sum = before + static_cast<double>(scores[b][v]);
      Continuation each{sum, sum, beam, token};
      if (options_.draws) each.rank -= std::log(-std::log(uniform_at(key, token, beam)));
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

BeamSearch::Grown BeamSearch::grown(
    const Continuation& by, const std::vector<std::span<const float>>& log_probabilities) const {
  Beam beam = running_[static_cast<size_t>(by.beam)];
  beam.tokens.push_back(by.token);
  beam.sum = by.sum;
  beam.log_probability += static_cast<double>(
      log_probabilities[static_cast<size_t>(by.beam)][static_cast<size_t>(by.token)]);
  return {by.beam, std::move(beam)};
}

std::vector<int64_t> BeamSearch::advance(
    const std::vector<std::span<const float>>& scores,
    const std::vector<std::span<const float>>& log_probabilities) {
  ensure(
      !is_over_ && scores.size() == running_.size() && log_probabilities.size() == running_.size(),
      "scores of every running beam");
  const size_t beams = running_.size();
  const auto length = static_cast<int64_t>(running_.front().tokens.size()) + 1;
  const bool is_last = length == options_.max_new_tokens;
  std::vector<Grown> next;
  std::vector<FinishedBeam> ended;
  // With end tokens alone the first K always hold enough beams that go on; a stop text may end any
  // number of them.
  for (size_t wanted = std::max<size_t>(2, 1 + options_.end_ids.size()) * beams;; wanted *= 2) {
    next.clear();
    ended.clear();
    const std::vector<Continuation> best = best_continuations(scores, wanted);
    for (size_t rank = 0; rank < best.size(); ++rank) {
      const bool is_among_first = rank < beams, has_ended = ends(best[rank].token);
      if (!is_among_first && (has_ended || is_last || (!options_.draws && next.size() == beams)))
        continue;
      Grown each = grown(best[rank], log_probabilities);
      const bool has_stopped =
          !has_ended && options_.has_stopped && options_.has_stopped(each.beam.tokens);
      if (!has_ended && !has_stopped && !is_last) {
        next.push_back(std::move(each));
      } else if (is_among_first) {
        const double score =
            each.beam.sum / std::pow(static_cast<double>(length), options_.length_penalty);
        ended.push_back({std::move(each.beam), score, has_ended, has_stopped});
      }
    }
    if (is_last || next.size() >= beams || best.size() < wanted) break;
  }
  std::stable_sort(next.begin(), next.end(),
                   [](const Grown& a, const Grown& b) { return a.beam.sum > b.beam.sum; });
  if (next.size() > beams)
    next.erase(next.begin() + static_cast<std::ptrdiff_t>(beams), next.end());
  finish(std::move(ended));
  const bool is_full = finished_.size() == beams;
  is_over_ = next.size() < beams || (is_full && options_.early_stopping == EarlyStopping::kYes);
  std::vector<int64_t> from;
  if (next.empty()) return from;
  running_.clear();
  for (Grown& each : next) {
    from.push_back(each.from);
    running_.push_back(std::move(each.beam));
  }
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
