"""Makes tests/golden/adapterhub: folders that AdapterHub (`adapters`) wrote, and what it computes with them.

Per case: the adapter's folder as save_adapter leaves it (with its head where there is one), rows of ids, and the logits, or the last hidden
states where there is no head, in float64. Every row is computed by itself: AdapterHub's gates average over padding. Needs
tests/golden/models (models.py first). The values are moved away from their start.
"""

import argparse
import json
import shutil
from pathlib import Path

import adapters
import numpy as np
import torch
from adapters import (AutoAdapterModel, BnConfig, ConfigUnion, DiReftConfig, DoubleSeqBnConfig, IA3Config, LoRAConfig, LoReftConfig, MAMConfig,
                      NoReftConfig, ParBnConfig, PrefixTuningConfig, SeqBnConfig, UniPELTConfig)
from transformers import AutoModel, AutoModelForSequenceClassification

import common

NAME, LABELS, ROWS = "golden", 3, 5
BEHIND_NORM = BnConfig(mh_adapter=True, output_adapter=True, reduction_factor=8, non_linearity="gelu", original_ln_before=True,
                       original_ln_after=False, residual_before_ln=False)
PREFIX = PrefixTuningConfig(prefix_length=3, bottleneck_size=6)
UNIPELT = UniPELTConfig(prefix_tuning=PREFIX, adapter=SeqBnConfig(reduction_factor=8), lora=LoRAConfig(r=2, alpha=4))

# name -> base, configuration, head ("static": of the library's classifier class, a dict: of AdapterHub's own kind, None), safetensors?, what it is for
# (Prefixes cannot be saved as safetensors: AdapterHub keeps their tensors under several names, and safetensors refuses that.)
TANH_HEAD, POOLED_HEAD = {"layers": 2, "activation_function": "tanh"}, {"layers": 1, "use_pooler": True}
CASES = {
    "bert-seq": ("bert-tiny", SeqBnConfig(reduction_factor=4), "static", False, "behind the block's own norm"),
    "roberta-double": ("roberta-tiny", DoubleSeqBnConfig(reduction_factor=8), "static", True, "after both sublayers"),
    "bert-parallel": ("bert-tiny", ParBnConfig(reduction_factor=4, scaling=2.0, non_linearity="tanh", mh_adapter=True), "static", True, "beside both sublayers"),
    "bert-channel": ("bert-tiny", SeqBnConfig(reduction_factor={"0": 4, "default": 8}, scaling="channel", non_linearity="gelu_new"), "static", True,
                     "a width a layer, a trained factor a column"),
    "roberta-gated": ("roberta-tiny", SeqBnConfig(reduction_factor=8, scaling=3.0, use_gating=True), "static", True, "a gate beside a factor"),
    "bert-behind-norm": ("bert-tiny", BEHIND_NORM, "static", True, "after the norms"),
    "bert-learned": ("bert-tiny", DoubleSeqBnConfig(reduction_factor=5, scaling="learned", leave_out=[0]), None, True, "a layer left out, no head"),
    "bert-lora": ("bert-tiny", LoRAConfig(r=4, alpha=6, dropout=0.1, attn_matrices=["q", "k", "v"], intermediate_lora=True, output_lora=True),
                  "static", True, "every linear layer that AdapterHub reaches"),
    "roberta-lora-gated": ("roberta-tiny", LoRAConfig(r=2, alpha=6, use_gating=True, leave_out=[0]), "static", False, "gates in the place of alpha/r"),
    "roberta-lora-old": ("roberta-tiny", LoRAConfig(r=2, alpha=6), "static", True, "by a version that left alpha/r out"),
    "bert-ia3": ("bert-tiny", IA3Config(), "static", True, "scales"),
    "roberta-ia3": ("roberta-tiny", IA3Config(alpha=2, output_lora=True), None, True, "scales times alpha"),
    "bert-prefix": ("bert-tiny", PREFIX, "static", False, "made by networks"),
    "roberta-prefix-flat": ("roberta-tiny", PrefixTuningConfig(prefix_length=3, flat=True), "static", False, "trained themselves"),
    "bert-prefix-split": ("bert-tiny", PREFIX.replace(use_gating=True, shared_gating=False, leave_out=[1]), "static", False, "gates of keys and values"),
    "bert-unipelt": ("bert-tiny", UNIPELT, TANH_HEAD, False, "prefix, bottleneck and LoRA, gated"),
    "roberta-mam": ("roberta-tiny", MAMConfig(PREFIX, ParBnConfig(reduction_factor=8)), TANH_HEAD, False, "prefix and parallel bottleneck"),
    "bert-pooled": ("bert-tiny", ConfigUnion(LoRAConfig(r=2, alpha=2), SeqBnConfig(reduction_factor=16)), POOLED_HEAD, True, "a head on the pooler"),
    "roberta-loreft": ("roberta-tiny", LoReftConfig(), "static", True, "rotation, three first tokens"),
    "bert-loreft-untied": ("bert-tiny", LoReftConfig(r=2, prefix_positions=2, suffix_positions=3, dropout=0.0), "static", True, "a set a side"),
    "bert-noreft": ("bert-tiny", NoReftConfig(r=2, prefix_positions=2, suffix_positions=2, tied_weights=True, non_linearity="gelu", layers=[1]),
                    "static", True, "free projection"),
    "roberta-direft": ("roberta-tiny", DiReftConfig(r=2, suffix_positions=1, prefix_positions=0), "static", True, "nothing subtracted, which the folder does not say"),
}
REFT_KIND = {"bert-noreft": "noreft", "roberta-direft": "direft"}


def make_model(models, base, head):
    if head is None:
        model = AutoModel.from_pretrained(models / base, dtype=torch.float32)
        adapters.init(model)
    elif head == "static":
        model = AutoModelForSequenceClassification.from_pretrained(models / base, dtype=torch.float32, num_labels=LABELS, ignore_mismatched_sizes=True)
        adapters.init(model)
    else:
        model = AutoAdapterModel.from_pretrained(models / base, dtype=torch.float32)
    return model


def add(model, config, head):
    model.add_adapter(NAME, config=config)
    if isinstance(head, dict):
        model.add_classification_head(NAME, num_labels=LABELS, id2label={0: "bad", 1: "fair", 2: "good"}, **head)
    model.train_adapter(NAME)
    model.set_active_adapters(NAME)


def shake(model, random):
    """Moves every trained tensor of adapter and head; not the diagonal of a rotation's chart, which must stay -1."""
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if not (parameter.requires_grad or "classifier" in name or name.startswith("heads.")):
                continue
            moves = torch.from_numpy(random.normal(0.0, 0.3, tuple(parameter.shape))).float()
            if "parametrizations" in name:
                moves = torch.triu(moves, 1)
            parameter.add_(moves)


def make_rows(config, random):
    first, separator = (0, 2) if config.model_type == "roberta" else (1, 2)
    rows = []
    for length in [12, 2, 4] + random.integers(5, 11, ROWS - 3).tolist():
        ids = [first] + random.integers(3, config.vocab_size, length - 2).tolist() + [separator]
        middle = length // 2 if config.type_vocab_size > 1 else length
        rows.append((ids, [0] * middle + [1] * (length - middle)))
    return rows


def usable(rows, config):
    """AdapterHub looks for suffix positions before the first token of shorter rows."""
    positions = (config.get("prefix_positions", 0), config.get("suffix_positions", 0)) if not isinstance(config, ConfigUnion) else (0, 0)
    return [row for row in rows if len(row[0]) >= max(positions)]


def compute(model, rows, has_head):
    model.eval()
    logits, last = [], []
    with torch.no_grad():
        for ids, types in rows:
            out = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]), attention_mask=torch.ones(1, len(ids), dtype=torch.long))
            if has_head:
                logits.append(out.logits[0])
            else:
                last.append(out.last_hidden_state[0])
    return {"logits": torch.stack(logits)} if has_head else {"last": torch.cat(last)}


def tidy(folder, case, base):
    """Takes out what differs between machines, and writes the version of a case that is to be an old one."""
    for name in ("adapter_config.json", "head_config.json"):
        path = folder / name
        if not path.exists():
            continue
        config = json.loads(path.read_text())
        config["model_name"] = f"tests/golden/models/{base}"
        if case == "roberta-lora-old":
            config["version"] = "adapters.0.2.1"
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def run_case(case, models, folder):
    base, config, head, is_safe, about = CASES[case]
    seed = sum(map(ord, case))
    random = np.random.default_rng(seed)
    model = make_model(models, base, head)
    add(model, config, head)
    shake(model, random)
    folder.mkdir(parents=True)
    if head is None:
        model.save_adapter(str(folder / "adapterhub"), NAME, use_safetensors=is_safe)
    else:
        model.save_adapter(str(folder / "adapterhub"), NAME, with_head=True, use_safetensors=is_safe)
    tidy(folder / "adapterhub", case, base)
    rows = usable(make_rows(model.config, random), config)
    if case == "roberta-lora-old":
        again = make_model(models, base, head)
        again.load_adapter(str(folder / "adapterhub"), set_active=True, use_safetensors=is_safe)
        again.classifier.load_state_dict(model.classifier.state_dict())
        model = again
    single = compute(model, rows, head is not None)
    torch.set_default_dtype(torch.float64)   # AdapterHub makes empty tensors of the default type in its passes
    exact = compute(model.double(), rows, head is not None)
    torch.set_default_dtype(torch.float32)
    common.write_tensors(folder / "case.safetensors", {
        "ids": torch.tensor([i for ids, _ in rows for i in ids]),
        "token_types": torch.tensor([t for _, types in rows for t in types]),
        "lengths": torch.tensor([len(ids) for ids, _ in rows]),
        **exact,
    })
    deviation = {name: common.max_difference(single[name], exact[name]) for name in exact}
    return {"about": about, "model": base, "num_labels": LABELS if head is not None else 0, "names_labels": isinstance(head, dict),
            "reft_kind": REFT_KIND.get(case, ""), "seed": seed, "float32_deviation": deviation}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden/models")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/adapterhub")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "adapters", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    manifest = {"command": common.command_line(), "versions": versions, "values": "computed in float64, rounded to float32", "cases": {}}
    for case in CASES:
        torch.manual_seed(sum(map(ord, case)))
        manifest["cases"][case] = run_case(case, args.models, args.out / case)
        print(case, json.dumps(manifest["cases"][case]))
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
