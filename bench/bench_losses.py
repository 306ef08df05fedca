"""The loss check of `make bench`: both sides start from the same adapter, see the same rows, and report their first ten losses."""
import json
import pathlib
import tempfile

from harness import PEER, THREADS, glue_file, model_folder, run, train

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


def trained(data, method, out, rate, **more):
    settings = {"max_length": 128, "order": "file", "dropout": 0, "learning_rate": rate, "warmup": 0, "weight_decay": 0, "clip": 1, "data.rows": ROWS,
                "max_steps": STEPS, "keep_best": "false", **more}
    return train(model_folder("minilm"), "sst2", data, method, settings, out)


def compare_method(glue, method):
    import torch
    from safetensors.torch import load_file, save_file
    data = glue_file(glue, "sst2")
    case = CASES[method]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run([*PEER, "--model", "minilm", "--data", data, "--task", "sst2", "--rows", ROWS, "--steps", STEPS, "--method", method, "--dropout", 0,
             "--fixed-order", "--learning-rate", case["rate"], "--threads", THREADS, "--dump-init", folder / "init.safetensors",
             "--losses", folder / "losses.json", *case["peer"]])
        # One step at rate 0 writes an adapter folder of the right shape; its tensors are then the peer's initial ones.
        trained(data, method, folder / "shape", "0", max_steps=1)
        adapter = folder / "shape/adapter"
        tensors = load_file(adapter / "adapter.safetensors")
        for name, tensor in load_file(folder / "init.safetensors").items():
            assert tensors[graft_name(name)].shape == tensor.shape, name
            tensors[graft_name(name)] = tensor.to(torch.float32).contiguous()
        save_file(tensors, adapter / "adapter.safetensors")
        ours = trained(data, method, folder / "run", case["rate"], start_from=adapter).losses
        theirs = json.loads((folder / "losses.json").read_text())["loss"]
    largest = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    print(f"{method}: largest difference of {STEPS} losses {largest:.2e}", flush=True)
    return {"graft": ours, "peer": theirs, "largest_difference": largest}


def compare(glue):
    return {method: compare_method(glue, method) for method in CASES}
