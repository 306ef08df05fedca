// Beam search over one prompt: the bookkeeping, without a model. Equal to that of `transformers`
// 4.57, choice for choice:
//   - of each step's continuations of all beams the K best by the sum of their scores are looked
//     at, K = max(2, 1 + end tokens) * beams;
//   - those of the first `beams` that end, or are as long as asked for, are finished, with the
//     score sum / length^length_penalty, length the number of new tokens, the end token included;
//     the best `beams` finished ones are kept;
//   - the best `beams` that have not ended go on;
//   - the search is over when no beam can go on, or by EarlyStopping.
// Scores are log-probabilities after repetition penalty and the rest of change_scores (sampling.h).
// Beams that are drawn: the K are drawn without replacement, each in proportion to the exponential
// of its sum, and come in the order of their draws; those that go on are the largest sums of them.
// Drawn by the largest sums + Gumbel noise -log(-log(u)) (Kool et al. 2019, arXiv:1903.06059, sec.
// 2.2), which torch.multinomial does too, with other u.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace graft {

enum class EarlyStopping {
  kNo,     // over when the best beam, at its present length, is no better than the worst of `beams`
           // finished ones
  kYes,    // over when `beams` are finished
  kNever,  // as kNo, but where length_penalty > 0 the best beam is judged as if it grew to the
           // greatest length
};

// Whether a text of these new tokens is at its end, by what it says.
using HasStopped = std::function<bool(const std::vector<int64_t>& tokens)>;

struct BeamOptions {
  int64_t beams = 1;
  double length_penalty = 1;
  EarlyStopping early_stopping = EarlyStopping::kNo;
  int64_t max_new_tokens = 128;
  std::vector<int64_t> end_ids = {};
  HasStopped has_stopped = {};  // ends a beam as an end token does; may be empty
  bool draws = false;
  uint64_t seed = 0;  // of what is drawn, like the next
  int64_t example = 0;
};

struct Beam {
  std::vector<int64_t> tokens;  // new ones
  double sum = 0;               // of scores
  double log_probability = 0;   // the same under the model alone
};

struct FinishedBeam {
  Beam beam;
  double score = 0;
  bool has_ended = false;    // by an end token
  bool has_stopped = false;  // by BeamOptions::has_stopped
};

class BeamSearch {
 public:
  explicit BeamSearch(BeamOptions options);

  // The sequences that go on. Before the first step all but the first are there in name only: they
  // have the same text.
  const std::vector<Beam>& running() const { return running_; }
  bool is_over() const { return is_over_; }

  // scores[b]: of every next token after running beam b, finite or -inf; log_probabilities[b]: the
  // same of the model alone. Returns which beam each new running beam goes on from.
  std::vector<int64_t> advance(const std::vector<std::span<const float>>& scores,
                               const std::vector<std::span<const float>>& log_probabilities);

  // Best first; at least one once the search is over.
  const std::vector<FinishedBeam>& finished() const { return finished_; }

 private:
  struct Continuation {
    double sum, rank;  // rank: by what it is chosen, the sum or what was drawn
    int64_t beam, token;
  };
  struct Grown {
    int64_t from;  // a running beam
    Beam beam;
  };

  std::vector<Continuation> best_continuations(const std::vector<std::span<const float>>& scores,
                                               size_t wanted) const;
  Grown grown(const Continuation& by,
              const std::vector<std::span<const float>>& log_probabilities) const;
  bool ends(int64_t token) const;
  void finish(std::vector<FinishedBeam> more);
  bool may_improve(int64_t length) const;

  BeamOptions options_;
  std::vector<Beam> running_;
  std::vector<FinishedBeam> finished_;
  bool is_over_ = false;
};

}  // namespace graft
