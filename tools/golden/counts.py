"""Parameter counts of public models and of peft's adapters on them, from config.json alone.

Models are built on the meta device, so that no weight is made: only shapes are counted. Per model the names
and shapes of the tensors outside of blocks and of the first block of each stack are kept too. The adapters are
those that peft attaches to the same layers as the edits that tests/train/test_counts.cpp puts there.

Run: python tools/golden/counts.py   (writes tests/golden/counts/manifest.json)
"""

import json
import re

import torch
import transformers
from common import ROOT, check_versions, command_line, write_manifest

CONFIGS = ROOT / "tests/golden/configs"
MODELS = {  # model_type: (class, what it is built with); the heads of masked language models are left out
    "bert": ("BertModel", {}),
    "roberta": ("RobertaModel", {"add_pooling_layer": False}),
    "bart": ("BartForConditionalGeneration", {}),
    "t5": ("T5ForConditionalGeneration", {}),
    "mt5": ("MT5ForConditionalGeneration", {}),
    "gpt2": ("GPT2LMHeadModel", {}),
    "llama": ("LlamaForCausalLM", {}),
    "modernbert": ("ModernBertModel", {}),
}
# peft's module names; edits of ours that act in the same places stand beside them in the test.
ADAPTERS = {
    "bert": {"lora-qv-8": {"r": 8, "target_modules": ["query", "value"]},
             "ia3": {"target_modules": ["key", "value", "output.dense"], "feedforward_modules": ["output.dense"]}},
    "bart": {"lora-qv-8": {"r": 8, "target_modules": ["q_proj", "v_proj"]},
             "ia3": {"target_modules": ["k_proj", "v_proj", "fc2"], "feedforward_modules": ["fc2"]}},
    "t5": {"lora-qv-8": {"r": 8, "target_modules": ["q", "v"]},
           "lora-all-4": {"r": 4, "target_modules": ["q", "k", "v", "o", "wi_0", "wo"]},
           "ia3": {"target_modules": ["k", "v", "wo"], "feedforward_modules": ["wo"]}},
    "llama": {"lora-qv-8": {"r": 8, "target_modules": ["q_proj", "v_proj"]},
              "ia3": {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}},
}
ADAPTERS["roberta"], ADAPTERS["mt5"] = ADAPTERS["bert"], ADAPTERS["t5"]


def build(config):
    name, arguments = MODELS[config.model_type]
    with torch.device("meta"):
        return getattr(transformers, name)(config, **arguments)


def count_adapter(config, name, settings):
    from peft import IA3Config, LoraConfig, get_peft_model

    kind = LoraConfig if name.startswith("lora") else IA3Config
    if config.model_type in ("bert", "roberta") and kind is IA3Config:  # only the FFN's output, not attention's
        modules = r".*(key|value|layer\.\d+\.output\.dense)"
        settings = {"target_modules": modules, "feedforward_modules": r".*layer\.\d+\.output\.dense"}
    with torch.device("meta"):
        model = get_peft_model(build(config), kind(**settings))
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def tensors_of(model):
    """Every parameter once, by its name without the layers above the first: {name: shape}."""
    named = {}
    for name, parameter in model.named_parameters():  # tied ones appear once
        layer = re.search(r"(?:layers?|block|h)\.(\d+)\.", name)  # T5's sublayers are counted behind it
        if layer is None or layer[1] == "0":
            named[name] = list(parameter.shape)
    return named


def main():
    versions = check_versions("torch", "transformers", "peft")
    models = {}
    for file in sorted(CONFIGS.glob("*.json")):
        settings = json.loads(file.read_text())
        config = transformers.AutoConfig.for_model(**settings)
        model = build(config)
        adapters = {}
        for name, chosen in ADAPTERS.get(config.model_type, {}).items():
            if file.stem == "t5-small" and name == "lora-all-4":
                continue  # an FFN without a gate
            adapters[name] = count_adapter(config, name, chosen)
        models[file.stem] = {"class": type(model).__name__, "parameters": sum(p.numel() for p in model.parameters()),
                             "adapters": adapters, "tensors": tensors_of(model)}
        print(f"{file.stem:16} {models[file.stem]['parameters']:>15,} {adapters}")
    folder = ROOT / "tests/golden/counts"
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, {"command": command_line(), "versions": versions, "models": models})


if __name__ == "__main__":
    main()
