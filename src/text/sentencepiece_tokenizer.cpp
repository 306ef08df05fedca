#include "text/sentencepiece_tokenizer.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/wording.h"
#include "text/bpe.h"
#include "text/sentencepiece_file.h"
#include "text/tokenizer_parts.h"
#include "text/unigram.h"

namespace graft {

namespace {

constexpr int64_t kMaxExtraIds = 10000;
constexpr const char* kWayOut = "; save the tokenizer as tokenizer.json instead";

Node token_node(int64_t id, const std::string& content) {
  return Node::map({{"id", Node::integer(id)},
                    {"content", Node::text(content)},
                    {"single_word", Node::boolean(false)},
                    {"lstrip", Node::boolean(false)},
                    {"rstrip", Node::boolean(false)},
                    {"normalized", Node::boolean(false)},
                    {"special", Node::boolean(true)}});
}

// [bos] A [eos], and [bos] A [eos] [bos] B [eos] for two; B has type id 1 as LLaMA-2 has it, 0 as
// T5.
Node template_node(const std::string& bos, const std::string& eos, bool is_t5,
                   const Vocabulary& vocabulary) {
  const auto special = [](const std::string& token, int64_t type_id) {
    return Node::map({{"SpecialToken", Node::map({{"id", Node::text(token)},
                                                  {"type_id", Node::integer(type_id)}})}});
  };
  const auto add = [&](std::vector<Node>& out, const char* name, int64_t type_id) {
    if (!bos.empty()) out.push_back(special(bos, type_id));
    out.push_back(Node::map({{"Sequence", Node::map({{"id", Node::text(name)},
                                                     {"type_id", Node::integer(type_id)}})}}));
    if (!eos.empty()) out.push_back(special(eos, type_id));
  };
  std::vector<Node> single, pair;
  add(single, "A", 0);
  add(pair, "A", 0);
  add(pair, "B", is_t5 ? 0 : 1);
  std::vector<std::pair<std::string, Node>> tokens;
  for (const std::string& token : {bos, eos}) {
    if (token.empty()) continue;
    tokens.emplace_back(token,
                        Node::map({{"id", Node::text(token)},
                                   {"ids", Node::list({Node::integer(*vocabulary.id_of(token))})},
                                   {"tokens", Node::list({Node::text(token)})}}));
  }
  return Node::map({{"type", Node::text("TemplateProcessing")},
                    {"single", Node::list(std::move(single))},
                    {"pair", Node::list(std::move(pair))},
                    {"special_tokens", Node::map(std::move(tokens))}});
}

void check_file(const SentencePieceFile& file, const std::string& source) {
  const auto refuse = [&](const std::string& what) {
    throw InputError(source + ": " + what + " is not supported" + kWayOut);
  };
  if (file.model_type != 1 && file.model_type != 2)
    refuse("a SentencePiece model of type " + std::to_string(file.model_type) +
           " (1 is Unigram, 2 BPE)");
  if (file.space_is_suffix) refuse("treat_whitespace_as_suffix");
  if (!file.escape_whitespaces) refuse("escape_whitespaces: false");
  if (!file.denormalizer_charsmap.empty()) refuse("a denormalizer");
  int64_t num_unknown = 0;
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    if (piece.type == PieceType::kUserDefined)
      refuse("the user-defined piece " + quote(piece.text));
    if (piece.type == PieceType::kUnused && file.model_type == 2)
      refuse("the unused piece " + quote(piece.text) + " of a BPE model");
    num_unknown += piece.type == PieceType::kUnknown ? 1 : 0;
  }
  if (num_unknown != 1)
    throw InputError(source + ": expected one unknown piece, found " + std::to_string(num_unknown));
}

std::unique_ptr<const TokenModel> make_model(const SentencePieceFile& file, bool is_t5,
                                             int64_t num_extra_ids, const std::string& source) {
  Vocabulary vocabulary;
  std::vector<ScoredPiece> pieces;
  UnigramOptions options;
  options.least_score = std::numeric_limits<float>::max();
  const auto add = [&](std::string text, double score, bool is_matched) {
    if (vocabulary.id_of(text))
      throw InputError(source + ": the piece " + quote(text) + " appears twice");
    vocabulary.add(text, static_cast<int64_t>(pieces.size()));
    pieces.push_back({std::move(text), score, is_matched});
  };
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    const bool is_normal = piece.type == PieceType::kNormal;
    if (is_normal)
      options.least_score = std::min(options.least_score, static_cast<double>(piece.score));
    if (piece.type == PieceType::kUnknown) options.unknown = static_cast<int32_t>(pieces.size());
    add(piece.text, static_cast<double>(piece.score), is_normal);
  }
  for (int64_t i = is_t5 ? num_extra_ids : 0; i-- > 0;)
    add("<extra_id_" + std::to_string(i) + ">", 0, false);
  const bool has_bytes = has_byte_tokens(vocabulary);
  if (file.byte_fallback && !has_bytes)
    throw InputError(source + ": byte_fallback is on, but not all of <0x00> to <0xFF> are pieces");
  if (file.model_type == 2)
    return make_bpe_by_score(std::move(vocabulary), pieces,
                             {options.unknown, true, false, file.byte_fallback});
  options.byte_fallback = file.byte_fallback;
  options.single_precision = true;
  return make_unigram(std::move(vocabulary), pieces, options);
}

Decoder make_decoder(bool is_t5) {
  using Kind = DecoderStep::Kind;
  const std::string sign = "\u2581";
  if (is_t5) return Decoder({{Kind::kMetaspace, sign, "", 0, true}});
  return Decoder({{Kind::kReplace, sign, " ", 0, false},
                  {Kind::kByteFallback, "", "", 0, false},
                  {Kind::kFuse, "", "", 0, false},
                  {Kind::kStrip, " ", "", 1, false}});
}

}  // namespace

SentencePieceReader::Parts parts_of_sentencepiece(std::string_view bytes, const std::string& source,
                                                  const SentencePieceSettings& settings) {
  const SentencePieceFile file = parse_sentencepiece_file(bytes, source);
  check_file(file, source);
  const bool is_t5 = file.model_type == 1;
  if (!settings.model_class.empty() && (settings.model_class == "T5Tokenizer") != is_t5)
    throw InputError(source + ": a " + settings.model_class + " whose model is " +
                     (is_t5 ? "Unigram" : "BPE") + " is not supported" + kWayOut);
  SentencePieceReader::Parts parts;
  parts.model = make_model(file, is_t5, settings.num_extra_ids, source);
  const Vocabulary& vocabulary = parts.model->vocabulary();

  SentencePieceNormalizer step{nullptr, file.add_dummy_prefix, file.remove_extra_whitespaces,
                               file.escape_whitespaces, !settings.is_legacy};
  if (!file.charsmap.empty())
    step.charsmap = std::make_shared<const Charsmap>(file.charsmap, source + ": normalizer_spec");
  parts.normalizer = Normalizer({std::move(step)});

  std::vector<Node> added;
  for (int64_t id = 0; id < vocabulary.size(); ++id) {
    const auto at = static_cast<size_t>(id);
    const bool is_extra = at >= file.pieces.size();
    if (is_extra || file.pieces[at].type == PieceType::kUnknown ||
        file.pieces[at].type == PieceType::kControl)
      added.push_back(token_node(id, *vocabulary.token_of(id)));
  }
  const bool has_bos = settings.add_bos.value_or(!is_t5),
             has_eos = settings.add_eos.value_or(is_t5);
  const std::string bos = has_bos ? "<s>" : "", eos = has_eos ? "</s>" : "";
  for (const std::string& token : {bos, eos}) {
    if (!token.empty() && !vocabulary.id_of(token))
      throw InputError(source + ": " + quote(token) + " stands around a text, but is not a piece");
  }
  const Node root = Node::map({{"added_tokens", Node::list(std::move(added))},
                               {"post_processor", template_node(bos, eos, is_t5, vocabulary)}});
  const FieldMap map(root, source, "");
  parts.added = AddedTokens::read(map, vocabulary, parts.normalizer);
  parts.post_processor = PostProcessor::read(map.map("post_processor"), vocabulary, parts.added);
  parts.decoder = make_decoder(is_t5);
  for (const SentencePieceSettings::Token& token : settings.tokens) {
    const std::string* found = vocabulary.token_of(token.id);
    if (found == nullptr || *found != token.content) {
      throw InputError(source + ": the config gives the id " + std::to_string(token.id) + " to " +
                       quote(token.content) + ", where the file has " +
                       (found == nullptr ? "no piece" : quote(*found)) + kWayOut);
    }
  }
  return parts;
}

SentencePieceSettings read_sentencepiece_settings(std::string_view json,
                                                  const std::string& source) {
  const Node root = parse_json(json, source);
  const FieldMap map(root, source, "");
  SentencePieceSettings out;
  if (!map.is_null("tokenizer_class")) {
    out.model_class = map.choice("tokenizer_class", {"T5Tokenizer", "T5TokenizerFast",
                                                     "LlamaTokenizer", "LlamaTokenizerFast"});
    if (out.model_class.ends_with("Fast")) out.model_class.resize(out.model_class.size() - 4);
  }
  if (!map.is_null("extra_ids")) out.num_extra_ids = map.integer("extra_ids", 0, kMaxExtraIds);
  if (!map.is_null("add_bos_token")) out.add_bos = map.boolean("add_bos_token");
  if (!map.is_null("add_eos_token")) out.add_eos = map.boolean("add_eos_token");
  if (!map.is_null("legacy")) out.is_legacy = map.boolean("legacy");
  if (!map.is_null("added_tokens_decoder")) {
    const Node& tokens = map.raw("added_tokens_decoder");
    const FieldMap items(tokens, source, "/added_tokens_decoder");
    for (const auto& [key, value] : tokens.members) {
      const std::optional<int64_t> id = whole_number(key);
      if (!id) items.fail(key, "expected an id as the key, found " + quote(key));
      // Not items.map(key), which would look through all keys for each of them.
      const FieldMap token(value, source, items.pointer() + "/" + key);
      out.tokens.push_back({*id, token.text("content")});
    }
  }
  return out;
}

}  // namespace graft
