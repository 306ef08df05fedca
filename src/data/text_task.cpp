// The keys of task files for texts that a model writes or ranks; every reader has its writer below.
#include "data/text_task.h"

#include <algorithm>

#include "base/error.h"
#include "data/metrics.h"
#include "data/task_parts.h"

namespace graft {

const std::vector<std::string>& chat_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names = chat_format_names();
    names.insert(names.begin(), {"none", "model"});
    return names;
  }();
  return kNames;
}

namespace detail {

namespace {

constexpr size_t kMaxOptions = 10000;

constexpr Name<LossOn> kLosses[] = {{LossOn::kTarget, "target"}, {LossOn::kAll, "all"}};
constexpr Name<PromptEnd> kPromptEnds[] = {
    {PromptEnd::kNone, "none"}, {PromptEnd::kEos, "eos"}, {PromptEnd::kBare, "bare"}};
constexpr Name<OptionScore> kOptionScores[] = {{OptionScore::kSum, "sum"},
                                               {OptionScore::kMean, "mean"}};
constexpr Name<TargetForm> kTargetForms[] = {{TargetForm::kByCell, "cell"},
                                             {TargetForm::kIndex, "index"},
                                             {TargetForm::kNumber, "number"},
                                             {TargetForm::kLetter, "letter"},
                                             {TargetForm::kText, "text"}};

// The template at `key`, or an empty one and a fault.
template <typename Parse>
Template template_at(Options& options, std::string_view key, const Parse& parse) {
  const std::string text = options.text(key, std::nullopt);
  if (!options.has(key)) return {};
  try {
    return parse(text);
  } catch (const InputError& error) {
    options.fault(key, error.what());
    return {};
  }
}

Prompt read_prompt(Options& options) {
  Prompt prompt;
  prompt.text = template_at(options, "prompt", column_or_template);
  if (!options.has("prompt_with")) return prompt;
  Options& with = options.section("prompt_with");
  prompt.with_column = with.text("column", std::nullopt);
  prompt.with_text = template_at(with, "template", parse_template);
  return prompt;
}

std::string read_chat(Options& options) { return options.choice("chat", "none", chat_names()); }

PromptEnd read_prompt_end(Options& options, const std::string& chat) {
  const PromptEnd end = options.choice("prompt_end", PromptEnd::kNone, kPromptEnds);
  if (end != PromptEnd::kNone && chat != "none")
    options.fault("prompt_end",
                  "a chat format says itself how a prompt ends; remove it, or set chat: none");
  return end;
}

AnswerRule read_answer(Options& options) {
  AnswerRule rule;
  rule.text = template_at(options, "column", column_or_template);
  rule.after = options.text("after", "");
  rule.options = options.texts("options", std::vector<std::string>{});
  rule.letters = options.text("letters", rule.letters);
  rule.tolerance = options.number("tolerance", rule.tolerance, 0, 1e300);
  if (options.has("after") && rule.after.empty())
    options.fault("after", "expected the words that announce an answer, found an empty text");
  if (options.has("options") && rule.options.empty())
    options.fault("options", "expected the answers that can be found in an output");
  if (std::find(rule.options.begin(), rule.options.end(), "") != rule.options.end())
    options.fault("options", "an option is empty");
  const bool are_capitals = std::all_of(rule.letters.begin(), rule.letters.end(),
                                        [](char c) { return c >= 'A' && c <= 'Z'; });
  if (rule.letters.empty() || !are_capitals)
    options.fault("letters",
                  "expected capital letters such as ABCDE, found " + quote(rule.letters));
  return rule;
}

void read_option_source(Options& options, OptionSource& source) {
  const Node* node = options.raw("options");
  if (node == nullptr) {
    options.fault("options",
                  "missing; expected a column with a list of texts, or a list of texts, or a "
                  "section with column, after and separator");
  } else if (node->kind == Node::Kind::kScalar) {
    source.column = node->scalar;
  } else if (node->kind == Node::Kind::kMap) {
    Options& section = options.section("options");
    source.column = section.text("column", std::nullopt);
    source.after = section.text("after", std::nullopt);
    source.separator = section.text("separator", std::nullopt);
    if (section.has("separator") && source.separator.empty())
      section.fault("separator", "expected the text between two options, found an empty one");
  } else {
    for (const Node& item : node->items) {
      try {
        if (item.kind != Node::Kind::kScalar) throw InputError("expected a list of texts");
        source.texts.push_back(parse_template(item.scalar));
      } catch (const InputError& error) {
        options.fault("options", error.what());
      }
    }
    if (node->items.size() < 2 || node->items.size() > kMaxOptions) {
      options.fault("options", "expected 2.." + std::to_string(kMaxOptions) + " options, found " +
                                   std::to_string(node->items.size()));
    }
  }
}

// An option's wrapping has one place, {option}.
void check_wrapping(Options& options, const Template& as) {
  if (as.columns() != std::vector<std::string>{"option"})
    options.fault("as", "expected a text with {option} as its one place, found " + quote(as.text));
}

void check_answer_metrics(Options& options, const Task& task) {
  const auto needs = [&](const char* metric, bool is_there, const char* what) {
    const bool is_asked =
        std::find(task.metrics.begin(), task.metrics.end(), metric) != task.metrics.end();
    if (is_asked && !is_there) options.fault("metrics", std::string(metric) + " needs " + what);
  };
  const auto& answer = task.at<Generation>().answer;
  needs("answer_after", answer && !answer->after.empty(),
        "answer.after: the words that announce an answer");
  needs("answer_option", answer && !answer->options.empty(),
        "answer.options: the answers that can be found in an output");
  needs("answer_number", answer.has_value(), "answer.column: where the right number stands");
  needs("answer_letter", answer.has_value(), "answer.column: where the right letter stands");
}

void write_prompt(Node& node, const Prompt& prompt) {
  node["prompt"] = Node::text(prompt.text.text);
  if (!prompt.with_column) return;
  Node with = Node::map();
  with["column"] = Node::text(*prompt.with_column);
  with["template"] = Node::text(prompt.with_text->text);
  node["prompt_with"] = std::move(with);
}

Node answer_node(const AnswerRule& rule) {
  Node node = Node::map();
  node["column"] = Node::text(rule.text.text);
  if (!rule.after.empty()) node["after"] = Node::text(rule.after);
  if (!rule.options.empty()) node["options"] = Node::texts(rule.options);
  node["letters"] = Node::text(rule.letters);
  node["tolerance"] = Node::number(rule.tolerance);
  return node;
}

void write_generation(Node& node, const Generation& generation) {
  if (generation.prompt) write_prompt(node, *generation.prompt);
  if (generation.target) node["target"] = Node::text(generation.target->text);
  if (generation.messages_column) node["messages"] = Node::text(*generation.messages_column);
  if (generation.system_column) node["system"] = Node::text(*generation.system_column);
  if (generation.references_column) node["references"] = Node::text(*generation.references_column);
  node["group_references"] = Node::boolean(generation.group_references);
  node["chat"] = Node::text(generation.chat);
  node["loss"] = Node::text(word_of(kLosses, generation.loss));
  node["prompt_end"] = Node::text(word_of(kPromptEnds, generation.prompt_end));
  if (!generation.stop.empty()) node["stop"] = Node::texts(generation.stop);
  if (generation.answer) node["answer"] = answer_node(*generation.answer);
}

Node options_node(const OptionSource& source) {
  if (!source.column) {
    Node list = Node::list();
    for (const Template& text : source.texts) list.items.push_back(Node::text(text.text));
    return list;
  }
  if (source.separator.empty()) return Node::text(*source.column);
  Node node = Node::map();
  node["column"] = Node::text(*source.column);
  node["after"] = Node::text(source.after);
  node["separator"] = Node::text(source.separator);
  return node;
}

void write_choice(Node& node, const Choice& choice) {
  write_prompt(node, choice.prompt);
  node["options"] = options_node(choice.options);
  if (choice.as) node["as"] = Node::text(choice.as->text);
  node["target"] = Node::text(choice.target_column);
  if (choice.target_form != TargetForm::kByCell)
    node["target_form"] = Node::text(target_form_word(choice.target_form));
  node["chat"] = Node::text(choice.chat);
  node["prompt_end"] = Node::text(word_of(kPromptEnds, choice.prompt_end));
  node["score"] = Node::text(word_of(kOptionScores, choice.score));
}

}  // namespace

std::optional<std::string> optional_text(Options& options, std::string_view key) {
  if (!options.has(key)) return std::nullopt;
  return options.text(key, std::nullopt);
}

Template column_or_template_at(Options& options, std::string_view key) {
  return template_at(options, key, column_or_template);
}

std::optional<Cloze> read_cloze(Options& options, const std::vector<std::string>& labels) {
  if (!options.has("cloze")) return std::nullopt;
  Options& section = options.section("cloze");
  Cloze cloze;
  cloze.text = template_at(section, "template", parse_template);
  const auto masks = std::count_if(cloze.text.pieces.begin(), cloze.text.pieces.end(),
                                   [](const auto& piece) { return piece.column == "mask"; });
  if (section.has("template") && masks != 1)
    section.fault("template", "expected {mask} once, found " + quote(cloze.text.text));
  Options& words = section.section("words");
  for (const std::string& label : labels) {
    const std::string word = words.text(label, std::nullopt);
    if (words.has(label) && word.empty())
      words.fault(label, "expected a word, found an empty text");
    if (!word.empty() &&
        std::find(cloze.words.begin(), cloze.words.end(), word) != cloze.words.end()) {
      words.fault(label, "the word " + quote(word) + " already stands for another label");
    }
    cloze.words.push_back(word);
  }
  return cloze;
}

template <>
Generation read_question<Generation>(Options& options) {
  Generation out;
  if (options.has("messages")) out.messages_column = options.text("messages", std::nullopt);
  if (!out.messages_column || options.has("prompt") || options.has("target") ||
      options.has("prompt_with")) {
    out.prompt = read_prompt(options);
    out.target = template_at(options, "target", column_or_template);
  }
  out.system_column = optional_text(options, "system");
  out.references_column = optional_text(options, "references");
  out.group_references = options.boolean("group_references", false);
  out.chat = read_chat(options);
  out.loss = options.choice("loss", LossOn::kTarget, kLosses);
  out.prompt_end = read_prompt_end(options, out.chat);
  out.stop = options.texts("stop", std::vector<std::string>{});
  if (std::find(out.stop.begin(), out.stop.end(), "") != out.stop.end())
    options.fault("stop", "an empty text ends every output before it begins");
  if (options.has("answer")) out.answer = read_answer(options.section("answer"));
  for (const char* key : {"messages", "system"}) {
    if (options.has(key) && out.chat == "none")
      options.fault(key, "turns need a chat format; set chat: model, or one of " +
                             joined(chat_format_names()));
  }
  if (out.messages_column && out.group_references)
    options.fault("group_references", "rows are grouped by their prompts, which chats do not have");
  if (out.references_column && out.group_references)
    options.fault("group_references",
                  "the references already stand in a column; remove one of the two");
  return out;
}

template <>
Choice read_question<Choice>(Options& options) {
  Choice out;
  out.prompt = read_prompt(options);
  read_option_source(options, out.options);
  if (options.has("as")) {
    out.as = template_at(options, "as", parse_template);
    check_wrapping(options, *out.as);
  }
  out.target_column = options.text("target", std::nullopt);
  out.target_form = options.choice("target_form", TargetForm::kByCell, kTargetForms);
  out.chat = read_chat(options);
  out.prompt_end = read_prompt_end(options, out.chat);
  out.score = options.choice("score", OptionScore::kSum, kOptionScores);
  return out;
}

std::string target_form_word(TargetForm form) { return word_of(kTargetForms, form); }

void check_text_metrics(Options& options, const Task& task) {
  if (task.kind() == TaskKind::kGeneration) check_answer_metrics(options, task);
  if (task.primary_metric == "ter")
    options.fault("primary",
                  "the best checkpoint has the largest score, and a smaller ter is better; choose "
                  "another metric");
  if (task.primary_metric == "accuracy_by_group")
    options.fault("primary",
                  "accuracy_by_group is several scores; choose accuracy_median or accuracy");
}

void write_text_parts(Node& node, const Task& task) {
  if (const auto* generation = task.find<Generation>()) write_generation(node, *generation);
  if (const auto* choice = task.find<Choice>()) write_choice(node, *choice);
  if (const Prompted* prompted = task.prompted()) {
    if (prompted->group_column) node["group"] = Node::text(*prompted->group_column);
    if (prompted->max_target_length > 0)
      node["max_target_length"] = Node::integer(prompted->max_target_length);
  }
  const Cloze* own = task.cloze();
  if (own == nullptr) return;
  Node words = Node::map(), cloze = Node::map();
  for (size_t i = 0; i < task.labels().size(); ++i)
    words[task.labels()[i]] = Node::text(own->words[i]);
  cloze["template"] = Node::text(own->text.text);
  cloze["words"] = std::move(words);
  node["cloze"] = std::move(cloze);
}

std::vector<std::pair<std::string, std::string>> named_columns(const Task& task) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto add = [&](const char* key, const std::optional<std::string>& column) {
    if (column) out.emplace_back(key, *column);
  };
  const auto add_template = [&](const char* key, const Template& text) {
    for (const std::string& column : text.columns()) out.emplace_back(key, column);
  };
  const auto add_prompt = [&](const Prompt& prompt) {
    add_template("prompt", prompt.text);
    add("prompt_with", prompt.with_column);
    if (prompt.with_text) add_template("prompt_with", *prompt.with_text);
  };
  if (const Labelled* labelled = task.labelled()) {
    add_template("text", labelled->text);
    if (labelled->second) add_template("second", *labelled->second);
    add("label", labelled->label_column);
  }
  add("id", task.id_column);
  add("embedding", task.embedding_column);
  add("subspace", task.subspace_column);
  if (const Prompted* prompted = task.prompted()) add("group", prompted->group_column);
  if (const auto* generation = task.find<Generation>()) {
    if (generation->prompt) add_prompt(*generation->prompt);
    if (generation->target) add_template("target", *generation->target);
    add("messages", generation->messages_column);
    add("system", generation->system_column);
    add("references", generation->references_column);
    if (generation->answer) add_template("answer", generation->answer->text);
  }
  if (const auto* choice = task.find<Choice>()) {
    add_prompt(choice->prompt);
    add("options", choice->options.column);
    for (const Template& text : choice->options.texts) add_template("options", text);
    add("target", choice->target_column);
  }
  if (const Cloze* cloze = task.cloze()) {
    for (const std::string& column : cloze->text.columns()) {
      if (column != "mask") out.emplace_back("cloze", column);
    }
  }
  return out;
}

}  // namespace detail
}  // namespace graft
