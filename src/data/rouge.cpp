// ROUGE-L: the longest common subsequence of words.
#include <algorithm>

#include "data/text_metrics.h"
#include "data/text_words.h"

namespace graft {

namespace {

// O(|a| |b|) time, O(|b|) memory.
int64_t common_subsequence(const Words& a, const Words& b) {
  std::vector<int64_t> row(b.size() + 1);
  for (const std::string& word : a) {
    int64_t diagonal = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      const int64_t above = row[j + 1];
      row[j + 1] = word == b[j] ? diagonal + 1 : std::max(above, row[j]);
      diagonal = above;
    }
  }
  return row.back();
}

double f1_of(const Words& text, const Words& reference) {
  if (text.empty() || reference.empty()) return 0;
  const auto common = static_cast<double>(common_subsequence(text, reference));
  const double precision = common / static_cast<double>(text.size()),
               recall = common / static_cast<double>(reference.size());
  return common == 0 ? 0 : 2 * precision * recall / (precision + recall);
}

}  // namespace

double rouge_l(const Texts& texts, const References& references) {
  detail::check_texts(texts, references);
  double sum = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const Words words = words_rouge(texts[i]);
    double best = 0;
    for (const std::string& reference : references[i])
      best = std::max(best, f1_of(words, words_rouge(reference)));
    sum += best;
  }
  return sum / static_cast<double>(texts.size());
}

}  // namespace graft
