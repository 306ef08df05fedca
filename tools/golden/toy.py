"""Makes examples/toy: a random two-layer BERT with a word tokenizer and 400 labelled sentences, and in `writer` a random two-layer GPT-2 whose
tokens are letters, with 600 letters and what follows them; for the documents' commands and the example.

    tools/golden/toy.py        standard library only; the models are copies of tests/golden/models/bert-tiny and trunks/gpt2-tiny
"""
import json
import pathlib
import random
import shutil
import string
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/cli"))
import support  # noqa: E402

SEED = 5


def sentence(chooser, words):
    plain = chooser.sample(support.PLAIN, 5)
    return " ".join(plain[:3] + [chooser.choice(words)] + plain[3:])


def letters():
    """tokenizer.json of a byte-level BPE without merges: single letters, digits and the blank, as many as the model has."""
    vocabulary = ["<s>", "<pad>", "</s>", "\u0120", *string.ascii_lowercase, *string.digits]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    end = {"id": 2, "content": "</s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end], "normalizer": None, "pre_tokenizer": level,
            "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {token: i for i, token in enumerate(vocabulary)}, "merges": []}}


def make_writer(out):
    """A task for a decoder: after a letter, the next one of the alphabet three times."""
    model = out / "model"
    model.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(ROOT / "tests/golden/trunks/gpt2-tiny" / name, model / name)
    (model / "tokenizer.json").write_text(json.dumps(letters(), indent=1) + "\n")
    after = {a: b for a, b in zip(string.ascii_lowercase, string.ascii_lowercase[1:] + "a")}
    row = lambda letter: json.dumps({"letter": letter, "answer": " " + 3 * after[letter]}) + "\n"
    chooser = random.Random(SEED)
    (out / "train.jsonl").write_text("".join(row(chooser.choice(string.ascii_lowercase)) for _ in range(600)))
    (out / "dev.jsonl").write_text("".join(map(row, string.ascii_lowercase)))
    (out / "next.yaml").write_text('name: next\nkind: generation\nprompt: "{letter}"\ntarget: "{answer}"\nmetrics: [exact_match, perplexity]\n')


def main():
    out = ROOT / "examples/toy"
    model = out / "model"
    model.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(ROOT / "tests/golden/models/bert-tiny" / name, model / name)
    (model / "tokenizer.json").write_text(json.dumps(support.wordpiece(99), indent=1) + "\n")
    chooser = random.Random(SEED)
    for name, count in (("train", 300), ("dev", 100)):
        lines = ["text\tlabel"]
        for i in range(count):
            label = ("no", "yes")[i % 2]
            lines.append(sentence(chooser, support.GOOD if label == "yes" else support.BAD) + "\t" + label)
        (out / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    make_writer(out / "writer")


if __name__ == "__main__":
    main()
