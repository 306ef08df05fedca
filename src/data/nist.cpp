// NIST as nltk counts it: n-gram hits weighted by how much they tell,
// and for each order the reference that gives the best precision.
#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>
#include <unordered_map>

#include "data/text_metrics.h"
#include "data/text_words.h"

namespace graft {

namespace {

constexpr int64_t kNistOrders = 5;
using Counts = std::vector<std::vector<NgramCount>>;

struct CountedText {
  Counts counts;
  int64_t length = 0;
};

CountedText counted(NgramTable& table, const std::string& text) {
  const Words words = words_13a(lower_text(text));
  return {table.count(words, kNistOrders), static_cast<int64_t>(words.size())};
}

// Doddington 2002 eq. 2: log2(count(w1..wn-1) / count(w1..wn)) over all references; by id, 0 for an
// n-gram that no reference has.
std::vector<double> information(const NgramTable& table,
                                const std::vector<std::vector<CountedText>>& references) {
  std::vector<double> frequency(static_cast<size_t>(table.size())), weights(frequency.size());
  double total_words = 0;
  for (const auto& of_text : references) {
    for (const CountedText& reference : of_text) {
      total_words += static_cast<double>(reference.length);
      for (const auto& of_n : reference.counts) {
        for (const NgramCount& ngram : of_n)
          frequency[static_cast<size_t>(ngram.id)] += static_cast<double>(ngram.count);
      }
    }
  }
  for (size_t id = 1; id < frequency.size(); ++id) {
    if (frequency[id] == 0) continue;
    const int64_t parent = table.parent(static_cast<int64_t>(id));
    weights[id] = std::log((parent == 0 ? total_words : frequency[static_cast<size_t>(parent)]) /
                           frequency[id]) /
                  std::log(2.0);
  }
  return weights;
}

// beta = log 0.5 / (log 1.5)^2, so that a text of two thirds of the references' words is worth
// half.
double length_penalty(double reference_length, double length) {
  const double ratio = reference_length == 0 ? 0 : length / reference_length;
  if (ratio <= 0 || ratio >= 1) return std::clamp(ratio, 0.0, 1.0);
  const double beta = std::log(0.5) / (std::log(1.5) * std::log(1.5));
  return std::exp(beta * std::log(ratio) * std::log(ratio));
}

}  // namespace

// Doddington 2002 eq. 3: sum over n of (information of the hits / n-grams of the texts), times the
// length penalty.
double nist(const Texts& texts, const References& references) {
  detail::check_texts(texts, references);
  NgramTable table;
  std::vector<std::vector<CountedText>> counted_references(references.size());
  for (size_t i = 0; i < references.size(); ++i) {
    for (const std::string& reference : references[i])
      counted_references[i].push_back(counted(table, reference));
  }
  const std::vector<double> weights = information(table, counted_references);
  std::array<double, kNistOrders> hits{}, total{};
  double length = 0, reference_length = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const CountedText text = counted(table, texts[i]);
    for (size_t n = 0; n < hits.size(); ++n) {
      double in_text = 0;
      for (const NgramCount& ngram : text.counts[n]) in_text += static_cast<double>(ngram.count);
      std::tuple<double, double, int64_t> best{
          -1, 0, 0};  // precision, information, length of the reference: the largest triple
      for (const CountedText& reference : counted_references[i]) {
        std::unordered_map<int64_t, int64_t> in_reference;
        for (const NgramCount& ngram : reference.counts[n]) in_reference[ngram.id] = ngram.count;
        double sum = 0;
        for (const NgramCount& ngram : text.counts[n]) {
          if (const auto found = in_reference.find(ngram.id); found != in_reference.end()) {
            sum += weights[static_cast<size_t>(ngram.id)] *
                   static_cast<double>(std::min(ngram.count, found->second));
          }
        }
        best = std::max(best, {in_text == 0 ? 0 : sum / in_text, sum, reference.length});
      }
      hits[n] += std::get<1>(best);
      total[n] += in_text;
      reference_length += static_cast<double>(std::get<2>(best));
      length += static_cast<double>(text.length);
    }
  }
  double precision = 0;
  for (size_t n = 0; n < hits.size(); ++n) precision += total[n] == 0 ? 0 : hits[n] / total[n];
  return precision * length_penalty(reference_length, length);
}

}  // namespace graft
