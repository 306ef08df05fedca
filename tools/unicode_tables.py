#!/usr/bin/env python3
"""Writes src/text/unicode_tables.inc: the character classes and lower-case map that Hugging Face `tokenizers` works with.

Its Rust crates carry several Unicode versions (categories of one, white space and case of another, the regular expression engine's of a third), so the
classes are asked of the library itself, one code point at a time, instead of being taken from whichever ICU is installed. Takes about a minute.

    python tools/unicode_tables.py --out src/text/unicode_tables.inc
"""
import argparse

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def runs(points):
    """Closed ranges; one may run across the surrogates, which no text holds."""
    out = []
    for c in points:
        if out and (out[-1][1] == c - 1 or (out[-1][1] == 0xD7FF and c == 0xE000)):
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def classes():
    clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    plain_accents = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
    bert = pre_tokenizers.BertPreTokenizer()
    any_mark = normalizers.StripAccents()
    word = pre_tokenizers.Whitespace()
    digit = pre_tokenizers.Digits(individual_digits=True)

    def matches(pattern):
        split = pre_tokenizers.Split(Regex(pattern), "removed")
        return [c for c in POINTS if not split.pre_tokenize_str(chr(c))]

    spaces = set(matches(r"\s"))
    return {
        "kBertRemoved": [c for c in POINTS if clean.normalize_str("a" + chr(c) + "b") == "ab"],
        "kPunctuation": [c for c in POINTS if c not in spaces and len(bert.pre_tokenize_str("a" + chr(c) + "b")) == 3],
        "kNonspacingMark": [c for c in POINTS if plain_accents.normalize_str(chr(c)) == ""],
        "kCombiningMark": [c for c in POINTS if any_mark.normalize_str("a" + chr(c) + "b") == "ab"],
        "kLetter": matches(r"\p{L}"),
        "kNumber": matches(r"\p{N}"),
        "kNumeric": [c for c in POINTS if len(digit.pre_tokenize_str("a" + chr(c) + "b")) == 3],
        "kWord": [c for c in POINTS if [o for _, o in word.pre_tokenize_str("a" + chr(c))] == [(0, 2)]],
        "kSpace": sorted(spaces),
    }


def lower_runs():
    """(first, last, step, delta) over one-to-one mappings; U+0130, which becomes two characters, is left to the code."""
    lower = normalizers.Lowercase()
    pairs = []
    for c in POINTS:
        to = lower.normalize_str(chr(c))
        if to == chr(c):
            continue
        if len(to) != 1:
            assert c == 0x130 and to == "i\u0307", hex(c)
            continue
        pairs.append((c, ord(to) - c))
    out = []
    for c, delta in pairs:
        if out:
            first, last, step, d = out[-1]
            if d == delta and ((first == last and c - last in (1, 2)) or c - last == step):
                out[-1] = (first, c, c - last, d)
                continue
        out.append((c, c, 1, delta))
    return out


def table(lines, cells, per_line):
    for i in range(0, len(cells), per_line):
        lines.append("    " + " ".join(cells[i : i + per_line]))
    lines.append("};")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    lines = [
        f"// Made by tools/unicode_tables.py with tokenizers {tokenizers.__version__}; do not edit.",
        "// Closed ranges of code points for each class, then the lower-case map as runs of (first, last, step, delta).",
    ]
    for name, points in classes().items():
        lines.append(f"constexpr PointRange {name}Ranges[] = {{")
        table(lines, [f"{{0x{a:X}, 0x{b:X}}}," for a, b in runs(points)], 8)
    lines.append("constexpr LowerRun kLowerRuns[] = {")
    table(lines, [f"{{0x{a:X}, 0x{b:X}, {s}, {d}}}," for a, b, s, d in lower_runs()], 6)
    with open(out, "w") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
