// BLEU as sacrebleu counts it: the closest reference's length, n-gram hits clipped by the reference
// that has most of them.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <unordered_map>

#include "base/error.h"
#include "data/text_metrics.h"
#include "data/text_words.h"

namespace graft {

namespace {

constexpr int64_t kBleuOrders = 4;

struct BleuCounts {
  std::array<int64_t, kBleuOrders> hits{}, total{};
  int64_t length = 0, reference_length = 0;
};

void add(BleuCounts& sums, NgramTable& table, const std::string& text,
         const std::vector<std::string>& references) {
  const Words words = words_13a(text);
  const auto length = static_cast<int64_t>(words.size());
  std::unordered_map<int64_t, int64_t> most;  // over the references
  int64_t closest = -1;
  for (const std::string& reference : references) {
    const Words reference_words = words_13a(reference);
    const auto size = static_cast<int64_t>(reference_words.size());
    const int64_t distance = std::abs(length - size), best = std::abs(length - closest);
    if (closest < 0 || distance < best || (distance == best && size < closest)) closest = size;
    for (const auto& of_n : table.count(reference_words, kBleuOrders)) {
      for (const NgramCount& ngram : of_n) {
        int64_t& count = most[ngram.id];
        count = std::max(count, ngram.count);
      }
    }
  }
  const auto counts = table.count(words, kBleuOrders);
  for (size_t n = 0; n < counts.size(); ++n) {
    for (const NgramCount& ngram : counts[n]) {
      sums.total[n] += ngram.count;
      if (const auto found = most.find(ngram.id); found != most.end())
        sums.hits[n] += std::min(ngram.count, found->second);
    }
  }
  sums.length += length;
  sums.reference_length += closest;
}

}  // namespace

namespace detail {

void check_texts(const Texts& texts, const References& references) {
  if (texts.size() != references.size()) {
    throw InputError("metric: expected references for each text, found " +
                     std::to_string(texts.size()) + " texts and references for " +
                     std::to_string(references.size()));
  }
  if (texts.empty()) throw InputError("metric: expected at least one text, found none");
  for (size_t i = 0; i < references.size(); ++i) {
    if (references[i].empty())
      throw InputError("metric: text " + std::to_string(i) + " has no reference");
  }
}

}  // namespace detail

// min(1, exp(1 - r/c)) * (p1 p2 p3 p4)^(1/4); an order without hits counts as 1/2, 1/4, ... of one
// hit ("exp" smoothing).
double bleu(const Texts& texts, const References& references) {
  detail::check_texts(texts, references);
  BleuCounts sums;
  NgramTable table;
  for (size_t i = 0; i < texts.size(); ++i) add(sums, table, texts[i], references[i]);
  if (std::all_of(sums.hits.begin(), sums.hits.end(), [](int64_t hits) { return hits == 0; }))
    return 0;
  double logs = 0, smooth = 1;
  for (size_t n = 0; n < sums.hits.size(); ++n) {
    if (sums.total[n] == 0) return 0;  // every text is shorter than n words
    const auto total = static_cast<double>(sums.total[n]);
    if (sums.hits[n] == 0) smooth *= 2;
    logs += std::log(sums.hits[n] == 0 ? 100.0 / (smooth * total)
                                       : 100.0 * static_cast<double>(sums.hits[n]) / total);
  }
  const double brevity = sums.length < sums.reference_length
                             ? std::exp(1 - static_cast<double>(sums.reference_length) /
                                                static_cast<double>(sums.length))
                             : 1;
  return brevity * std::exp(logs / static_cast<double>(kBleuOrders));
}

}  // namespace graft
