// Reads the files that hold a tokenizer.
#include <array>

#include "base/digest.h"
#include "base/error.h"
#include "text/sentencepiece_tokenizer.h"
#include "text/tokenizer_parts.h"

namespace graft {

namespace {

constexpr uint64_t kMaxFileBytes =
    uint64_t{64} << 20;  // parse_json's own bound; checked before the file is read
constexpr std::array<const char*, 3> kNames = {
    "tokenizer.json", "spiece.model", "tokenizer.model"};  // the first that is there is taken

Path file_in(const Path& folder) {
  for (const char* name : kNames) {
    if (std::filesystem::exists(folder / name)) return folder / name;
  }
  throw InputError(
      folder.string() +
      ": expected a tokenizer.json, spiece.model or tokenizer.model, found none of them");
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::load(const Path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return load(file_in(path));
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (!error && size > kMaxFileBytes) {
    throw InputError(path.string() + ": expected at most " + std::to_string(kMaxFileBytes) +
                     " bytes, found " + std::to_string(size));
  }
  if (path.extension() != ".model") return parse(read_file(path), path.string());
  const Path config = path.parent_path() / "tokenizer_config.json";
  SentencePieceSettings settings;
  if (std::filesystem::exists(config))
    settings = read_sentencepiece_settings(read_file(config), config.string());
  return parse_sentencepiece(read_file(path), path.string(), settings);
}

std::shared_ptr<const Tokenizer> Tokenizer::parse(std::string_view json,
                                                  const std::string& source) {
  const Node root = parse_json(json, source);
  const FieldMap map(root, source, "");
  auto parts = std::make_unique<Parts>();
  if (map.text("version") != "1.0")
    map.fail("version", "expected \"1.0\", found " + shown(map.raw("version")));
  if (!map.is_null("truncation")) {  // checked, never applied
    const FieldMap truncation = map.map("truncation");
    truncation.integer("max_length", 0, int64_t{1} << 40);
    truncation.choice("strategy", {"LongestFirst", "OnlyFirst", "OnlySecond"});
    for (const char* key : {"stride", "direction"}) truncation.ignore(key);
    truncation.finish();
  }
  map.ignore("padding");
  if (!map.is_null("normalizer")) parts->normalizer = Normalizer::read(map.map("normalizer"));
  if (!map.is_null("pre_tokenizer"))
    parts->pre_tokenizer = PreTokenizer::read(map.map("pre_tokenizer"));
  parts->model = TokenModel::read(map.map("model"));
  const Vocabulary& vocabulary = parts->model->vocabulary();
  parts->added = AddedTokens::read(map, vocabulary, parts->normalizer);
  if (!map.is_null("post_processor"))
    parts->post_processor =
        PostProcessor::read(map.map("post_processor"), vocabulary, parts->added);
  if (!map.is_null("decoder")) parts->decoder = Decoder::read(map.map("decoder"));
  map.finish();
  if (parts->trims()) {
    parts->margins.resize(static_cast<size_t>(vocabulary.id_bound()));
    for (int64_t id = 0; id < vocabulary.id_bound(); ++id) {
      if (const std::string* token = vocabulary.token_of(id))
        parts->margins[static_cast<size_t>(id)] = margins_of(decode_utf8(*token, source));
    }
  }
  parts->digest = sha256(json);
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(parts)));
}

std::shared_ptr<const Tokenizer> Tokenizer::parse_sentencepiece(
    std::string_view bytes, const std::string& source, const SentencePieceSettings& settings) {
  auto parts = std::make_unique<Parts>(parts_of_sentencepiece(bytes, source, settings));
  parts->digest = sha256(bytes);
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(parts)));
}

}  // namespace graft
