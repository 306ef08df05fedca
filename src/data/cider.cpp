// CIDEr-D: likeness of n-gram counts weighted by how few examples' references hold them.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <unordered_map>

#include "data/text_metrics.h"
#include "data/text_words.h"

namespace graft {

namespace {

constexpr size_t kCiderOrders = 4;
constexpr double kSigma = 6;  // of the penalty on the difference of lengths
using Counts = std::vector<std::vector<NgramCount>>;

// Lower-cased 13a tokens without punctuation, which the package drops too.
Counts counts_of_orders(NgramTable& table, const std::string& text) {
  static const std::set<std::string> kDropped = {"'", "''", "`", "``", "(", ")",  "{",   "}", ".",
                                                 "?", "!",  ",", ":",  "-", "--", "...", ";"};
  Words words = words_13a(lower_text(text));
  std::erase_if(words, [](const std::string& word) { return kDropped.contains(word); });
  return table.count(words, kCiderOrders);
}

struct Vector {
  std::array<std::unordered_map<int64_t, double>, kCiderOrders> weights;  // by n-gram
  std::array<double, kCiderOrders> norms{};
  double length = 0;  // in pairs of words, as the package counts it
};

Vector weighted(const Counts& counts, const std::vector<double>& documents, double log_examples) {
  Vector out;
  for (size_t n = 0; n < kCiderOrders; ++n) {
    double squares = 0;
    for (const NgramCount& ngram : counts[n]) {
      const double known = static_cast<size_t>(ngram.id) < documents.size()
                               ? documents[static_cast<size_t>(ngram.id)]
                               : 0;
      const double weight =
          static_cast<double>(ngram.count) * (log_examples - std::log(std::max(1.0, known)));
      out.weights[n][ngram.id] = weight;
      squares += weight * weight;
      if (n == 1) out.length += static_cast<double>(ngram.count);
    }
    out.norms[n] = std::sqrt(squares);
  }
  return out;
}

// Vedantam et al. 2015 sec. 5 (CIDEr-D), summed over n: counts of the text clipped by the
// reference's, and a Gaussian of the lengths.
double likeness(const Vector& text, const Vector& reference) {
  const double apart = text.length - reference.length,
               penalty = std::exp(-apart * apart / (2 * kSigma * kSigma));
  double sum = 0;
  for (size_t n = 0; n < kCiderOrders; ++n) {
    double product = 0;
    for (const auto& [ngram, weight] : text.weights[n]) {
      if (const auto found = reference.weights[n].find(ngram); found != reference.weights[n].end())
        product += std::min(weight, found->second) * found->second;
    }
    if (text.norms[n] != 0 && reference.norms[n] != 0)
      product /= text.norms[n] * reference.norms[n];
    sum += product * penalty;
  }
  return sum;
}

}  // namespace

double cider(const Texts& texts, const References& references) {
  detail::check_texts(texts, references);
  NgramTable table;
  std::vector<std::vector<Counts>> counts(references.size());
  for (size_t i = 0; i < references.size(); ++i) {
    for (const std::string& reference : references[i])
      counts[i].push_back(counts_of_orders(table, reference));
  }
  std::vector<double> documents(
      static_cast<size_t>(table.size()));  // examples whose references hold the n-gram
  for (const auto& of_text : counts) {
    std::set<int64_t> seen;
    for (const Counts& reference : of_text) {
      for (const auto& of_n : reference) {
        for (const NgramCount& ngram : of_n) seen.insert(ngram.id);
      }
    }
    for (const int64_t ngram : seen) ++documents[static_cast<size_t>(ngram)];
  }
  const double log_examples = std::log(static_cast<double>(texts.size()));
  double total = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const Vector text = weighted(counts_of_orders(table, texts[i]), documents, log_examples);
    double sum = 0;
    for (const Counts& reference : counts[i])
      sum += likeness(text, weighted(reference, documents, log_examples));
    total += 10 * sum / static_cast<double>(kCiderOrders) / static_cast<double>(counts[i].size());
  }
  return total / static_cast<double>(texts.size());
}

}  // namespace graft
