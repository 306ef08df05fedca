"""Makes examples/toy: a random two-layer BERT with a word tokenizer and 400 labelled sentences, for the documents' commands and the example.

    tools/golden/toy.py        standard library only; the model is a copy of tests/golden/models/bert-tiny
"""
import json
import pathlib
import random
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/cli"))
import support  # noqa: E402

SEED = 5


def sentence(chooser, words):
    plain = chooser.sample(support.PLAIN, 5)
    return " ".join(plain[:3] + [chooser.choice(words)] + plain[3:])


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


if __name__ == "__main__":
    main()
