// Words of a text as the metrics of texts see them, and counts of their n-grams. Equal to Python's
// split() and lower() and to the tokenizers of the packages that text_metrics.h names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace graft {

using Words = std::vector<std::string>;

// Split at runs of white space (Python's str.split(): Unicode's, and U+001C..U+001F).
Words split_words(std::string_view text);
// Without white space at its end; at both ends.
std::string_view strip_end(std::string_view text);
std::string_view strip(std::string_view text);
// Unicode's full lower case (a final sigma included), as Python's str.lower().
std::string lower_text(const std::string& text);

// mteval-v13a's tokens as sacrebleu makes them: entities resolved, symbols apart,
// full stops and commas apart unless between digits.
Words words_13a(std::string_view text);
// rouge-score's: lower case, runs of a-z and 0-9.
Words words_rouge(const std::string& text);

// The n-grams of one text for one n, in order of first appearance.
struct NgramCount {
  int64_t id = 0;
  int64_t count = 0;
};

// Names n-grams by numbers: equal n-grams have equal ids, whatever text they come from. Ids begin
// at 1 and count up.
class NgramTable {
 public:
  // Element n-1 holds the n-grams of `words`, n = 1..most.
  std::vector<std::vector<NgramCount>> count(const Words& words, int64_t most);
  int64_t parent(int64_t id) const {
    return parents_[static_cast<size_t>(id)];
  }  // without its last word; 0 for a single word
  int64_t size() const {
    return static_cast<int64_t>(parents_.size());
  }  // one more than the largest id

 private:
  int64_t child(int64_t parent, int64_t word);

  std::unordered_map<std::string, int64_t> words_;
  std::unordered_map<uint64_t, int64_t> children_;  // (parent, word) -> id
  std::vector<int64_t> parents_ = {0};
};

}  // namespace graft
