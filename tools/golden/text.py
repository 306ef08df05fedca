#!/usr/bin/env python3
"""Makes tests/golden/text: tiny tokenizers and what Hugging Face `tokenizers` makes of sentences, random Unicode, pairs and truncated texts.

    python tools/golden/text.py --out tests/golden/text

Pinned: tokenizers 0.22.2. wordpiece/ and bpe/ hold a tokenizer.json each with cases.json; variants.json holds other normalizers, pre-tokenizers,
post-processors, added tokens and decoders as sections to be put in place of those of a base tokenizer. manifest.json says how all of it was made.
A case: text, pair, add_special, max_length, strategy, and the expected ids, type_ids, offsets (begin and end in turn), special, decoded (specials left out).
"""
import argparse
import copy
import hashlib
import json
import os
import sys

import tokenizers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "parity"))
from tokens import random_texts  # noqa: E402
from train_bpe import train  # noqa: E402

SEED = 20240601
SENTENCES = [
    "The river rose in the night, and by morning the lower road was under water.",
    "Nobody had expected it; the forecast said \"light rain\" and nothing more.",
    "We're moving the goats, she'd said, before it's too late - and they didn't argue.",
    "In 1987 the bridge cost 1,250,000 crowns (about $48,000).",
    "Send an e-mail to office@example.org, or call +47 22 33 44 55!",
    "Der Fluß überschwemmte die Straße; l'été suivant, tout était sec.",
    "Ærlig talt: smørbrød på Åsgårdstrand koster for mye.",
    "На берегу стоял дом, а в доме никого не было.",
    "昨夜の雨で川が増水した。道路は通行止めです。",
    "강물이 밤새 불어났다. 다리는 안전하다.",
    "नदी रात में बढ़ गई और सड़क डूब गई।",
    "كان النهر عاليا في الصباح.",
    "  leading and trailing spaces, tabs\tand   runs  ",
    "UPPER lower MiXeD İstanbul ǅ ﬃ Å Ω",
    "emoji: \U0001f30a\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \U0001f3f3\ufe0f\u200d\U0001f308.",
    "a [MASK] in the text, <mask>and another</s> [SEP]tail",
    "",
    " ",
    "x",
    "anextraordinarilylongwordthatnobodywouldeverwritebutatokenizermustsurviveanywayandsoitgoesonandonandonuntilonehundredcharacters",
    "line one\nline two\r\nline three",
]
# For the variants: much in few characters.
DENSE = [
    "  The river's 1,250 \t road-and THE  riverbank ing Über über ", "l'été, Åsgård İx Ω ﬃ ǅ", "雨で강물 नदी \u0301e\u0316\u0301 \u0344",
    "a--b!c? the\u00a0the\u2003\U0001f44d\U0001f3fd\u200d\r\n\n x", "\x07\ufffd\ue000don't WE'LL 1234", "", "the road  and  road   and",
]
PAIRS = [(0, 1), (2, 3), (8, 0), (16, 4), (4, 16), (16, 16), (14, 2)]
STRATEGIES = ["longest_first", "only_first", "only_second"]


def make_wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    # Not trained: the library's WordPiece trainer gives other tokens on each run.
    words = [w for s in SENTENCES for w, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(s))]
    chars = sorted({c for w in words for c in w})
    common = sorted({w for w in words if 1 < len(w) <= 5 and words.count(w) > 1})
    endings = sorted({"##" + w[-n:] for w in words for n in (2, 3) if len(w) > n + 2 and w.isascii() and w.isalpha()})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *chars, *("##" + c for c in chars), *common, *endings]
    tokenizer.model = models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]")
    tokenizer.add_special_tokens(tokens[:5])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return json.loads(tokenizer.to_str())


def expect(tokenizer, text, pair=None, add_special=True, max_length=0, strategy="longest_first"):
    """The case, or None where the reference refuses."""
    tokenizer.no_truncation()
    if max_length:
        tokenizer.enable_truncation(max_length, strategy=strategy)
    try:
        found = tokenizer.encode(text, pair, add_special_tokens=add_special)
    except Exception:
        return {"text": text, "pair": pair, "add_special": add_special, "max_length": max_length, "strategy": strategy, "refused": True}
    case = {"text": text, "ids": found.ids, "offsets": [x for o in found.offsets for x in o]}
    if pair is not None:
        case["pair"] = pair
    if not add_special:
        case["add_special"] = False
    if max_length:
        case.update(max_length=max_length, strategy=strategy)
    if any(found.type_ids):
        case["type_ids"] = found.type_ids
    if any(found.special_tokens_mask):
        case["special"] = [i for i, s in enumerate(found.special_tokens_mask) if s]
    case["decoded"] = tokenizer.decode(found.ids, skip_special_tokens=True)
    return case


def full_cases(data, num_random, longest):
    tokenizer = Tokenizer.from_str(json.dumps(data))
    texts = SENTENCES + [t for t in random_texts(num_random * 3, SEED) if len(t) <= longest][:num_random]
    cases = [expect(tokenizer, t) for t in texts]
    cases += [expect(tokenizer, SENTENCES[0], add_special=False)]
    added = tokenizer.num_special_tokens_to_add(True)
    for a, b in PAIRS:
        cases.append(expect(tokenizer, SENTENCES[a], SENTENCES[b]))
        cases.append(expect(tokenizer, SENTENCES[a], SENTENCES[b], add_special=False))
        for max_length in (added, added + 1, 10, 21, 40):
            for strategy in STRATEGIES:
                cases.append(expect(tokenizer, SENTENCES[a], SENTENCES[b], max_length=max_length, strategy=strategy))
    for max_length in (2, 3, 7, 1000):
        for strategy in STRATEGIES:
            cases.append(expect(tokenizer, SENTENCES[0], max_length=max_length, strategy=strategy))
    return cases


def token(id, content, **flags):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


def variants(wordpiece, bpe):
    """(name, base, sections to replace)"""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    normalizer = lambda *steps: {"normalizer": steps[0] if len(steps) == 1 else {"type": "Sequence", "normalizers": list(steps)}}
    splits = lambda *steps: {"pre_tokenizer": steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": list(steps)}}
    plain = {"normalizer": None}
    out = [(name, "bpe", normalizer({"type": name})) for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")]
    out += [(f"Strip {left} {right}", "bpe", normalizer({"type": "Strip", "strip_left": left, "strip_right": right}))
            for left, right in ((True, True), (True, False), (False, True))]
    bert = {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": False, "strip_accents": None, "lowercase": False}
    out += [(f"BertNormalizer {change}", "bpe", normalizer({**bert, **change}))
            for change in ({}, {"clean_text": True}, {"handle_chinese_chars": True}, {"strip_accents": True}, {"lowercase": True, "strip_accents": False})]
    out += [
        ("Replace", "bpe", normalizer({"type": "Replace", "pattern": {"String": "the"}, "content": "a\u0301x"})),
        ("Replace by nothing", "bpe", normalizer({"type": "Replace", "pattern": {"String": " "}, "content": ""})),
        ("Prepend", "bpe", normalizer({"type": "Prepend", "prepend": "\u2581_"})),
        ("Sequence", "bpe", normalizer({"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "NFKC"})),
        ("ByteLevel prefix", "bpe", {"pre_tokenizer": {**level, "add_prefix_space": True},
                                     "post_processor": {**bpe["post_processor"], "add_prefix_space": True}}),
        ("ByteLevel prefix, untrimmed", "bpe", {"pre_tokenizer": {**level, "add_prefix_space": True},
                                                "post_processor": {**bpe["post_processor"], "trim_offsets": False}}),
        ("ByteLevel without regex", "bpe", splits({**level, "use_regex": False})),
        ("ignore_merges", "bpe", {"model": {**bpe["model"], "ignore_merges": True}}),
        ("no pre-tokenizer", "wordpiece", {"pre_tokenizer": None}),
    ]
    for kind in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer"):
        out.append((kind, "wordpiece", {**plain, **splits({"type": kind})}))
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        out.append((f"Punctuation {behavior}", "wordpiece", {**plain, **splits({"type": "Punctuation", "behavior": behavior})}))
        for invert in (False, True):
            out.append((f"Split string {behavior} {invert}", "wordpiece",
                        {**plain, **splits({"type": "Split", "pattern": {"String": " "}, "behavior": behavior, "invert": invert})}))
            out.append((f"Split regex {behavior} {invert}", "wordpiece",
                        {**plain, **splits({"type": "Split", "pattern": {"Regex": r"\p{L}+|\p{N}{1,2}|\s"}, "behavior": behavior, "invert": invert})}))
    for alone in (False, True):
        out.append((f"Digits {alone}", "wordpiece", {**plain, **splits({"type": "Digits", "individual_digits": alone})}))
    regex = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    out.append(("Split regex, then ByteLevel", "bpe",
                splits({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}, {"type": "Digits", "individual_digits": True},
                       {**level, "use_regex": False})))
    cls, sep = ["[CLS]", 2], ["[SEP]", 3]
    out += [
        ("BertProcessing", "wordpiece", {"post_processor": {"type": "BertProcessing", "sep": sep, "cls": cls}}),
        ("no post-processor", "wordpiece", {"post_processor": None, "decoder": None}),
        ("ByteLevel post-processor", "bpe", {"post_processor": {**level}}),
        ("Sequence of post-processors", "bpe", {"post_processor": {"type": "Sequence", "processors": [
            {**level}, {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                        "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 3}},
                                 {"SpecialToken": {"id": "both", "type_id": 1}}, {"Sequence": {"id": "A", "type_id": 2}}],
                        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                                           "both": {"id": "both", "ids": [2, 0], "tokens": ["</s>", "<s>"]}}}]}}),
        ("WordPiece without cleanup", "wordpiece", {"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False}}),
        ("fuse_unk", "bpe", {"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {**bpe["model"], "unk_token": "<unk>", "fuse_unk": True}}),
        ("unk", "bpe", {"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {**bpe["model"], "unk_token": "<unk>", "fuse_unk": False}}),
    ]
    for base, data in (("wordpiece", wordpiece), ("bpe", bpe)):
        vocab, extra = data["model"]["vocab"], []
        free = len(vocab)
        for content, flags in (
            ("river", {"single_word": True}), ("ing", {"normalized": True}), ("THE", {"normalized": True, "single_word": True}),
            ("road", {"lstrip": True, "rstrip": True}), ("\u00fcber", {"rstrip": True, "normalized": True}), ("and", {"lstrip": True, "special": True}),
            ("1,", {"special": True}), ("1,25", {}), ("the", {"normalized": True, "special": True}),
        ):
            extra.append(token(vocab.get(content, free), content, **flags))
            free += content not in vocab
        added = data["added_tokens"] + extra
        out.append((f"added tokens, {base}", base, {"added_tokens": added}))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    wordpiece = make_wordpiece()
    bpe = json.loads(train(SENTENCES, 380, min_frequency=2).to_str())
    written = {}

    def write(name, value, one_per_line=False):
        path = os.path.join(out, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        dump = lambda v: json.dumps(v, ensure_ascii=True, separators=(",", ":"))
        text = "[\n" + ",\n".join(dump(v) for v in value) + "\n]\n" if one_per_line else dump(value) + "\n"
        with open(path, "w") as f:
            f.write(text)
        written[name] = {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}

    bases = {"wordpiece": wordpiece, "bpe": bpe}
    for name, data in bases.items():
        write(f"{name}/tokenizer.json", data)
    write("wordpiece/cases.json", full_cases(wordpiece, 200, 60), True)
    write("bpe/cases.json", full_cases(bpe, 150, 25), True)
    rows = []
    texts = DENSE + [t for t in random_texts(200, SEED + 1) if 0 < len(t) <= 12][:4]
    for name, base, sections in variants(wordpiece, bpe):
        tokenizer = Tokenizer.from_str(json.dumps({**copy.deepcopy(bases[base]), **sections}))
        if "model" in sections:   # only what differs
            sections = {**sections, "model": {k: v for k, v in sections["model"].items() if k not in ("vocab", "merges")}}
        cases = [expect(tokenizer, t) for t in texts] + [expect(tokenizer, "The river, 22", "and the road"), expect(tokenizer, "a b", "c", add_special=False)]
        rows.append({"name": name, "base": base, "sections": sections, "cases": cases})
    write("variants.json", rows, True)
    files = dict(written)
    write("manifest.json", {"command": "python tools/golden/text.py --out tests/golden/text", "tokenizers": tokenizers.__version__, "seed": SEED, "files": files})
    print(sum(f["bytes"] for f in written.values()), "bytes,", len(rows), "variants")


if __name__ == "__main__":
    main()
