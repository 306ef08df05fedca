// One row of a task as token ids for one model; dataset.h has the rules. Internal to src/feed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "feed/dataset.h"
#include "text/pieces.h"

namespace graft {

class RowEncoder {
 public:
  // All arguments must outlive it. Throws InputError where the model cannot do what the task asks.
  RowEncoder(const Task& task, const ModelText& text, const ModelConfig& config, int64_t max_length,
             TargetUse targets);

  // Appends the row's sequence, options and cut. Throws InputError with the row's file and line.
  void add(const Example& example, Dataset& data) const;

  // Of a cloze, by label; else null.
  const std::shared_ptr<const std::vector<int64_t>>& words() const { return words_; }

 private:
  // A prompt as tokens: ids of `opening` in [begin, end), special tokens around them.
  struct PromptTokens {
    std::vector<int64_t> ids;
    size_t begin = 0, end = 0;
    Opening opening;

    size_t length() const { return end - begin; }
  };

  void set_text(const Prompted& prompted, LossOn loss);
  void set_mask(const Cloze& cloze);
  void check_word(const Cloze& cloze, const std::vector<int64_t>& words) const;

  Sequence encoded(const Example& example, Dataset& data, CutRow& cut) const;
  Sequence classified(const Example& example, CutRow& cut) const;
  Sequence masked(const Example& example, CutRow& cut) const;
  Sequence choice(const Example& example, Dataset& data, CutRow& cut) const;
  Sequence generation(const Example& example, CutRow& cut) const;

  Sequence chat(const std::vector<Turn>& turns, bool asks, CutRow& cut) const;
  Sequence beside(const std::string& prompt, const std::string* target, CutRow& cut) const;
  Sequence following(PromptTokens prompt, const std::vector<int64_t>* target, CutRow& cut) const;

  PromptTokens prompt_tokens(const std::string& text) const;
  std::vector<int64_t> target_ids(const Opening& opening, const std::string& target) const;
  // An option as the answer to a chat.
  std::vector<int64_t> answer_ids(const Opening& opening, std::vector<Turn> turns,
                                  const std::string& option) const;
  void make_room(PromptTokens& prompt, std::vector<std::vector<int64_t>>& options,
                 CutRow& cut) const;
  void shorten(PromptTokens& prompt, int64_t tokens) const;
  void check_targets(const Sequence& sequence) const;
  void check_ids(Sequence& sequence) const;
  int64_t excess(size_t length) const;  // tokens beyond max_length
  // For messages about a row that is too long: max_length, and what can be done.
  bool serves_longer_rows() const;
  std::string limit_text() const;
  std::string way_out(const std::string& other) const;
  // An option or target of an encoder-decoder, cut to its own limit, or to max_length where `cuts`.
  std::vector<int64_t> written(const std::string& text, bool cuts, CutRow& cut) const;
  // Takes the end of a decoder's target that has a limit of its own.
  void shorten_target(std::vector<int64_t>& target, CutRow& cut) const;

  const Task& task_;
  const ModelText& text_;
  const Tokenizer& tokenizer_;
  const ModelConfig& config_;
  int64_t max_length_, max_target_length_ = 0;
  TargetUse targets_;
  const ChatFormat* chat_ = nullptr;
  std::string mask_token_;
  std::shared_ptr<const std::vector<int64_t>> words_;
  bool is_encoder_decoder_ = false, ends_prompt_ = false, counts_all_ = false, is_bare_ = false;
};

}  // namespace graft
