#include "infer/sampling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "base/document.h"
#include "base/error.h"

namespace graft {

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

void penalize(std::span<float> scores, std::span<const int64_t> text, double penalty) {
  std::vector<int64_t> distinct(text.begin(), text.end());
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  const auto factor = static_cast<float>(penalty);
  for (const int64_t token : distinct) {
    float& score = scores[static_cast<size_t>(token)];
    score = score < 0 ? score * factor : score / factor;
  }
}

void forbid(std::span<float> scores, std::span<const int64_t> tokens) {
  for (const int64_t token : tokens) {
    if (token >= 0 && token < std::ssize(scores)) scores[static_cast<size_t>(token)] = kNever;
  }
}

// What would close an n-gram of `seen` behind `text`.
void forbid_ngrams(std::span<float> scores, std::span<const int64_t> text,
                   std::span<const int64_t> seen, int64_t length) {
  const auto n = static_cast<size_t>(length);
  if (text.size() + 1 < n) return;
  const auto last = text.last(n - 1);  // what an n-gram would begin with
  for (size_t begin = 0; begin + n <= seen.size(); ++begin) {
    if (std::equal(last.begin(), last.end(), seen.begin() + static_cast<std::ptrdiff_t>(begin)))
      scores[static_cast<size_t>(seen[begin + n - 1])] = kNever;
  }
}

// As `transformers` has it, a sequence longer than the text is not looked for, not even where the
// text is all but its last token.
void forbid_words(std::span<float> scores, std::span<const int64_t> text,
                  const SamplingOptions& options) {
  const std::vector<int64_t>& ends = options.end_ids;
  for (const std::vector<int64_t>& word : options.bad_words) {
    const bool is_end =
        word.size() == 1 && std::find(ends.begin(), ends.end(), word.front()) != ends.end();
    if (is_end || (word.size() > 1 && word.size() > text.size())) continue;
    if (std::equal(word.begin(), word.end() - 1,
                   text.end() - static_cast<std::ptrdiff_t>(word.size() - 1)))
      scores[static_cast<size_t>(word.back())] = kNever;
  }
}

void force(std::span<float> scores, std::span<const int64_t> tokens) {
  std::fill(scores.begin(), scores.end(), kNever);
  for (const int64_t token : tokens) scores[static_cast<size_t>(token)] = 0;
}

struct Weighted {
  int64_t token;
  double weight;
};

// exp((z - largest) / t) of every token that may be drawn, in order of tokens.
std::vector<Weighted> weights_of(std::span<const float> scores, const SamplingOptions& options,
                                 int64_t least_tokens) {
  float least = kNever;
  const int64_t top_k = std::max(options.top_k, least_tokens);
  if (options.top_k > 0 && top_k < static_cast<int64_t>(scores.size())) {
    std::vector<float> sorted(scores.begin(), scores.end());
    const auto kth = sorted.begin() + top_k - 1;
    std::nth_element(sorted.begin(), kth, sorted.end(), std::greater<>());
    least = *kth;
  }
  const double top = scores[static_cast<size_t>(largest_score(scores))];
  std::vector<Weighted> out;
  for (size_t v = 0; v < scores.size(); ++v) {
    if (scores[v] >= least && scores[v] > kNever)
      out.push_back({static_cast<int64_t>(v),
                     std::exp((static_cast<double>(scores[v]) - top) / options.temperature)});
  }
  return out;
}

// Leaves out the least probable tokens that have 1 - p together at most, never the `least` most
// probable ones.
void keep_top_p(std::vector<Weighted>& all, double p, int64_t least) {
  if (std::ssize(all) <= least) return;
  double total = 0;
  for (const Weighted& each : all) total += each.weight;
  const double allowance = (1 - p) * total;
  // As many tokens of this weight or less cannot have more than the allowance: most of a vocabulary
  // goes without being sorted.
  const double surely_out = least == 1 ? allowance / static_cast<double>(all.size()) : 0;
  const auto first_out = std::stable_partition(
      all.begin(), all.end(), [&](const Weighted& each) { return each.weight >= surely_out; });
  double left_out = 0;
  for (auto each = first_out; each != all.end(); ++each) left_out += each->weight;
  all.erase(first_out, all.end());
  std::vector<size_t> order(all.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return all[a].weight != all[b].weight ? all[a].weight < all[b].weight : a < b;
  });
  for (size_t i = 0; i + static_cast<size_t>(least) < order.size(); ++i) {
    left_out += all[order[i]].weight;
    if (left_out > allowance) break;
    all[order[i]].weight = 0;
  }
  std::erase_if(all, [](const Weighted& each) { return each.weight == 0; });
}

// 53 bits as a number in [0, 1).
double share_of(const std::array<uint32_t, 4>& words) {
  return static_cast<double>((static_cast<uint64_t>(words[0]) << 21) | (words[1] >> 11)) * 0x1p-53;
}

}  // namespace

void check_sampling(const SamplingOptions& options, int64_t vocabulary) {
  const auto check = [](bool is_good, const std::string& name, const std::string& expected,
                        double found) {
    if (!is_good)
      throw InputError(name + ": expected " + expected + ", found " + Node::number(found).scalar);
  };
  check(options.temperature >= 0 && std::isfinite(options.temperature), "temperature",
        "0 (the most probable token) or more", options.temperature);
  check(options.top_k >= 0, "top_k", "0 (all tokens) or more", static_cast<double>(options.top_k));
  check(options.top_p > 0 && options.top_p <= 1, "top_p", "a number above 0, at most 1",
        options.top_p);
  check(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty),
        "repetition_penalty", "a number above 0", options.repetition_penalty);
  check(options.no_repeat_ngram >= 0, "no_repeat_ngram", "0 (off) or more",
        static_cast<double>(options.no_repeat_ngram));
  check(options.encoder_no_repeat_ngram >= 0, "encoder_no_repeat_ngram", "0 (off) or more",
        static_cast<double>(options.encoder_no_repeat_ngram));
  check(options.min_new_tokens >= 0, "min_new_tokens", "0 or more",
        static_cast<double>(options.min_new_tokens));
  check(options.min_total_tokens >= 0, "min_total_tokens", "0 or more",
        static_cast<double>(options.min_total_tokens));
  if (options.no_repeat_ngram == 0 && options.no_repeat_ngram_in != NgramsOf::kText) {
    throw InputError(
        "no_repeat_ngram_in says whose n-grams no_repeat_ngram counts, which is 0 (off): give it a "
        "length");
  }
  if (options.temperature == 0 && (options.top_k > 0 || options.top_p < 1)) {
    throw InputError(
        "top_k and top_p choose among random tokens; at temperature 0 the most probable one is "
        "taken: set a temperature");
  }
  const auto check_ids = [&](const std::vector<int64_t>& ids, const std::string& name) {
    for (const int64_t id : ids) {
      check(id >= 0 && id < vocabulary, name,
            "tokens below the vocabulary's " + std::to_string(vocabulary), static_cast<double>(id));
    }
  };
  check_ids(options.end_ids, "end_ids");
  check_ids(options.forced_eos, "forced_eos");
  if (options.forced_bos != -1) check_ids({options.forced_bos}, "forced_bos");
  for (const std::vector<int64_t>& word : options.bad_words) {
    if (word.empty()) throw InputError("bad_words: expected lists of tokens, found an empty one");
    check_ids(word, "bad_words");
  }
}

bool SamplingOptions::changes_scores() const {
  return repetition_penalty != 1 || no_repeat_ngram > 0 || encoder_no_repeat_ngram > 0 ||
         !bad_words.empty() || min_new_tokens > 0 || min_total_tokens > 0 || forced_bos >= 0 ||
         !forced_eos.empty() || !suppress_tokens.empty() || !begin_suppress_tokens.empty();
}

void change_scores(std::span<float> scores, const TextSoFar& text, const SamplingOptions& options) {
  const auto length = static_cast<int64_t>(text.tokens.size()), prompt = length - text.new_tokens;
  const bool has_forced_bos = options.forced_bos >= 0;
  if (options.repetition_penalty != 1) penalize(scores, text.tokens, options.repetition_penalty);
  if (options.no_repeat_ngram > 0) {
    const auto counted = options.no_repeat_ngram_in == NgramsOf::kText
                             ? text.tokens
                             : text.tokens.last(static_cast<size_t>(text.new_tokens));
    forbid_ngrams(scores, counted, counted, options.no_repeat_ngram);
  }
  if (options.encoder_no_repeat_ngram > 0)
    forbid_ngrams(scores, text.tokens, text.source, options.encoder_no_repeat_ngram);
  forbid_words(scores, text.tokens, options);
  if (length < options.min_total_tokens || text.new_tokens < options.min_new_tokens)
    forbid(scores, options.end_ids);
  if (has_forced_bos && length == 1) force(scores, std::span(&options.forced_bos, 1));
  if (!options.forced_eos.empty() && text.new_tokens == text.limit - 1)
    force(scores, options.forced_eos);
  forbid(scores, options.suppress_tokens);
  // A forced first token is not what the text begins with.
  const int64_t first = has_forced_bos && prompt == 1 ? 1 : 0;
  if (text.new_tokens == first) forbid(scores, options.begin_suppress_tokens);
}

int64_t largest_score(std::span<const float> scores) {
  return std::max_element(scores.begin(), scores.end()) - scores.begin();
}

int64_t draw_token(std::span<const float> scores, const SamplingOptions& options, double uniform) {
  std::vector<Weighted> all = weights_of(scores, options, 1);
  ensure(!all.empty(), "a token is drawn among some");
  if (options.top_p < 1) keep_top_p(all, options.top_p, 1);
  double total = 0;
  for (const Weighted& each : all) total += each.weight;
  double left = uniform * total;
  for (const Weighted& each : all) {
    left -= each.weight;
    if (left < 0) return each.token;
  }
  return all.back().token;
}

void keep_drawable(std::span<float> scores, const SamplingOptions& options, int64_t least) {
  std::vector<Weighted> all = weights_of(scores, options, least);
  if (options.top_p < 1) keep_top_p(all, options.top_p, least);
  const std::vector<float> before(scores.begin(), scores.end());
  std::fill(scores.begin(), scores.end(), kNever);
  for (const Weighted& each : all) {
    const auto token = static_cast<size_t>(each.token);
    scores[token] = static_cast<float>(static_cast<double>(before[token]) / options.temperature);
  }
}

double token_uniform(uint64_t seed, int64_t example, int64_t position) {
  const auto words = philox(RandomKey{}.with("token").with(seed), static_cast<uint64_t>(example),
                            static_cast<uint64_t>(position));
  return share_of(words);
}

RandomKey beams_key(uint64_t seed, int64_t example, int64_t position) {
  return RandomKey{}
      .with("beams")
      .with(seed)
      .with(static_cast<uint64_t>(example))
      .with(static_cast<uint64_t>(position));
}

double uniform_at(RandomKey key, int64_t token, int64_t beam) {
  constexpr double kHalfAStep = 0x1p-54;  // so that its logarithm is finite
  return share_of(philox(key, static_cast<uint64_t>(token), static_cast<uint64_t>(beam))) +
         kHalfAStep;
}

}  // namespace graft
