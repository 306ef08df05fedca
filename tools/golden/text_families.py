#!/usr/bin/env python3
"""Makes tests/golden/text/families: tiny tokenizers of the model families, and what Hugging Face `tokenizers` and `sentencepiece` make of texts.

    python tools/golden/text_families.py --out tests/golden/text/families

Pinned: tokenizers 0.22.2, transformers 4.57.6, sentencepiece 0.2.3, protobuf 7.36.2. For every family a folder FAMILY with its tokenizer.json (trained by
tools/train_tokenizer.py on SENTENCES) and cases.json; t5-sp and llama-sp hold a spiece.model and a tokenizer.model. Cases are those of text.py; with
"ids_only" no offsets were compared, because `sentencepiece` (whose ids stand there) and the converted tokenizer disagree. variants.json: other
normalizers, pre-tokenizers and decoders as sections to be put in place of those of a family. The charsmap is a small one of our own: rules.tsv.
"""
import argparse
import copy
import json
import os
import shutil
import sys

import sentencepiece
from tokenizers import Tokenizer

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "parity"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from text import DENSE, SEED, SENTENCES, expect, token  # noqa: E402
from tokens import random_texts  # noqa: E402
from train_tokenizer import byte_level, converted, sentencepiece_model  # noqa: E402

TEXTS = SENTENCES + DENSE + ["the <extra_id_0> river<extra_id_99>, and<unk>", "<s> the </s>  road<s>", "\u2581\u2581the\u2581 road ", "\u00c5\u0301 \ufb01\u0301 x\u0301\u00ad", "\ufb01\u0897 \u01c5\u0316",
                             "\x01the\x02 road\x03", "1234567 3.14 x2", "\u5ddd\u5ddd\U0001f30a\U0001f30a a\U0001f30ab", "don't DON'T we'LL\r\n\r\n\n  x\n"]
MASKED = ["the [MASK] of  the   road[MASK]", "  [MASK]. [CLS]x[SEP]", "def f():\n        return 1"]  # of encoders
# Replaced strings: one for one, one for many, many for one, by nothing, by a space; keys inside of keys.
RULES = {"\ufb01": "fi", "\u01c5": "D\u017e", "\u2126": "\u03a9", "e\u0301": "\u00e9", "A\u030a": "\u00c5", "\u212b": "\u00c5", "\u00a0": " ", "\u3000": " ", "\t": " ", "\u2003": " ", "\n": " ",
         "\x01": "", "\x02": "", "\u00ad": "", "\u200d": " ", "\uff01": "!", "...": "\u2026", "a\u0316\u0301": "\u00e1\u0316", "\u0344": "\u0308\u0301", "\U0001f468": "man"}


def cases_of(tokenizer, num_random):
    texts = TEXTS + [t for t in random_texts(num_random * 4, SEED + 2) if 0 < len(t) <= 30][:num_random]
    rows = [expect(tokenizer, t) for t in texts]
    rows += [expect(tokenizer, SENTENCES[0], add_special=False), expect(tokenizer, SENTENCES[0], SENTENCES[3]), expect(tokenizer, "", "x"),
             expect(tokenizer, SENTENCES[0], SENTENCES[3], max_length=12)]
    return rows


def sentencepiece_cases(path, family, num_random):
    """As `cases_of`, with the ids of `sentencepiece` where no special token is in the text."""
    processor = sentencepiece.SentencePieceProcessor(model_file=path)
    tokenizer = converted(path, family)._tokenizer
    rows = []
    for case in cases_of(tokenizer, num_random):
        is_plain = "pair" not in case and "max_length" not in case and not any(t in case["text"] for t in ("<s>", "</s>", "<unk>", "<pad>", "<extra_id_"))
        if is_plain:   # transformers alone knows special tokens
            ids = processor.encode(case["text"])
            if case.get("add_special", True):
                ids = ids + [processor.eos_id()] if family == "t5" else [processor.bos_id()] + ids
            # Where a character goes without a trace, Hugging Face's offsets slip by one.
            if ids != case["ids"] or any(c in case["text"] for c in "\x01\x02\u00ad"):
                case = {"text": case["text"], "ids": ids, "ids_only": True, "decoded": tokenizer.decode(ids)}
        rows.append(case)
    return rows


def variants():
    """(name, family, sections)"""
    meta = {"type": "Metaspace", "replacement": "\u2581"}
    sequence = lambda key, *steps: {"type": "Sequence", key: list(steps)}
    replace, fallback, fuse = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}
    strip = lambda start: {"type": "Strip", "content": " ", "start": start, "stop": 0}
    out = []
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            both = {**meta, "prepend_scheme": scheme, "split": split}
            out.append((f"Metaspace {scheme} {split}", "t5", {"normalizer": None, "pre_tokenizer": both, "decoder": both}))
    out += [
        ("older Metaspace", "t5", {"pre_tokenizer": sequence("pretokenizers", {"type": "WhitespaceSplit"}, {**meta, "add_prefix_space": True, "str_rep": "\u2581"}),
                                   "decoder": {**meta, "add_prefix_space": True, "str_rep": "\u2581"}}),
        ("Metaspace without prefix", "t5", {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True},
                                            "pre_tokenizer": {**meta, "add_prefix_space": False, "prepend_scheme": "never"},
                                            "decoder": {**meta, "add_prefix_space": False, "prepend_scheme": "never"}}),
        ("words, first", "t5", {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": False},
                                "pre_tokenizer": sequence("pretokenizers", {"type": "WhitespaceSplit"}, {**meta, "prepend_scheme": "first"}, {"type": "Digits", "individual_digits": True})}),
        ("replaced by a regular expression", "t5", {"normalizer": {"type": "Replace", "pattern": {"Regex": r"\s{2,}|[0-9]+|\p{L}(?=')"}, "content": "\u2581x"}}),
        ("Unigram with byte fallback", "llama-2", {"model": "unigram", "normalizer": None, "pre_tokenizer": {**meta, "prepend_scheme": "first"}}),
        ("no byte fallback", "llama-2", {"model": {"byte_fallback": False, "fuse_unk": True}}),
        ("no byte fallback, unfused", "llama-2", {"model": {"byte_fallback": False, "fuse_unk": False}}),
        ("Strip before Fuse", "llama-2", {"decoder": sequence("decoders", replace, fallback, strip(1), fuse)}),
        ("Strip of three", "llama-2", {"decoder": sequence("decoders", replace, fallback, fuse, strip(3))}),
        ("no Fuse", "llama-2", {"decoder": sequence("decoders", fallback, {**meta, "prepend_scheme": "always", "split": True})}),
        ("Replace by nothing", "llama-2", {"decoder": {**replace, "content": ""}}),
        ("ByteLevel, then Strip", "smollm2", {"decoder": sequence("decoders", {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, strip(2))}),
    ]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)

    def path_of(folder, name):
        os.makedirs(os.path.join(out, folder), exist_ok=True)
        return os.path.join(out, folder, name)

    def write(folder, name, value, one_per_line=False):
        dump = lambda v: json.dumps(v, ensure_ascii=True, separators=(",", ":"))
        with open(path_of(folder, name), "w") as f:
            f.write("[\n" + ",\n".join(dump(v) for v in value) + "\n]\n" if one_per_line else dump(value) + "\n")

    files = {}
    for family in ("gpt-2", "llama-3", "qwen2", "smollm2", "modernbert"):
        tokenizer = byte_level(family, SENTENCES, 330)
        files[family] = json.loads(tokenizer.to_str())
        write(family, "tokenizer.json", files[family])
        masked = [expect(tokenizer, text) for text in (MASKED if family == "modernbert" else [])]
        write(family, "cases.json", cases_of(tokenizer, 3) + masked, True)
    rules = path_of("t5-sp", "rules.tsv")
    with open(rules, "w") as f:
        for source, target in RULES.items():
            f.write(" ".join(f"{ord(c):X}" for c in source) + "\t" + " ".join(f"{ord(c):X}" for c in target) + "\n")
    for family, folder, name, size in (("t5", "t5-sp", "spiece.model", 260), ("llama-2", "llama-sp", "tokenizer.model", 500)):
        model = path_of(folder, name)
        with open(model, "wb") as f:
            f.write(sentencepiece_model(family, [s for s in SENTENCES if s.strip()] * 3, size, rules if family == "t5" else None))
        write(folder, "cases.json", sentencepiece_cases(model, family, 6), True)
        for kind in ([family] if family == "t5" else ["llama-2", "llama-2-new"]):
            tokenizer = converted(model, kind)._tokenizer
            files[kind] = json.loads(tokenizer.to_str())
            write(kind, "tokenizer.json", files[kind])
            write(kind, "cases.json", cases_of(tokenizer, 6), True)
    os.remove(rules)
    rows = []
    texts = DENSE[:1] + TEXTS[-9:-1] + ["  \u5dddx \U0001f30a", "\u2581the  river"]
    for name, family, sections in variants():
        data = copy.deepcopy(files[family])
        if sections.get("model") == "unigram":   # the same tokens with scores of their own
            order = sorted(data["model"]["vocab"], key=data["model"]["vocab"].get)
            sections = {**sections, "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": True, "vocab": [[t, -1 - i / 8] for i, t in enumerate(order)]}}
            data["model"] = sections["model"]
        else:
            data["model"].update(sections.get("model", {}))
        data.update({k: v for k, v in sections.items() if k != "model"})
        tokenizer = Tokenizer.from_str(json.dumps(data))
        rows.append({"name": name, "base": family, "sections": sections, "cases": [expect(tokenizer, t) for t in texts]})
    write("", "variants.json", rows, True)
    sizes = {os.path.relpath(os.path.join(d, n), out): os.path.getsize(os.path.join(d, n)) for d, _, names in os.walk(out) for n in names}
    print(sum(sizes.values()), "bytes", sizes)


if __name__ == "__main__":
    main()
