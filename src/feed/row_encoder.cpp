#include "feed/row_encoder.h"

#include <algorithm>

#include "base/error.h"
#include "feed/chat_rows.h"
#include "model/language_batch.h"

namespace graft {

namespace {

using Ids = std::vector<int64_t>;

constexpr const char* kShorten = "shorten the row";

// The turns of a chat; a row without turns of its own is one question. `with_target`: with the last
// answer.
std::vector<Turn> turns_of(const Example& example, bool with_target) {
  const auto* row = example.find<GenerationRow>();
  std::vector<Turn> turns = row != nullptr ? row->turns : std::vector<Turn>{};
  if (turns.empty()) {
    turns.push_back({"user", example.text});
    if (with_target && row != nullptr && row->target) turns.push_back({"assistant", *row->target});
  }
  if (!with_target && turns.back().role == "assistant") turns.pop_back();
  return turns;
}

void erase(Ids& ids, size_t begin, size_t end) {
  ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(begin),
            ids.begin() + static_cast<std::ptrdiff_t>(end));
}

}  // namespace

RowEncoder::RowEncoder(const Task& task, const ModelText& text, const ModelConfig& config,
                       int64_t max_length, TargetUse targets)
    : task_(task),
      text_(text),
      tokenizer_(*text.tokenizer),
      config_(config),
      max_length_(max_length),
      targets_(targets) {
  check_task(task, config);
  if (const auto* generation = task.find<Generation>()) set_text(*generation, generation->loss);
  if (const auto* choice = task.find<Choice>()) set_text(*choice, LossOn::kTarget);
  if (const Cloze* cloze = task.cloze()) set_mask(*cloze);
}

void RowEncoder::add(const Example& example, Dataset& data) const {
  CutRow cut{.row = static_cast<int64_t>(data.sequences.size())};
  Sequence sequence;
  try {
    sequence = encoded(example, data, cut);
    if (sequence.ids.empty()) {
      throw InputError(
          (example.text.empty() ? "the text is empty" : quote(example.text) + " has no tokens") +
          ", and the model's tokenizer puts none before a text; give it a word, or leave the row "
          "out");
    }
  } catch (const InputError& error) {
    throw InputError(example.where() + error.what());
  }
  check_ids(sequence);
  sequence.example = example.id;
  sequence.embedding = example.embedding;
  sequence.subspace = example.subspace;
  if (cut.tokens > 0) data.cut.push_back(cut);
  data.num_tokens += sequence.num_tokens();
  data.sequences.push_back(std::move(sequence));
}

void RowEncoder::set_text(const Prompted& prompted, LossOn loss) {
  chat_ = text_.chat(prompted.chat);
  max_target_length_ = prompted.max_target_length;
  is_encoder_decoder_ = config_.has_encoder();
  ends_prompt_ = prompted.prompt_end == PromptEnd::kEos;
  is_bare_ = prompted.prompt_end == PromptEnd::kBare;
  counts_all_ = loss == LossOn::kAll;
  if (chat_ != nullptr && is_encoder_decoder_)
    throw InputError("task " + quote(task_.name) + ": chat is for decoders; a " +
                     config_.model_type + " model reads prompt and target apart");
  check_target_length(task_, config_, {}, max_length_);
  const bool ends_targets = !is_encoder_decoder_ && chat_ == nullptr &&
                            (task_.kind() == TaskKind::kChoice || targets_ == TargetUse::kFollow);
  if (ends_prompt_ || ends_targets) text_.end_id();  // refused now, not by the first row
}

bool RowEncoder::serves_longer_rows() const {
  return max_length_ < positions_for_tokens(config_, {});
}

std::string RowEncoder::limit_text() const {
  return std::to_string(max_length_) +
         (serves_longer_rows() ? "" : ", the most that the model serves");
}

std::string RowEncoder::way_out(const std::string& other) const {
  return serves_longer_rows() ? "raise it, or " + other : other;
}

int64_t RowEncoder::excess(size_t length) const {
  return max_length_ > 0 ? std::max<int64_t>(0, static_cast<int64_t>(length) - max_length_) : 0;
}

Sequence RowEncoder::encoded(const Example& example, Dataset& data, CutRow& cut) const {
  if (task_.kind() == TaskKind::kChoice) return choice(example, data, cut);
  if (task_.kind() == TaskKind::kGeneration) return generation(example, cut);
  return task_.cloze() != nullptr ? masked(example, cut) : classified(example, cut);
}

Sequence RowEncoder::classified(const Example& example, CutRow& cut) const {
  std::optional<std::string_view> second;
  if (example.second() != nullptr) second = *example.second();
  Encoding encoding = tokenizer_.encode(
      example.text, second,
      {.add_special = true, .max_length = max_length_, .side = task_.truncation_side});
  cut.tokens = encoding.num_truncated;
  return {.ids = std::move(encoding.ids), .type_ids = std::move(encoding.type_ids)};
}

Sequence RowEncoder::choice(const Example& example, Dataset& data, CutRow& cut) const {
  const bool follows = targets_ == TargetUse::kFollow && example.label.has_value();
  const size_t right = follows ? static_cast<size_t>(*example.label) : 0;
  const std::vector<std::string>& texts = example.at<ChoiceRow>().options;
  std::vector<Ids> options;
  Sequence sequence;
  if (is_encoder_decoder_) {
    for (const std::string& option : texts) options.push_back(written(option, /*cuts=*/false, cut));
    sequence = beside(example.text, follows ? &texts[right] : nullptr, cut);
  } else {
    PromptTokens prompt;
    if (chat_ != nullptr) {
      const std::vector<Turn> turns = turns_of(example, false);
      for (const Piece& piece : render_chat(*chat_, turns, true)) prompt.opening.text += piece.text;
      prompt.ids = prompt.opening.ids =
          tokenizer_.encode(prompt.opening.text, {.add_special = false}).ids;
      for (const std::string& option : texts)
        options.push_back(answer_ids(prompt.opening, turns, option));
    } else {
      prompt = prompt_tokens(example.text);
      for (const std::string& option : texts) options.push_back(target_ids(prompt.opening, option));
      for (Ids& option : options) shorten_target(option, cut);
    }
    make_room(prompt, options, cut);
    sequence = following(std::move(prompt), follows ? &options[right] : nullptr, cut);
  }
  data.options.push_back(std::move(options));
  return sequence;
}

Sequence RowEncoder::generation(const Example& example, CutRow& cut) const {
  const auto& row = example.at<GenerationRow>();
  const bool has_target = targets_ == TargetUse::kFollow;
  if (chat_ != nullptr) {
    try {
      const std::vector<Turn> turns = turns_of(example, has_target);
      if (has_target && turns.back().role != "assistant")
        throw InputError("the row has no target to train on");
      return chat(turns, !has_target, cut);
    } catch (const InputError& error) {
      const std::string column =
          row.turns_column.empty() ? "" : "column " + quote(row.turns_column) + ": ";
      throw InputError(column + error.what());
    }
  }
  if (has_target && !row.target) throw InputError("the row has no target to train on");
  const std::string* target = has_target ? &*row.target : nullptr;
  if (is_encoder_decoder_) return beside(example.text, target, cut);
  PromptTokens prompt = prompt_tokens(example.text);
  if (target == nullptr) return following(std::move(prompt), nullptr, cut);
  Ids ids = target_ids(prompt.opening, *target);
  shorten_target(ids, cut);
  return following(std::move(prompt), &ids, cut);
}

Sequence RowEncoder::chat(const std::vector<Turn>& turns, bool asks, CutRow& cut) const {
  ChatTokens found = encode_chat(*chat_, tokenizer_, turns, asks, max_length_);
  cut.tokens = found.cut_tokens;
  cut.turns = found.cut_turns;
  Sequence sequence{.ids = std::move(found.tokens.ids)};
  const int64_t beyond = excess(sequence.ids.size());
  if (asks) {
    if (beyond == 0) return sequence;
    throw InputError("the last question and what must stay beside it take " +
                     std::to_string(sequence.ids.size()) + " tokens, and max_length is " +
                     limit_text() + "; " + way_out("shorten the question"));
  }
  std::vector<bool> is_target = std::move(found.tokens.is_target);
  cut.tokens += beyond;
  sequence.ids.resize(sequence.ids.size() - static_cast<size_t>(beyond));
  is_target.resize(sequence.ids.size());
  TargetMarks& marks = sequence.asked.emplace<TargetMarks>(TargetMarks{std::move(is_target)});
  if (counts_all_) {  // the prompt is what it is without a loss of its own
    marks.prompt = sequence.prompt_length();
    for (size_t i = 0; i < marks.is_target.size(); ++i)
      marks.is_target[i] = !found.tokens.is_muted[i];
  }
  if (cut.tokens > 0) check_targets(sequence);
  return sequence;
}

// An encoder-decoder reads prompt and target apart, each with what the template puts around it.
Sequence RowEncoder::beside(const std::string& prompt, const std::string* target,
                            CutRow& cut) const {
  Sequence sequence;
  if (is_bare_) {
    sequence = following(prompt_tokens(prompt), nullptr, cut);
  } else {
    const int64_t room =
        max_length_ > 0 && ends_prompt_ ? std::max<int64_t>(1, max_length_ - 1) : max_length_;
    Encoding read = tokenizer_.encode(prompt, {.max_length = room, .side = task_.truncation_side});
    cut.tokens += read.num_truncated;
    sequence.ids = std::move(read.ids);
  }
  if (ends_prompt_) sequence.ids.push_back(text_.end_id());
  if (target != nullptr) sequence.asked = TargetIds{written(*target, /*cuts=*/true, cut)};
  return sequence;
}

Ids RowEncoder::written(const std::string& text, bool cuts, CutRow& cut) const {
  const int64_t own = max_target_length_, limit = own > 0 ? own : cuts ? max_length_ : 0;
  Encoding encoding = tokenizer_.encode(text, {.max_length = limit});
  cut.tokens += encoding.num_truncated;
  return std::move(encoding.ids);
}

// It loses the end token, too: it does not end there.
void RowEncoder::shorten_target(Ids& target, CutRow& cut) const {
  const auto limit = static_cast<size_t>(max_target_length_);
  if (limit == 0 || target.size() <= limit) return;
  cut.tokens += static_cast<int64_t>(target.size() - limit);
  target.resize(limit);
}

RowEncoder::PromptTokens RowEncoder::prompt_tokens(const std::string& text) const {
  Encoding encoding = tokenizer_.encode(text);
  PromptTokens out;
  while (out.begin < encoding.special.size() && encoding.special[out.begin]) ++out.begin;
  out.end = encoding.special.size();
  while (out.end > out.begin && encoding.special[out.end - 1]) --out.end;
  if (is_bare_) encoding.ids.resize(out.end);
  out.ids = std::move(encoding.ids);
  const auto at = [&](size_t i) { return out.ids.begin() + static_cast<std::ptrdiff_t>(i); };
  out.opening = {text, {at(out.begin), at(out.end)}};
  if (ends_prompt_) {
    out.ids.push_back(text_.end_id());
    out.opening.ids.push_back(text_.end_id());
    out.opening.text += tokenizer_.id_to_token(text_.end_id()).value_or("");
  }
  return out;
}

Ids RowEncoder::target_ids(const Opening& opening, const std::string& target) const {
  Ids ids = continuation_ids(tokenizer_, opening, target);
  ids.push_back(text_.end_id());
  return ids;
}

Ids RowEncoder::answer_ids(const Opening& opening, std::vector<Turn> turns,
                           const std::string& option) const {
  turns.push_back({"assistant", option});
  std::string answer;
  for (const Piece& piece : render_chat(*chat_, turns, false)) {
    if (piece.is_target) answer = piece.text;
  }
  return continuation_ids(tokenizer_, opening, answer);
}

// Prompt and target in one sequence, cut to max_length.
Sequence RowEncoder::following(PromptTokens prompt, const Ids* target, CutRow& cut) const {
  const bool has_own_limit = max_target_length_ > 0;
  const size_t target_length = target == nullptr ? 0 : target->size();
  const int64_t beyond = excess(prompt.ids.size() + (has_own_limit ? 0 : target_length));
  cut.tokens += beyond;
  int64_t of_target = 0;
  if (beyond > 0 && target != nullptr && !has_own_limit) {
    const bool keeps_end = task_.truncation_side == TruncationSide::kLeft && chat_ == nullptr;
    const auto spare =
        keeps_end ? std::max<int64_t>(0, static_cast<int64_t>(prompt.length()) - 1) : int64_t{0};
    of_target = std::max<int64_t>(0, beyond - spare);
  }
  if (beyond > of_target) shorten(prompt, beyond - of_target);
  Sequence sequence;
  sequence.ids = std::move(prompt.ids);
  if (target == nullptr) return sequence;
  const size_t prompt_length = sequence.ids.size();
  if (of_target >= static_cast<int64_t>(target_length)) {
    throw InputError(
        "cut to max_length " + limit_text() + ", the row keeps no token of its target behind the " +
        std::to_string(prompt_length) + " of its prompt; " +
        way_out(chat_ == nullptr ? "set truncation_side: left in the task" : kShorten));
  }
  sequence.ids.insert(sequence.ids.end(), target->begin(), target->end() - of_target);
  std::vector<bool> is_target(sequence.ids.size(), true);
  if (!counts_all_) std::fill_n(is_target.begin(), prompt_length, false);
  sequence.asked = TargetMarks{std::move(is_target), static_cast<int64_t>(prompt_length)};
  return sequence;
}

// Shortens the prompt of a choice until the longest of its options fits behind it, so that it is
// the same whichever option follows. Where it has no more to give, options lose their ends.
void RowEncoder::make_room(PromptTokens& prompt, std::vector<Ids>& options, CutRow& cut) const {
  if (max_target_length_ > 0) return;  // options have their own
  size_t longest = 0;
  for (const Ids& option : options) longest = std::max(longest, option.size());
  const auto spare = chat_ != nullptr
                         ? int64_t{0}
                         : std::max<int64_t>(0, static_cast<int64_t>(prompt.length()) - 1);
  const int64_t beyond = excess(prompt.ids.size() + longest), of_prompt = std::min(beyond, spare);
  if (of_prompt > 0) shorten(prompt, of_prompt);
  cut.tokens += of_prompt;
  if (beyond == of_prompt) return;
  const int64_t room = max_length_ - std::ssize(prompt.ids);
  if (room < 1) {
    throw InputError("cut to max_length " + limit_text() +
                     ", the row keeps no token of its options behind the " +
                     std::to_string(prompt.ids.size()) + " of its prompt; " + way_out(kShorten));
  }
  for (Ids& option : options) {
    const int64_t more = std::max<int64_t>(0, std::ssize(option) - room);
    cut.tokens += more;
    option.resize(option.size() - static_cast<size_t>(more));
  }
}

// Takes tokens from a prompt at the task's side, never what the template put around it.
void RowEncoder::shorten(PromptTokens& prompt, int64_t tokens) const {
  if (chat_ != nullptr || tokens >= static_cast<int64_t>(prompt.length())) {
    throw InputError("the prompt has " + std::to_string(prompt.ids.size()) +
                     " tokens and cannot be cut to max_length " + limit_text() + "; " +
                     way_out(kShorten));
  }
  const auto count = static_cast<size_t>(tokens);
  if (task_.truncation_side == TruncationSide::kLeft)
    erase(prompt.ids, prompt.begin, prompt.begin + count);
  else erase(prompt.ids, prompt.end - count, prompt.end);
  prompt.end -= count;
}

void RowEncoder::check_targets(const Sequence& sequence) const {
  if (num_targets(sequence) > 0) return;
  throw InputError("cut to max_length " + limit_text() +
                   ", the row keeps no token that the loss counts; " + way_out(kShorten));
}

void RowEncoder::check_ids(Sequence& sequence) const {
  check_vocabulary(sequence.ids, text_, config_);
  check_vocabulary(sequence.target_ids(), text_, config_);
  if (config_.type_vocabulary == 0)
    sequence.type_ids.clear();  // a model without segments reads a pair as one text
  const Ids& types = sequence.type_ids;
  if (!types.empty() && std::ranges::max(types) >= config_.type_vocabulary) {
    throw InputError(text_.source + ": the tokenizer gives segment types beyond the model's " +
                     std::to_string(config_.type_vocabulary) + ": the two do not belong together");
  }
}

}  // namespace graft
