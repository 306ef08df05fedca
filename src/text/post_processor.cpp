#include "text/post_processor.h"

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/vocabulary.h"

namespace graft {

namespace {

PostProcessor::Piece text_piece(int sequence, int64_t type_id) { return {sequence, {}, type_id}; }
PostProcessor::Piece special_piece(int64_t id, int64_t type_id) { return {-1, {id}, type_id}; }

constexpr int64_t kMaxTypeId = 1 << 16;

}  // namespace

// Reads one processor after the other into `out`.
struct PostProcessor::Reader {
  PostProcessor& out;
  const Vocabulary& model;
  const AddedTokens& added;
  bool has_template = false;

  void check_id(const FieldMap& map, std::string_view key, int64_t id) const {
    if (model.token_of(id) == nullptr && added.find(id) == nullptr)
      map.fail(key, "no token has the id " + std::to_string(id));
  }

  // ["[SEP]", 102]
  int64_t token_and_id(const FieldMap& map, std::string_view key) const {
    const Node& pair = map.list(key, 2);
    const bool fits = pair.items.size() == 2 && pair.items[0].is_string && !pair.items[1].is_string;
    const Node wrapped = Node::map({{"id", fits ? pair.items[1] : Node::null()}});
    if (!fits) map.fail(key, "expected [\"token\", id]");
    const int64_t id = FieldMap(wrapped, map.source(), map.pointer() + "/" + std::string(key))
                           .integer("id", 0, Vocabulary::kMaxId);
    check_id(map, key, id);
    return id;
  }

  std::vector<int64_t> special_ids(const FieldMap& tokens, const std::string& name) const {
    if (!tokens.has(name)) tokens.fail(name, "missing, but a template uses it");
    const FieldMap token = tokens.map(name);
    token.text("id");
    token.ignore("tokens");  // the ids say it all
    std::vector<int64_t> ids;
    for (const Node& item : token.list("ids", kMaxPieces).items) {
      const Node wrapped = Node::map({{"ids", item}});
      ids.push_back(
          FieldMap(wrapped, token.source(), token.pointer()).integer("ids", 0, Vocabulary::kMaxId));
      check_id(token, "ids", ids.back());
    }
    token.finish();
    return ids;
  }

  Template pieces(const FieldMap& map, std::string_view key, bool is_pair) const {
    const FieldMap tokens = map.map("special_tokens");
    Template read;
    std::vector<bool> used(2, false);
    if (map.list(key, kMaxPieces).items.empty()) map.fail(key, "expected at least one piece");
    for (const FieldMap& item : map.maps(key)) {
      if (item.has("SpecialToken")) {
        const FieldMap piece = item.map("SpecialToken");
        read.push_back(
            {-1, special_ids(tokens, piece.text("id")), piece.integer("type_id", 0, kMaxTypeId)});
        piece.finish();
      } else {
        const FieldMap piece = item.map("Sequence");
        const int sequence = piece.choice("id", {"A", "B"}) == "A" ? 0 : 1;
        if (sequence == 1 && !is_pair)
          piece.fail("id", "the template for one text cannot use the second one");
        used[static_cast<size_t>(sequence)] = true;
        read.push_back(text_piece(sequence, piece.integer("type_id", 0, kMaxTypeId)));
        piece.finish();
      }
      item.finish();
    }
    if (!used[0] || (is_pair && !used[1]))
      map.fail(key,
               is_pair ? "the template must use both texts" : "the template must use the text");
    return read;
  }

  void set_template(const FieldMap& map, Template single, Template pair) {
    if (has_template) map.fail("type", "a second template in a Sequence is not supported");
    has_template = true;
    out.single_ = std::move(single);
    out.pair_ = std::move(pair);
  }

  void read(const FieldMap& map) {
    const std::string type = map.type(
        {"BertProcessing", "RobertaProcessing", "TemplateProcessing", "ByteLevel", "Sequence"});
    if (type == "Sequence") {
      for (const FieldMap& item : map.maps("processors")) read(item);
    } else if (type == "TemplateProcessing") {
      Template single = pieces(map, "single", false);
      set_template(map, std::move(single), pieces(map, "pair", true));
    } else if (type == "ByteLevel") {
      read_trim(map);
      if (map.has("use_regex")) map.boolean("use_regex");  // has a meaning for pre-tokenizers only
    } else {
      const int64_t cls = token_and_id(map, "cls"), sep = token_and_id(map, "sep");
      const bool is_roberta = type == "RobertaProcessing";
      if (is_roberta) read_trim(map);
      const int64_t second = is_roberta ? 0 : 1;
      Template single = {special_piece(cls, 0), text_piece(0, 0), special_piece(sep, 0)};
      Template pair = single;
      if (is_roberta) pair.push_back(special_piece(sep, 0));
      pair.push_back(text_piece(1, second));
      pair.push_back(special_piece(sep, second));
      set_template(map, std::move(single), std::move(pair));
    }
    map.finish();
  }

  void read_trim(const FieldMap& map) {
    const bool trims = map.boolean("trim_offsets"), added_space = map.boolean("add_prefix_space");
    if (!trims) return;
    if (has_template)
      map.fail("type", "trimming offsets after a template is not supported; put ByteLevel first");
    if (out.trims_.size() >= kMaxPieces)
      map.fail("type", "more than " + std::to_string(kMaxPieces) + " processors are not supported");
    out.trims_.push_back(added_space);
  }
};

PostProcessor::PostProcessor()
    : single_({text_piece(0, 0)}), pair_({text_piece(0, 0), text_piece(1, 1)}) {}

PostProcessor PostProcessor::read(const FieldMap& map, const Vocabulary& model,
                                  const AddedTokens& added) {
  PostProcessor out;
  Reader{out, model, added}.read(map);
  return out;
}

int64_t PostProcessor::num_added(bool is_pair) const {
  int64_t count = 0;
  for (const Piece& piece : pieces(is_pair)) count += static_cast<int64_t>(piece.ids.size());
  return count;
}

}  // namespace graft
