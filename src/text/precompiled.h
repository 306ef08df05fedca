// Normalizers around a SentencePiece charsmap: Hugging Face's "Precompiled", and SentencePiece's
// own.
#pragma once

#include <memory>

#include "text/aligned_text.h"
#include "text/charsmap.h"

namespace graft {

// Cluster by cluster: one of up to five bytes becomes what its shortest key says, whatever else is
// in it; others go character by character. (Not what SentencePiece does, but what models trained
// with `tokenizers` have seen.)
struct PrecompiledNormalizer {
  std::shared_ptr<const Charsmap> charsmap;
};
void apply(const PrecompiledNormalizer& options, AlignedText& text, size_t limit);

// Longest keys from the left, then spaces: none at the ends and none behind another one (where the
// model says so), one before the text, each written as U+2581.
struct SentencePieceNormalizer {
  std::shared_ptr<const Charsmap> charsmap;  // null: no replacements
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  bool only_at_start =
      false;  // what stands behind an added token keeps its first space and gets none
};
// `continues`: the text goes on from another one, whose last character is no space.
void apply(const SentencePieceNormalizer& options, AlignedText& text, bool continues, size_t limit);

}  // namespace graft
