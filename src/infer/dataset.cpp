#include "infer/dataset.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace graft {

namespace {

bool has_beyond(const std::vector<int64_t>& values, int64_t bound) {
  return std::any_of(values.begin(), values.end(), [bound](int64_t value) { return value >= bound; });
}

// Turns the examples of one task into token ids for one model.
class Encoder {
 public:
  Encoder(const Task& task, const ModelText& text, const ModelConfig& config, int64_t max_length, TargetUse targets)
      : task_(task), text_(text), config_(config), max_length_(max_length), targets_(targets) {
    check_task(task, config);
    if (task.kind == TaskKind::kGeneration) set_text(task.generation->chat, task.generation->prompt_end, task.generation->loss);
    if (task.cloze) set_mask(*task.cloze);
    if (task.kind == TaskKind::kChoice) set_text(task.choice->chat, task.choice->prompt_end, LossOn::kTarget);
  }

  void add(const Example& example, Dataset& data) const {
    Sequence sequence;
    bool is_cut = false;
    if (task_.kind == TaskKind::kChoice) {
      std::vector<std::vector<int64_t>> options;
      for (const std::string& option : example.options) options.push_back(target_ids(option));
      const std::vector<int64_t>* right =
          targets_ == TargetUse::kFollow && example.label ? &options[static_cast<size_t>(*example.label)] : nullptr;
      sequence = with_target(prompt_of(example), right, is_cut);
      data.options.push_back(std::move(options));
    } else if (task_.kind == TaskKind::kGeneration) {
      sequence = text_sequence(example, is_cut);
    } else {
      sequence = classified(example, is_cut);
    }
    check_ids(sequence);
    sequence.example = example.id;
    sequence.embedding = example.embedding;
    data.num_cut += is_cut ? 1 : 0;
    data.num_tokens += sequence.num_tokens();
    data.sequences.push_back(std::move(sequence));
  }

 private:
  void set_text(const std::string& chat, PromptEnd end, LossOn loss) {
    chat_ = text_.chat(chat);
    is_beside_ = config_.layers > 0;
    ends_prompt_ = end == PromptEnd::kEos;
    counts_all_ = loss == LossOn::kAll;
    if (chat_ != nullptr && is_beside_)
      throw InputError("task " + quote(task_.name) + ": chat is for decoders; a " + config_.model_type +
                       " model reads prompt and target apart");
  }

  // A word must be one token, as it is written at the mask: behind a blank where the template has one there.
  void set_mask(const Cloze& cloze) {
    mask_token_ = text_.mask_token();
    auto words = std::make_shared<std::vector<int64_t>>();
    for (size_t label = 0; label < cloze.words.size(); ++label) {
      std::vector<int64_t> ids = text_.tokenizer->encode(" " + cloze.words[label], {.add_special = false}).ids;
      if (ids.size() != 1) ids = text_.tokenizer->encode(cloze.words[label], {.add_special = false}).ids;
      if (ids.size() != 1) {
        throw InputError("task " + quote(task_.name) + ": the word " + quote(cloze.words[label]) + " of label " +
                         quote(task_.labels[label]) + " is " + std::to_string(ids.size()) +
                         " tokens of this model; a cloze needs words of one");
      }
      words->push_back(ids.front());
    }
    words_ = std::move(words);
  }

  Sequence masked(const Example& example, bool& is_cut) const {
    std::string text;
    for (const Segment& segment : example.segments) text += segment.is_target ? mask_token_ : segment.text;
    Encoding encoding = text_.tokenizer->encode(text, {.add_special = true, .max_length = max_length_});
    is_cut = encoding.is_truncated;
    const auto found = std::find(encoding.ids.begin(), encoding.ids.end(), *text_.tokenizer->token_to_id(mask_token_));
    if (found == encoding.ids.end())
      throw InputError("example " + std::to_string(example.id) + " loses its mask when cut to max_length " +
                       std::to_string(max_length_) + "; raise it");
    const int64_t token = found - encoding.ids.begin();
    return {.ids = std::move(encoding.ids), .type_ids = std::move(encoding.type_ids), .mask = Mask{token, words_}};
  }

  Sequence classified(const Example& example, bool& is_cut) const {
    if (task_.cloze) return masked(example, is_cut);
    std::optional<std::string_view> second;
    if (example.second) second = *example.second;
    Encoding encoding = text_.tokenizer->encode(example.text, second, {.add_special = true, .max_length = max_length_});
    is_cut = encoding.is_truncated;
    return {.ids = std::move(encoding.ids), .type_ids = std::move(encoding.type_ids)};
  }

  // Tokens of a target, with what ends it. An encoder-decoder's template ends it by itself.
  std::vector<int64_t> target_ids(const std::string& target) const {
    if (is_beside_) return text_.tokenizer->encode(target).ids;
    std::vector<int64_t> ids = text_.tokenizer->encode(target, {.add_special = false}).ids;
    ids.push_back(text_.end_id());
    return ids;
  }

  std::vector<int64_t> prompt_of(const Example& example) const {
    if (chat_ != nullptr) return ids_of(render_chat(*chat_, turns_of(example, false), true)).ids;
    std::vector<int64_t> ids = text_.tokenizer->encode(example.text).ids;
    if (ends_prompt_) ids.push_back(text_.end_id());
    return ids;
  }

  // A row without turns of its own is a chat of one question.
  std::vector<Turn> turns_of(const Example& example, bool with_target) const {
    std::vector<Turn> turns = example.turns;
    if (turns.empty()) {
      turns.push_back({"user", example.text});
      if (with_target && example.segments.size() > 1) turns.push_back({"assistant", example.segments.back().text});
    }
    if (!with_target && turns.back().role == "assistant") turns.pop_back();
    return turns;
  }

  Sequence ids_of(const std::vector<Piece>& pieces) const {
    Sequence sequence;
    for (const Piece& piece : pieces) {
      const std::vector<int64_t> ids = text_.tokenizer->encode(piece.text, {.add_special = false}).ids;
      sequence.ids.insert(sequence.ids.end(), ids.begin(), ids.end());
      sequence.is_target.insert(sequence.is_target.end(), ids.size(), piece.is_target);
    }
    return sequence;
  }

  Sequence text_sequence(const Example& example, bool& is_cut) const {
    const bool has_target = targets_ == TargetUse::kFollow;
    if (chat_ != nullptr && has_target) return bounded(ids_of(render_chat(*chat_, turns_of(example, true), false)), is_cut);
    if (!has_target || example.segments.size() < 2) {
      if (has_target) throw InputError("example " + std::to_string(example.id) + " has no target to train on");
      return with_target(prompt_of(example), nullptr, is_cut);
    }
    const std::vector<int64_t> target = target_ids(example.segments.back().text);
    return with_target(prompt_of(example), &target, is_cut);
  }

  Sequence with_target(std::vector<int64_t> prompt, const std::vector<int64_t>* target, bool& is_cut) const {
    Sequence sequence;
    sequence.is_target.assign(target != nullptr && !is_beside_ ? prompt.size() : 0, false);
    sequence.ids = std::move(prompt);
    if (target != nullptr && is_beside_) sequence.target_ids = *target;
    if (target != nullptr && !is_beside_) {
      sequence.ids.insert(sequence.ids.end(), target->begin(), target->end());
      sequence.is_target.insert(sequence.is_target.end(), target->size(), true);
    }
    return bounded(std::move(sequence), is_cut);
  }

  // Cut to max_length at the end. Throws when nothing is left to learn.
  Sequence bounded(Sequence sequence, bool& is_cut) const {
    const auto bound = static_cast<size_t>(max_length_);
    is_cut = max_length_ > 0 && std::max(sequence.ids.size(), sequence.target_ids.size()) > bound;
    if (counts_all_ && !sequence.is_target.empty()) sequence.is_target.assign(sequence.ids.size(), true);
    if (!is_cut) return sequence;
    if (sequence.ids.size() > bound) sequence.ids.resize(bound);
    if (sequence.is_target.size() > bound) sequence.is_target.resize(bound);
    if (sequence.target_ids.size() > bound) sequence.target_ids.resize(bound);
    if (!sequence.is_target.empty() &&
        std::find(sequence.is_target.begin(), sequence.is_target.end(), true) == sequence.is_target.end()) {
      throw InputError("max_length: cut to " + std::to_string(max_length_) +
                       " tokens, a row keeps no token of its target; raise it");
    }
    return sequence;
  }

  void check_ids(Sequence& sequence) const {
    if (has_beyond(sequence.ids, config_.vocabulary) || has_beyond(sequence.target_ids, config_.vocabulary)) {
      throw InputError("the tokenizer gives ids beyond the model's vocabulary of " + std::to_string(config_.vocabulary) +
                       ": the two do not belong together");
    }
    if (config_.type_vocabulary == 0) sequence.type_ids.clear();  // a model without segments reads a pair as one text
    if (has_beyond(sequence.type_ids, config_.type_vocabulary)) {
      throw InputError("the tokenizer gives segment types beyond the model's " + std::to_string(config_.type_vocabulary) +
                       ": the two do not belong together");
    }
  }

  const Task& task_;
  const ModelText& text_;
  const ModelConfig& config_;
  int64_t max_length_;
  TargetUse targets_;
  const ChatFormat* chat_ = nullptr;
  std::string mask_token_;
  std::shared_ptr<const std::vector<int64_t>> words_;
  bool is_beside_ = false, ends_prompt_ = false, counts_all_ = false;
};

}  // namespace

void check_task(const Task& task, const ModelConfig& config) {
  const bool is_text = task.is_answered_in_words();
  const std::string about = "task " + quote(task.name) + ": a " + config.model_type + " model ";
  if (is_text && !config.has_decoder()) throw InputError(about + "is an encoder and writes no text; take a decoder");
  if (!is_text && config.has_decoder())
    throw InputError(about + "answers in words; make the task one of kind: generation or choice");
}

Dataset encode_examples(std::vector<Example> examples, const Task& task, const ModelText& text, const ModelConfig& config,
                        int64_t max_length, TargetUse targets) {
  Dataset data;
  const Encoder encoder(task, text, config, max_length, targets);
  data.sequences.reserve(examples.size());
  for (const Example& example : examples) encoder.add(example, data);
  data.examples = std::move(examples);
  return data;
}

std::vector<int64_t> longest_first(const std::vector<Sequence>& sequences) {
  std::vector<int64_t> order(sequences.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto length = [&](int64_t i) { return sequences[static_cast<size_t>(i)].num_tokens(); };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
  return order;
}

std::vector<std::vector<int64_t>> groups_of_rows(const std::vector<Sequence>& sequences, int64_t token_budget,
                                                 const std::function<int64_t(int64_t row)>& cost) {
  std::vector<std::vector<int64_t>> groups;
  int64_t spent = 0;
  for (const int64_t row : longest_first(sequences)) {
    const int64_t own = cost(row);
    if (groups.empty() || spent + own > token_budget) {
      groups.emplace_back();
      spent = 0;
    }
    groups.back().push_back(row);
    spent += own;
  }
  return groups;
}

int64_t resolve_max_length(int64_t max_length, const ModelConfig& config, const RowLayout& layout) {
  constexpr int64_t kUsual = 512;
  const int64_t taken = layout.virtual_rows + layout.first_position, longest = config.max_positions - taken;
  const std::string beside = taken == 0 ? "" : " beside the " + std::to_string(taken) + " rows of the adapter's prompt or prefix";
  if (longest < 1)
    throw InputError("max_length: this model has " + std::to_string(config.max_positions) + " positions, none of them left" +
                     beside);
  if (max_length <= 0) return std::min(kUsual, longest);
  if (max_length > longest) {
    throw InputError("max_length: this model serves at most " + std::to_string(longest) + " tokens" + beside + ", found " +
                     std::to_string(max_length));
  }
  return max_length;
}

}  // namespace graft
