#!/usr/bin/env python3
"""Shows that PEFT itself loads what `graft export` writes, and computes what Graft computes.

    python tools/parity/peft_export.py [--graft build/release/graft] [--cases tests/golden/peft]

Per case of tests/golden/peft: the folder is imported with `graft import`, saved, exported with `graft export`, and loaded by PEFT onto a fresh
base whose own head is random. Its logits (or last hidden states) in float64 must be those of the folder that PEFT had written, and PEFT must
report no missing and no unexpected tensor. Prints one JSON object; exit code 1 if a case fails. Needs tools/requirements-peers.txt.
"""
import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForSequenceClassification

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 1e-5  # tensors are copied bit for bit; the expected values are rounded to float32


def graft(program, *arguments):
    subprocess.run([str(program), *map(str, arguments)], check=True, capture_output=True, text=True)


def load_in_peft(folder, model, labels):
    """The exported folder on a fresh base, and what PEFT warned of."""
    cls = AutoModelForSequenceClassification if labels else AutoModel
    kind = {"num_labels": labels, "ignore_mismatched_sizes": True} if labels else {}
    base = cls.from_pretrained(model, dtype=torch.float32, **kind)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapted = PeftModel.from_pretrained(base, folder)
    return adapted, [str(w.message) for w in caught if "missing" in str(w.message).lower() or "unexpected" in str(w.message).lower()]


def compute(model, values):
    lengths = values["lengths"].tolist()
    ids = torch.nn.utils.rnn.pad_sequence(values["ids"].split(lengths), batch_first=True, padding_value=model.config.pad_token_id)
    types = torch.nn.utils.rnn.pad_sequence(values["token_types"].split(lengths), batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(n, dtype=torch.long) for n in lengths], batch_first=True)
    with torch.no_grad():
        out = model.double().eval()(input_ids=ids, token_type_ids=types, attention_mask=mask)
    if "logits" in values:
        return out.logits, values["logits"]
    return torch.cat([out.last_hidden_state[i, :n] for i, n in enumerate(lengths)]), values["last"]


def run_case(program, folder, entry, scratch):
    model, labels = ROOT / "tests/golden/models" / entry["model"], entry["num_labels"]
    task = ["--task", "text:" + ",".join(f"label{i}" for i in range(labels))] if labels else []
    graft(program, "import", "--from", "peft", "--model", model, folder / "peft", "--out", scratch / "own", *task)
    graft(program, "export", "--to", "peft", "--model", model, "--adapter", scratch / "own", "--out", scratch / "peft")
    with contextlib.redirect_stderr(io.StringIO()):
        adapted, warned = load_in_peft(scratch / "peft", model, labels)
    found, expected = compute(adapted, load_file(folder / "case.safetensors"))
    difference = (found - expected.double()).abs().max().item()
    return {"difference": difference, "warnings": warned, "passed": difference < LIMIT and not warned}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graft", type=Path, default=ROOT / "build/release/graft")
    parser.add_argument("--cases", type=Path, default=ROOT / "tests/golden/peft")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name, entry in json.loads((args.cases / "manifest.json").read_text())["cases"].items():
        with tempfile.TemporaryDirectory() as scratch:
            try:
                results[name] = run_case(args.graft, args.cases / name, entry, Path(scratch))
            except subprocess.CalledProcessError as error:
                results[name] = {"error": error.stderr.strip(), "passed": False}
    failed = [name for name, result in results.items() if not result["passed"]]
    print(json.dumps({"cases": len(results), "failed": failed, "results": results}, indent=1))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
