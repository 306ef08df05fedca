#include "text/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/tokenizer_parts.h"

namespace graft {

namespace {

constexpr size_t kMaxTextBytes = size_t{256} << 20;  // offsets are 32-bit while encoding

// Moves each token's offsets past the white space in it, as the reference does: a single leading
// space at the start of the text counts as added.
void trim(TokenSequence& sequence, bool has_added_space) {
  for (size_t i = 0; i < sequence.size(); ++i) {
    auto& [begin, end] = sequence.offsets[i];
    int64_t leading = sequence.margins[i].leading;
    const int64_t trailing = sequence.margins[i].trailing;
    if (leading > 0) {
      if ((i == 0 || begin == 0) && has_added_space && leading == 1) leading = 0;
      begin = std::min(begin + leading, end);
    }
    if (trailing > 0 && end >= trailing) end = std::max(end - trailing, begin);
  }
}

[[noreturn]] void cannot_cut(const EncodeOptions& options, const std::string& why) {
  throw InputError("max_length " + std::to_string(options.max_length) + ": " + why);
}

// Cuts so that both have at most `room` tokens together. Returns how many went.
int64_t truncate(TokenSequence& first, TokenSequence* second, int64_t room,
                 const EncodeOptions& options) {
  const auto size_of = [](const TokenSequence* sequence) {
    return sequence == nullptr ? int64_t{0} : static_cast<int64_t>(sequence->size());
  };
  const int64_t a = size_of(&first), b = size_of(second);
  const int64_t excess = a + b - room;
  if (excess <= 0) return 0;
  const auto cut = [&](TokenSequence& sequence, int64_t length) {
    sequence.cut(static_cast<size_t>(length), options.side);
  };
  if (room == 0) {
    cut(first, 0);
    if (second != nullptr) cut(*second, 0);
  } else if (second == nullptr && options.strategy == TruncationStrategy::kLongestFirst) {
    cut(first, room);
  } else if (options.strategy == TruncationStrategy::kLongestFirst) {
    // The shorter text keeps all of its tokens if the longer one can give way; else each gets half,
    // the longer one the odd token.
    int64_t small = std::min(a, b), large = small > room ? small : std::max(small, room - small);
    if (small + large > room) {
      small = room / 2;
      large = room - small;
    }
    cut(first, a > b ? large : small);
    cut(*second, a > b ? small : large);
  } else {
    const bool is_first = options.strategy == TruncationStrategy::kOnlyFirst;
    if (!is_first && second == nullptr) cannot_cut(options, "only_second needs a second text");
    TokenSequence& target = is_first ? first : *second;
    const int64_t size = is_first ? a : b;
    if (size <= excess) {
      cannot_cut(options, std::string("the ") + (is_first ? "first" : "second") + " text has " +
                              std::to_string(size) + " tokens and would have to lose " +
                              std::to_string(excess) +
                              "; use longest_first or a larger max_length");
    }
    cut(target, size - excess);
  }
  return excess;
}

}  // namespace

Margins margins_of(std::u32string_view token) {
  const auto blank = [](char32_t c) { return c == byte_to_char(' ') || is_space(c); };
  Margins out;
  while (out.leading < token.size() && blank(token[out.leading])) ++out.leading;
  while (out.trailing < token.size() && blank(token[token.size() - 1 - out.trailing]))
    ++out.trailing;
  return out;
}

void TokenSequence::cut(size_t length, TruncationSide side) {
  if (length >= size()) return;
  const auto keep = [&](auto& each) {
    const auto kept = static_cast<std::ptrdiff_t>(length);
    if (side == TruncationSide::kRight) each.erase(each.begin() + kept, each.end());
    else each.erase(each.begin(), each.end() - kept);
  };
  keep(ids);
  keep(offsets);
  if (!margins.empty()) keep(margins);
}

const std::string* Tokenizer::Parts::token_of(int64_t id) const {
  const std::string* found = model->vocabulary().token_of(id);
  return found != nullptr ? found : added.beyond_model().token_of(id);
}

void Tokenizer::Parts::put_added(const AlignedText& text, const AddedSplit& split,
                                 TokenSequence& out) const {
  const auto [begin, end] = split.span;
  out.ids.push_back(split.id);
  out.offsets.emplace_back(text.origin[begin], int64_t{text.origin[end - 1]} + 1);
  if (trims()) out.margins.push_back(margins_of(text.view().substr(begin, end - begin)));
}

TokenSequence Tokenizer::Parts::encode(std::string_view text, std::string_view source,
                                       bool continues) const {
  if (text.size() > kMaxTextBytes) {
    throw InputError(std::string(source) + ": expected at most " + std::to_string(kMaxTextBytes) +
                     " bytes, found " + std::to_string(text.size()));
  }
  AlignedText whole;
  whole.chars = decode_utf8(text, source);
  whole.origin.resize(whole.chars.size());
  for (size_t i = 0; i < whole.origin.size(); ++i) whole.origin[i] = static_cast<uint32_t>(i);
  TokenSequence out;
  if (!added.has_raw()) {
    encode_part(std::move(whole), continues, out);
    return out;
  }
  const std::vector<AddedSplit> splits = added.split_raw(whole.view());
  if (splits.size() == 1 && splits[0].id < 0) {
    encode_part(std::move(whole), continues, out);
    return out;
  }
  for (const AddedSplit& split : splits) {
    if (split.id >= 0) put_added(whole, split, out);
    else
      encode_part(whole.slice(split.span.begin, split.span.end), continues && split.span.begin == 0,
                  out);
  }
  return out;
}

// `text`: a stretch of the user's text without raw added tokens.
void Tokenizer::Parts::encode_part(AlignedText text, bool continues, TokenSequence& out) const {
  normalizer.apply(text, continues);
  if (!added.has_normalized()) return encode_words(std::move(text), continues, out);
  for (const AddedSplit& split : added.split_normalized(text.view())) {
    if (split.id >= 0) put_added(text, split, out);
    else
      encode_words(text.slice(split.span.begin, split.span.end), continues && split.span.begin == 0,
                   out);
  }
}

void Tokenizer::Parts::encode_words(AlignedText text, bool continues, TokenSequence& out) const {
  std::vector<Span> words;
  if (pre_tokenizer) words = pre_tokenizer->apply(text, continues);
  else if (text.size() > 0) words.push_back({0, text.size()});
  out.ids.reserve(out.ids.size() + words.size());
  out.offsets.reserve(out.offsets.size() + words.size());
  std::vector<WordToken> tokens;
  for (const Span& word : words) {
    tokens.clear();
    model->tokenize(text.view().substr(word.begin, word.end - word.begin), tokens);
    for (const WordToken& token : tokens) {
      out.ids.push_back(token.id);
      out.offsets.emplace_back(text.origin[word.begin + token.begin],
                               int64_t{text.origin[word.begin + token.end - 1]} + 1);
      if (trims()) out.margins.push_back(margins[static_cast<size_t>(token.id)]);
    }
  }
}

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

Encoding Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  return encode(text, std::nullopt, options);
}

Encoding Tokenizer::encode(std::string_view text, std::optional<std::string_view> pair,
                           const EncodeOptions& options) const {
  Encoding out;
  std::vector<TokenSequence> sequences;
  sequences.push_back(parts_->encode(text, pair ? "first text" : "text", options.continues));
  if (pair) sequences.push_back(parts_->encode(*pair, "second text", false));
  if (options.max_length < 0) cannot_cut(options, "expected 0 (no bound) or more");
  if (options.max_length > 0) {
    const int64_t specials = options.add_special ? num_added(pair.has_value()) : 0;
    if (options.max_length < specials)
      cannot_cut(options, "the special tokens alone are " + std::to_string(specials));
    out.num_truncated = truncate(sequences[0], pair ? &sequences[1] : nullptr,
                                 options.max_length - specials, options);
  }
  for (const bool has_added_space : parts_->post_processor.trims()) {
    if (!options.trims_offsets) break;
    for (TokenSequence& sequence : sequences) trim(sequence, has_added_space);
  }
  for (const PostProcessor::Piece& piece : parts_->post_processor.pieces(pair.has_value())) {
    const bool is_text = piece.sequence >= 0;
    if (!is_text && !options.add_special) continue;
    const std::vector<int64_t>& ids =
        is_text ? sequences[static_cast<size_t>(piece.sequence)].ids : piece.ids;
    out.ids.insert(out.ids.end(), ids.begin(), ids.end());
    out.type_ids.insert(out.type_ids.end(), ids.size(), piece.type_id);
    out.special.insert(out.special.end(), ids.size(), !is_text);
    if (is_text) {
      const auto& offsets = sequences[static_cast<size_t>(piece.sequence)].offsets;
      out.offsets.insert(out.offsets.end(), offsets.begin(), offsets.end());
    } else {
      out.offsets.insert(out.offsets.end(), ids.size(), {0, 0});
    }
  }
  return out;
}

const std::string* Tokenizer::decoded_token(int64_t id, SpecialTokens special) const {
  const std::string* token = parts_->token_of(id);
  if (token == nullptr)
    throw InputError("no token has the id " + std::to_string(id) + "; ids are below " +
                     std::to_string(id_bound()));
  return special == SpecialTokens::kSkip && is_special(id) ? nullptr : token;
}

std::string Tokenizer::decode(std::span<const int64_t> ids, SpecialTokens special) const {
  std::vector<std::string_view> tokens;
  tokens.reserve(ids.size());
  for (const int64_t id : ids) {
    if (const std::string* token = decoded_token(id, special)) tokens.push_back(*token);
  }
  return parts_->decoder.decode(tokens);
}

struct StreamDecoder::State {
  std::shared_ptr<const Tokenizer> tokenizer;
  SpecialTokens special;
  DecoderRun run;
};

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, SpecialTokens special) {
  const Decoder& decoder = tokenizer->parts_->decoder;
  state_ = std::make_unique<State>(State{std::move(tokenizer), special, DecoderRun(decoder)});
}
StreamDecoder::~StreamDecoder() = default;

std::string StreamDecoder::push(int64_t id) {
  std::string out;
  if (const std::string* token = state_->tokenizer->decoded_token(id, state_->special))
    state_->run.push(*token, out);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out;
  state_->run.finish(out);
  return out;
}

std::optional<int64_t> Tokenizer::token_to_id(std::string_view token) const {
  const std::optional<int64_t> found = parts_->model->vocabulary().id_of(token);
  return found ? found : parts_->added.beyond_model().id_of(token);
}

std::optional<std::string> Tokenizer::id_to_token(int64_t id) const {
  const std::string* token = parts_->token_of(id);
  return token == nullptr ? std::nullopt : std::optional<std::string>(*token);
}

bool Tokenizer::is_special(int64_t id) const { return parts_->added.is_special(id); }
int64_t Tokenizer::size() const {
  return parts_->model->vocabulary().size() + parts_->added.beyond_model().size();
}
int64_t Tokenizer::id_bound() const {
  return std::max(parts_->model->vocabulary().id_bound(), parts_->added.beyond_model().id_bound());
}
int64_t Tokenizer::num_added(bool is_pair) const {
  return parts_->post_processor.num_added(is_pair);
}
const std::string& Tokenizer::digest() const { return parts_->digest; }

}  // namespace graft
