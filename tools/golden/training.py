"""Makes tests/golden/training: what `transformers` + PEFT compute when they train the tiny models.

Per case: trained tensors before and after ten AdamW steps, logits, loss and gradients of the first batch,
all losses, with and without accumulation; dropout off. Needs tests/golden/models (models.py first).
Names in the files are Hugging Face's without PEFT's wrappers; the manifest maps each to Graft's site.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

import numpy as np
import torch
from peft import IA3Config, LoraConfig, VeraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup
from transformers.trainer_pt_utils import get_parameter_names

import common

STEPS, BATCH, WARMUP = 10, 8, 2
OPTIMIZER = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01, "clip": 1.0,
             "warmup_steps": WARMUP, "total_steps": STEPS, "schedule": "linear to 0"}
# The Trainer's rule in transformers 4.57: no decay where the name says bias or norm.
NO_DECAY = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]

ATTENTION = ["query", "value"]
LINEARS = (r".*\.layer\.\d+\.(attention\.self\.(query|key|value)|attention\.output\.dense|intermediate\.dense"
           r"|output\.dense)")


def lora(targets, **options):
    return LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=targets, **options)


# name -> model folder, method, number of labels, pairs of texts?, what is trained
CASES = {
    "bert-lora": ("bert-tiny", lora(ATTENTION), 2, False, "LoRA r 4, alpha 8 on query and value; classifier"),
    "bert-full": ("bert-tiny", "full", 2, False, "all weights: embeddings, layers, pooler, classifier"),
    "bert-bitfit": ("bert-tiny", "bitfit", 2, False, "all biases (norms' and pooler's too) and the classifier"),
    "bert-head": ("bert-tiny", "head", 2, False, "classifier after the frozen pooler"),
    "bert-pair-regression": ("bert-tiny", lora(ATTENTION), 1, True, "LoRA; pairs with token types; squared error"),
    "bert-lora-all": ("bert-tiny", lora(LINEARS), 2, False, "LoRA r 4, alpha 8 on all six linears of a layer"),
    "bert-lora-rs": ("bert-tiny", lora(ATTENTION, use_rslora=True), 2, False, "as bert-lora with alpha/sqrt(r)"),
    "bert-dora": ("bert-tiny", lora(ATTENTION, use_dora=True), 2, False, "DoRA r 4, alpha 8 on query and value"),
    "bert-ia3": ("bert-tiny",
                 IA3Config(task_type="SEQ_CLS", target_modules=r".*\.layer\.\d+\.(attention\.self\.(key|value)|output\.dense)",
                           feedforward_modules=r".*\.layer\.\d+\.output\.dense"),
                 2, False, "(IA)3: scales of the key and value outputs and of the input of the second FFN linear"),
    "bert-vera": ("bert-tiny",
                  VeraConfig(task_type="SEQ_CLS", r=6, target_modules=LINEARS, save_projection=False, projection_prng_key=3),
                  2, False, "VeRA r 6 on all six linears of a layer; its projections drawn by key 3 and not saved"),
    "roberta-lora": ("roberta-tiny", lora(ATTENTION), 3, False, "LoRA r 4, alpha 8 on query and value; dense and out_proj"),
    "roberta-full": ("roberta-tiny", "full", 3, False, "all weights: embeddings, layers, dense and out_proj"),
    "roberta-bitfit": ("roberta-tiny", "bitfit", 3, False, "all biases and the head (dense and out_proj)"),
    "roberta-head": ("roberta-tiny", "head", 3, False, "dense and out_proj"),
}

SITES = {"attention.self.query": "attn.q", "attention.self.key": "attn.k", "attention.self.value": "attn.v",
         "attention.output.dense": "attn.o", "intermediate.dense": "ffn.up", "output.dense": "ffn.down"}
ROLES = {"lora_A.weight": "lora_a", "lora_B.weight": "lora_b", "lora_magnitude_vector.weight": "magnitude",
         "ia3_l": "ia3", "vera_lambda_d": "vera_d", "vera_lambda_b": "vera_b"}


def plain_name(name):
    """PEFT's parameter name -> the Hugging Face name with the edit's tensor at the end.

    base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.default.weight
    -> bert.encoder.layer.0.attention.self.query.lora_A.weight; modules_to_save.default. disappears.
    """
    name = name.removeprefix("base_model.model.").replace("modules_to_save.default.", "")
    return re.sub(r"\.default(?=\.|$)", "", name)


def where(name):
    """Graft's place of a plain name: the site and the tensor's role there, or part 'trunk' or 'head'."""
    if name.startswith("classifier."):
        return {"part": "head"}
    match = re.fullmatch(r"\w+\.encoder\.layer\.(\d+)\.(.+?)\.(lora_\w+\.weight|ia3_l|vera_lambda_[db])", name)
    if match:
        layer, module, tensor = match.groups()
        site = SITES[module]
        if tensor == "ia3_l" and site == "ffn.down":
            site = "ffn.act"  # PEFT scales the input of the linear, Graft the activation: the same values
        return {"part": "edit", "site": f"enc.{layer}.{site}", "role": ROLES[tensor]}
    return {"part": "trunk"}


def make_data(name, config, is_pair, num_labels):
    """80 ragged examples in fixed order: examples 8k..8k+7 are batch k. Lengths 2..16."""
    seed = sum(map(ord, name))
    random = np.random.default_rng(seed)
    is_roberta = config.model_type == "roberta"
    first, separator = (0, 2) if is_roberta else (1, 2)
    rows = []
    for _ in range(STEPS * BATCH):
        length = int(random.integers(5 if is_pair else 2, 17))
        ids = [first] + random.integers(3, config.vocab_size, length - 2).tolist() + [separator]
        types = [0] * length
        if is_pair:
            middle = length // 2
            ids[middle] = separator
            types = [0] * (middle + 1) + [1] * (length - middle - 1)
        label = float(random.normal()) if num_labels == 1 else int(random.integers(num_labels))
        rows.append((ids, types, label))
    return seed, rows


def collate(rows, pad_id):
    """Pads a batch as the peers' collator does: pad id, mask 0, token type 0."""
    longest = max(len(ids) for ids, _, _ in rows)
    ids = torch.full((len(rows), longest), pad_id)
    types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, (row, kinds, _) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        types[i, : len(row)] = torch.tensor(kinds)
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


def make_model(models, case, seed):
    """The model of a case with its trained tensors at their start values, in float32."""
    folder, method, num_labels, _, _ = CASES[case]
    base = AutoModelForSequenceClassification.from_pretrained(
        models / folder, num_labels=num_labels, ignore_mismatched_sizes=True, dtype=torch.float32,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    random = np.random.default_rng(seed)

    def fill(parameter, mean, std):
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(mean + random.normal(0.0, std, tuple(parameter.shape))))

    if num_labels == 1:  # the stored head has two outputs: this one starts from numbers of its own
        fill(base.classifier.weight, 0.0, 0.2)
        fill(base.classifier.bias, 0.0, 0.2)
    if not isinstance(method, str):
        model = get_peft_model(base, method)
        for name, parameter in sorted(model.named_parameters(), key=lambda item: plain_name(item[0])):
            if "lora_A" in name or "lora_B" in name:
                fill(parameter, 0.0, 0.2)  # B too: otherwise A would have no gradient at first
            elif "magnitude" in name:
                fill(parameter, parameter.detach().numpy(), 0.05)
            elif "ia3_l" in name:
                fill(parameter, 1.0, 0.2)
            elif "vera_lambda" in name:
                fill(parameter, 0.0, 0.2)  # b too: otherwise d would have no gradient at first
        return model
    for name, parameter in base.named_parameters():
        is_head = name.startswith("classifier.")
        parameter.requires_grad_(method == "full" or is_head or (method == "bitfit" and name.endswith(".bias")))
    return base


def train(model, rows, micro_batches=1):
    """Ten steps. Returns losses, rates, gradient norms, and of the first batch logits and gradients.

    With micro_batches > 1 each micro-batch gives (sum of its losses) / (examples of the step).
    """
    trained = {plain_name(name): p for name, p in model.named_parameters() if p.requires_grad}
    keep = {plain_name(name) for name in get_parameter_names(model, [torch.nn.LayerNorm], NO_DECAY)}
    groups = [{"params": [p for name, p in trained.items() if name in keep], "weight_decay": OPTIMIZER["weight_decay"]},
              {"params": [p for name, p in trained.items() if name not in keep], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=OPTIMIZER["learning_rate"], betas=(0.9, 0.999), eps=OPTIMIZER["eps"])
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
    model.train()
    result = {"losses": [], "learning_rates": [], "gradient_norms": [], "decays": sorted(keep & set(trained))}
    dtype = next(iter(trained.values())).dtype
    for step in range(STEPS):
        batch = rows[step * BATCH : (step + 1) * BATCH]
        loss_sum, logits = 0.0, []
        for part in range(micro_batches):
            some = batch[part * BATCH // micro_batches : (part + 1) * BATCH // micro_batches]
            labels = torch.tensor([label for _, _, label in some])
            labels = labels.to(dtype) if labels.is_floating_point() else labels
            out = model(**collate(some, model.config.pad_token_id), labels=labels)
            loss = out.loss * len(some) / BATCH
            loss.backward()
            loss_sum += loss.item()
            logits.append(out.logits.detach().clone())
        if step == 0:
            result["logits"] = torch.cat(logits)
            result["grad"] = {name: p.grad.detach().clone() for name, p in trained.items()}
        norm = torch.nn.utils.clip_grad_norm_(list(trained.values()), OPTIMIZER["clip"])
        result["losses"].append(loss_sum)
        result["gradient_norms"].append(norm.item())
        result["learning_rates"].append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    result["final"] = {name: p.detach().clone() for name, p in trained.items()}
    return result


def compare(a, b, without=()):
    """How far two results are apart: largest difference per kind, and for tensors the worst name.

    `without` names tensors left out of `final`: where the gradient is zero by theory (a bias on the keys adds
    the same number to all scores of a query), Adam turns rounding noise into steps of any sign.
    """
    def worst(kind):
        return max((common.max_difference(a[kind][name], b[kind][name]), name) for name in b[kind]
                   if kind != "final" or name not in without)

    return {"losses": common.max_difference(a["losses"], b["losses"]), "logits": common.max_difference(a["logits"], b["logits"]),
            "grad": list(worst("grad")), "final": list(worst("final"))}


def write_peft_folder(model, folder, base):
    """The start adapter as PEFT itself writes it, with the base named by its place in this tree."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"tests/golden/models/{base}"
    for key, value in config.items():
        if key in ("target_modules", "modules_to_save") and isinstance(value, list):
            config[key] = sorted(value)  # PEFT writes a set in arbitrary order
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def record(make, rows, place):
    """Trains in float32, in float64, and in float64 with accumulation. Returns the tensors of case.safetensors and the
    manifest's account of them. `make()`: a new model at its start values, in float32; `place`: name -> its place in Graft.
    """
    start = make()
    init = {plain_name(name): p.detach().clone() for name, p in start.named_parameters() if p.requires_grad}
    single = train(start, rows)
    exact = train(make().double(), rows)
    accumulated = train(make().double(), rows, micro_batches=2)
    again = compare(accumulated, exact)
    assert max(again["losses"], again["grad"][0], again["final"][0]) < 1e-9, again
    zero = sorted(name for name, g in exact["grad"].items() if g.abs().max() < 1e-12)

    tensors = {
        "ids": torch.tensor([i for ids, _, _ in rows for i in ids]),
        "token_types": torch.tensor([t for _, types, _ in rows for t in types]),
        "lengths": torch.tensor([len(ids) for ids, _, _ in rows]),
        "labels": torch.tensor([label for _, _, label in rows]),
        "logits": exact["logits"],
        **{f"init.{name}": value for name, value in init.items() if place(name)["part"] != "trunk"},
        **{f"grad.{name}": value for name, value in exact["grad"].items()},
        **{f"final.{name}": value for name, value in exact["final"].items()},
    }
    account = {
        "losses": exact["losses"], "losses_accumulate_2": accumulated["losses"],
        "learning_rates": exact["learning_rates"], "gradient_norms": exact["gradient_norms"],
        "trained": {name: {**place(name), "shape": list(p.shape), "decays": name in exact["decays"]}
                    for name, p in init.items()},
        "zero_gradient": zero,
        "float32_deviation": compare(single, exact, without=zero),
    }
    return tensors, account


def run_case(case, models, folder):
    """Writes one case and returns its manifest entry."""
    base, method, num_labels, is_pair, about = CASES[case]
    config = AutoModelForSequenceClassification.from_pretrained(models / base).config
    seed, rows = make_data(case, config, is_pair, num_labels)
    if not isinstance(method, str):
        write_peft_folder(make_model(models, case, seed), folder / "peft", base)
    tensors, account = record(lambda: make_model(models, case, seed), rows, where)
    common.write_tensors(folder / "case.safetensors", tensors)
    return {
        "about": about, "model": base, "method": method if isinstance(method, str) else method.peft_type.value.lower(),
        "num_labels": num_labels, "seed": seed,
        "loss": "mean squared error" if num_labels == 1 else "mean cross-entropy", **account,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden/models")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/training")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "peft", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    manifest = {"command": common.command_line(), "versions": versions, "steps": STEPS, "batch_size": BATCH,
                "optimizer": OPTIMIZER, "values": "computed in float64, rounded to float32; dropout off", "cases": {}}
    for case in CASES:
        folder = args.out / case
        folder.mkdir(parents=True)
        entry = run_case(case, args.models, folder)
        manifest["cases"][case] = entry
        print(case, json.dumps({k: entry[k] for k in ("losses", "zero_gradient", "float32_deviation")}))
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
