// The answer in a text that a model wrote, by the rules that published scores follow. Pure
// functions; nothing is guessed: where a rule finds nothing, there is no answer and the output
// counts as wrong.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_task.h"

namespace graft {

// What follows the first `announced`, without white space around it (ReFT's commonsense runs: "the
// correct answer is ").
std::optional<std::string> answer_after(std::string_view output, std::string_view announced);

// The option that occurs first in the output, also inside words; of those at one place, the one
// listed first (LLM-Adapters' commonsense runs: the regular expression answer1|answer2|...).
std::optional<std::string> first_option(std::string_view output,
                                        const std::vector<std::string>& options);

// The last number: a minus, digits, a point and digits, after every comma is taken out (arithmetic,
// both).
std::optional<double> last_number(std::string_view output);

// The first of `letters` anywhere, also inside words: "Assume" is A (multiple-choice arithmetic,
// both).
std::optional<char> first_letter(std::string_view output, std::string_view letters);

// A right answer as a number (finite_number), whose thousands commas may group: "1,450,000".
std::optional<double> right_number(std::string_view answer);

// The output up to the first of `stop`, without white space around it.
std::string cut_output(std::string_view output, const std::vector<std::string>& stop);

// Is `output` right by one of the rules "answer_after", "answer_option", "answer_number" or
// "answer_letter"? `answer` is compared without white space around it. Throws InputError when the
// rule cannot use `answer` (not a number, not one of the letters or options).
bool is_right(std::string_view metric, const AnswerRule& rule, std::string_view answer,
              std::string_view output);
// What is wrong with a right answer under a rule, or "".
std::string answer_fault(std::string_view metric, const AnswerRule& rule, std::string_view answer);

}  // namespace graft
