"""Makes tests/golden/peft_heads: what PEFT writes of classifiers and regressions on decoders, T5, BART and ModernBERT, and the logits that it computes with it.

PEFT saves a head that is called score; T5's and BART's, called classification_head, only where modules_to_save names it, and otherwise the base's
own answers. Of LoRA and (IA)^3 the tool also checks that a padded batch gives each row's logits. A method that PEFT cannot run on a family is left
out and listed in the manifest. Needs tests/golden/classifiers and tests/golden/trunks.
"""

import argparse
import copy
import json
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

import cells
import common

warnings.filterwarnings("ignore")
# name -> model folder, outputs. The trunks bring no head.
FAMILIES = {
    "gpt2": ("classifiers/gpt2-labels", 3), "llama": ("classifiers/llama-labels", 3), "mistral": ("trunks/mistral-tiny", 3),
    "qwen2": ("classifiers/qwen2-labels", 4), "qwen3": ("trunks/qwen3-tiny", 3), "t5": ("classifiers/t5-labels", 3), "mt5": ("classifiers/mt5-labels", 2),
    "bart": ("classifiers/bart-labels", 3), "gpt2-value": ("trunks/gpt2-tiny", 1), "llama-value": ("trunks/llama-grouped", 1),
    "t5-value": ("classifiers/t5-gated-value", 1), "modernbert": ("classifiers/modernbert-labels", 3),
    "modernbert-value": ("classifiers/modernbert-value", 1),
}
HEAD = "HEAD"  # stands for the name of the family's head
METHODS = {
    "lora": (LoraConfig, {}), "lora, all-linear": (LoraConfig, {"target_modules": "all-linear"}), "lora, dora": (LoraConfig, {"use_dora": True}),
    "lora, dora all-linear": (LoraConfig, {"use_dora": True, "target_modules": "all-linear"}),
    "lora, bias all": (LoraConfig, {"bias": "all"}), "lora, head saved": (LoraConfig, {"modules_to_save": [HEAD]}),
    "ia3": (IA3Config, {}), "ia3, all-linear": (IA3Config, {"target_modules": "all-linear", "feedforward_modules": []}),
    "prefix": (PrefixTuningConfig, {"num_virtual_tokens": 3}), "prompt": (PromptTuningConfig, {"num_virtual_tokens": 3}),
    "p-tuning": (PromptEncoderConfig, {"num_virtual_tokens": 3, "encoder_hidden_size": 6}),
}
# PEFT has no targets of its own for ModernBERT, whose q, k and v are one layer, and gate and up another.
MODERNBERT_METHODS = {
    "lora, Wqkv": (LoraConfig, {"target_modules": ["Wqkv"]}), "lora, trunk": (LoraConfig, {"target_modules": ["Wqkv", "Wi", "Wo"]}),
    "lora, one layer": (LoraConfig, {"target_modules": ["Wqkv", "mlp.Wo"], "layers_to_transform": [1]}),
    "lora, dora trunk": (LoraConfig, {"use_dora": True, "target_modules": ["attn.Wo", "mlp.Wo"]}),
    "lora, head for masks": (LoraConfig, {"target_modules": ["Wqkv", "head.dense"]}),
    "ia3, Wqkv": (IA3Config, {"target_modules": ["Wqkv", "mlp.Wo"], "feedforward_modules": ["mlp.Wo"]}), "prompt": METHODS["prompt"],
    "lora, all-linear": METHODS["lora, all-linear"], "lora, dora all-linear": METHODS["lora, dora all-linear"],
    "lora, Wqkv and dense": (LoraConfig, {"target_modules": ["Wqkv", "dense"]}),
    "lora, head for masks saved": (LoraConfig, {"target_modules": ["Wqkv"], "modules_to_save": ["head", "classifier"]}),
    "ia3, all-linear": METHODS["ia3, all-linear"],
}


def base(models, folder, labels):
    return AutoModelForSequenceClassification.from_pretrained(models / folder, num_labels=labels, ignore_mismatched_sizes=True, dtype=torch.float32, attn_implementation="eager")


def options_of(options, config):
    """A copy, since PEFT appends to lists, with the head's name."""
    options = copy.deepcopy(options)
    if "modules_to_save" in options:
        head = "classification_head" if config.is_encoder_decoder else "score"
        options["modules_to_save"] = [head if name == HEAD else name for name in options["modules_to_save"]]
    return options


def check_padding(model, logits):
    """Both rows in one batch, padded: the last token that is no padding is read."""
    config = model.config
    rows, _ = cells.rows_of(config, True)
    base_config = model.get_base_model().config
    base_config.pad_token_id = 0 if base_config.pad_token_id is None else base_config.pad_token_id  # of no row's tokens
    tensors = [torch.tensor(row) for row in rows]
    ids = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=base_config.pad_token_id)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True)
    with torch.no_grad():
        padded = model(input_ids=ids, attention_mask=mask).logits
    assert (padded - logits.double()).abs().max() < 1e-6, (padded, logits)


def run_cell(models, folder, labels, kind, options):
    torch.manual_seed(0)
    target = Path(tempfile.mkdtemp())
    get_peft_model(base(models, folder, labels), kind(task_type="SEQ_CLS", **options)).save_pretrained(target)
    tensors = {name: cells.fill(name, tensor.shape) for name, tensor in load_file(target / "adapter_model.safetensors").items()}
    save_file(tensors, target / "adapter_model.safetensors", metadata={"format": "pt"})
    again = PeftModel.from_pretrained(base(models, folder, labels), target)
    logits = cells.compute(again, again.config, True)
    # transformers gives padding that no window reaches no number at all, which spoils the whole row.
    if kind in (LoraConfig, IA3Config) and again.config.model_type != "modernbert":
        check_padding(again, logits)
    common.tidy_peft(target, f"tests/golden/{folder}")
    config = json.loads((target / "adapter_config.json").read_text())
    shutil.rmtree(target)
    return {"model": folder, "labels": labels, "config": config, "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()}}, logits


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/peft_heads")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "peft", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    table, tensors, left_out = {}, {}, {}
    for family, (folder, labels) in FAMILIES.items():
        config = AutoConfig.from_pretrained(args.models / folder)
        tensors.update(cells.rows_tensors(folder, config, True))
        for method, (kind, options) in (MODERNBERT_METHODS if config.model_type == "modernbert" else METHODS).items():
            key = f"{method}/{family}"
            try:
                table[key], tensors[key] = run_cell(args.models, folder, labels, kind, options_of(options, config))
            except Exception as error:
                left_out[key] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
        print(family, flush=True)
    cells.write(args.out, "cells", table, tensors, {"command": common.command_line(), "versions": versions,
                                                    "values": "computed in float64, rounded to float32", "left_out": left_out})
    print(json.dumps(left_out, indent=1))


if __name__ == "__main__":
    main()
