"""Makes tests/golden/bottleneck: what AdapterHub's `adapters` computes when it trains bottlenecks in the tiny models.

The recipe, the data and the files are those of training.py: ten AdamW steps, values in float64, dropout off. Needs
tests/golden/models (models.py first). Every tensor of an adapter starts from random numbers far from zero.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

import adapters
import numpy as np
import torch
from adapters import DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from transformers import AutoModelForSequenceClassification

import common
import training

NAME = "golden"
METHODS = {
    "houlsby": (DoubleSeqBnConfig(reduction_factor=4), "after attention and feed-forward sublayers, swish"),
    "pfeiffer": (SeqBnConfig(reduction_factor=4), "after the feed-forward sublayer, behind the block's own norm, relu"),
    "parallel": (ParBnConfig(reduction_factor=4), "beside the feed-forward sublayer, relu, times 4"),
    "pfeiffer-learned": (SeqBnConfig(reduction_factor=8, scaling="learned", non_linearity="gelu"), "as pfeiffer, gelu, a trained factor"),
    "parallel-channel": (ParBnConfig(reduction_factor=8, scaling="channel", non_linearity="tanh"), "as parallel, tanh, a trained factor a column"),
}
# name -> model folder, method, number of labels
CASES = {f"{family}-{method}": (f"{family}-tiny", method, labels)
         for family, labels, methods in (("bert", 2, METHODS), ("roberta", 3, ("houlsby", "pfeiffer", "parallel")))
         for method in methods}
SITES = {"attention.output": "attn.out", "output": "ffn.out"}
ROLES = {"adapter_down.0.weight": "down.weight", "adapter_down.0.bias": "down.bias", "adapter_up.weight": "up.weight",
         "adapter_up.bias": "up.bias", "scaling": "scaling"}


def where(name):
    """Graft's place of a parameter's name: the site and the tensor's role there, or part 'head'."""
    if name.startswith("classifier."):
        return {"part": "head"}
    layer, module, tensor = re.fullmatch(rf"\w+\.encoder\.layer\.(\d+)\.(.+?)\.adapters\.{NAME}\.(.+)", name).groups()
    return {"part": "edit", "site": f"enc.{layer}.{SITES[module]}", "role": ROLES[tensor]}


def make_model(models, case, seed):
    """The model of a case with its trained tensors at their start values, in float32."""
    folder, method, num_labels = CASES[case]
    model = AutoModelForSequenceClassification.from_pretrained(
        models / folder, num_labels=num_labels, dtype=torch.float32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    adapters.init(model)
    model.add_adapter(NAME, config=METHODS[method][0])
    model.train_adapter(NAME)
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if f".adapters.{NAME}." in name:
                value = random.normal(0.0, 0.2, tuple(parameter.shape)) + (1.0 if name.endswith(".scaling") else 0.0)
                parameter.copy_(torch.from_numpy(value))
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden/models")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/bottleneck")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "adapters", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    manifest = {"command": common.command_line(), "versions": versions, "steps": training.STEPS, "batch_size": training.BATCH,
                "optimizer": training.OPTIMIZER, "values": "computed in float64, rounded to float32; dropout off", "cases": {}}
    for case, (base, method, num_labels) in CASES.items():
        folder = args.out / case
        folder.mkdir(parents=True)
        config = AutoModelForSequenceClassification.from_pretrained(args.models / base).config
        seed, rows = training.make_data(case, config, False, num_labels)
        tensors, account = training.record(lambda: make_model(args.models, case, seed), rows, where)
        common.write_tensors(folder / "case.safetensors", tensors)
        manifest["cases"][case] = {"about": METHODS[method][1], "model": base, "method": method, "num_labels": num_labels,
                                   "seed": seed, "loss": "mean cross-entropy", **account}
        print(case, json.dumps({k: account[k] for k in ("losses", "zero_gradient", "float32_deviation")}))
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
