#!/usr/bin/env python3
"""Makes tests/golden/data/text_metrics.json: scores of texts against several references by the packages that define them.

Run in an environment with requirements-text-metrics.txt, Python 3.11 (from 3.12 on sum() rounds otherwise, and nltk's choice between
two equally good references follows the rounding):  python tools/golden/text_metrics.py
BLEU and TER: sacrebleu. NIST: nltk's corpus_nist on lower-cased 13a tokens. ROUGE-L: rouge-score, F1 of the best reference, mean over
texts. CIDEr: pycocoevalcap's Cider on lower-cased 13a tokens without punctuation. A score that the package cannot compute (a division
by zero) is null. "tokens" are sacrebleu's 13a tokens, "lower" Python's lower case split at white space.
"""
import argparse
import json
import pathlib
import random

from nltk.translate.nist_score import corpus_nist
from pycocoevalcap.cider.cider import Cider
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, TER
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from pinned import check_versions

HERE = pathlib.Path(__file__).resolve().parent
SEED = 20240301
PUNCTUATION = {"'", "''", "`", "``", "(", ")", "{", "}", ".", "?", "!", ",", ":", "-", "--", "...", ";"}
WORDS = ("the a of Blue Spice coffee shop is in riverside area near Crowne Plaza Hotel , . rated 5 out of 5 £20-25 it's family-friendly "
         "U.S. 1,000.5 3-star low-priced \"quoted\" (yes) É Straße naïve — don't & &amp; ! ? : ; ... #1 10% a/b x_y `tick` "
         "Ελλάδος ΣΑΣ İstanbul 中文 e.g., B.C. $5 end").split()


def versions():
    pinned = check_versions("requirements-text-metrics.txt")
    return {name: pinned[name] for name in ("sacrebleu", "nltk", "rouge_score", "pycocoevalcap", "numpy")}


def tokens_13a(text):
    return Tokenizer13a()(text.rstrip()).split()


def without_punctuation(text):
    return " ".join(word for word in tokens_13a(text.lower()) if word not in PUNCTUATION)


def scores(texts, references):
    most = max(map(len, references))
    streams = [[refs[i] if i < len(refs) else None for refs in references] for i in range(most)]  # None: fewer references here
    out = {"bleu": BLEU().corpus_score(texts, streams).score, "ter": TER().corpus_score(texts, streams).score}
    try:
        out["nist"] = corpus_nist([[tokens_13a(r.lower()) for r in refs] for refs in references], [tokens_13a(t.lower()) for t in texts])
    except ZeroDivisionError:  # no text has five words, or all references are empty
        out["nist"] = None
    rouge = RougeScorer(["rougeL"])
    out["rouge_l"] = sum(rouge.score_multi(refs, text)["rougeL"].fmeasure for text, refs in zip(texts, references)) / len(texts)
    gold = {i: [without_punctuation(r) for r in refs] for i, refs in enumerate(references)}
    guess = {i: [without_punctuation(t)] for i, t in enumerate(texts)}
    try:
        out["cider"] = float(Cider().compute_score(gold, guess)[0])
    except ValueError:  # no reference has a word
        out["cider"] = None
    return {name: None if value is None else float(value) for name, value in out.items()}


def sentence(rng, longest):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, longest)))


def changed(rng, text):
    """The text with words dropped, replaced, repeated, moved in runs, glued to punctuation or spaced oddly."""
    words = text.split()
    for _ in range(rng.randint(0, 5)):
        i, j = rng.randrange(len(words) + 1), rng.randrange(len(words) + 1)
        kind = rng.randrange(5)
        if kind == 0 and len(words) > 1:
            del words[min(i, len(words) - 1)]
        elif kind == 1:
            words.insert(i, rng.choice(WORDS))
        elif kind == 2 and words:
            words[min(i, len(words) - 1)] = rng.choice(WORDS)
        elif kind == 3:
            low, high = min(i, j), max(i, j)
            run, words = words[low:high], words[:low] + words[high:]
            at = rng.randrange(len(words) + 1)
            words[at:at] = run
        else:
            words.insert(i, rng.choice([".", ",", "word.", "3,", "7-", "\t", "\n", "\u00a0", "\u3000", "-\n", "<skipped>", "&quot;"]))
    return rng.choice(["", "", " "]) + rng.choice([" ", " ", " ", "  "]).join(words) + rng.choice(["", " ", "."])


def few_words_case(rng, number):
    """Texts of three different words: many shifts are as good as each other, and Tercom's order among them decides."""
    draw = lambda: " ".join(rng.choice("abc") for _ in range(rng.randint(4, 25)))
    return {"name": f"few words {number}", "texts": [draw() for _ in range(4)], "references": [[draw() for _ in range(2)] for _ in range(4)]}


def random_case(rng, number):
    size, longest = rng.choice([1, 2, 5, 12]), rng.choice([3, 12, 30])
    texts, references = [], []
    for _ in range(size):
        base = sentence(rng, longest)
        references.append([changed(rng, base) for _ in range(rng.randint(1, 4))])
        texts.append(changed(rng, base) if rng.random() < 0.8 else sentence(rng, longest))
    return {"name": f"random {number}", "texts": texts, "references": references}


def cases(rng):
    out = [random_case(rng, number) for number in range(70)]
    long_text = [rng.choice(WORDS) for _ in range(70)]
    turned = long_text[40:] + long_text[:40]
    fixed = {
        "identical": (["a b c d e f"], [["a b c d e f"]]), "identical to the second": (["a b c d e f"], [["x y z", "a b c d e f"]]),
        "empty text": (["", "a b c d e"], [["a b c", "d"], ["a b c d e"]]), "only empty texts": (["", " "], [["a b"], ["c"]]),
        "empty reference": (["a b c d e f", "x"], [["", "a b c d e f"], ["", "y"]]), "nothing but empty references": (["a b"], [[""]]),
        "nothing at all": ([""], [[""]]), "one word": (["yes"], [["yes"]]), "one word, wrong": (["yes"], [["no", "maybe"]]),
        "one word each": (["yes", "no"], [["yes"], ["no", "nope"]]), "no hit": (["a b c d e f g"], [["h i j k l m n"]]),
        "case differs": (["THE CAT SAT ON THE MAT"], [["the cat sat on the mat"]]), "two references as near": (["a b c d"], [["a b c", "a b c d e"]]),
        "a run moved": (["d e f a b c g h"], [["a b c d e f g h"]]), "far run": ([" ".join(turned)], [[" ".join(long_text)]]),
        "much longer text": ([" ".join(long_text)], [["a b"]]), "much longer reference": (["the area of"], [[" ".join(long_text * 2)]]),
        "repeated word": (["the " * 60], [["the cat " * 30, "the the the"]]), "many shifts": (["a b " * 30], [["b a " * 25 + "c"]]),
        "reversed": ([" ".join(map(str, range(40)))], [[" ".join(map(str, reversed(range(40))))]]),
    }
    for name, (texts, references) in fixed.items():
        out.append({"name": name, "texts": texts, "references": references})
    return out + [few_words_case(rng, number) for number in range(60)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parents[1] / "tests" / "golden" / "data" / "text_metrics.json")
    out = parser.parse_args().out
    made_by = {"tool": "tools/golden/text_metrics.py", "seed": SEED, **versions()}
    rng = random.Random(SEED)
    all_cases = cases(rng)
    for case in all_cases:
        case.update(scores(case["texts"], case["references"]))
    words = [{"text": text, "tokens": tokens_13a(text), "lower": text.lower().split()}
             for text in [changed(rng, sentence(rng, 20)) for _ in range(40)] + ["", " ", ".", "a.", "1.5", "1.,5-", "x-\ny", "5-6-7", ",,,", "a.b.c.", "&amp;lt;", "é.é,1", "A\x1cB\x85C"]]
    with open(out, "w", encoding="utf-8") as file:
        file.write('{"made_by": ' + json.dumps(made_by) + ',\n"cases": [\n')
        file.write(",\n".join(json.dumps(case, ensure_ascii=False, allow_nan=False) for case in all_cases))
        file.write('\n],\n"words": [\n' + ",\n".join(json.dumps(case, ensure_ascii=False) for case in words) + "\n]}\n")
    print(f"wrote {len(all_cases)} cases to {out}")


if __name__ == "__main__":
    main()
