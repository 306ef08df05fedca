#include "data/answers.h"

#include <algorithm>

#include "base/error.h"
#include "base/wording.h"
#include "data/text_words.h"

namespace graft {

namespace {

bool is_decimal_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::optional<std::string> answer_after(std::string_view output, std::string_view announced) {
  const size_t at = output.find(announced);
  if (at == std::string_view::npos) return std::nullopt;
  return std::string(strip(output.substr(at + announced.size())));
}

std::optional<std::string> first_option(std::string_view output,
                                        const std::vector<std::string>& options) {
  size_t first = std::string_view::npos;
  const std::string* found = nullptr;
  for (const std::string& option : options) {
    const size_t at = output.find(option);
    if (at >= first) continue;
    first = at;
    found = &option;
  }
  if (found == nullptr) return std::nullopt;
  return *found;
}

std::optional<double> last_number(std::string_view output) {
  std::string text(output);
  std::erase(text, ',');
  std::optional<std::string> last;
  for (size_t i = 0; i < text.size(); ++i) {  // -?\d+\.?\d*
    const bool is_negative = text[i] == '-' && i + 1 < text.size() && is_decimal_digit(text[i + 1]);
    if (!is_decimal_digit(text[i]) && !is_negative) continue;
    size_t end = i + (is_negative ? 1 : 0);
    while (end < text.size() && is_decimal_digit(text[end])) ++end;
    if (end < text.size() && text[end] == '.') ++end;
    while (end < text.size() && is_decimal_digit(text[end])) ++end;
    last = text.substr(i, end - i);
    i = end - 1;
  }
  if (!last) return std::nullopt;
  return finite_number(*last);
}

std::optional<char> first_letter(std::string_view output, std::string_view letters) {
  const size_t at = output.find_first_of(letters);
  if (at == std::string_view::npos) return std::nullopt;
  return output[at];
}

std::optional<double> right_number(std::string_view answer) {
  const size_t first = answer.find(',');
  if (first == std::string_view::npos) return finite_number(answer);
  const size_t end = std::min(answer.find('.'), answer.size());
  const bool ends_well = end >= first && (end - first) % 4 == 0;  // each group: a comma, 3 digits
  const size_t leading = first - (answer.starts_with('-') ? 1 : 0);
  if (!ends_well || leading < 1 || leading > 3) return std::nullopt;
  std::string digits(answer.substr(0, first));
  for (size_t i = first; i < answer.size(); ++i) {
    const bool is_comma = i < end && (i - first) % 4 == 0;
    if (is_comma != (answer[i] == ',')) return std::nullopt;
    if (!is_comma) digits += answer[i];
  }
  return finite_number(digits);
}

std::string cut_output(std::string_view output, const std::vector<std::string>& stop) {
  size_t end = output.size();
  for (const std::string& text : stop) end = std::min(end, output.find(text));
  return std::string(strip(output.substr(0, end)));
}

std::string answer_fault(std::string_view metric, const AnswerRule& rule, std::string_view answer) {
  answer = strip(answer);
  if (answer.empty()) return "expected an answer, found an empty text";
  if (metric == "answer_number" && !right_number(answer))
    return "expected a number as answer, found " + quote(answer);
  if (metric == "answer_letter" &&
      (answer.size() != 1 || rule.letters.find(answer[0]) == std::string::npos)) {
    return "expected one of the letters " + rule.letters + " as answer, found " + quote(answer);
  }
  if (metric == "answer_option" &&
      std::find(rule.options.begin(), rule.options.end(), answer) == rule.options.end()) {
    return "expected one of the answer's options as answer, found " + quote(answer) +
           did_you_mean(answer, rule.options);
  }
  return "";
}

bool is_right(std::string_view metric, const AnswerRule& rule, std::string_view answer,
              std::string_view output) {
  if (const std::string fault = answer_fault(metric, rule, answer); !fault.empty())
    throw InputError(std::string(metric) + ": " + fault);
  answer = strip(answer);
  if (metric == "answer_after") return answer_after(output, rule.after) == answer;
  if (metric == "answer_option") return first_option(output, rule.options) == answer;
  if (metric == "answer_letter") return first_letter(output, rule.letters) == answer[0];
  ensure(metric == "answer_number", "is_right: unknown rule");
  const std::optional<double> found = last_number(output);
  return found && std::abs(*found - *right_number(answer)) <= rule.tolerance;
}

}  // namespace graft
