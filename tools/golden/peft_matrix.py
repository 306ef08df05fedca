"""Makes tests/golden/peft_matrix: what PEFT writes by default, its methods on every family, and the logits that it computes with it.

A method that PEFT cannot run on a family is left out and listed in the manifest. Methods of other kinds than those that Graft reads are written for
BERT alone, without their tensors: they are refused by their name before anything else. Needs tests/golden/models and tests/golden/trunks.
"""

import argparse
import json
import shutil
import tempfile
import warnings
from pathlib import Path

import peft
import torch
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, VeraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

import cells
import common

warnings.filterwarnings("ignore")
CLASSES = {"SEQ_CLS": AutoModelForSequenceClassification, "CAUSAL_LM": AutoModelForCausalLM, "SEQ_2_SEQ_LM": AutoModelForSeq2SeqLM}
FAMILIES = {
    "bert": ("models/bert-tiny", "SEQ_CLS"), "roberta": ("models/roberta-tiny", "SEQ_CLS"), "gpt2": ("trunks/gpt2-tiny", "CAUSAL_LM"),
    "llama": ("trunks/llama-grouped", "CAUSAL_LM"), "mistral": ("trunks/mistral-tiny", "CAUSAL_LM"), "qwen2": ("trunks/qwen2-tiny", "CAUSAL_LM"),
    "t5": ("trunks/t5-tiny", "SEQ_2_SEQ_LM"), "mt5": ("trunks/mt5-tiny", "SEQ_2_SEQ_LM"), "bart": ("trunks/bart-tiny", "SEQ_2_SEQ_LM"),
}
# Everything that is not named here is PEFT's default.
METHODS = {
    "lora": (LoraConfig, {}), "lora, all-linear": (LoraConfig, {"target_modules": "all-linear"}), "lora, dora": (LoraConfig, {"use_dora": True}),
    "lora, rslora": (LoraConfig, {"use_rslora": True}), "lora, one layer": (LoraConfig, {"layers_to_transform": [0]}),
    "lora, bias all": (LoraConfig, {"bias": "all"}), "lora, bias lora_only": (LoraConfig, {"bias": "lora_only"}),
    "lora, pissa": (LoraConfig, {"init_lora_weights": "pissa"}), "lora, pissa converted": (LoraConfig, {"init_lora_weights": "pissa"}),
    "lora, token rows": (LoraConfig, {"trainable_token_indices": [1, 2]}),
    "ia3": (IA3Config, {}), "vera": (VeraConfig, {}),
    "vera, drawn": (VeraConfig, {"r": 5, "save_projection": False, "projection_prng_key": 7, "target_modules": "all-linear"}), "prefix": (PrefixTuningConfig, {"num_virtual_tokens": 3}),
    "prefix, projection": (PrefixTuningConfig, {"num_virtual_tokens": 3, "prefix_projection": True}),
    "prompt": (PromptTuningConfig, {"num_virtual_tokens": 3}), "p-tuning": (PromptEncoderConfig, {"num_virtual_tokens": 3, "encoder_hidden_size": 6}),
}
# Of other kinds: what they need beside defaults.
OTHERS = {"ADALORA": ("AdaLoraConfig", {"total_step": 10}), "LOHA": ("LoHaConfig", {}), "LOKR": ("LoKrConfig", {}), "OFT": ("OFTConfig", {}),
          "BOFT": ("BOFTConfig", {}), "HRA": ("HRAConfig", {}), "FOURIERFT": ("FourierFTConfig", {"n_frequency": 10}), "LN_TUNING": ("LNTuningConfig", {"target_modules": ["LayerNorm"]}),
          "POLY": ("PolyConfig", {}), "VBLORA": ("VBLoRAConfig", {"vector_length": 4, "num_vectors": 4, "topk": 2}), "MISS": ("MissConfig", {}), "RANDLORA": ("RandLoraConfig", {}),
          "ROAD": ("RoadConfig", {}), "SHIRA": ("ShiraConfig", {}), "C3A": ("C3AConfig", {"block_size": 8}), "WAVEFT": ("WaveFTConfig", {"n_frequency": 10}),
          "TRAINABLE_TOKENS": ("TrainableTokensConfig", {"token_indices": [1, 2]}), "DELORA": ("DeloraConfig", {}), "GRALORA": ("GraloraConfig", {}), "HIRA": ("HiraConfig", {}),
          "PVERA": ("PveraConfig", {}), "PSOFT": ("PsoftConfig", {}), "UNILORA": ("UniLoraConfig", {}), "BEFT": ("BeftConfig", {}), "LILY": ("LilyConfig", {}),
          "FROD": ("FrodConfig", {}), "GLORA": ("GloraConfig", {}), "PEANUT": ("PeanutConfig", {}), "TINYLORA": ("TinyLoraConfig", {}), "ADAMSS": ("AdamssConfig", {}),
          "DEFT": ("DeftConfig", {}), "SUPERTUNING": ("SupertuningConfig", {}), "MULTITASK_PROMPT_TUNING": ("MultitaskPromptTuningConfig", {"num_virtual_tokens": 3, "num_tasks": 2}),
          "CPT": ("CPTConfig", {}), "ADAPTION_PROMPT": ("AdaptionPromptConfig", {"adapter_len": 3, "adapter_layers": 1}), "XLORA": ("XLoraConfig", {})}


def base(models, folder, task):
    kind = {"num_labels": 3, "ignore_mismatched_sizes": True} if task == "SEQ_CLS" else {}
    return CLASSES[task].from_pretrained(models / folder, dtype=torch.float32, attn_implementation="eager", **kind)


def save(model, method, target):
    if method == "lora, pissa converted":
        start = Path(tempfile.mkdtemp())
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(start)
        model.peft_config["default"].init_lora_weights = "pissa"
        model.save_pretrained(target, path_initial_model_for_weight_conversion=str(start))
    else:
        model.save_pretrained(target)


def run_cell(models, folder, task, method, kind, options):
    torch.manual_seed(0)
    target = Path(tempfile.mkdtemp())
    save(get_peft_model(base(models, folder, task), kind(task_type=task, **options)), method, target)
    tensors = {name: cells.fill(name, tensor.shape) for name, tensor in load_file(target / "adapter_model.safetensors").items()}
    save_file(tensors, target / "adapter_model.safetensors", metadata={"format": "pt"})
    again = PeftModel.from_pretrained(base(models, folder, task), target)
    logits = cells.compute(again, again.config, task == "SEQ_CLS")
    common.tidy_peft(target, f"tests/golden/{folder}")
    config = json.loads((target / "adapter_config.json").read_text())
    cell = {"model": folder, "labels": 3 if task == "SEQ_CLS" else 0, "config": config, "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()}}
    return cell, logits


def config_alone(models, kind, options):
    """Of a method that is refused by its name: what its config says, after PEFT has looked at the model where it can."""
    folder, task = FAMILIES["bert"]
    config = getattr(peft, kind)(task_type=task, **options)
    target = Path(tempfile.mkdtemp())
    config.save_pretrained(target)
    return {"model": folder, "labels": 3, "config": json.loads((target / "adapter_config.json").read_text()), "shapes": {}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/peft_matrix")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "peft", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    table, tensors, left_out = {}, {}, {}
    for family, (folder, task) in FAMILIES.items():
        tensors.update(cells.rows_tensors(folder, AutoConfig.from_pretrained(args.models / folder)))
        for method, (kind, options) in METHODS.items():
            key = f"{method}/{family}"
            try:
                table[key], tensors[key] = run_cell(args.models, folder, task, method, kind, options)
            except Exception as error:
                left_out[key] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
        print(family, flush=True)
    for name, (kind, options) in OTHERS.items():
        try:
            table[f"{name}/bert"] = config_alone(args.models, kind, options)
        except Exception as error:
            left_out[f"{name}/bert"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
    cells.write(args.out, "cells", table, tensors, {"command": common.command_line(), "versions": versions,
                                                    "values": "computed in float64, rounded to float32", "left_out": left_out})
    print(json.dumps(left_out, indent=1))


if __name__ == "__main__":
    main()
