// Scores of generated texts against one or several references each, over a whole data set.
//
// Each equals a named package on random and degenerate cases (tests/golden/data/text_metrics.json,
// made by tools/golden/text_metrics.py); doc/data.md says which and where a value is ours because
// theirs does not exist. METEOR is not here: it needs WordNet and a stemmer's tables, which are
// data, not code. Every function throws InputError when there are no texts, the two sides differ in
// length, or a text has no reference.
#pragma once

#include <string>
#include <vector>

namespace graft {

using Texts = std::vector<std::string>;
using References = std::vector<std::vector<std::string>>;  // those of each text

// BLEU of the corpus (Papineni et al. 2002), 0..100: sacrebleu's default,
// nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp.
double bleu(const Texts& texts, const References& references);

// Translation edit rate (Snover et al. 2006), 0 and up, smaller is better: 100 x edits / words of
// the average reference, where an edit inserts, deletes or replaces a word or shifts a run of
// words. sacrebleu's default: case:lc|tok:tercom|norm:no|punct:yes.
double ter(const Texts& texts, const References& references);

// NIST (Doddington 2002), up to 5-grams, 0 and up: nltk's corpus_nist on lower-cased 13a tokens.
double nist(const Texts& texts, const References& references);

// ROUGE-L (Lin 2004), 0..1: the mean over texts of the best reference's F1 of the longest common
// subsequence; rouge-score without stemming.
double rouge_l(const Texts& texts, const References& references);

// CIDEr-D (Vedantam et al. 2015), 0..10: pycocoevalcap's Cider on lower-cased 13a tokens without
// punctuation.
double cider(const Texts& texts, const References& references);

namespace detail {
void check_texts(const Texts& texts, const References& references);
}

}  // namespace graft
