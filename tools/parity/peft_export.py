#!/usr/bin/env python3
"""Shows that PEFT itself loads what `graft export` writes, and computes what Graft computes.

    python tools/parity/peft_export.py [--graft build/release/graft] [--golden tests/golden]

Per case of tests/golden/peft, and per head of tests/golden/peft_heads that is not refused: the folder is imported with `graft import`, saved,
exported with `graft export`, and loaded by PEFT onto a fresh base whose own head is random. Its logits (or last hidden states) in float64 must be
those of the folder that PEFT had written, and PEFT must report no missing and no unexpected tensor. Prints one JSON object; exit code 1 if a case
fails. Needs tools/requirements-peers.txt.
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
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/golden"))
import cells  # noqa: E402

HEADS = ("classifier.", "score.", "classification_head.")
REFUSED = ("lora, bias all/", "lora, head for masks/")  # doc/interop.md says why
LIMIT = 1e-5  # tensors are copied bit for bit; the expected values are rounded to float32


def graft(program, *arguments):
    subprocess.run([str(program), *map(str, arguments)], check=True, capture_output=True, text=True)


def load_in_peft(folder, model, labels):
    """The exported folder on a fresh base, and what PEFT warned of."""
    cls = AutoModelForSequenceClassification if labels else AutoModel
    kind = {"num_labels": labels, "ignore_mismatched_sizes": True} if labels else {}
    base = cls.from_pretrained(model, dtype=torch.float32, attn_implementation="eager", **kind)
    for name, parameter in base.named_parameters():
        if name.startswith(HEADS):
            torch.nn.init.normal_(parameter)
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


def exported(program, folder, model, labels, scratch):
    """The folder through an adapter of Graft's, in PEFT again, and what PEFT warned of."""
    tasks = {0: [], 1: ["--task", "stsb"]}  # of one output: any ready task that is a regression
    task = tasks.get(labels, ["--task", "text:" + ",".join(f"label{i}" for i in range(labels))])
    graft(program, "import", "--from", "peft", "--model", model, folder, "--out", scratch / "own", *task)
    graft(program, "export", "--to", "peft", "--model", model, "--adapter", scratch / "own", "--out", scratch / "peft")
    with contextlib.redirect_stderr(io.StringIO()):
        return load_in_peft(scratch / "peft", model, labels)


def result_of(found, expected, warned):
    difference = (found - expected.double()).abs().max().item()
    return {"difference": difference, "warnings": warned, "passed": difference < LIMIT and not warned}


def run_case(program, golden, name, entry, scratch):
    folder = golden / "peft" / name
    adapted, warned = exported(program, folder / "peft", golden / "models" / entry["model"], entry["num_labels"], scratch)
    return result_of(*compute(adapted, load_file(folder / "case.safetensors")), warned)


def run_head(program, golden, cell, logits, scratch):
    folder = scratch / "theirs"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(cell["config"]))
    save_file({name: cells.fill(name, shape) for name, shape in cell["shapes"].items()}, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    adapted, warned = exported(program, folder, golden / cell["model"], cell["labels"], scratch)
    return result_of(cells.compute(adapted, adapted.config, True), logits, warned)


def all_cases(golden):
    """(name, function of program and scratch folder)."""
    for name, entry in json.loads((golden / "peft/manifest.json").read_text())["cases"].items():
        yield name, lambda program, scratch, name=name, entry=entry: run_case(program, golden, name, entry, scratch)
    logits = load_file(golden / "peft_heads/cells.safetensors")
    for key, cell in json.loads((golden / "peft_heads/cells.json").read_text()).items():
        if not key.startswith(REFUSED):
            yield f"heads: {key}", lambda program, scratch, cell=cell, key=key: run_head(program, golden, cell, logits[key], scratch)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graft", type=Path, default=ROOT / "build/release/graft")
    parser.add_argument("--golden", type=Path, default=ROOT / "tests/golden")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name, run in all_cases(args.golden):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                results[name] = run(args.graft, Path(scratch))
            except subprocess.CalledProcessError as error:
                results[name] = {"error": error.stderr.strip(), "passed": False}
    failed = [name for name, result in results.items() if not result["passed"]]
    print(json.dumps({"cases": len(results), "failed": failed, "results": results}, indent=1))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
