// Post-processors: how encoded texts become what the model reads: offsets trimmed, special tokens
// and type ids by a template, cut to a length.
//
// Read from the "post_processor" of tokenizer.json: BertProcessing, RobertaProcessing,
// TemplateProcessing, ByteLevel, and a Sequence of trims followed by at most one template.
// Everything else is refused by name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/json_fields.h"

namespace graft {

struct Encoding;
class Vocabulary;
class AddedTokens;

class PostProcessor {
 public:
  struct Piece {
    int sequence = -1;         // 0 or 1: the first or second text; -1: special tokens
    std::vector<int64_t> ids;  // of the special tokens
    int64_t type_id = 0;
  };
  using Template = std::vector<Piece>;

  PostProcessor();  // texts in order, type ids 0 and 1, nothing added
  // Throws InputError naming the JSON pointer of what is wrong or not supported, such as a special
  // token whose id no token has.
  static PostProcessor read(const FieldMap& map, const Vocabulary& model, const AddedTokens& added);

  // One flag per trim, in order: whether the first space of a text was added and so stays inside
  // its token's offsets.
  const std::vector<bool>& trims() const { return trims_; }
  const Template& pieces(bool is_pair) const { return is_pair ? pair_ : single_; }
  int64_t num_added(bool is_pair) const;

  static constexpr size_t kMaxPieces = 64;

 private:
  struct Reader;

  std::vector<bool> trims_;
  Template single_, pair_;
};

}  // namespace graft
