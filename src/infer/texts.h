// Texts that a model writes: decoded as tokens come, ended at stop texts, in batches.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "feed/dataset.h"
#include "feed/model_text.h"
#include "infer/generate.h"

namespace graft {

// How many new tokens fit after the longest prompt into the model's positions. May be none.
int64_t room_for_texts(const ModelConfig& config, const RowLayout& layout,
                       const std::vector<Sequence>& prompts);

// Throws InputError where one of `prompts` leaves no room for its text (check_prompt), opening with
// its row's file and line.
void check_prompts(const ModelConfig& config, const RowLayout& layout, const Dataset& prompts,
                   const GenerateOptions& options);

struct WriteOptions {
  // If sampling.end_ids is empty, those of the model are used. further_end_ids are used in
  // addition.
  GenerateOptions generate = {.max_new_tokens = kAsFits};
  // The chat format of the prompts: the token that ends its turns ends a text as well.
  std::string chat = "none";
  // A text ends before the first of these; none may be empty. A beam ends with the token that
  // completes one, and that token counts in its score.
  std::vector<std::string> stop = {};
  int64_t batch = 16;  // prompts that are written at once; in beam search, beams
  // Receives each piece of text as soon as it is final. Not called with beams. `prompt` is the
  // index among all prompts.
  std::function<void(int64_t prompt, const std::string& piece)> on_text = {};
  std::function<void(int64_t done, int64_t total)> progress = {};  // prompts; may be empty
};

struct WrittenText {
  std::string text;     // without the end token, and without what follows a stop text
  Generated generated;  // its tokens
};

struct Written {
  std::vector<WrittenText> texts;  // one for each prompt, in order
  int64_t num_tokens = 0;          // new tokens of all texts; in beam search, of the best beams
  double seconds = 0;
};

// Writes the best text after each prompt. Prompts of similar length are written together. Prompt i
// goes through lanes[lane_of[i]]. A lane that replaces the trunk's weights must be the only one.
// Throws what `generate` throws.
Written write_texts(const Model& model, const std::vector<LaneAdapter>& lanes,
                    const std::vector<size_t>& lane_of, const std::vector<Sequence>& prompts,
                    const ModelText& text, WriteOptions options);
// The same with one lane.
Written write_texts(const Model& model, const LaneAdapter& lane,
                    const std::vector<Sequence>& prompts, const ModelText& text,
                    WriteOptions options);

// Cuts a text that comes in pieces at the first of some stop texts. It holds back what may become
// the beginning of one.
class StopWatch {
 public:
  explicit StopWatch(std::vector<std::string> stop) : stop_(std::move(stop)) {}

  // The text that surely stands before every stop text; "" after has_stopped().
  std::string push(const std::string& piece);
  std::string finish();
  bool has_stopped() const { return has_stopped_; }

 private:
  std::vector<std::string> stop_;
  std::string held_;
  bool has_stopped_ = false;
};

}  // namespace graft
