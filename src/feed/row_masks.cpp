// A cloze as token ids: where the mask stands in a row, and which tokens its labels' words are.
#include <algorithm>

#include "base/error.h"
#include "feed/row_encoder.h"
#include "text/pieces.h"

namespace graft {

// A word must be one token, as it is written at the mask: behind a blank where the template has one
// there.
void RowEncoder::set_mask(const Cloze& cloze) {
  mask_token_ = text_.mask_token();
  auto words = std::make_shared<std::vector<int64_t>>();
  for (size_t label = 0; label < cloze.words.size(); ++label) {
    std::vector<int64_t> ids =
        tokenizer_.encode(" " + cloze.words[label], {.add_special = false}).ids;
    if (ids.size() != 1) ids = tokenizer_.encode(cloze.words[label], {.add_special = false}).ids;
    if (ids.size() != 1) {
      throw InputError("task " + quote(task_.name) + ": the word " + quote(cloze.words[label]) +
                       " of label " + quote(task_.labels()[label]) + " is " +
                       std::to_string(ids.size()) +
                       " tokens of this model; a cloze needs words of one");
    }
    words->push_back(ids.front());
    check_word(cloze, *words);
  }
  words_ = std::move(words);
}

// Of the last of `words`: a token that stands for any unknown word, or for two labels, answers
// nothing.
void RowEncoder::check_word(const Cloze& cloze, const std::vector<int64_t>& words) const {
  const int64_t id = words.back();
  const size_t label = words.size() - 1;
  const auto shown = [&](size_t each) {
    return quote(cloze.words[each]) + " of label " + quote(task_.labels()[each]);
  };
  const std::string token = tokenizer_.id_to_token(id).value_or("");
  if (tokenizer_.is_special(id) || token == "[UNK]" || token == "<unk>") {
    throw InputError("task " + quote(task_.name) + ": the word " + shown(label) + " is the token " +
                     quote(token) + " of this model, which is no word; choose one that it knows");
  }
  const auto same = std::find(words.begin(), words.end() - 1, id);
  if (same == words.end() - 1) return;
  throw InputError("task " + quote(task_.name) + ": the words " +
                   shown(static_cast<size_t>(same - words.begin())) + " and " + shown(label) +
                   " are one token of this model, " + quote(token) +
                   "; choose words that it tells apart");
}

Sequence RowEncoder::masked(const Example& example, CutRow& cut) const {
  std::string text;
  int64_t place = 0;  // of the template's mask: what fills the template may hold the token as well
  for (const Piece& segment : example.at<LabelledRow>().cloze) {
    if (segment.is_target) place = num_chars(text);
    text += segment.is_target ? mask_token_ : segment.text;
  }
  Encoding encoding = tokenizer_.encode(
      text, {.add_special = true, .max_length = max_length_, .side = task_.truncation_side});
  cut.tokens = encoding.num_truncated;
  const int64_t mask = *tokenizer_.token_to_id(mask_token_);
  int64_t token = 0;
  const auto is_at_place = [&](size_t i) {
    return encoding.ids[i] == mask && encoding.offsets[i].first <= place &&
           place < encoding.offsets[i].second;
  };
  while (token < std::ssize(encoding.ids) && !is_at_place(static_cast<size_t>(token))) ++token;
  if (token == std::ssize(encoding.ids))
    throw InputError("the row loses its mask when cut to max_length " + limit_text() + "; " +
                     way_out("cut at the other side (truncation_side in the task)"));
  return {.ids = std::move(encoding.ids),
          .type_ids = std::move(encoding.type_ids),
          .asked = Mask{token, words_}};
}

std::shared_ptr<const std::vector<int64_t>> mask_words(const Task& task, const ModelText& text,
                                                       const ModelConfig& config) {
  return RowEncoder(task, text, config, /*max_length=*/0, TargetUse::kLeaveOut).words();
}

}  // namespace graft
