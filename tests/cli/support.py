"""What the whole-program tests share: a tiny model folder with a tokenizer that fits it, rows made on the fly, and running graft.

Python's standard library only. The program is named by the environment variable GRAFT, the source tree by GRAFT_SOURCE; ctest sets
both. Not a test itself.
"""

import hashlib
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unicodedata
import unittest

SOURCE = pathlib.Path(os.environ.get("GRAFT_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
GRAFT = os.path.abspath(os.environ.get("GRAFT", SOURCE / "build" / "release" / "graft"))
MODELS = SOURCE / "tests" / "golden" / "models"
SKIPPED = 77   # the exit code of a script whose tests all were skipped

GOOD = "fine great happy warm bright lovely clear kind brave calm".split()
BAD = "bad sad cold grim dull awful murky cruel weak angry".split()
PLAIN = ("the a film day book walk it was is and very so we they saw had this that with of in on house river tree bird stone road hill sea "
         "cloud rain wind sun moon star lamp door chair table").split()
WORDS = GOOD + BAD + PLAIN


# --- tokenizers that fit the tiny models -------------------------------------------------------------------------------------------

def _added(names):
    return [{"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for i, name in enumerate(names)]


def wordpiece(size=99):
    """A tokenizer.json of whole words and single letters with `size` ids: what the tiny BERTs' tables have rows for."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = special + WORDS + ["##s", "##ed", "##ing", ".", ","] + [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens = list(dict.fromkeys(tokens))[:size]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": _added(special),
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                  "vocab": {token: i for i, token in enumerate(tokens)}},
    }


def byte_pair(size=101):
    """A byte-level BPE for the tiny RoBERTas: lower-case letters, a blank, and merges as far as `size` ids reach."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens = special + [chr(c) for c in range(ord("a"), ord("z") + 1)] + ["\u0120", ".", ","]
    merges = []
    for word in WORDS:
        for left, right in (("\u0120", word[0]), ("\u0120" + word[0], word[1] if len(word) > 1 else "")):
            if right and left + right not in tokens and left in tokens and len(tokens) < size:
                merges.append([left, right])
                tokens.append(left + right)
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": _added(special), "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges},
    }


def make_model(folder, name="bert-tiny"):
    """A copy of a golden model with a tokenizer.json."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    for file in (MODELS / name).iterdir():
        if file.name != "expected.safetensors":
            shutil.copy(file, folder / file.name)
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    tokenizer = byte_pair(size) if name.startswith("roberta") else wordpiece(size)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


# --- rows --------------------------------------------------------------------------------------------------------------------------

def sentence(rng, mood, length):
    words = [rng.choice(PLAIN) for _ in range(length)]
    for _ in range(max(1, length // 3)):
        words[rng.randrange(length)] = rng.choice(mood)
    return " ".join(words)


def rows(count, seed, longest=12):
    """(text, label name) pairs that a model can learn: the label is the mood of the words."""
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        is_good = rng.random() < 0.5
        out.append((sentence(rng, GOOD if is_good else BAD, rng.randint(2, longest)), "good" if is_good else "bad"))
    return out


def write_tsv(path, pairs):
    pathlib.Path(path).write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in pairs), encoding="utf-8")
    return str(path)


def write_pairs(path, count, seed):
    """Regression rows of two texts: how many words they share."""
    rng = random.Random(seed)
    lines = ["first\tsecond\tscore\n"]
    for _ in range(count):
        first = [rng.choice(PLAIN) for _ in range(rng.randint(3, 8))]
        second = [word if rng.random() < 0.5 else rng.choice(PLAIN) for word in first]
        lines.append(f"{' '.join(first)}\t{' '.join(second)}\t{5 * sum(a == b for a, b in zip(first, second)) / len(first):.3f}\n")
    pathlib.Path(path).write_text("".join(lines), encoding="utf-8")
    return str(path)


GO_ON_TASK = "name: go-on\nkind: generation\nprompt: text\ntarget: answer\nmetrics: [perplexity]\n"
PAIR_TASK = "name: alike\nkind: regression\ntext: first\nsecond: second\nlabel: score\nmetrics: [pearson, spearman]\n"


# --- safetensors, as far as tests need to damage and compare them ------------------------------------------------------------------

def read_safetensors(path):
    """name -> (dtype, shape, bytes)."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    return {name: (entry["dtype"], entry["shape"], data[8 + length:][slice(*entry["data_offsets"])])
            for name, entry in header.items() if name != "__metadata__"}


def write_safetensors(path, tensors):
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)


def floats(tensor):
    dtype, _, data = tensor
    assert dtype == "F32", dtype
    return list(struct.unpack(f"<{len(data) // 4}f", data))


# --- running graft -----------------------------------------------------------------------------------------------------------------

def environment():
    env = {key: value for key, value in os.environ.items() if not key.startswith("GRAFT_")}
    env["OMP_NUM_THREADS"] = "1"    # one thread: the same sums on every machine, and two tests at once do not spin against each other
    return env


def command(*args):
    return [GRAFT, *map(str, args)]


def run(*args, cwd=None, timeout=120, **more):
    """The finished process, output as text."""
    return subprocess.run(command(*args), cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=timeout, encoding="utf-8", errors="replace", **more)


def tree_digest(folder):
    """path -> what lies there, for every file, link and folder below."""
    out = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        other = f"link to {os.readlink(path)}" if path.is_symlink() else "folder"   # perhaps to a device, which has no end
        out[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else other
    return out


def log_events(run_dir):
    return [json.loads(line) for line in (pathlib.Path(run_dir) / "log.jsonl").read_text().splitlines()]


CLOCKS = {"seconds", "peak_bytes"}   # what may differ between two runs that compute the same


def without_clocks(node):
    if isinstance(node, dict):
        return {key: without_clocks(value) for key, value in node.items() if key not in CLOCKS}
    return [without_clocks(item) for item in node] if isinstance(node, list) else node


def end_state(run_dir):
    """All that a finished run leaves, clock and memory readings aside."""
    run_dir = pathlib.Path(run_dir)
    return {
        "tensors": hashlib.sha256((run_dir / "adapter" / "adapter.safetensors").read_bytes()).hexdigest(),
        "adapter": json.loads((run_dir / "adapter" / "adapter.json").read_text()),
        "metrics": without_clocks(json.loads((run_dir / "metrics.json").read_text())),
        "log": without_clocks(log_events(run_dir)),
        "files": sorted(str(path.relative_to(run_dir)) for path in run_dir.rglob("*")),
    }


class Case(unittest.TestCase):
    """A test with a folder of its own (self.dir), removed afterwards, and assertions on a finished process."""

    maxDiff = 4000

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="graft-cli-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def assert_done(self, done):
        self.assertEqual(done.returncode, 0, f"{done.args}\n{done.stdout}\n{done.stderr}")
        return done

    def assert_refused(self, done, code, *parts):
        """One clear error: the exit code, one message, each of `parts` in it, nothing that reads like a crash."""
        told = f"\n{' '.join(done.args)}\nexit {done.returncode}\nstderr: {done.stderr}"
        self.assertEqual(done.returncode, code, told)
        self.assertEqual(sum(line.startswith("graft: ") for line in done.stderr.splitlines()), 1, "expected one error" + told)
        for part in parts:
            self.assertIn(part, done.stderr, told)
        steering = [c for c in done.stderr if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]
        self.assertEqual(steering, [], "characters that steer a terminal")
        self.assertLess(len(done.stderr), 30_000, "a message that fills a terminal")
        for part in ("internal error", "terminate called", "what():", "Exception raised from", "basic_string", "std::", "c10::", "Segmentation", ".cpp:"):
            self.assertNotIn(part, done.stderr, told)


class SharedCase(Case):
    """Tests that read one folder, made once (cls.root) and removed with the last of them."""

    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="graft-cli-"))
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)


def main():
    if not pathlib.Path(GRAFT).is_file():
        sys.exit(f"the program {GRAFT!r} is not there: build it, or set GRAFT to its path")
    result = unittest.main(verbosity=2, exit=False).result
    if not result.wasSuccessful() or (result.testsRun == 0 and not result.skipped):
        sys.exit(1)
    if len(result.skipped) >= result.testsRun:
        sys.exit(SKIPPED)
