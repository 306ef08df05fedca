"""Makes tests/golden/peft_versions: folders as every version of PEFT from 0.1 on wrote them, and the logits that it computes with them.

Needs a clone of PEFT's repository (--sources), whose tags are run one by one beside the pinned transformers, and tests/golden/models,
tests/golden/trunks and tests/golden/classifiers. A case that a version does not have, or that it cannot run beside this transformers, is left out and listed in the manifest.

The logits are those of the folder loaded again. Where a version's own loader leaves out a part of the head that its folder holds, they are those of the model
that wrote the folder, and the manifest lists the case as lost; where a folder holds no head, the base's own answers.
"""

import argparse
import importlib.machinery
import json
import os
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "0.9.0", "0.10.0", "0.11.0", "0.12.0", "0.13.0", "0.14.0",
            "0.15.0", "0.16.0", "0.17.0", "0.18.0", "0.19.0", "0.20.0"]
LABELS = 3  # of a classifier that is trained
ALPHA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1}  # the first versions had no default

# name -> model folder, class of PEFT's config, its options
CASES = {
    "bert-lora": ("models/bert-tiny", "LoraConfig", {"task_type": "SEQ_CLS", **ALPHA}),
    "bert-dense": ("models/bert-tiny", "LoraConfig", {"task_type": "SEQ_CLS", "target_modules": ["query", "value", "dense"], **ALPHA}),
    "bert-all": ("models/bert-tiny", "LoraConfig", {"task_type": "SEQ_CLS", "target_modules": "all-linear", **ALPHA}),
    "bert-ia3": ("models/bert-tiny", "IA3Config", {"task_type": "SEQ_CLS"}),
    "bert-dora": ("models/bert-tiny", "LoraConfig", {"task_type": "SEQ_CLS", "use_dora": True, **ALPHA}),
    "bert-prompt": ("models/bert-tiny", "PromptTuningConfig", {"task_type": "SEQ_CLS", "num_virtual_tokens": 2}),
    "bert-p-tuning": ("models/bert-tiny", "PromptEncoderConfig", {"task_type": "SEQ_CLS", "num_virtual_tokens": 2, "encoder_hidden_size": 6}),
    "roberta-lora": ("models/roberta-tiny", "LoraConfig", {"task_type": "SEQ_CLS", **ALPHA}),
    "roberta-dense": ("models/roberta-tiny", "LoraConfig", {"task_type": "SEQ_CLS", "target_modules": ["query", "value", "dense"], **ALPHA}),
    "gpt2-score": ("classifiers/gpt2-labels", "LoraConfig", {"task_type": "SEQ_CLS", **ALPHA}),
    "llama-score-all": ("classifiers/llama-labels", "LoraConfig", {"task_type": "SEQ_CLS", "target_modules": "all-linear", **ALPHA}),
    "t5-head": ("classifiers/t5-labels", "LoraConfig", {"task_type": "SEQ_CLS", **ALPHA}),
    "gpt2-lora": ("trunks/gpt2-tiny", "LoraConfig", {"task_type": "CAUSAL_LM", **ALPHA}),
    "gpt2-prefix": ("trunks/gpt2-tiny", "PrefixTuningConfig", {"task_type": "CAUSAL_LM", "num_virtual_tokens": 2}),
    "llama-lora": ("trunks/llama-grouped", "LoraConfig", {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"], **ALPHA}),
    "t5-lora": ("trunks/t5-tiny", "LoraConfig", {"task_type": "SEQ_2_SEQ_LM", **ALPHA}),
    "t5-ia3": ("trunks/t5-tiny", "IA3Config", {"task_type": "SEQ_2_SEQ_LM"}),
}


def run_one(version, models, out):
    """In a process of its own, with that version of PEFT on the path: writes {case: {config, shapes}} and the logits."""
    import torch
    if version == "0.1.0":  # which imports it whether or not it is used
        bitsandbytes = types.ModuleType("bitsandbytes")
        bitsandbytes.__spec__ = importlib.machinery.ModuleSpec("bitsandbytes", None)
        bitsandbytes.nn = types.SimpleNamespace(Linear8bitLt=type("Linear8bitLt", (torch.nn.Linear,), {}))
        sys.modules["bitsandbytes"] = bitsandbytes
    import peft
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    import cells
    classes = {"SEQ_CLS": AutoModelForSequenceClassification, "CAUSAL_LM": AutoModelForCausalLM, "SEQ_2_SEQ_LM": AutoModelForSeq2SeqLM}

    def base(folder, task, has_head=True):
        kind = {"num_labels": LABELS, "ignore_mismatched_sizes": True} if task == "SEQ_CLS" and has_head else {}
        return classes[task].from_pretrained(models / folder, dtype=torch.float32, attn_implementation="eager", **kind)

    def written_logits(model, config, filled, is_classifier):
        """Of the model in memory, with the same numbers."""
        with torch.no_grad():
            for name, tensor in peft.get_peft_model_state_dict(model).items():
                tensor.copy_(filled[name])
        return cells.compute(model, config, is_classifier)

    found, logits, left_out, lost = {}, {}, {}, []
    for case, (folder, kind, options) in CASES.items():
        torch.manual_seed(0)
        target = Path(tempfile.mkdtemp())
        try:
            model = peft.get_peft_model(base(folder, options["task_type"]), getattr(peft, kind)(**options))
            model.save_pretrained(target)
            safe, pickled = target / "adapter_model.safetensors", target / "adapter_model.bin"
            from safetensors.torch import load_file, save_file
            tensors = load_file(safe) if safe.exists() else torch.load(pickled)
            filled = {name: cells.fill(name, tensor.shape) for name, tensor in tensors.items()}
            if safe.exists():
                save_file(filled, safe, metadata={"format": "pt"})
            else:
                torch.save(filled, pickled)
            is_classifier = options["task_type"] == "SEQ_CLS"
            has_head = is_classifier and any(head in name for name in tensors for head in ("classifier", "score"))
            again = peft.PeftModel.from_pretrained(base(folder, options["task_type"], has_head), target)
            labels = again.config.num_labels if is_classifier else 0
            logits[case] = cells.compute(again, again.config, is_classifier)
            if has_head and "prompt_embeddings" not in tensors:
                written = written_logits(model, again.config, filled, is_classifier)
                if not torch.allclose(written, logits[case]):
                    logits[case] = written
                    lost.append(case)
        except Exception as error:  # an option or a class that this version has not, or a call that transformers no longer has
            left_out[case] = f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
            continue
        config = json.loads((target / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = f"tests/golden/{folder}"
        for key in ("target_modules", "feedforward_modules"):
            if isinstance(config.get(key), list):
                config[key] = sorted(config[key])
        found[case] = {"model": folder, "labels": labels, "config": config,
                       "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()}}
    torch.save({"cells": found, "logits": logits, "left_out": left_out, "lost": lost}, out)


def run_version(version, sources, models):
    folder = Path(tempfile.mkdtemp())
    archive = subprocess.run(["git", "-C", sources, "archive", f"v{version}", "src/peft"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    out = folder / "out.pt"
    here = str(Path(__file__).resolve().parent)
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'src'}:{here}", "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, __file__, "--version", version, "--models", models, "--out", out], check=True, env=environment)
    import torch
    result = torch.load(out, weights_only=False)
    shutil.rmtree(folder)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--sources", help="a clone of PEFT's repository")
    parser.add_argument("--models", type=Path, default=root / "tests/golden")
    parser.add_argument("--out", type=Path, default=root / "tests/golden/peft_versions")
    parser.add_argument("--version", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.version:
        return run_one(args.version, args.models, args.out)
    import cells
    import common
    versions = common.check_versions("torch", "transformers", "safetensors", "numpy")
    shutil.rmtree(args.out, ignore_errors=True)
    table, tensors, left_out, lost = {}, {}, {}, {}
    from transformers import AutoConfig
    for folder, is_classifier in sorted({(folder, options["task_type"] == "SEQ_CLS") for folder, _, options in CASES.values()}):
        tensors.update(cells.rows_tensors(folder, AutoConfig.from_pretrained(args.models / folder), is_classifier))
    for version in VERSIONS:
        result = run_version(version, args.sources, args.models)
        for case, cell in result["cells"].items():
            table[f"{version}/{case}"] = cell
            tensors[f"{version}/{case}"] = result["logits"][case]
        left_out[version] = result["left_out"]
        if result["lost"]:
            lost[version] = result["lost"]
        print(version, sorted(result["cells"]), result["left_out"], result["lost"], flush=True)
    cells.write(args.out, "cells", table, tensors,
                {"command": common.command_line() + " --sources PEFT", "versions": versions, "peft": VERSIONS,
                 "values": "computed in float64, rounded to float32", "lost": lost, "left_out": left_out})


if __name__ == "__main__":
    main()
