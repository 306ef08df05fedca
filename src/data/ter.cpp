// Translation edit rate as sacrebleu counts it, which follows Tercom's search: shift runs of words
// greedily while that lowers the edit distance, then count the distance. Its limits on runs, reach,
// beam and tried shifts are part of the score.
#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <unordered_map>

#include "base/error.h"
#include "data/text_metrics.h"
#include "data/text_words.h"

namespace graft {

namespace {

constexpr int64_t kLongestRun = 10, kFarthestShift = 50, kBeam = 25, kMostTried = 1000;
constexpr int32_t kFar =
    std::numeric_limits<int32_t>::max() / 4;  // no distance: texts have far fewer words

constexpr size_t kMostCells = size_t{1} << 27;  // 1 GiB

using Ids = std::vector<int64_t>;

enum class Op : uint8_t {
  kNone,
  kKeep,
  kReplace,
  kDelete,
  kInsert
};  // seen from the text towards the reference

struct Cell {
  int32_t cost = kFar;
  Op op = Op::kNone;
};

// Edit distances from texts of one length to one reference, within a beam around the diagonal. The
// rows of the last text are kept, and a text that begins like it starts from there.
class EditDistance {
 public:
  explicit EditDistance(const Ids& reference)
      : reference_(reference), width_(reference.size() + 1) {}

  int64_t operator()(const Ids& text) {
    size_t same = 0;
    if (text.size() == text_.size()) {
      while (same < text.size() && text[same] == text_[same]) ++same;
    }
    if (text.size() != text_.size() || cells_.empty()) {
      if (text.size() + 1 > kMostCells / width_) {
        throw InputError("ter: a text of " + std::to_string(text.size()) +
                         " words is too long to compare with a reference of " +
                         std::to_string(reference_.size()));
      }
      cells_.assign((text.size() + 1) * width_, {});
      for (size_t j = 0; j < width_; ++j) cells_[j] = {static_cast<int32_t>(j), Op::kInsert};
      same = 0;
    }
    text_ = text;
    for (size_t i = same + 1; i <= text.size(); ++i) fill_row(i);
    return cells_.back().cost;
  }

  // The edits from the first word to the last, of the text given last.
  std::vector<Op> trace() const {
    std::vector<Op> out;
    for (size_t i = text_.size(), j = reference_.size(); i > 0 || j > 0;) {
      const Op op = cells_[i * width_ + j].op;
      ensure(op != Op::kNone, "ter: the beam does not reach the end");
      out.push_back(op);
      if (op != Op::kInsert) --i;
      if (op != Op::kDelete) --j;
    }
    std::reverse(out.begin(), out.end());
    return out;
  }

 private:
  void fill_row(size_t i) {
    const double ratio = static_cast<double>(reference_.size()) / static_cast<double>(text_.size());
    const int64_t beam =
        static_cast<double>(kBeam) < ratio / 2
            ? static_cast<int64_t>(std::ceil(ratio / 2 + static_cast<double>(kBeam)))
            : kBeam;
    const auto diagonal = static_cast<int64_t>(std::floor(static_cast<double>(i) * ratio));
    const auto width = static_cast<int64_t>(width_);
    const int64_t first = std::max<int64_t>(0, diagonal - beam),
                  last = i == text_.size() ? width : std::min(width, diagonal + beam);
    Cell* const row = cells_.data() + i * width_;
    const Cell* const above = row - width_;
    std::fill(row, row + first, Cell{});
    std::fill(row + last, row + width, Cell{});
    if (first == 0) row[0] = {above[0].cost + 1, Op::kDelete};
    const int64_t word = text_[i - 1];
    for (int64_t j = std::max<int64_t>(1, first); j < last; ++j) {
      const bool is_same = word == reference_[static_cast<size_t>(j - 1)];
      // Of equal costs, keeping or replacing comes before deleting, and that before inserting:
      // Tercom's order.
      Cell best{above[j - 1].cost + (is_same ? 0 : 1), is_same ? Op::kKeep : Op::kReplace};
      if (above[j].cost + 1 < best.cost) best = {above[j].cost + 1, Op::kDelete};
      if (j > first && row[j - 1].cost + 1 < best.cost) best = {row[j - 1].cost + 1, Op::kInsert};
      row[j] = best;
    }
  }

  const Ids& reference_;
  size_t width_;
  Ids text_;
  std::vector<Cell> cells_;  // (words of the text + 1) rows of width_
};

// Which word of the text stands where each word of the reference stands (the one before,
// where the text lacks it), and which words differ.
struct Alignment {
  std::vector<int64_t> place;  // by word of the reference; -1 before the text
  std::vector<bool> text_errors, reference_errors;
};

Alignment align(const std::vector<Op>& trace) {
  Alignment out;
  int64_t at = -1;
  for (const Op op : trace) {
    if (op != Op::kInsert) {
      ++at;
      out.text_errors.push_back(op != Op::kKeep);
    }
    if (op != Op::kDelete) {
      out.place.push_back(at);
      out.reference_errors.push_back(op != Op::kKeep);
    }
  }
  return out;
}

// `words` with the run [start, start + length) moved before what stands at `target` (of the old
// order; inside or right behind the run it moves right).
Ids shifted(const Ids& words, int64_t start, int64_t length, int64_t target) {
  const auto at = [&](int64_t i) {
    return words.begin() +
           static_cast<std::ptrdiff_t>(std::min(i, static_cast<int64_t>(words.size())));
  };
  Ids out;
  out.reserve(words.size());
  const auto take = [&](int64_t from, int64_t to) {
    if (at(to) > at(from)) out.insert(out.end(), at(from), at(to));
  };
  if (target < start) {
    take(0, target), take(start, start + length), take(target, start),
        take(start + length, static_cast<int64_t>(words.size()));
  } else if (target > start + length) {
    take(0, start), take(start + length, target), take(start, start + length),
        take(target, static_cast<int64_t>(words.size()));
  } else {
    take(0, start), take(start + length, length + target), take(start, start + length),
        take(length + target, static_cast<int64_t>(words.size()));
  }
  return out;
}

bool any(const std::vector<bool>& flags, int64_t begin, int64_t length) {
  for (int64_t i = begin; i < begin + length; ++i) {
    if (flags[static_cast<size_t>(i)]) return true;
  }
  return false;
}

// One search for the best shift of a text towards a reference.
class ShiftSearch {
 public:
  ShiftSearch(const Ids& text, const Ids& reference, EditDistance& distance, int64_t& tried)
      : text_(text),
        reference_(reference),
        distance_(distance),
        tried_(tried),
        before_(distance(text)),
        alignment_(align(distance.trace())) {}

  // The text after the best shift and what it gains (0 when there is none to try).
  std::pair<int64_t, Ids> best() {
    search();
    if (!has_best_) return {0, text_};
    return {std::get<0>(best_), std::move(std::get<4>(best_))};
  }

 private:
  void search() {
    const auto words = static_cast<int64_t>(text_.size()),
               reference_words = static_cast<int64_t>(reference_.size());
    for (int64_t start = 0; start < words; ++start) {
      for (int64_t target = std::max<int64_t>(0, start - kFarthestShift);
           target < reference_words && target <= start + kFarthestShift; ++target) {
        for (int64_t length = 1;
             length <= kLongestRun && start + length <= words && target + length <= reference_words;
             ++length) {
          if (text_[static_cast<size_t>(start + length - 1)] !=
              reference_[static_cast<size_t>(target + length - 1)])
            break;
          if (!is_worth_trying(start, target, length)) continue;
          try_shift(start, target, length);
          if (tried_ >= kMostTried) return;
        }
      }
    }
  }

  // Only where the words are wrong now, here and there, and the place is not inside the run itself.
  bool is_worth_trying(int64_t start, int64_t target, int64_t length) const {
    if (!any(alignment_.text_errors, start, length) ||
        !any(alignment_.reference_errors, target, length))
      return false;
    const int64_t place = alignment_.place[static_cast<size_t>(target)];
    return place < start || place >= start + length;
  }

  void try_shift(int64_t start, int64_t target, int64_t length) {
    int64_t last = -1;
    for (int64_t offset = -1; offset < length; ++offset) {
      const int64_t place =
          target + offset == -1 ? 0 : alignment_.place[static_cast<size_t>(target + offset)] + 1;
      if (place == last) continue;
      last = place;
      Ids words = shifted(text_, start, length, place);
      const int64_t gain = before_ - distance_(words);
      ++tried_;
      // Tercom's order: the largest gain, the longest run, the earliest, the earliest place.
      std::tuple<int64_t, int64_t, int64_t, int64_t, Ids> candidate{gain, length, -start, -place,
                                                                    std::move(words)};
      const auto rank = [](const auto& c) {
        return std::tie(std::get<0>(c), std::get<1>(c), std::get<2>(c), std::get<3>(c));
      };
      if (!has_best_ || rank(candidate) > rank(best_)) {
        best_ = std::move(candidate);
        has_best_ = true;
      }
    }
  }

  const Ids& text_;
  const Ids& reference_;
  EditDistance& distance_;
  int64_t& tried_;
  int64_t before_;
  Alignment alignment_;
  std::tuple<int64_t, int64_t, int64_t, int64_t, Ids> best_;
  bool has_best_ = false;
};

int64_t edits(Ids text, const Ids& reference) {
  if (reference.empty()) return static_cast<int64_t>(text.size());
  EditDistance distance(reference);
  int64_t shifts = 0, tried = 0;
  for (;;) {
    auto [gain, words] = ShiftSearch(text, reference, distance, tried).best();
    if (tried >= kMostTried || gain <= 0) break;
    ++shifts;
    text = std::move(words);
  }
  return shifts + distance(text);
}

}  // namespace

double ter(const Texts& texts, const References& references) {
  detail::check_texts(texts, references);
  std::unordered_map<std::string, int64_t> known;
  const auto ids = [&](const std::string& text) {
    Ids out;
    for (const std::string& word : split_words(lower_text(text)))
      out.push_back(known.try_emplace(word, static_cast<int64_t>(known.size())).first->second);
    return out;
  };
  double total = 0, length = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const Ids text = ids(texts[i]);
    int64_t fewest = kFar;
    double words = 0;
    for (const std::string& reference : references[i]) {
      const Ids reference_ids = ids(reference);
      fewest = std::min(fewest, edits(text, reference_ids));
      words += static_cast<double>(reference_ids.size());
    }
    total += static_cast<double>(fewest);
    length += words / static_cast<double>(references[i].size());
  }
  if (length > 0) return 100 * total / length;
  return total > 0 ? 100 : 0;  // nothing but empty references
}

}  // namespace graft
