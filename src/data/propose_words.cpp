// Proposed tasks whose rows are answered in words: chats, prompts with targets, choices.
#include <algorithm>

#include "base/error.h"
#include "base/printable.h"
#include "data/propose_parts.h"
#include "data/task_parts.h"

namespace graft::detail {

namespace {

std::string key_line(const std::string& key, const Column& column) {
  return key + ": " + yaml_text(column.name) + "\n";
}

std::string place(const Column& column) { return "{" + column.name + "}"; }

// The prompt, and where it speaks of another text both.
std::string prompt_yaml(const Column& prompt, const Column* context,
                        std::vector<const Column*>& used) {
  used.push_back(&prompt);
  std::string out = key_line("prompt", prompt);
  if (context == nullptr) return out;
  used.push_back(context);
  return out + noted("prompt_with:", "the prompt of rows that have this column, too") + "  " +
         key_line("column", *context) +
         "  template: " + yaml_text(joined_places(prompt, *context)) + "\n";
}

// A number is written as a text by a template alone.
std::string target_line(const Column& target) {
  return target.is_number() ? "target: " + yaml_text(place(target)) + "\n"
                            : key_line("target", target);
}

std::string pair_yaml(const Column& prompt, const Column* context, const Column& target,
                      std::vector<const Column*>& used) {
  std::string out = prompt_yaml(prompt, context, used) + target_line(target);
  used.push_back(&target);
  return out;
}

// The turn of the system that stands in a column of its own.
std::string system_yaml(const Column& system, std::vector<const Column*>& used) {
  used.push_back(&system);
  return noted("system: " + yaml_text(system.name), "the first turn, in rows that have it");
}

const char* const kModelsFormat = "the model's own chat format";

// How rows may say which of their options is right, the likelier first.
std::vector<TargetForm> forms_of(const Proposer::Asked& asked, const Table& table) {
  const Column& right = *asked.right;
  const std::string& options = asked.options.front()->first_tree;
  const bool has_names = options.starts_with('{') || options.starts_with("[{");
  const bool has_texts = std::any_of(table.rows.begin(), table.rows.end(), [&](const Row& row) {
    return row.kind(right.index) == CellKind::kText;
  });
  constexpr int64_t kEnough = 8;  // rows, of which some would be 0 if that were the first
  const bool is_from_one = right.is_number() && right.rows - right.absent >= kEnough &&
                           std::none_of(right.groups.begin(), right.groups.end(),
                                        [](const Group& group) { return group.name() == "0"; });
  std::vector<TargetForm> out = {TargetForm::kIndex, TargetForm::kNumber, TargetForm::kLetter};
  if (is_from_one) std::swap(out[0], out[1]);
  if (has_names || has_texts) out.insert(out.begin(), TargetForm::kText);
  return out;
}

const char* note_of(TargetForm form) {
  switch (form) {
    case TargetForm::kIndex: return "counted from 0";
    case TargetForm::kNumber: return "counted from 1";
    case TargetForm::kLetter: return "A is the first";
    case TargetForm::kByCell:
    case TargetForm::kText: break;
  }
  return "the right option, or its name";
}

// A comment, which is one line.
std::string unread_comment(const InputError& first) {
  return "# not every row can be read so, the first: " + printable(first.what(), 400) + "\n";
}

// How many rows a task reads that say which option is right, how many it does not read, and a
// comment on the first of these.
struct Reading {
  int64_t rows = 0, faulty = 0;
  std::string comment;
};

Task tried_task(const std::string& yaml) {
  const std::string source = "proposed task";
  return parse_task(parse_yaml("name: tried\n" + yaml, source), source);
}

// On the first row that a task cannot train on; "" where there is none.
std::string training_comment(const std::string& yaml, const Table& table) {
  try {
    to_examples(table, tried_task(yaml), LabelUse::kRequired);
    return "";
  } catch (const InputError& fault) {
    return unread_comment(fault);
  }
}

Reading reading_of(const std::string& yaml, const Table& table) {
  constexpr size_t kTried = 1000;  // rows, where some are faulty: enough to tell
  const Task task = tried_task(yaml);
  Reading out;
  const auto read = [&](const Table& rows) {
    for (const Example& example : to_examples(rows, task, LabelUse::kOptional))
      out.rows += example.label ? 1 : 0;
  };
  try {
    read(table);
    return out;
  } catch (const InputError& error) {
    out = {0, 0, unread_comment(error)};
  }
  Table one{table.source, table.columns, {}};
  for (size_t i = 0; i < std::min(table.rows.size(), kTried); ++i) {
    one.rows = {table.rows[i]};
    try {
      read(one);
    } catch (const InputError&) {
      ++out.faulty;
    }
  }
  out.faulty = std::max<int64_t>(out.faulty, 1);  // the first may stand behind the tried ones
  return out;
}

// Adds the form by which most rows say which option is right, the others that fit as well, and the
// first row that it does not read. False, and nothing is added, where it reads no more than half.
bool add_target_form(const Proposer::Asked& asked, const Table& table, ProposedKeys& keys) {
  std::optional<TargetForm> best;
  Reading most;
  std::string others;
  for (const TargetForm form : forms_of(asked, table)) {
    const Reading reading =
        reading_of(keys.yaml + "target_form: " + target_form_word(form) + "\n", table);
    if (reading.rows > 0 && reading.faulty == 0 && best && most.faulty == 0)
      others += "; or " + target_form_word(form) + ", " + note_of(form);
    if (reading.rows <= most.rows) continue;
    best = form;
    most = reading;
  }
  if (!best || most.rows <= most.faulty) return false;
  keys.yaml += noted("target_form: " + target_form_word(*best), note_of(*best) + others);
  keys.remarks = most.comment;
  return true;
}

ProposedKeys chat_keys(const Proposer& proposer) {
  ProposedKeys out{"kind: generation\n", {}, ""};
  const Proposer::Pair lists = proposer.turns_and_target();
  if (lists && proposer.messages() == nullptr) {
    const auto [prompt, target] = *lists;
    out.yaml += key_line("prompt", *prompt) + key_line("target", *target);
    out.used = {prompt, target};
    const bool is_ready = prompt->name == "prompt" && target->name == "completion";
    out.ready = is_ready ? "prompt-completion" : "";
  } else {
    const Column* turns = proposer.turns();
    out.yaml += key_line("messages", *turns);
    out.used = {turns};
    out.ready = turns->name == "conversations" ? "sharegpt"
                : turns->name == "messages"    ? "instructions"
                                               : "";
  }
  if (const Column* system = proposer.system()) {
    out.yaml += system_yaml(*system, out.used);
    if (out.ready != "sharegpt" || system->name != "system") out.ready = "";
  }
  out.yaml += noted("chat: model", kModelsFormat) + "metrics: [rouge_l]\n";
  return out;
}

// The answer alone that stands beside a target which says more, as in LLM-Adapters' files.
const Column* bare_answer(const Proposer& proposer) {
  const Column* answer = proposer.named("answer");
  const bool is_beside =
      answer != nullptr && answer->is_text() && proposer.prompt()->second != answer;
  return is_beside ? answer : nullptr;
}

// A ready task for the pair of an instruction and an output; "" where there is none.
std::string ready_task(const Proposer& proposer, const Column& target, const Column* context) {
  if (context != nullptr) return context->name == "input" ? "alpaca" : "";
  const std::string& first = target.groups.front().spellings.front().text;
  const bool is_commonsense =
      bare_answer(proposer) != nullptr && first.starts_with("the correct answer is ");
  return is_commonsense ? "commonsense" : "";
}

// Whether a label is what a model is told, so that its values come again but are no answers.
bool is_told(const Column* label, const Column& prompt, const Proposer& proposer) {
  return label == &prompt || (label != nullptr && label == proposer.context(prompt));
}

// `label`: what the rows could be classified by instead, or null.
std::string generation_line(const Column* label) {
  if (label == nullptr) return "kind: generation\n";
  return noted("kind: generation", std::string("or ") +
                                       (is_amount(*label) ? "regression" : "classification") +
                                       ", by label: " + yaml_text(label->name));
}

std::string plain_line() {
  return noted("chat: none",
               "model: as a user's and an assistant's turn in the model's own format");
}

ProposedKeys prompt_keys(const Proposer& proposer, const Column* label) {
  const auto [prompt, target] = *proposer.prompt();
  const Column *context = proposer.context(*prompt), *system = proposer.system();
  ProposedKeys out;
  out.yaml = generation_line(label) + pair_yaml(*prompt, context, *target, out.used);
  if (system != nullptr) out.yaml += system_yaml(*system, out.used);
  out.yaml += system != nullptr ? noted("chat: model", kModelsFormat) : plain_line();
  out.yaml += "metrics: [rouge_l]\n";
  if (prompt->name == "instruction" && target->name == "output" && system == nullptr)
    out.ready = ready_task(proposer, *target, context);
  return out;
}

// A prompt with several answers.
ProposedKeys answered_keys(const Proposer::Answered& asked, const Proposer& proposer,
                           const Table& table) {
  const Column *context = proposer.context(*asked.prompt), *label = proposer.label();
  ProposedKeys out;
  out.yaml = generation_line(is_told(label, *asked.prompt, proposer) ? nullptr : label) +
             pair_yaml(*asked.prompt, context, *asked.target, out.used);
  if (asked.references != nullptr) {
    out.used.push_back(asked.references);
    out.yaml += noted("references: " + yaml_text(asked.references->name),
                      "what is written may be any of these");
  }
  out.yaml += plain_line() + "metrics: [rouge_l, exact_match]\n";
  out.remarks = training_comment(out.yaml, table);
  return out;
}

ProposedKeys translation_keys(const Column& from, const Column& to, const Column* label) {
  return {generation_line(label) +
              noted("prompt: " + yaml_text(from.name),
                    "or with words around it: \"translate to ...: " + place(from) + "\"") +
              noted("target: " + yaml_text(to.name), "the two may change places") + plain_line() +
              "metrics: [bleu]\n",
          {&from, &to},
          ""};
}

// What is found inside lists and objects.
std::optional<ProposedKeys> inner_keys(const Proposer& proposer, const Table& table) {
  const Column* label = proposer.label();
  if (label != nullptr && Proposer::is_named_label(*label)) return std::nullopt;
  if (const auto asked = proposer.answered()) return answered_keys(*asked, proposer, table);
  if (const Proposer::Pair pair = proposer.translation())
    return translation_keys(*pair->first, *pair->second, label);
  return std::nullopt;
}

// Nothing where the rows have no options, or where most do not say which is right.
std::optional<ProposedKeys> choice_keys(const Proposer& proposer, const Table& table) {
  const std::optional<Proposer::Asked> asked = proposer.choice();
  if (!asked) return std::nullopt;
  ProposedKeys out{noted("kind: choice", "the most probable option is the answer"), {}, ""};
  out.yaml += prompt_yaml(*asked->question, proposer.context(*asked->question), out.used);
  out.used.insert(out.used.end(), asked->options.begin(), asked->options.end());
  out.used.push_back(asked->right);
  std::string texts;
  for (const Column* option : asked->options)
    texts += (texts.empty() ? "" : ", ") + yaml_text(place(*option));
  const bool is_list = asked->options.size() == 1;
  out.yaml += is_list ? key_line("options", *asked->options.front()) : "options: [" + texts + "]\n";
  out.yaml += noted("as: \" {option}\"", "how an option follows the prompt");
  out.yaml += key_line("target", *asked->right) + "metrics: [accuracy]\n";
  return add_target_form(*asked, table, out) ? std::optional(out) : std::nullopt;
}

}  // namespace

std::string joined_places(const Column& prompt, const Column& context) {
  const bool is_below = folded(prompt.name) == "instruction";
  return is_below ? place(prompt) + "\n\n" + place(context)
                  : place(context) + "\n\n" + place(prompt);
}

std::optional<ProposedKeys> keys_in_words(const Proposer& proposer, const Table& table) {
  if (proposer.is_chat()) return chat_keys(proposer);
  if (const auto keys = choice_keys(proposer, table)) return keys;
  const Proposer::Pair prompts = proposer.prompt();
  if (!prompts) return inner_keys(proposer, table);
  const Column* label = proposer.label();
  if (label == nullptr) return prompt_keys(proposer, nullptr);
  if (is_told(label, *prompts->first, proposer) && !Proposer::is_named_label(*label))
    return prompt_keys(proposer, nullptr);
  const bool is_target = label == prompts->second;
  const bool is_class = label->groups.size() <= 20 && bare_answer(proposer) == nullptr;
  if (is_target ? is_class : Proposer::is_named_label(*label)) return std::nullopt;
  return prompt_keys(proposer, label);
}

}  // namespace graft::detail
