// What the columns of published files and of people's own are usually called, in small letters. Of
// several that a file has, the first of a list counts; tests/data/published_layouts.txt has the
// files. Internal to src/data.
#pragma once

#include <string_view>

namespace graft::detail {

struct NamePair {
  std::string_view first, second;
};

// --- labels and their texts ---------------------------------------------------------------------

// A label, whatever stands beside it; also as the last word of a name ("gold_label").
inline constexpr std::string_view kLabelNames[] = {"label",     "labels", "class",
                                                   "sentiment", "intent", "emotion"};
// What a row is about: a label, but no answer beside a prompt and its target.
inline constexpr std::string_view kTopicNames[] = {"category", "topic", "tag",
                                                   "target",   "type",  "y"};
inline constexpr std::string_view kValueNames[] = {"score", "similarity", "rating", "stars",
                                                   "star",  "value",      "grade",  "toxicity"};
// The values that the last word of a name tells surely ("star_rating"); "customer_value" may be
// anything.
inline constexpr std::string_view kRatingWords[] = {"rating", "stars"};
inline constexpr std::string_view kIdNames[] = {"id", "idx", "index", "uid", "guid", "uuid"};
// Where a file has more than two columns, what is called so is no label for its few values alone;
// nor is what ends in the name of an id or a key ("product_id"), but for a label's ("class_id").
inline constexpr std::string_view kBesideNames[] = {
    "title", "context", "passage", "article", "document", "system", "system_prompt", "split"};
inline constexpr std::string_view kKeyWords[] = {"hash", "url", "link", "date", "sha"};

// A text; else the longest, if the last word of its name says that it is one ("comment_text"); else
// one of the third.
inline constexpr std::string_view kTextNames[] = {
    "text",      "sentence", "sentence1", "premise", "question1", "text1",
    "content",   "body",     "message",   "review",  "comment",   "tweet",
    "utterance", "document", "statement", "claim",   "headline",  "user_input"};
inline constexpr std::string_view kTextWords[] = {
    "text", "body", "content", "sentence", "review", "comment", "tweet", "message", "utterance"};
inline constexpr std::string_view kLateTextNames[] = {"question", "description", "title", "subject",
                                                      "input"};
// Of two texts: a stem with each of two marks behind it, and pairs of names.
inline constexpr std::string_view kTextStems[] = {"sentence", "question", "text", "sent"};
inline constexpr NamePair kTextMarks[] = {{"1", "2"}, {"_1", "_2"}, {"_a", "_b"}, {"a", "b"}};
inline constexpr NamePair kTextPairs[] = {{"premise", "hypothesis"}, {"text", "text_pair"},
                                          {"question", "sentence"},  {"question", "passage"},
                                          {"question", "context"},   {"query", "passage"},
                                          {"claim", "evidence"},     {"anchor", "target"}};
// A text and what stands above it.
inline constexpr NamePair kTitlePairs[] = {{"title", "description"},
                                           {"title", "text"},
                                           {"title", "content"},
                                           {"title", "body"},
                                           {"title", "review"},
                                           {"title", "review text"},
                                           {"subject", "body"},
                                           {"subject", "text"},
                                           {"subject", "message"},
                                           {"headline", "body"},
                                           {"headline", "text"},
                                           {"headline", "short_description"},
                                           {"review_headline", "review_body"},
                                           {"question_title", "question_content"}};

// --- prompts and their targets ------------------------------------------------------------------

inline constexpr NamePair kPromptPairs[] = {{"prompt", "completion"},
                                            {"prompt", "response"},
                                            {"prompt", "target"},
                                            {"prompt", "output"},
                                            {"prompt", "answer"},
                                            {"prompt", "chosen"},
                                            {"prompt", "canonical_solution"},
                                            {"instruction", "output"},
                                            {"instruction", "response"},
                                            {"instruction", "completion"},
                                            {"instruction", "answer"},
                                            {"question", "answer"},
                                            {"question", "response"},
                                            {"question", "chosen"},
                                            {"query", "response"},
                                            {"query", "answer"},
                                            {"problem", "solution"},
                                            {"input", "target"},
                                            {"input", "output"},
                                            {"inputs", "targets"},
                                            {"mr", "ref"},
                                            {"meaning_representation", "human_reference"},
                                            {"prompt", "code"},
                                            {"question", "query"},
                                            {"question", "sql"},
                                            {"question", "best_answer"},
                                            {"query", "answers"},
                                            {"problem", "generated_solution"},
                                            {"problem", "rationale"},
                                            {"inputs_pretokenized", "targets_pretokenized"},
                                            {"rewritten_intent", "snippet"},
                                            {"intent", "snippet"},
                                            {"nl", "code"},
                                            {"code", "docstring"},
                                            {"documents", "tldr"},
                                            {"email_body", "subject_line"},
                                            {"sourcestring", "targetstring"}};
// The same where no column has the name of a label or a value: reviews have summaries, too.
inline constexpr NamePair kSummaryPairs[] = {{"document", "summary"}, {"article", "highlights"},
                                             {"article", "summary"},  {"article", "abstract"},
                                             {"dialogue", "summary"}, {"text", "summary"},
                                             {"content", "summary"},  {"description", "abstract"},
                                             {"text", "code"},        {"source", "target"}};
inline constexpr std::string_view kInputNames[] = {"input", "context"};  // of an instruction
inline constexpr std::string_view kPassageNames[] = {
    "context",   "passage", "article",        "document",
    "paragraph", "support", "flores_passage", "document.summary.text"};  // of a question
inline constexpr std::string_view kSystemNames[] = {"system", "system_prompt"};

// --- inside lists and objects -------------------------------------------------------------------

// Prompts whose target is the first of several answers, and the list of these, where there is one.
struct AnswerPaths {
  std::string_view prompt, target, references;
};
inline constexpr AnswerPaths kAnswerPaths[] = {{"question", "answers.text.0", "answers.text"},
                                               {"question", "answer.value", "answer.aliases"},
                                               {"question.text", "answers.0.text", ""},
                                               {"question", "answer.0", "answer"},
                                               {"question", "answers.0", "answers"},
                                               {"inputs", "targets.0", "targets"},
                                               {"input", "output.0.answer", ""}};
// The column of objects that hold a text in each of some languages.
inline constexpr std::string_view kLanguagesName = "translation";
// What else is looked for inside others.
inline constexpr std::string_view kInnerNames[] = {"question.stem", "question.choices",
                                                   "document.summary.text"};

// --- choices ------------------------------------------------------------------------------------

inline constexpr std::string_view kQuestionNames[] = {
    "premise", "question", "question_stem", "question.stem", "startphrase", "sent1",
    "goal",    "ctx",      "sentence",      "prompt",        "query",       "problem",
    "stem",    "input",    "text",          "instruction"};
inline constexpr std::string_view kOptionListNames[] = {
    "options", "choices", "question.choices", "endings", "candidates", "answer_choices", "answers"};
// Options in columns that are counted on: a stem, what is between, and a number or a letter
// ("option1", "answer_a", "A").
inline constexpr std::string_view kOptionStems[] = {
    "choice", "option", "ending", "answer", "sol", "opt", "op", "mc_answer", "response", ""};
inline constexpr std::string_view kBetween[] = {"", "_", " "};
// Which option is right.
inline constexpr std::string_view kRightNames[] = {"label",
                                                   "answer",
                                                   "target",
                                                   "correct",
                                                   "gold",
                                                   "answerkey",
                                                   "answer_key",
                                                   "answer_index",
                                                   "answer_idx",
                                                   "correct_answer",
                                                   "correct_answer_id",
                                                   "correct_answer_idx",
                                                   "correct_answer_num",
                                                   "correct_index",
                                                   "correct_option",
                                                   "correct_choice",
                                                   "cop",
                                                   "better_response_id"};
// The right option and the wrong ones apart.
inline constexpr std::string_view kRightTextNames[] = {"correct_answer", "correct answer",
                                                       "answer"};
inline constexpr std::string_view kWrongStems[] = {
    "distractor", "incorrect_answer", "incorrect answer", "wrong_answer", "false_answer"};

}  // namespace graft::detail
