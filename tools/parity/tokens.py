#!/usr/bin/env python3
"""Compares the ids and offsets of `graft inspect tokens --json` with those of Hugging Face `tokenizers`, line by line; where the folder has a
spiece.model or tokenizer.model only, the ids with those of `sentencepiece` (T5: </s> behind, LLaMA: <s> before).

    python tools/parity/tokens.py --command "build/release/graft inspect tokens" --model DIR [--random 10000] [--seed 1] PATH...
    python tools/parity/tokens.py --command build/x/tests/text/tokens_main --model DIR PATH...

PATH: files, or folders of them; every line that is valid UTF-8 is fed. --random adds that many random Unicode strings (random_texts below).
A line with a byte or character that the vocabulary cannot express at all (`tokenizers` drops it without a word, Graft refuses the text) is left out and
counted. Prints one JSON object: lines and tokens compared, lines that differ, the first differences. Exit code 1 if any line differs.
"""
import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time

import tokenizers

# Blocks to draw from: (weight, first, last).
BLOCKS = [
    (8, 0x20, 0x7E), (3, 0xA0, 0x24F), (2, 0x300, 0x36F), (2, 0x370, 0x52F), (2, 0x590, 0x6FF), (1, 0x700, 0x8FF), (3, 0x900, 0xDFF), (1, 0xE00, 0x109F),
    (2, 0x1100, 0x11FF), (1, 0x1200, 0x1CFF), (1, 0x1D00, 0x1FFF), (3, 0x2000, 0x206F), (2, 0x2070, 0x2BFF), (1, 0x2C00, 0x2FFF), (2, 0x3000, 0x30FF),
    (1, 0x3100, 0x33FF), (3, 0x3400, 0x9FFF), (1, 0xA000, 0xABFF), (3, 0xAC00, 0xD7FF), (1, 0xE000, 0xF8FF), (2, 0xF900, 0xFAFF), (2, 0xFB00, 0xFFFF),
    (2, 0x10000, 0x11FFF), (1, 0x12000, 0x1BFFF), (1, 0x1C000, 0x1EFFF), (3, 0x1F000, 0x1FAFF), (1, 0x1FB00, 0x1FFFF), (2, 0x20000, 0x2FA1F),
    (1, 0x2FA20, 0x3FFFF), (1, 0xE0000, 0xE01EF), (1, 0xF0000, 0x10FFFF), (2, 0x0, 0x1F), (1, 0x7F, 0x9F), (1, 0xFE00, 0xFE0F), (1, 0xFFF0, 0xFFFF),
]
PIECES = [
    " ", "  ", "\t", "\r", "\u00a0", "\u3000", "\u200d", "\ufe0f", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f3f3\ufe0f\u200d\U0001f308", "'s", "'re",
    "n't", "##", "[MASK]", "[SEP]", "<mask>", "</s>", "e\u0301", "a\u0316\u0301", "\u0344", "\u0130", "\u01c5", "\ufb03", "\u1e9b\u0323", "\u2126",
    "\uac00\u11a8", "\u1100\u1161\u11a8", "\u0958", "\u05e9\u05c1", "\u202e", "...", "--", "1234", "\u0663", "hello", "World", " the", "ing", "\u4e2d\u6587",
]


def random_texts(count, seed):
    """`count` strings without line ends: single blocks, mixtures, marks in odd orders, pieces that tokenizers treat specially."""
    source = random.Random(seed)
    weights = [w for w, _, _ in BLOCKS]
    out = []
    while len(out) < count:
        own = source.choices(BLOCKS, weights, k=source.choice([1, 2, 3, 6]))
        chars = []
        for _ in range(source.choice([0, 1, 2, 5, 10, 20, 40, 120])):
            if source.random() < 0.2:
                chars.append(source.choice(PIECES))
                continue
            _, first, last = source.choice(own)
            c = source.randint(first, last)
            if not 0xD800 <= c <= 0xDFFF and c != 0xA:
                chars.append(chr(c))
        out.append("".join(chars))
    return out


def lines_of(path):
    """The valid lines of a file, and how many are not valid UTF-8."""
    with open(path, "rb") as f:
        rows = f.read().split(b"\n")
    if rows and rows[-1] == b"":
        rows.pop()
    lines, invalid = [], 0
    for row in rows:
        try:
            lines.append(row.decode("utf-8"))
        except UnicodeDecodeError:
            invalid += 1
    return lines, invalid


def files_of(paths):
    for path in paths:
        if os.path.isdir(path):
            for folder, _, names in sorted(os.walk(path, followlinks=True)):
                yield from (os.path.join(folder, name) for name in sorted(names))
        else:
            yield path


class Found:
    """What a peer makes of a line. offsets: None where they are not compared."""

    def __init__(self, ids, offsets, tokens):
        self.ids, self.offsets, self.tokens = ids, offsets, tokens


class SentencePiecePeer:
    """The ids of `sentencepiece`, with the special tokens of T5 (a Unigram model) or LLaMA (BPE)."""

    def __init__(self, path):
        import sentencepiece
        self.name = f"sentencepiece {sentencepiece.__version__}"
        self.processor = sentencepiece.SentencePieceProcessor(model_file=path)
        self.is_t5 = path.endswith("spiece.model")

    def expresses(self, line):
        """Special tokens in a text are for transformers to find; sentencepiece reads them letter by letter."""
        return not any(mark in line for mark in ("<s>", "</s>", "<pad>", "<unk>", "<extra_id_"))

    def encode(self, line):
        ids = self.processor.encode(line)
        ids = ids + [self.processor.eos_id()] if self.is_t5 else [self.processor.bos_id()] + ids
        return Found(ids, None, self.processor.id_to_piece(ids))


class TokenizersPeer:
    def __init__(self, path):
        self.name = f"tokenizers {tokenizers.__version__}"
        self.tokenizer = tokenizers.Tokenizer.from_file(path)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        model = json.loads(self.tokenizer.to_str())
        vocab = model["model"]["vocab"]
        is_bytes = "ByteLevel" in json.dumps(model.get("pre_tokenizer"))
        # The signs of bytes that have no token; with an unknown token, nothing is dropped.
        self.missing = set()
        if is_bytes and not model["model"].get("unk_token"):
            self.missing = set(tokenizers.pre_tokenizers.ByteLevel.alphabet()) - set(vocab)

    def expresses(self, line):
        if not self.missing:
            return True
        normal = self.tokenizer.normalizer.normalize_str(line) if self.tokenizer.normalizer else line
        parts = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(normal)
        return not any(self.missing & set(part) for part, _ in parts)

    def encode(self, line):
        found = self.tokenizer.encode(line)
        return Found(found.ids, [list(o) for o in found.offsets], found.tokens)


def peer_of(folder):
    if os.path.exists(os.path.join(folder, "tokenizer.json")):
        return TokenizersPeer(os.path.join(folder, "tokenizer.json"))
    for name in ("spiece.model", "tokenizer.model"):
        if os.path.exists(os.path.join(folder, name)):
            return SentencePiecePeer(os.path.join(folder, name))
    sys.exit(f"{folder}: expected tokenizer.json, spiece.model or tokenizer.model")


def compare(command, model, lines, peer):
    with tempfile.NamedTemporaryFile("wb", suffix=".txt") as f:
        f.write("".join(line + "\n" for line in lines).encode("utf-8"))
        f.flush()
        start = time.perf_counter()
        done = subprocess.run([*shlex.split(command), *model, f.name, "--json"], capture_output=True)
        ours_seconds = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"the command failed with {done.returncode}: {done.stderr.decode()}")
    ours = done.stdout.splitlines()
    if len(ours) != len(lines):
        sys.exit(f"expected {len(lines)} lines of output, found {len(ours)}")
    start = time.perf_counter()
    peers = [peer.encode(line) for line in lines]
    peer_seconds = time.perf_counter() - start
    differing, tokens = [], 0
    for line, row, theirs in zip(lines, ours, peers):
        mine = json.loads(row)
        tokens += len(theirs.ids)
        if mine["ids"] != theirs.ids or (theirs.offsets is not None and mine["offsets"] != theirs.offsets):
            differing.append({"line": line, "ours": mine, "theirs": {"ids": theirs.ids, "offsets": theirs.offsets, "tokens": theirs.tokens}})
    return differing, tokens, ours_seconds, peer_seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--command", required=True, help="what prints the encodings: given the model folder, a file and --json")
    parser.add_argument("--model", required=True, help="a folder with tokenizer.json, spiece.model or tokenizer.model")
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=5, help="how many differing lines to print")
    args = parser.parse_args()
    peer = peer_of(args.model)
    is_graft = args.command.split()[-1] == "tokens"
    model = ["--model", args.model, "--file"] if is_graft else [args.model]
    lines, invalid, num_files = [], 0, 0
    for path in files_of(args.paths):
        found, bad = lines_of(path)
        lines += found
        invalid += bad
        num_files += 1
    num_from_files = len(lines)
    lines += random_texts(args.random, args.seed)
    num_all = len(lines)
    lines = [line for line in lines if peer.expresses(line)]
    differing, tokens, ours_seconds, peer_seconds = compare(args.command, model, lines, peer)
    print(json.dumps({
        "peer": peer.name, "model": args.model, "files": num_files, "lines_from_files": num_from_files,
        "random_strings": args.random, "seed": args.seed, "invalid_lines_skipped": invalid, "lines_not_expressible": num_all - len(lines), "lines": len(lines),
        "bytes": sum(len(line.encode("utf-8")) for line in lines), "tokens": tokens, "differing_lines": len(differing),
        "seconds": {"ours_with_start_and_output": round(ours_seconds, 3), "peer_encode_only": round(peer_seconds, 3)}, "first": differing[: args.show],
    }, indent=1, ensure_ascii=True))
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
