"""Makes tests/golden/unipelt: what AdapterHub (`adapters`) and PEFT compute with gates, prefixes and prompts.

Per case: trained tensors before training, logits, gradients and gate values of the first batch, and the losses of ten
AdamW steps without clipping or schedule; dropout off. Needs tests/golden/models (models.py first). AdapterHub's gates
average over padding, so a case is either of batches of one length each, or padded to one stated length.
Tensors carry Graft's stored names; the manifest maps each to the reference's.
"""

import argparse
import copy
import json
import re
import shutil
from pathlib import Path

import adapters
import numpy as np
import torch
from adapters import ConfigUnion, LoRAConfig, MAMConfig, ParBnConfig, PrefixTuningConfig, SeqBnConfig, UniPELTConfig
from peft import PrefixTuningConfig as PeftPrefixConfig
from peft import PromptTuningConfig as PeftPromptConfig
from peft import get_peft_model
from transformers import AutoModelForSequenceClassification

import common
import training

STEPS, BATCH, PADDED = 10, 6, 14
OPTIMIZER = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}

PREFIX = PrefixTuningConfig(prefix_length=4, bottleneck_size=7)
UNIPELT = UniPELTConfig(prefix_tuning=PREFIX, adapter=SeqBnConfig(reduction_factor=4), lora=LoRAConfig(r=3, alpha=2))
AP = ConfigUnion(PREFIX.replace(use_gating=True), SeqBnConfig(reduction_factor=4, use_gating=True))
MAM = MAMConfig(PrefixTuningConfig(prefix_length=5, bottleneck_size=6), ParBnConfig(reduction_factor=4))

GATED_PREFIX = "{gate: {%s}, of: {prefix: {length: 4, mlp: 7}}}"
GATED_ADAPTER = "{gate: {%s}, of: {bottleneck: {reduction: 4}}}"
GATED_LORA = "{gate: {%s}, of: {lora: {rank: 3}}}"
COUNTED = f"pool: mean_all, padded_to: {PADDED}"


def edits(*definitions, options=""):
    return "[" + ", ".join(d % options if "%s" in d else d for d in definitions) + "]"


# name -> configuration, the same in Graft's words, rows ("ragged": padded and masked; "equal": one length a batch; "padded": to PADDED)
CASES = {
    "apl": (UNIPELT, edits(GATED_PREFIX, GATED_ADAPTER, GATED_LORA), "equal"),
    "apl-padded": (UNIPELT, edits(GATED_PREFIX, GATED_ADAPTER, GATED_LORA, options=COUNTED), "padded"),
    "ap": (AP, edits(GATED_PREFIX, GATED_ADAPTER), "equal"),
    "split": (PREFIX.replace(use_gating=True, shared_gating=False), edits("{gate: {prefix: split}, of: {prefix: {length: 4, mlp: 7}}}"), "equal"),
    "mam": (MAM, edits("{prefix: {length: 5, mlp: 6}}", "{bottleneck: {placement: parallel, reduction: 4, scaling: 4, init: zero-up}}"), "ragged"),
    "prefix": (PREFIX, edits("{prefix: {length: 4, mlp: 7}}"), "ragged"),
    "prefix-flat": (PrefixTuningConfig(prefix_length=3, flat=True), edits("{prefix: {length: 3}}"), "ragged"),
    "peft-prefix": (PeftPrefixConfig(task_type="SEQ_CLS", num_virtual_tokens=3), edits("{prefix: {length: 3}}"), "ragged"),
    "peft-prompt": (PeftPromptConfig(task_type="SEQ_CLS", num_virtual_tokens=5), edits("{prompt: {length: 5}}"), "ragged"),
}
ROBERTA = ["apl", "apl-padded", "mam", "prefix-flat", "peft-prompt"]


def make_rows(seed, config, kind):
    """STEPS*BATCH examples in order: lengths 2..12, of one length within a batch where `kind` is equal."""
    random = np.random.default_rng(seed)
    first, separator = (0, 2) if config.model_type == "roberta" else (1, 2)
    rows = []
    for step in range(STEPS):
        common_length = int(random.integers(3, 13))
        for _ in range(BATCH):
            length = common_length if kind == "equal" else int(random.integers(2, 13))
            ids = [first] + random.integers(3, config.vocab_size, length - 2).tolist() + [separator]
            rows.append((ids, [0] * length, int(random.integers(config.num_labels))))
    return rows


def batch_of(rows, kind, pad_id):
    inputs = training.collate(rows, pad_id)
    if kind == "padded":
        more = PADDED - inputs["input_ids"].shape[1]
        pad = torch.nn.functional.pad
        inputs = {"input_ids": pad(inputs["input_ids"], (0, more), value=pad_id), "token_type_ids": pad(inputs["token_type_ids"], (0, more)),
                  "attention_mask": pad(inputs["attention_mask"], (0, more))}
    return inputs


class PeftPrefix(torch.nn.Module):
    """PEFT's prefix without a shift of positions.

    Through its own forward, PEFT hands the rows to the encoder as a cache, and the encoder then counts positions from P. Here the
    rows are PEFT's (get_prompt), and the tokens keep their own positions, as in the method's paper.
    """

    def __init__(self, base, config):
        super().__init__()
        self.peft = get_peft_model(base, copy.deepcopy(config))
        self.config = base.config

    def forward(self, input_ids, token_type_ids, attention_mask):
        size, length = input_ids.shape
        cache = self.peft.get_prompt(batch_size=size)
        prefix = self.peft.peft_config["default"].num_virtual_tokens
        mask = torch.cat([torch.ones(size, prefix, dtype=attention_mask.dtype), attention_mask], 1)
        base = self.peft.get_base_model()
        positions = torch.arange(length).expand(size, length)
        out = base.bert(input_ids, token_type_ids=token_type_ids, attention_mask=mask, position_ids=positions, past_key_values=cache)
        return type("Out", (), {"logits": base.classifier(out.pooler_output)})


def make_model(folder, config, seed):
    """The model with its trained tensors away from zero, float32."""
    base = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                                                              attn_implementation="eager")
    if isinstance(config, PeftPrefixConfig):
        model = PeftPrefix(base, config)
    elif isinstance(config, PeftPromptConfig):
        model = get_peft_model(base, copy.deepcopy(config))   # it notes the base in its configuration
    else:
        adapters.init(base)
        base.add_adapter("x", config=config)
        base.train_adapter("x")
        model = base
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad and "classifier" not in name:
                parameter.copy_(torch.from_numpy(random.normal(0.0, 0.3, tuple(parameter.shape))))
    return model


def stored_names(name, parameter, case, config):
    """Graft's names for one trained parameter: pairs (name, function from the reference's tensor)."""
    definition = CASES[case][1]
    order = [kind for kind in re.findall(r"(prefix|bottleneck|lora|prompt): \{", definition)]
    gated = "gate" in definition

    def at(kind, tensor, of=True):
        index = order.index(kind)
        return f"{index}.gate/{'of/' if of else ''}{tensor}" if gated else f"{index}.{kind}/{tensor}"

    width, layers = config.hidden_size, config.num_hidden_layers
    head = re.search(r"classifier\.(?:modules_to_save\.default\.)?((?:dense|out_proj)\.)?(weight|bias)$", name)
    if head:
        return [(f"head/{'dense' if head[1] == 'dense.' else 'out'}.{head[2]}", lambda t: t)]
    tail = name.split(".")[-1]
    layer = re.search(r"layer\.(\d+)\.", name)
    site = f"enc.{layer[1]}." if layer else ""
    if ".loras." in name:
        place = site + {"query": "attn.q", "value": "attn.v"}[re.search(r"self\.(\w+)\.loras", name)[1]]
        if ".gate." in name:
            return [(at("lora", f"{place}.gate.{tail}", of=False), lambda t: t)]
        return [(at("lora", f"{place}.{'lora_a' if tail == 'lora_A' else 'lora_b'}"), lambda t: t)]
    if "prefix_gates" in name:
        return [(at("prefix", f"{site}attn.gate.{tail}", of=False), lambda t: t)]
    if ".adapters." in name:
        if ".gate." in name:
            return [(at("bottleneck", f"{site}ffn.out.gate.{tail}", of=False), lambda t: t)]
        return [(at("bottleneck", f"{site}ffn.out.{'down' if 'adapter_down' in name else 'up'}.{tail}"), lambda t: t)]
    if name.endswith("wte.weight"):
        return [(at("prefix", "table"), lambda t: t)]
    if re.search(r"control_trans\.[02]\.", name):
        return [(at("prefix", f"mlp.{'in' if '.0.' in name.split('control_trans')[1] else 'out'}.{tail}"), lambda t: t)]
    if name.endswith("control_trans") or "prompt_encoder" in name and "prefix" in case:
        def part(slot):
            return lambda t: t.reshape(-1, 2 * layers, width)[:, slot]
        return [(at("prefix", f"enc.{slot // 2}.attn.{'keys' if slot % 2 == 0 else 'values'}"), part(slot)) for slot in range(2 * layers)]
    assert "prompt_encoder" in name, name
    return [(at("prompt", "embed.word.prompt"), lambda t: t)]


def gates_of(model, inputs):
    """Graft's record names -> [N] (or [N, 2]): what AdapterHub hands out with output_adapter_gating_scores."""
    base = model.base_model
    with torch.no_grad():
        scores = base(**inputs, output_adapter_gating_scores=True).adapter_gating_scores["x"]
    out = {}
    for layer, by_place in scores.items():
        for place, values in by_place.items():
            values = torch.as_tensor(values)
            if place == "selfattn_lora":
                for column, part in enumerate("qv"):
                    out[f"enc.{layer}.attn.{part}.gate"] = values[:, column]
            elif place == "output_adapter":
                out[f"enc.{layer}.ffn.out.gate"] = values
            else:
                assert place.endswith("_prefix"), place
                out[f"enc.{layer}.attn.gate"] = values
    return out


def train(model, rows, kind):
    """Ten steps of AdamW on the mean loss. Returns losses, and logits and gradients of the first batch."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    decays = [p for name, p in trained.items() if not re.search(r"bias", name)]
    rest = [p for name, p in trained.items() if re.search(r"bias", name)]
    optimizer = torch.optim.AdamW([{"params": decays, "weight_decay": OPTIMIZER["weight_decay"]}, {"params": rest, "weight_decay": 0.0}],
                                  lr=OPTIMIZER["learning_rate"], betas=(0.9, 0.999), eps=OPTIMIZER["eps"])
    model.eval()   # no dropout anywhere; gradients flow all the same
    result = {"losses": []}
    for step in range(STEPS):
        batch = rows[step * BATCH:(step + 1) * BATCH]
        logits = model(**batch_of(batch, kind, model.config.pad_token_id)).logits
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label for _, _, label in batch]))
        loss.backward()
        if step == 0:
            result["logits"] = logits.detach().clone()
            result["grad"] = {name: p.grad.detach().clone() for name, p in trained.items()}
        result["losses"].append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    return result


def run_case(base, case, models, folder):
    config, definition, kind = CASES[case]
    seed = sum(map(ord, base + case))
    start = make_model(models / base, config, seed)
    rows = make_rows(seed + 1, start.config, kind)
    init = {name: p.detach().clone() for name, p in start.named_parameters() if p.requires_grad}
    gates = {}
    if "gate" in definition:
        gates = gates_of(make_model(models / base, config, seed).double(), batch_of(rows[:BATCH], kind, start.config.pad_token_id))
    single = train(start, rows, kind)
    exact = train(make_model(models / base, config, seed).double(), rows, kind)

    tensors = {
        "ids": torch.tensor([i for ids, _, _ in rows for i in ids]),
        "token_types": torch.tensor([t for _, types, _ in rows for t in types]),
        "lengths": torch.tensor([len(ids) for ids, _, _ in rows]),
        "labels": torch.tensor([label for _, _, label in rows]),
        "logits": exact["logits"],
        **{f"gate.{name}": value for name, value in gates.items()},
    }
    theirs = {}
    for name, parameter in init.items():
        for own, part in stored_names(name, parameter, case, start.config):
            assert own not in theirs, (own, name)
            theirs[own] = name
            tensors[f"init.{own}"] = part(parameter)
            tensors[f"grad.{own}"] = part(exact["grad"][name])
    common.write_tensors(folder / "case.safetensors", tensors)
    return {
        "model": base, "edits": definition, "rows": kind, "num_labels": start.config.num_labels, "seed": seed, "losses": exact["losses"], "names": theirs,
        "float32_deviation": {"losses": common.max_difference(single["losses"], exact["losses"]),
                              "logits": common.max_difference(single["logits"], exact["logits"]),
                              "grad": max(common.max_difference(single["grad"][name], exact["grad"][name]) for name in init)},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden/models")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/unipelt")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "peft", "adapters", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    manifest = {"command": common.command_line(), "versions": versions, "steps": STEPS, "batch_size": BATCH, "padded_to": PADDED,
                "optimizer": OPTIMIZER, "values": "computed in float64, rounded to float32; dropout off", "cases": {}}
    for base in ("bert-tiny", "roberta-tiny"):
        for case in CASES if base == "bert-tiny" else ROBERTA:
            folder = args.out / f"{base.split('-')[0]}-{case}"
            folder.mkdir(parents=True)
            entry = run_case(base, case, args.models, folder)
            manifest["cases"][folder.name] = entry
            print(folder.name, json.dumps({k: entry[k] for k in ("losses", "float32_deviation")}))
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
