"""Makes tests/golden/decoder_folders: adapter folders of decoders and encoder-decoders as PEFT and pyreft write them, and the logits they give.

Per case a folder `peft/` or `pyreft/` and `case.safetensors`: ragged rows, of T5 also what its decoder reads, and the logits of all tokens in
float64. PEFT's folder is read again by PEFT for them. Needs tests/golden/trunks (trunks.py first) and pyreft (requirements-reft.txt).
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

import common

CAUSAL, PAIRED = "CAUSAL_LM", "SEQ_2_SEQ_LM"


def lora(targets, task=CAUSAL, **options):
    return LoraConfig(task_type=task, target_modules=targets, **{"r": 3, "lora_alpha": 6, **options})


# name -> model folder, PEFT config, what it shows
CASES = {
    "gpt2-lora": ("gpt2-tiny", lora(["c_attn", "mlp.c_proj"], fan_in_fan_out=True), "one branch over q, k and v; transposed weights"),
    "gpt2-dora": ("gpt2-tiny", lora(["c_attn", "c_fc"], fan_in_fan_out=True, use_dora=True), "DoRA over q, k and v"),
    "gpt2-ia3": ("gpt2-tiny", IA3Config(task_type=CAUSAL, target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"], fan_in_fan_out=True),
                 "scales over q, k and v"),
    "gpt2-prefix": ("gpt2-tiny", PrefixTuningConfig(task_type=CAUSAL, num_virtual_tokens=3), "prefix"),
    "gpt2-prompt": ("gpt2-tiny", PromptTuningConfig(task_type=CAUSAL, num_virtual_tokens=3), "prompt"),
    "llama-lora": ("llama-grouped", lora("all-linear", rank_pattern={"k_proj": 2}, layers_to_transform=None), "all linear layers, not the output layer"),
    "llama-layers": ("llama-tiny", lora(["q_proj", "down_proj"], layers_to_transform=[1], use_rslora=True), "one layer, alpha/sqrt(r)"),
    "llama-dora": ("llama-tiny", lora(["q_proj", "up_proj"], use_dora=True), "DoRA"),
    "llama-ia3": ("llama-grouped", IA3Config(task_type=CAUSAL, target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
                  "scales of the gated product"),
    "llama-prefix": ("llama-grouped", PrefixTuningConfig(task_type=CAUSAL, num_virtual_tokens=3), "prefix of shared heads, before rotary positions"),
    "llama-prompt": ("llama-tiny", PromptTuningConfig(task_type=CAUSAL, num_virtual_tokens=2), "prompt before rotary positions"),
    "t5-lora": ("t5-tiny", lora(["q", "v"], PAIRED), "both stacks and cross-attention"),
    "t5-gated-lora": ("t5-gated", lora(["SelfAttention.q", "wi_0", "wo", "EncDecAttention.k"], PAIRED), "gated feed-forward"),
    "t5-gated-ia3": ("t5-gated", IA3Config(task_type=PAIRED, target_modules=["k", "v", "wo"], feedforward_modules=["wo"]), "as T-Few has it"),
}


def shake(model, random):
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                parameter.add_(torch.from_numpy(random.normal(0.0, 0.2, tuple(parameter.shape))))


def make_rows(config, random, lengths=(9, 2, 6, 4)):
    return [random.integers(3, config.vocab_size, length).tolist() for length in lengths]


def compute(model, rows, targets):
    """Logits of all tokens (of the decoder), end to end; row by row, so that nothing is padded."""
    model.eval()
    out = []
    with torch.no_grad():
        for row, target in zip(rows, targets or rows):
            if targets:
                logits = model(input_ids=torch.tensor([row]), decoder_input_ids=torch.tensor([target])).logits[0]
            else:
                # A prompt's own rows come first in the logits.
                logits = model(input_ids=torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long)).logits[0][-len(row):]
            out.append(logits)
    return torch.cat(out)


def write_case(folder, base, model, random, about, seed):
    rows = make_rows(base.config, random)
    targets = [[0] + random.integers(3, base.config.vocab_size, n).tolist() for n in (3, 1, 5, 2)] if base.config.is_encoder_decoder else None
    single = compute(model, rows, targets)
    exact = compute(model.double(), rows, targets)
    tensors = {"ids": torch.tensor([i for row in rows for i in row]), "lengths": torch.tensor([len(row) for row in rows]), "logits": exact}
    if targets:
        tensors["target_ids"] = torch.tensor([i for row in targets for i in row])
        tensors["target_lengths"] = torch.tensor([len(row) for row in targets])
    common.write_tensors(folder / "case.safetensors", tensors)
    return {"about": about, "seed": seed, "float32_deviation": common.max_difference(single, exact)}


def load_base(trunks, name):
    cls = AutoModelForSeq2SeqLM if name.startswith("t5") else AutoModelForCausalLM
    return cls.from_pretrained(trunks / name, dtype=torch.float32, attn_implementation="eager")


def run_peft(case, trunks, folder):
    name, config, about = CASES[case]
    seed = sum(map(ord, case))
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = get_peft_model(load_base(trunks, name), config)
    shake(model, random)
    model.save_pretrained(folder / "peft")
    base = load_base(trunks, name)
    again = PeftModel.from_pretrained(base, folder / "peft")
    common.tidy_peft(folder / "peft", f"tests/golden/trunks/{name}")
    return {"model": name, "format": "peft", **write_case(folder, base, again, random, about, seed)}


def run_pyreft(case, trunks, folder):
    """LoReFT on the first two tokens of every row, in both layers."""
    import pyreft

    seed = sum(map(ord, case))
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    base = load_base(trunks, "llama-tiny")
    make = lambda: pyreft.LoreftIntervention(embed_dim=base.config.hidden_size, low_rank_dimension=2, dtype=torch.float32)
    config = pyreft.ReftConfig(representations=[{"layer": layer, "component": f"model.layers[{layer}].output", "low_rank_dimension": 2, "intervention": make()} for layer in (0, 1)])
    model = pyreft.get_reft_model(base, config, set_device=False)
    for module in model.interventions.values():
        with torch.no_grad():
            module.learned_source.weight.copy_(torch.from_numpy(random.normal(0.0, 0.3, tuple(module.learned_source.weight.shape))))
            module.learned_source.bias.copy_(torch.from_numpy(random.normal(0.0, 0.3, tuple(module.learned_source.bias.shape))))
    model.save(str(folder / "pyreft"))
    again = model  # pyvene 0.1.8 cannot open a folder whose components are given by path: it finds no width for them
    again.eval()
    rows = make_rows(base.config, random)

    def logits():
        out = []
        with torch.no_grad():
            for row in rows:
                places = [[list(range(min(2, len(row) // 2)))]] * 2  # as get_intervention_locations shortens them
                out.append(again({"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row), dtype=torch.long)},
                                 unit_locations={"sources->base": (None, places)})[1].logits[0])
        return torch.cat(out)

    single = logits()
    base.double()
    for module in again.interventions.values():
        module.double()
    exact = logits()
    common.write_tensors(folder / "case.safetensors", {"ids": torch.tensor([i for row in rows for i in row]), "lengths": torch.tensor([len(row) for row in rows]), "logits": exact})
    return {"model": "llama-tiny", "format": "pyreft", "positions": "f2", "about": "LoReFT of LLaMA", "seed": seed, "float32_deviation": common.max_difference(single, exact)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trunks", type=Path, default=common.ROOT / "tests/golden/trunks")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/decoder_folders")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "peft", "pyreft", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    manifest = {"command": common.command_line(), "versions": versions, "values": "computed in float64, rounded to float32", "cases": {}}
    for case in CASES:
        manifest["cases"][case] = run_peft(case, args.trunks, args.out / case)
        print(case, json.dumps(manifest["cases"][case]), flush=True)
    manifest["cases"]["llama-loreft"] = run_pyreft("llama-loreft", args.trunks, args.out / "llama-loreft")
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
