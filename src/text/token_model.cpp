#include "text/token_model.h"

namespace graft {

std::unique_ptr<const TokenModel> TokenModel::read(const FieldMap& map) {
  // Files made before the field "type" existed name a WordPiece or BPE model by its other fields;
  // asking for it costs nobody.
  const std::string type = map.type({"WordPiece", "BPE", "Unigram"});
  return type == "BPE"       ? read_bpe(map)
         : type == "Unigram" ? read_unigram(map)
                             : read_wordpiece(map);
}

std::array<int32_t, 256> byte_tokens(const Vocabulary& vocabulary) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::array<int32_t, 256> out{};
  for (size_t byte = 0; byte < out.size(); ++byte) {
    const std::string token = {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
    out[byte] = static_cast<int32_t>(vocabulary.id_of(token).value_or(-1));
  }
  return out;
}

}  // namespace graft
