"""Makes tests/golden/peft: adapter folders as PEFT writes them, and what PEFT computes with them.

Per case a folder `peft/` and `case.safetensors` with ragged rows and the logits (or, without a head, the hidden states of the last
layer) of the adapter as PEFT itself loads it again, in float64. Needs tests/golden/models (models.py first).
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModel, AutoModelForSequenceClassification

import common

LABELS, ROWS = 3, 6
LINEARS = r".*\.layer\.\d+\.(attention\.self\.(query|key|value)|attention\.output\.dense|intermediate\.dense|output\.dense)"


def lora(targets, task="SEQ_CLS", **options):
    return LoraConfig(task_type=task, target_modules=targets, **{"r": 4, "lora_alpha": 8, **options})


# name -> model folder, PEFT config, safe file?, what it shows
CASES = {
    "bert-patterns": ("bert-tiny", lora(["query", "value"], rank_pattern={"layer.1.attention.self.query": 2},
                                        alpha_pattern={"value": 3, r"layer.1.attention.self.query": 5}), True,
                      "ranks and alphas by pattern"),
    "bert-bias-all": ("bert-tiny", lora(["key", "output.dense"], bias="all"), True, "every bias of the model saved; suffix of two modules"),
    "bert-pooler": ("bert-tiny", lora(["query"], modules_to_save=["pooler"], lora_dropout=0.1), True, "trained pooler; dropout"),
    "bert-pickle": ("bert-tiny", lora(["query", "value"]), False, "adapter_model.bin"),
    "bert-features": ("bert-tiny", lora(["query", "intermediate.dense"], task="FEATURE_EXTRACTION"), True, "no head, names without 'bert.'"),
    "bert-excluded": ("bert-tiny", lora(LINEARS, exclude_modules=["layer.0.output.dense", "key"]), True, "a pattern, less some modules"),
    "bert-dora": ("bert-tiny", lora(["query", "value", "intermediate.dense"], use_dora=True, use_rslora=True), True, "DoRA with alpha/sqrt(r)"),
    "roberta-layers": ("roberta-tiny", lora(["query", "attention.output.dense"], layers_to_transform=[1], use_rslora=True), True,
                       "one layer, alpha/sqrt(r)"),
    "roberta-bias-all": ("roberta-tiny", lora(["value"], bias="all"), True, "every bias of a model without a pooler"),
    "roberta-dora": ("roberta-tiny", lora(LINEARS, use_dora=True, rank_pattern={"key": 2}), True, "DoRA on all linear layers"),
    "bert-ia3": ("bert-tiny", IA3Config(task_type="SEQ_CLS", target_modules=["key", "value", "output.dense"],
                                        feedforward_modules=["output.dense"], exclude_modules=["attention.output.dense"]), True,
                 "scales of keys, values and the input of the second FFN linear"),
    "roberta-ia3": ("roberta-tiny", IA3Config(task_type="SEQ_CLS", target_modules=["query", "intermediate.dense"], feedforward_modules=[]),
                    True, "scales of outputs alone"),
    "bert-ia3-default": ("bert-tiny", IA3Config(task_type="SEQ_CLS"), True, "scales of what enters attention's output layer, too"),
    "roberta-ia3-default": ("roberta-tiny", IA3Config(task_type="SEQ_CLS"), True, "the same"),
    "bert-all-linear": ("bert-tiny", lora("all-linear"), True, "every linear layer below the classifier, the pooler among them"),
    "bert-dense": ("bert-tiny", lora(["query", "value", "dense"], use_dora=True), True, "a suffix that the pooler has, too; DoRA"),
    "bert-pooler-ia3": ("bert-tiny", IA3Config(task_type="SEQ_CLS", target_modules=["query", "pooler.dense"], feedforward_modules=[]), True, "scales of what leaves the pooler"),
    "bert-features-all": ("bert-tiny", lora("all-linear", task="FEATURE_EXTRACTION"), True, "without a head, with a pooler that is changed"),
    "bert-prefix": ("bert-tiny", PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3), True, "prefix"),
    # PEFT's classifier cannot run a prefix on RoBERTa, so without a head.
    "roberta-prefix": ("roberta-tiny", PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=4, prefix_projection=True,
                                                          encoder_hidden_size=6), True, "prefix of an MLP, of which PEFT keeps the result"),
    "bert-prompt": ("bert-tiny", PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3), True, "prompt"),
    "roberta-prompt": ("roberta-tiny", PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2), True, "prompt"),
    "bert-p-tuning": ("bert-tiny", PromptEncoderConfig(task_type="SEQ_CLS", num_virtual_tokens=2, encoder_hidden_size=6), True,
                      "prompt of an encoder, of which PEFT keeps the result"),
}


def make_base(models, folder, has_head, random):
    """The base with a head of its own random numbers."""
    cls = AutoModelForSequenceClassification if has_head else AutoModel
    kind = {"num_labels": LABELS, "ignore_mismatched_sizes": True} if has_head else {}
    base = cls.from_pretrained(models / folder, dtype=torch.float32, **kind)
    if has_head:
        head = base.classifier
        with torch.no_grad():
            for _, parameter in sorted(head.named_parameters()):
                parameter.copy_(torch.from_numpy(random.normal(0.0, 0.2, tuple(parameter.shape))))
    return base


def shake(model, random):
    """Moves every trained tensor, so that none is as it starts."""
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                parameter.add_(torch.from_numpy(random.normal(0.0, 0.2, tuple(parameter.shape))))


def make_rows(config, random):
    first, separator = (0, 2) if config.model_type == "roberta" else (1, 2)
    rows = []
    for length in [12, 2, 7] + random.integers(3, 11, ROWS - 3).tolist():
        ids = [first] + random.integers(3, config.vocab_size, length - 2).tolist() + [separator]
        middle = length // 2 if config.type_vocab_size > 1 else length
        rows.append((ids, [0] * middle + [1] * (length - middle)))
    return rows


def collate(rows, pad_id):
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), pad_id)
    types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, (row, kinds) in enumerate(rows):
        ids[i, : len(row)], types[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), torch.tensor(kinds), 1
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


def compute(model, rows, has_head):
    """Logits [N, labels], or the last hidden states of all real tokens end to end."""
    model.eval()
    with torch.no_grad():
        out = model(**collate(rows, model.config.pad_token_id))
    if has_head:
        return {"logits": out.logits}
    return {"last": torch.cat([out.last_hidden_state[i, : len(ids)] for i, (ids, _) in enumerate(rows)])}


def run_case(case, models, folder):
    base_name, config, is_safe, about = CASES[case]
    has_head = config.task_type == "SEQ_CLS"
    seed = sum(map(ord, case))
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)  # of PEFT's own start values
    model = get_peft_model(make_base(models, base_name, has_head, random), config)
    shake(model, random)
    model.save_pretrained(folder / "peft", safe_serialization=is_safe)
    again = PeftModel.from_pretrained(make_base(models, base_name, has_head, np.random.default_rng(0)), folder / "peft")
    common.tidy_peft(folder / "peft", f"tests/golden/models/{base_name}")
    rows = make_rows(model.config, random)
    single = compute(again, rows, has_head)
    exact = compute(again.double(), rows, has_head)
    common.write_tensors(folder / "case.safetensors", {
        "ids": torch.tensor([i for ids, _ in rows for i in ids]),
        "token_types": torch.tensor([t for _, types in rows for t in types]),
        "lengths": torch.tensor([len(ids) for ids, _ in rows]),
        **exact,
    })
    deviation = {name: common.max_difference(single[name], exact[name]) for name in exact}
    return {"about": about, "model": base_name, "num_labels": LABELS if has_head else 0, "seed": seed, "float32_deviation": deviation}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden/models")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/peft")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "peft", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    manifest = {"command": common.command_line(), "versions": versions, "values": "computed in float64, rounded to float32", "cases": {}}
    for case in CASES:
        manifest["cases"][case] = run_case(case, args.models, args.out / case)
        print(case, json.dumps(manifest["cases"][case]))
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
