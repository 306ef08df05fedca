// Pre-tokenizers: how a normalized text is cut into the words that a model splits further.
//
// Read from the "pre_tokenizer" of tokenizer.json: BertPreTokenizer, ByteLevel, Whitespace,
// WhitespaceSplit, Punctuation, Digits, Split, Metaspace, Sequence. Everything else is refused by
// name. A Split by a regular expression runs on ICU, with a bound on its steps.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "text/aligned_text.h"
#include "text/json_fields.h"

namespace graft {

class BoundedRegex;  // text/bounded_regex.h

// What becomes of a delimiter. "a-b--c" cut at '-': removed a b c; isolated a - b - - c; merged
// with previous a- b- - c; with next a -b - -c; contiguous a - b -- c.
enum class DelimiterBehavior {
  kRemoved,
  kIsolated,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous
};

struct BertSplit {};
struct ByteLevelSplit {
  bool add_prefix_space = true, use_regex = true;
};
struct WordSplit {};  // \w+|[^\w\s]+
struct SpaceSplit {};
struct ClassSplit {  // Punctuation, Digits
  CharClass delimiter = CharClass::kPunctuation;
  DelimiterBehavior behavior = DelimiterBehavior::kIsolated;
};
struct PatternSplit {
  std::u32string text;  // when `regex` is null
  std::shared_ptr<const BoundedRegex> regex;
  DelimiterBehavior behavior = DelimiterBehavior::kIsolated;
  bool invert = false;
};

enum class PrependScheme { kFirst, kNever, kAlways };
struct MetaspaceSplit {  // spaces become `sign`, each of which begins a word
  char32_t sign = 0x2581;
  PrependScheme prepend = PrependScheme::kAlways;  // kFirst: only where the user's text begins
  bool split = true;
};
// Reads the fields of a Metaspace, pre-tokenizer or decoder, but not its "type".
MetaspaceSplit read_metaspace(const FieldMap& map);

using SplitStep = std::variant<BertSplit, ByteLevelSplit, WordSplit, SpaceSplit, ClassSplit,
                               PatternSplit, MetaspaceSplit>;

class PreTokenizer {
 public:
  // Throws InputError naming the JSON pointer of what is wrong or not supported.
  static PreTokenizer read(const FieldMap& map);

  // Cuts `text` into words (none empty). ByteLevel also rewrites the text: one character per UTF-8
  // byte, and a leading space. `continues`: the text goes on from another one, so that nothing is
  // put before its first word. Throws InputError when a regular expression takes too many steps.
  std::vector<Span> apply(AlignedText& text, bool continues = false) const;

 private:
  std::vector<SplitStep> steps_;
};

// The printable character that stands for a byte in byte-level vocabularies (GPT-2's table), and
// back (-1: none).
char32_t byte_to_char(uint8_t byte);
int char_to_byte(char32_t c);

}  // namespace graft
