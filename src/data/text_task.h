// What a task says about texts that a model writes or ranks: prompt and target, options, the word
// at a mask, the answer in an output. The keys of task files are in doc/data.md; parts of struct
// Task (task.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/template.h"

namespace graft {

struct Prompt {
  Template text;
  // In rows where this column holds a text that is not empty, `with_text` takes the place of
  // `text`.
  std::optional<std::string> with_column;
  std::optional<Template> with_text;

  friend bool operator==(const Prompt&, const Prompt&) = default;
};

enum class LossOn { kTarget, kAll };
enum class PromptEnd {
  kNone,  // as the tokenizer ends a text
  kEos,   // the model's end-of-text token stands between prompt and target
  kBare,  // nothing, not even what the tokenizer puts behind a text: T5's </s>
};

// Where the right answer stands and how an output is searched for its own; answers.h has the rules.
struct AnswerRule {
  Template text;                     // the right answer: a column, or a text with columns in it
  std::string after;                 // for "answer_after": the words that announce an answer
  std::vector<std::string> options;  // for "answer_option"
  std::string letters = "ABCDE";     // for "answer_letter"
  double tolerance = 1e-3;           // for "answer_number"

  friend bool operator==(const AnswerRule&, const AnswerRule&) = default;
};

// What generation and choice share.
struct Prompted {
  // A chat format's name (text/chat.h), "model": the model's own, or "none".
  std::string chat = "none";
  PromptEnd prompt_end = PromptEnd::kNone;
  // Tokens of a target or option, its end among them; max_length is of the prompt then. 0: one
  // limit for both.
  int64_t max_target_length = 0;
  // The row's template or data set, where the file has it.
  std::optional<std::string> group_column;

  friend bool operator==(const Prompted&, const Prompted&) = default;
};

// kind: generation. A row has a prompt and a target, or the turns of a chat.
struct Generation : Prompted {
  std::optional<Prompt>
      prompt;  // here with `target`, or `messages`, or all three: messages in rows that have them
  std::optional<Template> target;
  std::optional<std::string> messages_column;  // a list of {role, content}
  // Of a chat: the system's turn, in rows where this column holds a text that is not empty.
  std::optional<std::string> system_column;
  std::optional<std::string>
      references_column;  // a list of texts to score against, instead of the target
  bool group_references =
      false;  // for evaluation, rows with equal prompts become one with all their targets
  LossOn loss = LossOn::kTarget;
  std::vector<std::string> stop;  // an output ends before the first of these
  std::optional<AnswerRule> answer;

  friend bool operator==(const Generation&, const Generation&) = default;
};

// Where a row's options stand: a column with a list of texts, or an object with their texts and
// names; or one text each (with columns in it); or a part of a text cut at a separator.
struct OptionSource {
  std::optional<std::string> column;  // alone: a list or an object in JSON
  std::vector<Template> texts;
  std::string after,
      separator;  // with column: what follows the last `after`, to the end, cut at `separator`

  friend bool operator==(const OptionSource&, const OptionSource&) = default;
};

enum class OptionScore { kSum, kMean };  // of the log-probabilities of an option's tokens
enum class TargetForm {
  kByCell,  // an index where JSON has a number and the options no names; else as kText
  kIndex,   // from 0
  kNumber,  // from 1
  kLetter,  // A is the first
  kText,    // of an option, or its name where options have names
};

// kind: choice. Rank classification: the option that the model finds most probable after the
// prompt.
struct Choice : Prompted {
  Prompt prompt;
  OptionSource options;
  std::optional<Template> as;  // how an option is written after the prompt: "{option}" where absent
  std::string target_column;
  TargetForm target_form = TargetForm::kByCell;
  OptionScore score = OptionScore::kSum;

  friend bool operator==(const Choice&, const Choice&) = default;
};

// A classification by the word that a masked language model puts at {mask}.
struct Cloze {
  Template text;                   // one place is {mask}
  std::vector<std::string> words;  // of each label, in index order

  friend bool operator==(const Cloze&, const Cloze&) = default;
};

// The chat formats that a task can name, "none" and "model" first.
const std::vector<std::string>& chat_names();

}  // namespace graft
