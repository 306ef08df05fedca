"""Makes tests/golden/adapterhub_matrix: every configuration that AdapterHub has a name for, as it writes it, and the logits that it computes.

On BERT and RoBERTa below a classifier; of the other families one configuration each, since their folders are refused as a whole. Rotations of ReFT
are stored, all other tensors are filled by formula. Needs tests/golden/models and tests/golden/trunks.
"""

import argparse
import json
import shutil
import tempfile
import warnings
from pathlib import Path

import adapters
import torch
from adapters.configuration.adapter_config import ADAPTER_CONFIG_MAP
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

import cells
import common

warnings.filterwarnings("ignore")
NAME = "matrix"
ENCODERS = {"bert": "models/bert-tiny", "roberta": "models/roberta-tiny"}
OTHERS = {"gpt2": ("trunks/gpt2-tiny", AutoModelForCausalLM), "llama": ("trunks/llama-grouped", AutoModelForCausalLM), "mistral": ("trunks/mistral-tiny", AutoModelForCausalLM),
          "t5": ("trunks/t5-tiny", AutoModelForSeq2SeqLM), "bart": ("trunks/bart-tiny", AutoModelForSeq2SeqLM)}
SAYS_NO_KIND = {"noreft": "noreft", "direft": "direft"}  # which AdapterHub writes alike
EXTRA = {"seq_bn[use_gating=True]", "lora[r=4,alpha=16,use_gating=True]", "prefix_tuning[use_gating=True]"}
NEEDS = {"compacter": "compacter[reduction_factor=8]", "compacter++": "compacter++[reduction_factor=8]"}  # of a width of 32, which its default leaves one unit


def seed_name(name):
    """Each layer holds the pool of prefixes again, under another name."""
    at = name.find("prefix_tunings.")
    return name if at < 0 else name[at:]


def fill(model, names):
    """Moves the tensors of a folder to numbers of the formula; returns those that keep their own, the parts of a rotation."""
    state, kept = model.state_dict(), {}
    for name in names:
        if "parametrizations" in name:
            kept[name] = state[name]
        else:
            state[name] = cells.fill(seed_name(name), state[name].shape)
    model.load_state_dict(state)
    return kept


def saved(model, with_head=True):
    target = Path(tempfile.mkdtemp())
    try:
        model.save_adapter(str(target), NAME, with_head=with_head, use_safetensors=True)
    except RuntimeError:  # tensors under several names, which safetensors refuses
        shutil.rmtree(target)
        model.save_adapter(str(target), NAME, with_head=with_head, use_safetensors=False)
    read = lambda stem, pickled: load_file(target / stem) if (target / stem).exists() else torch.load(target / pickled)
    config = json.loads((target / "adapter_config.json").read_text())
    head = json.loads((target / "head_config.json").read_text()) if with_head else {}
    return config, read("adapter.safetensors", "pytorch_adapter.bin"), head, read("model_head.safetensors", "pytorch_model_head.bin") if with_head else {}


def run_cell(models, folder, name):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(models / folder, dtype=torch.float32, num_labels=3, ignore_mismatched_sizes=True)
    adapters.init(model)
    model.add_adapter(NAME, config=NEEDS.get(name, name))
    model.set_active_adapters(NAME)
    _, tensors, _, head_tensors = saved(model)
    kept = fill(model, [*tensors, *head_tensors])
    config, tensors, head, head_tensors = saved(model)
    config["model_name"] = head["model_name"] = f"tests/golden/{folder}"
    torch.set_default_dtype(torch.float64)  # AdapterHub makes empty tensors of the default type in its passes
    try:
        logits = cells.compute(model, model.config, True)
    finally:
        torch.set_default_dtype(torch.float32)
    shapes = lambda all_of: {key: list(tensor.shape) for key, tensor in all_of.items()}
    cell = {"model": folder, "labels": 3, "reft_kind": SAYS_NO_KIND.get(name, ""), "config": config, "shapes": shapes(tensors), "head": head, "head_shapes": shapes(head_tensors)}
    return cell, logits, kept


def run_other(models, folder, kind):
    model = kind.from_pretrained(models / folder, dtype=torch.float32)
    adapters.init(model)
    model.add_adapter(NAME, config="seq_bn")
    config, _, _, _ = saved(model, with_head=False)
    return {"model": folder, "labels": 0, "reft_kind": "", "config": config, "shapes": {}, "head": {}, "head_shapes": {}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/adapterhub_matrix")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "adapters", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    table, tensors, left_out = {}, {}, {}
    for family, folder in ENCODERS.items():
        tensors.update(cells.rows_tensors(folder, AutoConfig.from_pretrained(args.models / folder)))
        for name in sorted({*ADAPTER_CONFIG_MAP, *EXTRA}):
            key = f"{name}/{family}"
            try:
                table[key], tensors[key], kept = run_cell(args.models, folder, name)
                tensors.update({f"{key}/{own}": tensor for own, tensor in kept.items()})
            except Exception as error:
                left_out[key] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
        print(family, flush=True)
    for family, (folder, kind) in OTHERS.items():
        table[f"seq_bn/{family}"] = run_other(args.models, folder, kind)
    cells.write(args.out, "cells", table, tensors, {"command": common.command_line(), "versions": versions,
                                                    "values": "computed in float64, rounded to float32", "left_out": left_out})
    print(json.dumps(left_out, indent=1))


if __name__ == "__main__":
    main()
