"""The loss check of `make bench`: both sides start from the same adapter, see the same rows, and report their first ten losses."""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

STEPS, ROWS = 10, 320
PARTS = {"attention.self.query": "attn.q", "attention.self.value": "attn.v"}
CASES = {"lora": {"rate": "1e-3", "peer": ["--lora-b-std", "0.05"]}, "full": {"rate": "5e-5", "peer": []}}


def graft_name(name):
    """encoder.layer.3.attention.self.query.lora_A.weight -> 0.lora/enc.3.attn.q.lora_a"""
    if name.startswith("classifier."):
        return "head/out." + name.split(".")[1]
    layer, rest = name.split("encoder.layer.")[1].split(".", 1)
    module, factor, _ = rest.rsplit(".", 2)
    return f"0.lora/enc.{layer}.{PARTS[module]}.{factor.lower()}"


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: error: {' '.join(map(str, command))}\n{done.stderr[-2000:]}")


def train(graft, model, data, method, out, threads, rate, extra):
    command = [graft, "train", "--model", model, "--task", "sst2", "--data", data, "--adapter", method, "--out", out, "--quiet", "--threads", threads]
    for setting in ("max_length=128", "order=file", "dropout=0", f"learning_rate={rate}", "warmup=0", "weight_decay=0", "clip=1",
                    f"data.rows={ROWS}", f"max_steps={STEPS}", "keep_best=false", *extra):
        command += ["--set", setting]
    run(command)


def compare_method(glue, graft, peer, model, threads, method):
    data = pathlib.Path(glue) / "SST-2/train.tsv"
    case = CASES[method]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run(peer + ["--model", "minilm", "--data", data, "--task", "sst2", "--rows", ROWS, "--steps", STEPS, "--method", method, "--dropout", 0, "--fixed-order",
                    "--learning-rate", case["rate"], "--threads", threads, "--dump-init", folder / "init.safetensors", "--losses", folder / "losses.json",
                    *case["peer"]])
        # One step at rate 0 writes an adapter folder of the right shape; its tensors are then the peer's initial ones.
        train(graft, model, data, method, folder / "shape", threads, "0", ["max_steps=1"])
        adapter = folder / "shape/adapter"
        tensors = load_file(adapter / "adapter.safetensors")
        for name, tensor in load_file(folder / "init.safetensors").items():
            assert tensors[graft_name(name)].shape == tensor.shape, name
            tensors[graft_name(name)] = tensor.to(torch.float32).contiguous()
        save_file(tensors, adapter / "adapter.safetensors")
        train(graft, model, data, method, folder / "run", threads, case["rate"], [f"start_from={adapter}"])
        events = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
        ours = [event["loss"] for event in events if event["event"] == "step"]
        theirs = json.loads((folder / "losses.json").read_text())["loss"]
    largest = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    print(f"{method}: largest difference of {STEPS} losses {largest:.2e}", flush=True)
    return {"graft": ours, "peer": theirs, "largest_difference": largest}


def compare(glue, graft, peer, model, threads):
    return {method: compare_method(glue, graft, peer, model, threads, method) for method in CASES}
