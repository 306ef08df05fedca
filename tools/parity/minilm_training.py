#!/usr/bin/env python3
"""Compares training with the peers on MiniLM itself: gradients of every trained tensor on one batch, and ten losses.

    python tools/parity/minilm_training.py --glue DIR [--graft build/release/graft] [--json bench/results/parity_minilm_training.json]

Both sides start from one adapter of the peer with non-trivial values (minilm.py makes it; `graft import` and `start_from` read it) and see the same
rows of SST-2 in the same order without dropout. The rows of a batch have one length: AdapterHub's gates average over padding, too.

Gradients: Graft takes one step of AdamW at epsilon 1 and no momentum yet, a step of rate * g / (|g| + 1), from which g is had back. The peer's
gradients go through its own file format and `graft import` to Graft's names: what importing them gives, less what importing zeros gives. A rotation's
are those of its chart, taken by name. A method's figure is the largest difference within a tensor over the largest gradient in it.
Losses: ten steps of AdamW on both sides, rate 1e-3 (RATES: some lower) falling to 0, gradients clipped at norm 1.
Exit code 1 beyond the limits below. Needs tools/requirements-peers.txt.
"""
import argparse
import copy
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, get_linear_schedule_with_warmup, logging

import minilm

BATCH, STEPS, RATE = 16, 10, 1e-3
RATES = {"parallel": 1e-4, "mam": 1e-4}   # they scale by 4: at 1e-3 the loss leaps tenfold and every rounding with it
PROBE_RATE = 100.0
LABELS = ["negative", "positive"]
GRADIENT_LIMIT = 1e-3   # float32 on both sides; what is left of a gradient in the difference of two stored tensors is good to about 1e-4
LOSS_LIMIT = 5e-4       # ten steps of float32 rounding through AdamW, which divides small gradients by their own size: beside each figure stands how
                        # far the peer's own losses in float32 are from those in float64
SKIPPED_GRADIENT = 1e-7   # of a tensor: theory makes it zero (a shift of all keys, to which softmax is blind)


def batches(glue):
    """STEPS lists of BATCH (text, class); the rows of a list have equally many tokens."""
    tokenizer = AutoTokenizer.from_pretrained(minilm.minilm())
    with open(glue / "SST-2/train.tsv", encoding="utf-8", newline="") as file:
        rows = [(row[0], int(row[1])) for row in list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:4001]]
    by_length = {}
    for row in rows:
        by_length.setdefault(len(tokenizer(row[0])["input_ids"]), []).append(row)
    full = [rows[:BATCH] for length, rows in sorted(by_length.items()) if length >= 6 and len(rows) >= BATCH]
    return full[:STEPS]


def inputs_of(batch):
    tokenizer = AutoTokenizer.from_pretrained(minilm.minilm())
    encoded = tokenizer([text for text, _ in batch], return_tensors="pt")
    return {**encoded, "labels": torch.tensor([label for _, label in batch])}


def trained(model):
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def completed(columns):
    """The orthogonal [C, C] matrix that Graft makes of a rotation's [C, R]: the product of its Householder reflectors, signs set right."""
    reflectors, factors = torch.geqrf(columns)
    base = torch.ormqr(reflectors, factors, torch.eye(len(columns), dtype=columns.dtype))
    base[:, : columns.shape[1]] *= torch.sign(reflectors.diagonal())
    return base


def align_rotations(model):
    """The last columns of a peer's base are drawn at random, and only its choice of chart: take Graft's, so that steps in it agree."""
    for module in model.modules():
        if hasattr(module, "parametrizations") and "weight" in getattr(module, "parametrizations", {}):
            rotation = module.parametrizations["weight"]
            rank = min(rotation.original.shape)
            with torch.no_grad():
                rotation[0].base = completed(rotation[0].base[:, :rank].contiguous())


def import_adapter(graft, model, kind, folder):
    minilm.save(model, kind, folder / "theirs")
    done = subprocess.run([graft, "import", "--from", kind, "--model", minilm.minilm(), folder / "theirs", "--task", "text:" + ",".join(LABELS), "--out", folder / "ours"],
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"import: {done.stderr}")
    return folder / "ours"


def without_dropout(node):
    if isinstance(node, dict):
        return {key: 0 if key == "dropout" else without_dropout(value) for key, value in node.items()}
    return [without_dropout(item) for item in node] if isinstance(node, list) else node


def train(graft, adapter, rows, out, settings):
    """Tensors after the last step, and the events of the steps."""
    header = json.loads((adapter / "adapter.json").read_text())
    definition = out.with_suffix(".yaml")
    definition.write_text(json.dumps(without_dropout({key: header[key] for key in ("edits", "head")})))
    common = {"precision": "fp32", "order": "file", "dropout": 0, "max_length": 128, "batch_size": BATCH, "warmup": 0, "weight_decay": 0, "keep_best": "false",
              "checkpoint_every": "never", "evaluate_every": "never", "start_from": adapter, **settings}
    done = subprocess.run([graft, "train", "--model", minilm.minilm(), "--task", "text:" + ",".join(LABELS), "--data", rows, "--adapter", definition, "--out", out, "--quiet",
                           *[text for key, value in common.items() for text in ("--set", f"{key}={value}")]], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"train: {done.stderr}")
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return load_file(out / "adapter/adapter.safetensors"), [event for event in events if event["event"] == "step"]


def our_gradients(graft, adapter, rows, out):
    after, events = train(graft, adapter, rows, out, {"max_steps": 1, "learning_rate": PROBE_RATE, "epsilon": 1, "clip": 0})
    before, rate = load_file(adapter / "adapter.safetensors"), events[0]["learning_rate"]
    steps = {name: before[name].double() - tensor.double() for name, tensor in after.items()}
    return {name: step / (rate - step.abs()) for name, step in steps.items()}


def peer_gradients(model, batch):
    model.zero_grad()
    model(**inputs_of(batch)).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in trained(model).items()}


def renamed(graft, kind, model, gradients, folder):
    """The peer's gradients under Graft's names, by way of files: the import of one adapter less that of another."""
    files, kept = [], {name: parameter.detach().clone() for name, parameter in trained(model).items()}
    for values in (gradients, {name: torch.zeros_like(tensor) for name, tensor in gradients.items()}):
        with torch.no_grad():
            for name, parameter in trained(model).items():
                if "parametrizations" not in name:
                    parameter.copy_(values[name])
        place = folder / str(len(files))
        place.mkdir()
        files.append(load_file(import_adapter(graft, model, kind, place) / "adapter.safetensors"))
    with torch.no_grad():
        for name, parameter in trained(model).items():
            parameter.copy_(kept[name])
    out = {name: tensor.double() - files[1][name].double() for name, tensor in files[0].items() if not name.endswith(".base")}   # a rotation's base is not trained
    for name, gradient in gradients.items():
        if "parametrizations" in name and ".units.0." in name:   # ...encoder.layer.3.reft_layer...original; tied sides leave the second unit unused
            layer = name.split("encoder.layer.")[1].split(".")[0]
            (chart,) = [own for own in out if own.endswith("chart") and f"enc.{layer}.out." in own]
            out[chart] = (gradient.T if gradient.shape != out[chart].shape else gradient).double()
    return out


def gradient_difference(ours, theirs):
    worst, tensors, still = 0.0, 0, 0
    for name, theirs_own in theirs.items():
        largest = theirs_own.abs().max().item()
        if largest < SKIPPED_GRADIENT:
            still += 1
            assert ours[name].abs().max().item() < 10 * SKIPPED_GRADIENT, name
            continue
        tensors += 1
        worst = max(worst, (ours[name] - theirs_own).abs().max().item() / largest)
    return worst, tensors, still


def peer_losses(model, some, rate):
    optimizer = torch.optim.AdamW(list(trained(model).values()), lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    schedule, losses = get_linear_schedule_with_warmup(optimizer, 0, STEPS), []
    for batch in some:
        optimizer.zero_grad()
        loss = model(**inputs_of(batch)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(trained(model).values()), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def compare(graft, method, some):
    rate = RATES.get(method, RATE)
    model, kind = minilm.METHODS[method](method)
    minilm.shake(model)
    align_rotations(model)
    model.eval()   # no dropout anywhere; gradients all the same
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        rows = folder / "rows.jsonl"
        rows.write_text("".join(json.dumps({"text": text, "label": LABELS[label]}) + "\n" for batch in some for text, label in batch))
        adapter = import_adapter(graft, model, kind, folder)
        ours = our_gradients(graft, adapter, rows, folder / "probe")
        theirs = renamed(graft, kind, model, peer_gradients(model, some[0]), folder)
        gradients, tensors, still = gradient_difference(ours, theirs)
        _, events = train(graft, adapter, rows, folder / "run", {"max_steps": STEPS, "learning_rate": rate, "clip": 1})
        wide = None if "reft" in method else peer_losses(copy.deepcopy(model).double(), some, rate)   # AdapterHub's ReFT runs in float32 alone
        expected, found = peer_losses(model, some, rate), [event["loss"] for event in events]
    return {"method": method, "peer": kind, "gradient_tensors": tensors, "zero_gradient_tensors": still, "learning_rate": rate, "largest_gradient_difference": gradients,
            "largest_loss_difference": max(abs(a - b) for a, b in zip(found, expected, strict=True)), "peer_float32_from_float64": max(abs(a - b) for a, b in zip(wide, expected, strict=True)) if wide else None, "losses": found, "peer_losses": expected}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--glue", type=pathlib.Path, required=True)
    parser.add_argument("--graft", default=str(pathlib.Path(__file__).resolve().parents[2] / "build/release/graft"))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--only", default=",".join(minilm.METHODS))
    args = parser.parse_args()
    logging.set_verbosity_error()
    some, results = batches(args.glue), []
    for method in args.only.split(","):
        results.append(compare(args.graft, method, some))
        print(json.dumps({key: value for key, value in results[-1].items() if key not in ("losses", "peer_losses")}), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"command": "tools/parity/minilm_training.py", "batch": BATCH, "steps": STEPS, "gradient_limit": GRADIENT_LIMIT,
                                         "loss_limit": LOSS_LIMIT, "figures": results}, indent=1) + "\n")
    sys.exit(any(result["largest_gradient_difference"] > GRADIENT_LIMIT or result["largest_loss_difference"] > LOSS_LIMIT for result in results))


if __name__ == "__main__":
    main()
