#!/usr/bin/env python3
"""Shows that AdapterHub and pyreft themselves load what `graft export` writes, and compute what Graft computes.

    python tools/parity/folder_exports.py [--graft build/release/graft] [--format adapterhub|pyreft]

Per case of tests/golden/adapterhub and tests/golden/pyreft: the folder is imported with `graft import`, saved, exported with `graft export`, and
loaded by the peer onto a fresh base. In float64 it must compute what the folder computed that the peer had written. AdapterHub must report no
missing and no unexpected tensor, but for the second names that it gives prefixes. pyreft's own loader opens no folder for BERT or RoBERTa, not even
those that it wrote, since it does not know the width at a place that is named by its path: here the interventions are made as its users make them,
and their files loaded into them. Prints one JSON object; exit code 1 if a case fails. Needs tools/requirements-peers.txt and pyreft.
"""
import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/golden"))
LIMIT = 1e-5  # tensors are copied bit for bit, rotations to float32; the expected values are rounded to float32


def graft(program, *arguments):
    subprocess.run([str(program), *map(str, arguments)], check=True, capture_output=True, text=True)


def rows_of(values):
    lengths = values["lengths"].tolist()
    return [(ids.tolist(), types.tolist()) for ids, types in zip(values["ids"].split(lengths), values["token_types"].split(lengths))]


def load_in_adapterhub(folder, base):
    import adapterhub_folders as golden
    head = folder / "head_config.json"
    kind = None if not head.exists() else "static" if json.loads(head.read_text())["config"] is None else {}
    model = golden.make_model(ROOT / "tests/golden/models", base, kind)
    info = {}
    model.load_adapter(str(folder), set_active=True, loading_info=info)
    odd = [name for kind in ("missing_keys", "unexpected_keys") for name in info.get(kind, []) if ".prefix_tuning.pool." not in name]
    return model, kind is not None, odd


def run_adapterhub(folder, entry, values):
    import adapterhub_folders as golden
    model, has_head, odd = load_in_adapterhub(folder, entry["model"])
    torch.set_default_dtype(torch.float64)
    try:
        return golden.compute(model.double(), rows_of(values), has_head), odd
    finally:
        torch.set_default_dtype(torch.float32)


def run_pyreft(folder, entry, values):
    import pyreft
    import pyreft_folders as golden
    config = json.loads((folder / "config.json").read_text())
    options = {"act_fn": entry["activation"]} if entry["activation"] else {}
    cls = getattr(pyreft, entry["class"])
    reft = golden.make_model(ROOT / "tests/golden/models", entry["model"], [(row[0], cls, row[4], options) for row in config["representations"]])
    for key, intervention in reft.interventions.items():
        intervention.load_state_dict(torch.load(folder / f"intkey_{key}.bin", weights_only=True))
    odd = []
    if entry["num_labels"]:
        state = torch.load(folder / "pytorch_model.bin", weights_only=True)
        odd = list(reft.model.load_state_dict(state, strict=False).unexpected_keys)
        assert all(name in state for name, _ in reft.model.named_parameters() if name.startswith("classifier"))
    for intervention in reft.interventions.values():
        intervention.double()
    reft.model.double()
    return golden.compute(reft, rows_of(values), entry["positions"], entry["tied"], entry["num_labels"] > 0), odd


def run_case(program, form, folder, entry, scratch):
    model = ROOT / "tests/golden/models" / entry["model"]
    flags = []
    if entry["num_labels"] and not entry.get("names_labels"):
        flags += ["--task", "text:" + ",".join(f"label{i}" for i in range(entry["num_labels"]))]
    if entry.get("reft_kind"):
        flags += ["--reft-kind", entry["reft_kind"]]
    if form == "pyreft":
        flags += ["--positions", entry["positions"]] + ([] if entry["tied"] else ["--untied"]) + (["--activation", entry["activation"]] if entry["activation"] else [])
    graft(program, "import", "--from", form, "--model", model, folder / form, "--out", scratch / "own", *flags)
    graft(program, "export", "--to", form, "--model", model, "--adapter", scratch / "own", "--out", scratch / "theirs")
    values = load_file(folder / "case.safetensors")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        found, odd = (run_adapterhub if form == "adapterhub" else run_pyreft)(scratch / "theirs", entry, values)
    difference = max((found[name] - values[name].double()).abs().max().item() for name in found)
    return {"difference": difference, "odd_tensors": odd, "passed": difference < LIMIT and not odd}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graft", type=Path, default=ROOT / "build/release/graft")
    parser.add_argument("--format", choices=["adapterhub", "pyreft"], action="append")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for form in args.format or ["adapterhub", "pyreft"]:
        cases = ROOT / "tests/golden" / form
        for name, entry in json.loads((cases / "manifest.json").read_text())["cases"].items():
            if entry.get("class", "").startswith("No"):
                continue   # free projections, which pyreft cannot open and Graft does not write
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    results[f"{form}/{name}"] = run_case(args.graft, form, cases / name, entry, Path(scratch))
                except subprocess.CalledProcessError as error:
                    results[f"{form}/{name}"] = {"error": error.stderr.strip(), "passed": False}
    failed = [name for name, result in results.items() if not result["passed"]]
    print(json.dumps({"cases": len(results), "failed": failed, "largest": max(r.get("difference", 0) for r in results.values()), "results": results}, indent=1))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
