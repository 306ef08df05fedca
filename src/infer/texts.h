// What `generate` writes, as texts: decoded as it comes, ended at stop texts, in batches.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "feed/model_text.h"
#include "infer/generate.h"

namespace graft {

// max_new_tokens of write_texts, where max_total_tokens is 0: 128, or as many as the model's
// positions leave room for behind the longest prompt.
constexpr int64_t kAsFits = 0;

// How many new tokens a model's positions leave room for behind the longest prompt, maybe none.
int64_t room_for_texts(const ModelConfig& config, const RowLayout& layout,
                       const std::vector<Sequence>& prompts);
// What kAsFits stands for where there is so much room: 128 tokens at most.
int64_t fitting_tokens(int64_t room);

struct WriteOptions {
  // Without sampling.end_ids: those of the model; further_end_ids come beside them.
  GenerateOptions generate = {.max_new_tokens = kAsFits};
  std::string chat =
      "none";  // the format that the prompts are in: the token that ends its turns ends a text, too
  // A text ends before the first of these; none may be empty. A beam ends with its token that
  // completes one, and is scored with it.
  std::vector<std::string> stop = {};
  int64_t batch = 16;  // prompts written at once; of beam search beams
  // Text as it is final, in the order in which it comes; not with beams. `prompt` counts all
  // prompts.
  std::function<void(int64_t prompt, const std::string& piece)> on_text = {};
  std::function<void(int64_t done, int64_t total)> progress = {};  // prompts; may be empty
};

struct WrittenText {
  std::string text;     // without the end token, and without what follows a stop text
  Generated generated;  // its tokens
};

struct Written {
  std::vector<WrittenText> texts;  // one a prompt, in order
  int64_t num_tokens = 0;          // new ones, of all texts; of beam search those of the best beams
  double seconds = 0;
};

// The best text after each prompt; prompts of similar length are written together. Prompt i goes
// through lanes[lane_of[i]]; a lane that replaces the trunk's weights must be the only one. Throws
// what `generate` throws.
Written write_texts(const Model& model, const std::vector<LaneAdapter>& lanes,
                    const std::vector<size_t>& lane_of, const std::vector<Sequence>& prompts,
                    const ModelText& text, WriteOptions options);
// The same of one lane.
Written write_texts(const Model& model, const LaneAdapter& lane,
                    const std::vector<Sequence>& prompts, const ModelText& text,
                    WriteOptions options);

// Text that comes in pieces, up to the first of some stop texts. What might become one is held
// back.
class StopWatch {
 public:
  explicit StopWatch(std::vector<std::string> stop) : stop_(std::move(stop)) {}

  // What is sure to stand before every stop text; nothing more once has_stopped().
  std::string push(const std::string& piece);
  std::string finish();
  bool has_stopped() const { return has_stopped_; }

 private:
  std::vector<std::string> stop_;
  std::string held_;
  bool has_stopped_ = false;
};

}  // namespace graft
