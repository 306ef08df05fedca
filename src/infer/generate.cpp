#include "infer/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/spelling.h"
#include "tensor/log_sum_exp.h"
#include "tensor/parallel.h"

namespace graft {

namespace {

using at::Tensor;

// What is written after one prompt.
struct Text {
  const Sequence* prompt = nullptr;
  int64_t limit = 0;  // of new tokens
  std::vector<int64_t>
      written;  // prompt or start token, and the new tokens: what processors look at
  Generated out = {};

  int64_t example() const { return prompt->example; }
};

std::vector<Text> texts_of(const ModelConfig& config, const std::vector<PromptLane>& prompts,
                           const GenerateOptions& options) {
  std::vector<Text> texts;
  for (const PromptLane& lane : prompts) {
    const RowLayout layout = lane.lane.bound->adapter().layout();
    for (const Sequence* prompt : lane.prompts)
      texts.push_back(
          {prompt, limit_of(config, layout, *prompt, options), Decoding::text_of(config, *prompt)});
  }
  return texts;
}

// For how many tokens there must be room: nothing follows the last one.
std::vector<int64_t> room_of(const std::vector<Text>& texts) {
  std::vector<int64_t> room;
  for (const Text& text : texts) room.push_back(text.limit - 1);
  return room;
}

// The rows of the logits as float32.
std::vector<std::span<const float>> rows_of(const Tensor& logits) {
  std::vector<std::span<const float>> rows;
  const auto width = static_cast<size_t>(logits.size(1));
  for (int64_t n = 0; n < logits.size(0); ++n)
    rows.emplace_back(logits.const_data_ptr<float>() + n * logits.size(1), width);
  return rows;
}

double denominator(std::span<const float> logits, int64_t example) {
  const double sum = log_sum_exp(logits);
  if (std::isfinite(sum)) return sum;
  throw InputError("example " + std::to_string(example) +
                   ": the model gives numbers that are not finite; try " +
                   option_name("precision") +
                   " fp32, and see "
                   "whether model or adapter are damaged");
}

[[noreturn]] void refuse_no_token(const Text& text) {
  throw InputError("example " + std::to_string(text.example()) +
                   ": no token is left to go on with: lower no_repeat_ngram or min_new_tokens, or "
                   "suppress fewer tokens");
}

// Adds the next token of a text.
void choose(Text& text, std::span<const float> logits, const SamplingOptions& options) {
  const double sum = denominator(logits, text.example());
  const auto position = static_cast<int64_t>(text.out.tokens.size());
  std::vector<float> changed;
  std::span<const float> scores = logits;
  if (options.changes_scores()) {
    changed.assign(logits.begin(), logits.end());
    change_scores(changed, {text.written, position, text.limit, text.prompt->ids}, options);
    scores = changed;
  }
  int64_t token = largest_score(scores);
  if (!std::isfinite(scores[static_cast<size_t>(token)])) refuse_no_token(text);
  if (options.temperature > 0)
    token = draw_token(scores, options, token_uniform(options.seed, text.example(), position));
  text.written.push_back(token);
  text.out.tokens.push_back(token);
  text.out.log_probability += static_cast<double>(logits[static_cast<size_t>(token)]) - sum;
}

std::vector<std::vector<Generated>> write_texts(const Model& model,
                                                const std::vector<PromptLane>& prompts,
                                                const GenerateOptions& options,
                                                const OnToken& on_token) {
  std::vector<Text> texts = texts_of(model.config, prompts, options);
  Decoding decoding(model, prompts, room_of(texts));
  const std::vector<int64_t>& ends = options.sampling.end_ids;
  std::vector<int64_t> active(texts.size());
  std::iota(active.begin(), active.end(), int64_t{0});
  while (true) {
    const Tensor logits = decoding.logits().to(at::kFloat);
    const std::vector<std::span<const float>> rows = rows_of(logits);
    parallel_tasks(static_cast<int64_t>(active.size()), [&](int64_t n) {
      choose(texts[static_cast<size_t>(active[static_cast<size_t>(n)])],
             rows[static_cast<size_t>(n)], options.sampling);
    });
    std::vector<int64_t> from, still, tokens;
    for (size_t n = 0; n < active.size(); ++n) {
      Text& text = texts[static_cast<size_t>(active[n])];
      const int64_t token = text.out.tokens.back();
      const bool has_ended = std::find(ends.begin(), ends.end(), token) != ends.end();
      const bool goes_on = !on_token || on_token(active[n], token);
      text.out.finish = has_ended ? Finish::kEnd : goes_on ? Finish::kLength : Finish::kStopped;
      text.out.score = text.out.log_probability;
      if (has_ended || !goes_on || std::ssize(text.out.tokens) == text.limit) continue;
      from.push_back(static_cast<int64_t>(n));
      still.push_back(active[n]);
      tokens.push_back(token);
    }
    if (from.empty()) break;
    if (from.size() < active.size()) decoding.select(from);
    active = std::move(still);
    decoding.write(tokens);
  }
  std::vector<std::vector<Generated>> out;
  for (Text& text : texts) out.push_back({std::move(text.out)});
  return out;
}

// One prompt's beams, and the rows of the logits that are theirs.
struct Search {
  Text text;
  BeamSearch beams;
  int64_t first_row = 0;
  bool has_started = false;  // until then all beams are one sequence

  // Which rows the running beams go on from.
  std::vector<int64_t> advance(const std::vector<std::span<const float>>& rows,
                               const SamplingOptions& options) {
    std::vector<std::vector<float>> plain, changed;
    for (size_t b = 0; b < beams.running().size(); ++b) {
      if (b > 0 && !has_started) {
        plain.push_back(plain.front());
        changed.push_back(changed.front());
        continue;
      }
      const std::span<const float> logits = rows[static_cast<size_t>(first_row) + b];
      const auto sum = static_cast<float>(denominator(logits, text.example()));
      std::vector<float>& own = plain.emplace_back(logits.begin(), logits.end());
      for (float& value : own) value -= sum;
      changed.push_back(own);
      const std::vector<int64_t>& tokens = beams.running()[b].tokens;
      if (!options.changes_scores() && options.temperature == 0) continue;
      std::vector<int64_t> written = text.written;
      written.insert(written.end(), tokens.begin(), tokens.end());
      change_scores(changed.back(), {written, std::ssize(tokens), text.limit, text.prompt->ids},
                    options);
      if (!std::isfinite(changed.back()[static_cast<size_t>(largest_score(changed.back()))]))
        refuse_no_token(text);
      if (options.temperature > 0)
        keep_drawable(changed.back(), options,
                      std::max<int64_t>(2, 1 + std::ssize(options.end_ids)));
    }
    const auto spans = [](const std::vector<std::vector<float>>& all) {
      return std::vector<std::span<const float>>(all.begin(), all.end());
    };
    std::vector<int64_t> from = beams.advance(spans(changed), spans(plain));
    for (int64_t& beam : from) beam = first_row + (has_started ? beam : 0);
    has_started = true;
    return from;
  }
};

std::vector<Generated> finished_of(const Search& search) {
  std::vector<Generated> out;
  for (const FinishedBeam& each : search.beams.finished()) {
    out.push_back({each.beam.tokens, each.beam.log_probability, each.score,
                   each.has_ended     ? Finish::kEnd
                   : each.has_stopped ? Finish::kStopped
                                      : Finish::kLength});
  }
  return out;
}

std::vector<std::vector<Generated>> search_beams(const Model& model,
                                                 const std::vector<PromptLane>& prompts,
                                                 const GenerateOptions& options,
                                                 const HasStopped& has_stopped) {
  std::vector<Text> texts = texts_of(model.config, prompts, options);
  Decoding decoding(model, prompts, room_of(texts));
  std::vector<Search> all;
  for (Text& text : texts) {
    const BeamOptions beams{options.beams,
                            options.length_penalty,
                            options.early_stopping,
                            text.limit,
                            options.sampling.end_ids,
                            has_stopped,
                            options.sampling.temperature > 0,
                            options.sampling.seed,
                            text.example()};
    all.push_back({std::move(text), BeamSearch(beams), std::ssize(all)});
  }
  while (true) {
    const Tensor logits = decoding.logits().to(at::kFloat);
    const std::vector<std::span<const float>> rows = rows_of(logits);
    std::vector<std::vector<int64_t>> sources(all.size());
    parallel_tasks(static_cast<int64_t>(all.size()), [&](int64_t i) {
      const auto n = static_cast<size_t>(i);
      if (!all[n].beams.is_over()) sources[n] = all[n].advance(rows, options.sampling);
    });
    std::vector<int64_t> from, tokens;
    for (size_t n = 0; n < all.size(); ++n) {
      Search& search = all[n];
      if (search.beams.is_over()) continue;
      search.first_row = static_cast<int64_t>(from.size());
      from.insert(from.end(), sources[n].begin(), sources[n].end());
      for (const Beam& beam : search.beams.running()) tokens.push_back(beam.tokens.back());
    }
    if (from.empty()) break;
    decoding.select(from);
    decoding.write(tokens);
  }
  std::vector<std::vector<Generated>> out;
  for (const Search& search : all) out.push_back(finished_of(search));
  return out;
}

// What kAsFits means where that many tokens fit.
int64_t fitting_tokens(int64_t room) {
  constexpr int64_t kUsual = 128;
  return std::clamp<int64_t>(room, 1, kUsual);
}

}  // namespace

void check_generation(const GenerateOptions& options, const ModelConfig& config) {
  if (options.max_total_tokens < 0 || options.max_total_tokens > ModelConfig::kAnyLength)
    throw InputError("max_total_tokens: expected 0 (no bound) or more, found " +
                     std::to_string(options.max_total_tokens));
  const bool counts_new = options.max_total_tokens == 0;
  if (counts_new && (options.max_new_tokens < kAsFits || options.max_new_tokens > kMostNewTokens)) {
    throw InputError("max_new_tokens: expected 1.." + std::to_string(kMostNewTokens) +
                     ", or 0 for what fits, found " + std::to_string(options.max_new_tokens));
  }
  check_sampling(options.sampling, config.vocabulary);
  for (const int64_t id : options.further_end_ids) {
    if (id < 0 || id >= config.vocabulary)
      throw InputError("end_ids: expected tokens below the vocabulary's " +
                       std::to_string(config.vocabulary) + ", found " + std::to_string(id));
  }
  if (counts_new && options.max_new_tokens != kAsFits &&
      options.sampling.min_new_tokens > options.max_new_tokens) {
    throw InputError("min_new_tokens: " + std::to_string(options.sampling.min_new_tokens) +
                     " are more than max_new_tokens, " + std::to_string(options.max_new_tokens));
  }
  if (options.beams < 1 || options.beams > kMostBeams)
    throw InputError("beams: expected 1.." + std::to_string(kMostBeams) + ", found " +
                     std::to_string(options.beams));
  if (!std::isfinite(options.length_penalty)) throw InputError("length_penalty: expected a number");
  if (options.beams == 1 &&
      (options.length_penalty != 1 || options.early_stopping != EarlyStopping::kNo)) {
    throw InputError(
        "length_penalty and early_stopping are for beam search: set beams to 2 or more");
  }
}

int64_t limit_of(const ModelConfig& config, const RowLayout& layout, const Sequence& prompt,
                 const GenerateOptions& options, const std::string& about) {
  const bool fits = options.max_new_tokens == kAsFits;
  if (options.max_total_tokens == 0 && !fits) return options.max_new_tokens;
  const int64_t room = Decoding::room_behind(config, layout, prompt);
  const std::string source =
      about.empty() ? "example " + std::to_string(prompt.example) + ": " : about;
  if (options.max_total_tokens == 0) {
    const int64_t limit = fitting_tokens(room), least = options.sampling.min_new_tokens;
    if (least <= limit) return limit;
    throw InputError(source + "texts of at least " + std::to_string(least) +
                     " new tokens are asked for (min_new_tokens), and here one of at most " +
                     std::to_string(limit) + " is written; give fewer, or max_new_tokens" +
                     (config.has_encoder() ? "" : ", or shorten the prompt"));
  }
  const int64_t length = std::ssize(Decoding::text_of(config, prompt)),
                limit = options.max_total_tokens - length;
  if (limit > 0) return std::max<int64_t>(1, std::min(limit, room));
  throw InputError(source + "the prompt has " + std::to_string(length) +
                   " tokens, and texts of at most " + std::to_string(options.max_total_tokens) +
                   " tokens in all are asked for (max_total_tokens, which a model's own settings "
                   "may give); give max_new_tokens, "
                   "or shorten the prompt");
}

void check_prompt(const ModelConfig& config, const RowLayout& layout, const Sequence& prompt,
                  const GenerateOptions& options, const std::string& about) {
  const int64_t limit = limit_of(config, layout, prompt, options, about),
                room = Decoding::room_behind(config, layout, prompt);
  if (limit <= room) return;
  const std::string fewer = room > 0 ? "ask for at most " + std::to_string(room) : "",
                    shorter = config.has_encoder() ? "" : "shorten the prompt";
  throw InputError(about + std::to_string(config.max_positions - room + 1) + " of the " +
                   std::to_string(config.max_positions) +
                   " positions of this model are taken before a token is written, and " +
                   std::to_string(limit) + " new tokens are asked for: " + fewer +
                   (fewer.empty() || shorter.empty() ? "" : ", or ") + shorter);
}

std::vector<std::vector<Generated>> generate(const Model& model,
                                             const std::vector<PromptLane>& prompts,
                                             const GenerateOptions& options,
                                             const OnToken& on_token,
                                             const HasStopped& has_stopped) {
  check_generation(options, model.config);
  return options.beams > 1 ? search_beams(model, prompts, options, has_stopped)
                           : write_texts(model, prompts, options, on_token);
}

}  // namespace graft
