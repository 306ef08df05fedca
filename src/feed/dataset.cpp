#include "feed/dataset.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "base/error.h"
#include "base/wording.h"
#include "feed/row_encoder.h"

namespace graft {

void check_task(const Task& task, const ModelConfig& config) {
  const bool is_text = task.is_answered_in_words();
  const std::string about = "task " + quote(task.name) + ": a " + config.model_type + " model ";
  if (is_text && !config.has_decoder())
    throw InputError(about + "is an encoder and writes no text; take a decoder");
  if (is_text && !config.has_output_layer()) {
    throw InputError(about +
                     "whose folder holds a classifier has no layer over the vocabulary, so it "
                     "writes no text; take the "
                     "folder of a language model");
  }
  if (task.kind() == TaskKind::kGeneration && task.at<Generation>().loss == LossOn::kAll &&
      config.has_encoder())
    throw InputError(about +
                     "predicts no tokens of its prompts, which its encoder reads whole: leave "
                     "loss: all out of the task");
}

Dataset encode_examples(std::vector<Example> examples, const Task& task, const ModelText& text,
                        const ModelConfig& config, int64_t max_length, TargetUse targets) {
  Dataset data;
  data.max_length = max_length;
  const RowEncoder encoder(task, text, config, max_length, targets);
  data.sequences.reserve(examples.size());
  for (const Example& example : examples) encoder.add(example, data);
  data.examples = std::move(examples);
  return data;
}

void check_vocabulary(const std::vector<int64_t>& ids, const ModelText& text,
                      const ModelConfig& config) {
  if (ids.empty() || std::ranges::max(ids) < config.vocabulary) return;
  throw InputError(text.source + ": the tokenizer gives ids beyond the model's vocabulary of " +
                   std::to_string(config.vocabulary) + ": the two do not belong together");
}

void append_rows(Dataset part, Dataset& all) {
  for (CutRow& cut : part.cut) {
    cut.row += all.size();
    all.cut.push_back(cut);
  }
  const auto move_all = [](auto& from, auto& to) {
    std::move(from.begin(), from.end(), std::back_inserter(to));
  };
  move_all(part.examples, all.examples);
  move_all(part.sequences, all.sequences);
  move_all(part.options, all.options);
  all.num_tokens += part.num_tokens;
  all.max_length = part.max_length;
}

void CutRows::add(const Dataset& data) {
  rows_ += data.size();
  count_ += data.num_cut();
  max_length_ = data.max_length;
  for (size_t i = 0; i < data.cut.size() && named_.size() < most_; ++i) {
    const CutRow& cut = data.cut[i];
    std::string at = data.examples[static_cast<size_t>(cut.row)].where();
    at.resize(at.size() - 2);  // without ": "
    at += " by " + count_text(cut.tokens);
    if (cut.turns > 0) at += " in " + counted(cut.turns, "turn");
    named_.push_back(std::move(at));
  }
}

std::string CutRows::message() const {
  if (count_ == 0) return "";
  std::string out = count_text(count_) + " of " + counted(rows_, "row") + " cut to " +
                    count_text(max_length_) + " tokens: ";
  for (size_t i = 0; i < named_.size(); ++i) out += (i > 0 ? ", " : "") + named_[i];
  const int64_t more = count_ - std::ssize(named_);
  return more > 0 ? out + " and " + count_text(more) + " more" : out;
}

std::string cut_message(const Dataset& data, size_t most) {
  CutRows cut(most);
  cut.add(data);
  return cut.message();
}

const CutRow* cut_of(const Dataset& data, int64_t row) {
  const auto found =
      std::lower_bound(data.cut.begin(), data.cut.end(), row,
                       [](const CutRow& cut, int64_t wanted) { return cut.row < wanted; });
  return found != data.cut.end() && found->row == row ? &*found : nullptr;
}

std::vector<int64_t> longest_first(const std::vector<Sequence>& sequences) {
  std::vector<int64_t> order(sequences.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto length = [&](int64_t i) { return sequences[static_cast<size_t>(i)].num_tokens(); };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return length(a) > length(b); });
  return order;
}

std::vector<std::vector<int64_t>> groups_of_rows(const std::vector<Sequence>& sequences,
                                                 int64_t token_budget,
                                                 const std::function<int64_t(int64_t row)>& cost) {
  std::vector<std::vector<int64_t>> groups;
  int64_t spent = 0;
  for (const int64_t row : longest_first(sequences)) {
    const int64_t own = cost(row);
    if (groups.empty() || spent + own > token_budget) {
      groups.emplace_back();
      spent = 0;
    }
    groups.back().push_back(row);
    spent += own;
  }
  return groups;
}

int64_t positions_for_tokens(const ModelConfig& config, const RowLayout& layout) {
  return config.max_positions - layout.virtual_rows - layout.first_position;
}

namespace {

// " beside the 10 rows of the adapter's prompt or prefix"; "" where it has none.
std::string beside_rows(const RowLayout& layout) {
  const int64_t taken = layout.virtual_rows + layout.first_position;
  return taken == 0
             ? ""
             : " beside the " + std::to_string(taken) + " rows of the adapter's prompt or prefix";
}

}  // namespace

void check_target_length(const Task& task, const ModelConfig& config, const RowLayout& layout,
                         int64_t max_length) {
  const Prompted* prompted = task.prompted();
  if (prompted == nullptr || prompted->max_target_length == 0 || config.has_encoder()) return;
  const int64_t left = positions_for_tokens(config, layout);
  if (max_length <= left - prompted->max_target_length) return;
  throw InputError("task " + quote(task.name) + ": a prompt of max_length " +
                   std::to_string(max_length) + " and a target of max_target_length " +
                   std::to_string(prompted->max_target_length) + " are more than the " +
                   std::to_string(left) + " positions of this model" + beside_rows(layout) +
                   "; give a smaller max_length");
}

int64_t resolve_max_length(int64_t max_length, const ModelConfig& config, const RowLayout& layout) {
  constexpr int64_t kUsual = 512;
  const int64_t longest = positions_for_tokens(config, layout);
  const std::string beside = beside_rows(layout);
  if (longest < 1)
    throw InputError("max_length: this model has " + std::to_string(config.max_positions) +
                     " positions, none of them left" + beside);
  if (max_length <= 0) return std::min(kUsual, longest);
  if (max_length > longest) {
    throw InputError("max_length: this model serves at most " + std::to_string(longest) +
                     " tokens" + beside + ", found " + std::to_string(max_length));
  }
  return max_length;
}

}  // namespace graft
