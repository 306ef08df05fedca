// A session: one frozen model in memory, and adapters that are loaded beside each other and answer
// side by side.
//
//   const Session session = Session::open("models/minilm");
//   const AdapterHandle mail = session.load("runs/mail/adapter");
//   std::puts(session.predict({{mail, "You have won!"}}).front().label.c_str());
//
// What is wrong with a file or a request is an InputError (graft/errors.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "graft/adapter.h"
#include "graft/model.h"

namespace graft {

struct SessionState;

// One text to be answered by a label, a number or an option.
struct Question {
  AdapterHandle adapter;
  std::string text;                               // of a task that reads one column
  std::string second = {};                        // of a task of pairs
  std::map<std::string, std::string> cells = {};  // a whole row by column, instead of both
};

struct Answer {
  std::string label;           // the label, or the option; empty for a number
  double value = 0;            // the number; else the score of the label or option
  std::vector<double> scores;  // probabilities in the order of the labels; log probabilities of the
                               // options, in nats; of a regression the number alone
};

// A text to go on from.
struct TextRequest {
  AdapterHandle adapter;
  std::string prompt;
};

struct WritingOptions {
  // By the names of doc/run_folder.md (`generation`): "max_new_tokens=60", "temperature=0.8",
  // "beams=4"; and "seed=1", which draws the tokens. They win over the model's own settings.
  std::vector<std::string> settings = {};
  bool ignores_model_settings = false;
  std::string chat = {};               // a chat format, "model" or "none"; empty: the task's
  std::vector<std::string> stop = {};  // a text ends before the first of these; empty: the task's
  // Text as it is final, in the order in which it comes; not with beams. May be empty.
  std::function<void(size_t request, const std::string& piece)> on_text = {};
};

struct GeneratedText {
  std::string text;             // without what ends it
  std::vector<int64_t> tokens;  // with the end token
  double log_probability = 0;   // of the tokens under the model and its adapter, in nats
  std::string finish;           // "end", "length" or "stop"
};

struct Scores {
  int64_t rows = 0;
  double loss = 0;  // mean over rows, or over the tokens to be given
  std::vector<std::pair<std::string, double>> metrics;  // of the task, in its order; NaN: undefined
};

// Never changed once it is open: every method may be called from several threads at once, also on
// the same adapter. Cheap to copy; copies share the model.
class Session {
 public:
  // A folder or a GGUF file. Throws InputError where it is not read, or its tokenizer is not.
  static Session open(const std::string& model, const ModelOptions& options = {});

  ModelInfo info() const;

  // An adapter in a folder, with all checks: format, tensors, the base that it was trained on, the
  // tokenizer, and that its task is one of this model. `task`: a task by name, a YAML file or
  // "text:LABEL,LABEL", in the place of its own, for an adapter without a head.
  AdapterHandle load(const std::string& adapter, const std::string& task = {}) const;
  // The model alone, for a task that needs no head or whose head its folder brings; without a task
  // that of its own head, or none where it only writes.
  AdapterHandle bare(const std::string& task = {}) const;

  // One a question, in order. Questions of several adapters share forward passes; what is answered
  // beside it moves an answer in its last bits at most. Throws InputError for an adapter whose task
  // is answered by a text.
  std::vector<Answer> predict(const std::vector<Question>& questions) const;

  // One a request, in order; texts of several adapters are written side by side. Throws InputError
  // for an adapter that answers by a head.
  std::vector<GeneratedText> generate(const std::vector<TextRequest>& requests,
                                      const WritingOptions& options = {}) const;

  // The loss and the task's metrics over the labelled rows of a file.
  Scores score(const AdapterHandle& adapter, const std::string& data) const;

 private:
  explicit Session(std::shared_ptr<const SessionState> state) : state_(std::move(state)) {}
  AdapterHandle hold(const std::string& adapter, const std::string& task) const;

  std::shared_ptr<const SessionState> state_;
};

}  // namespace graft
