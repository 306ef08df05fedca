// Examples as sequences of token ids: what a data set is once the tokenizer has seen it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/task.h"
#include "feed/model_text.h"
#include "model/config.h"
#include "model/pack.h"

namespace graft {

// A row that max_length shortened.
struct CutRow {
  int64_t row = 0;
  int64_t tokens = 0;  // how many went, of prompt and target
  int64_t turns = 0;   // of a chat: the turns that went whole
};

struct Dataset {
  std::vector<Example> examples;
  std::vector<Sequence> sequences;  // one per example, in order
  std::vector<std::vector<std::vector<int64_t>>> options =
      {};                        // kChoice: [example][option], its tokens with the end of text
  int64_t num_tokens = 0;        // of all sequences
  int64_t max_length = 0;        // as given
  std::vector<CutRow> cut = {};  // in order

  int64_t size() const { return static_cast<int64_t>(examples.size()); }
  int64_t num_cut() const { return static_cast<int64_t>(cut.size()); }
};

// What a data set is encoded for. Training reads the target behind the prompt (of kChoice: the
// right option), evaluation of texts the prompt alone.
enum class TargetUse { kFollow, kLeaveOut };

// Throws InputError when the model cannot do what the task asks: an encoder writes no text. Needs
// no rows, so that it can be asked before they are read.
void check_task(const Task& task, const ModelConfig& config);

// Rows longer than max_length (0: no bound) are cut and noted in `cut`:
//   a chat     loses its oldest turns, each up to the next turn of the user; never one of the
//              system nor the last question, the user's last turn. If that is not enough, the last
//              answer loses its end.
//   a text     is cut at the task's truncation_side and keeps what the tokenizer puts around it; so
//              is a prompt. A target that follows its prompt loses its end, first where that side
//              is the right, else when the prompt is used up. An encoder-decoder's is cut at its
//              end and keeps what closes it.
//   a choice   leaves room for the longest of its options: its prompt is cut before them, in every
//              use alike (that of a chat is not cut).
// Throws InputError where check_task does, when the tokenizer's ids or types do not fit the model,
// or a special token that it needs is missing; with the row's file and line where a chat's roles
// are wrong or a cut would leave no question, no mask or no token of the target.
Dataset encode_examples(std::vector<Example> examples, const Task& task, const ModelText& text,
                        const ModelConfig& config, int64_t max_length,
                        TargetUse targets = TargetUse::kFollow);

// The tokens that a cloze chooses among at its mask, by label. Requires: task.cloze(). Throws
// InputError as encode_examples does.
std::shared_ptr<const std::vector<int64_t>> mask_words(const Task& task, const ModelText& text,
                                                       const ModelConfig& config);

// Throws InputError for an id of the tokenizer that the model has no embedding for.
void check_vocabulary(const std::vector<int64_t>& ids, const ModelText& text,
                      const ModelConfig& config);

// Puts the rows of `part` behind those of `all`.
void append_rows(Dataset part, Dataset& all);
// Rows that max_length shortened, of data sets that come one after the other.
class CutRows {
 public:
  explicit CutRows(size_t most = 5) : most_(most) {}  // rows that are named

  void add(const Dataset& data);
  int64_t count() const { return count_; }
  // "2 of 80 rows cut to 128 tokens: data.jsonl:5 by 12, data.jsonl:9 by 40 in 2 turns"; "" where
  // none is.
  std::string message() const;

 private:
  size_t most_;
  int64_t rows_ = 0, count_ = 0, max_length_ = 0;
  std::vector<std::string> named_;
};

// The message of one data set.
std::string cut_message(const Dataset& data, size_t most = 5);
// The cut of a row; null where it is whole.
const CutRow* cut_of(const Dataset& data, int64_t row);

// Indices of the sequences, the longest first.
std::vector<int64_t> longest_first(const std::vector<Sequence>& sequences);

// Tokens of a pass that learns nothing, where nobody says otherwise.
inline constexpr int64_t kPassBudget = 4096;

// The rows that pass together: in that order, as many as have costs of `token_budget` in all, and
// one at least.
std::vector<std::vector<int64_t>> groups_of_rows(const std::vector<Sequence>& sequences,
                                                 int64_t token_budget,
                                                 const std::function<int64_t(int64_t row)>& cost);

// Positions of the model that are left for a text's tokens beside the rows of `layout`; may be none
// or negative.
int64_t positions_for_tokens(const ModelConfig& config, const RowLayout& layout);

// Throws InputError where a task whose targets have a limit of their own, max_target_length, is
// read by a decoder that has no positions left for them behind a prompt of max_length.
void check_target_length(const Task& task, const ModelConfig& config, const RowLayout& layout,
                         int64_t max_length);

// max_length if positive, else the model's longest, at most 512, less the positions that `layout`
// takes for itself. Throws InputError when it is beyond what the model serves.
int64_t resolve_max_length(int64_t max_length, const ModelConfig& config,
                           const RowLayout& layout = {});

}  // namespace graft
