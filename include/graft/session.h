// A session: one frozen model in memory, and several adapters that answer with it.
//
//   const Session session = Session::open("models/minilm");
//   const AdapterHandle mail = session.load("runs/mail/adapter");
//   std::puts(session.predict({{mail, "You have won!"}}).front().label.c_str());
//
// A fault in a file or a request is an InputError (graft/errors.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graft/adapter.h"
#include "graft/model.h"

namespace graft {

struct SessionState;

// A text that is answered with a label, a number or an option.
struct Question {
  AdapterHandle adapter;
  // The text, if the task makes it of one column; else give `cells`.
  std::string text;
  std::string second = {};  // the second text, if the task reads pairs
  // A whole row, cell by column name, instead of `text` and `second`.
  std::map<std::string, std::string> cells = {};
};

// How several samples of an answer disagree (doc/predictions.md has the equations). In nats. Of a
// regression `information` alone, the variance of the samples' values; the others are NaN.
struct AnswerUncertainty {
  int64_t samples = 0;
  double entropy = 0, expected_entropy = 0, information = 0, disagreement = 0;
  std::vector<double> variances;  // of the probability of each label
};

struct Answer {
  std::string label;  // the label or the option; empty if the answer is a number
  double value = 0;   // the number, or the score of the label or option
  // Classification: a probability for each label, in their order. Choice: the log probability of
  // each option, in nats. Regression: the number alone.
  std::vector<double> scores;
  // Of several samples (SampleRequest), whose mean the answer is.
  std::optional<AnswerUncertainty> uncertainty = {};
};

// Samples of an answer: routes through the experts of a mixture, or passes with dropout. One of the
// two; without both an answer is one sample, with the mean of all experts.
struct SampleRequest {
  // "merged" (the default), "random", "fixed", "ensemble-logits" or "ensemble-probabilities".
  std::string routing = {};
  std::optional<int64_t> routes = {};  // of an ensemble; 4
  std::optional<int64_t> route_seed = {};
  std::string route_unit = {};  // who draws an expert: "all" questions together, "text" or "token"
  // The masks are drawn by the seed and a question's place among those of its adapter.
  std::optional<int64_t> dropout_passes = {}, dropout_seed = {};
  std::optional<double> dropout_rate = {};  // of the model; its own
};

// A prompt that is continued.
struct TextRequest {
  AdapterHandle adapter;
  std::string prompt;
};

struct WritingOptions {
  // Settings by their names in doc/run_folder.md (`generation`): "max_new_tokens=60",
  // "temperature=0.8", "beams=4"; and "seed=1", by which tokens are drawn. They take precedence
  // over the model's own settings.
  std::vector<std::string> settings = {};
  bool ignores_model_settings = false;
  std::string chat = {};               // a chat format, "model" or "none"; empty: as the task says
  std::vector<std::string> stop = {};  // a text ends before the first of these; empty: as the task
                                       // says
  // Receives each piece of text as soon as it is final. Not called with beams. May be empty.
  std::function<void(size_t request, const std::string& piece)> on_text = {};
};

struct GeneratedText {
  std::string text;             // without the end token or the stop text
  std::vector<int64_t> tokens;  // with the end token
  double log_probability = 0;   // of all tokens under the model and its adapter, in nats
  std::string finish;           // "end", "length" or "stop"
};

struct Scores {
  int64_t rows = 0;
  double loss = 0;  // mean over the rows, or over the target tokens of texts
  // The task's metrics, in its order. NaN: undefined.
  std::vector<std::pair<std::string, double>> metrics;
};

// A session never changes after it is opened. Several threads may call any method at once, also
// with the same adapter. Cheap to copy: copies share the model.
class Session {
 public:
  // `model` is a folder or a GGUF file. Throws InputError if the model or its tokenizer cannot be
  // read.
  static Session open(const std::string& model, const ModelOptions& options = {});

  ModelInfo info() const;

  // Loads the adapter in a folder. Checks its format and tensors, that it was trained on this model
  // with this tokenizer, and that the model can do its task. `task` replaces the adapter's own task
  // if it has no head: a name, a YAML file or "text:LABEL,LABEL".
  AdapterHandle load(const std::string& adapter, const std::string& task = {}) const;
  // The model alone. `task` must need no head, or one that the model's folder holds. Without `task`
  // the model's own head is used, if there is one; else the model only writes texts.
  AdapterHandle bare(const std::string& task = {}) const;

  // Returns one answer for each question, in order. Questions to several adapters share forward
  // passes; other questions change the last bits of an answer at most. Throws InputError if an
  // adapter's task is answered by a text, and where `samples` are asked that an adapter has not, or
  // of a choice.
  std::vector<Answer> predict(const std::vector<Question>& questions,
                              const SampleRequest& samples = {}) const;

  // Returns one text for each request, in order. Texts of several adapters are written together.
  // Throws InputError if an adapter answers by a head.
  std::vector<GeneratedText> generate(const std::vector<TextRequest>& requests,
                                      const WritingOptions& options = {}) const;

  // Returns the loss and the task's metrics over the labelled rows of the file `data`.
  Scores score(const AdapterHandle& adapter, const std::string& data) const;

 private:
  explicit Session(std::shared_ptr<const SessionState> state) : state_(std::move(state)) {}
  AdapterHandle hold(const std::string& adapter, const std::string& task) const;

  std::shared_ptr<const SessionState> state_;
};

}  // namespace graft
