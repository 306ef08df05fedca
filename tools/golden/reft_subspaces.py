"""Makes tests/golden/reft_subspaces: ReFT through the rows of its projection that each text names. Needs tests/golden/trunks
(trunks.py first) and the packages of reft.py.

A tiny decoder reads texts, and pyvene's engine hands each one's rows to the intervention at the last token of what leaves a block.
The interventions are pyreft's classes, whose own forward takes no heed of these rows: here they have one that leaves out of the sum
the rows that a text does not name. Logits, then training steps of all tensors: gradients of the first, losses, what stands at the
end.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pyvene
import torch
from pyreft import LoreftIntervention, NoreftIntervention
from transformers import AutoModelForCausalLM

import common
from reft import completed, draw, role, start_rotation

MODELS = ["gpt2-tiny", "llama-tiny"]
LAYER, TEXTS, LENGTH, RANK, STEPS, RATE = 0, 5, 6, 4, 5, 5e-3
NAMED = [[0, 1], [2, 3], [0, 1, 2, 3], [3], [1, 2]]


class ByNamedRows:
    """h + P_S^T (act(W h + b) - P h)_S: for every text its own S."""

    def forward(self, base, source=None, subspaces=None):
        if hasattr(self, "rotate_layer"):
            rows, projected = self.rotate_layer.weight.T, self.rotate_layer(base)
        else:
            rows, projected = self.proj_layer.weight, self.proj_layer(base)
        code = self.act_fn(self.learned_source(base)) - projected
        texts = []
        for h, own, named in zip(base, code, subspaces):
            for row in named:
                h = h + own[..., row, None] * rows[row]
            texts.append(h)
        return torch.stack(texts)


class NamedLoreft(ByNamedRows, LoreftIntervention):
    pass


class NamedNoreft(ByNamedRows, NoreftIntervention):
    pass


# name -> class, options of pyreft, options of Graft's edit
CASES = {
    "loreft": (NamedLoreft, {}, ""),
    "loreft-tanh": (NamedLoreft, {"act_fn": "tanh"}, ", activation: tanh"),
    "noreft": (NamedNoreft, {"add_bias": True}, ", rotation: false, projection_bias: true"),
}


def engine_of(model, case, random, dtype):
    kind, options, _ = CASES[case]
    module = kind(embed_dim=model.config.hidden_size, low_rank_dimension=RANK, dropout=0.0, dtype=torch.float32, **options)
    start = {}
    if hasattr(module, "rotate_layer"):
        start |= start_rotation(module.rotate_layer.parametrizations.weight, random, lambda q: completed(q.to(dtype)))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "parametrizations" not in name:
                parameter.copy_(draw(random, parameter.shape))
                start[role(name)] = parameter.detach().clone()
    module.to(dtype)
    one = pyvene.RepresentationConfig(LAYER, "block_output", "pos", 1, intervention=module)
    engine = pyvene.IntervenableModel(pyvene.IntervenableConfig([one]), model)
    engine.disable_model_gradients()
    return engine, module, start


def logits_of(engine, ids):
    return engine({"input_ids": ids}, unit_locations={"base": LENGTH - 1}, subspaces=[NAMED])[1].logits


def run_case(models, name, case, texts, dtype):
    random = np.random.default_rng(sum(map(ord, name + case)))
    model = AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32).to(dtype).eval()
    engine, module, start = engine_of(model, case, random, dtype)
    tensors = {f"init.{key}": value for key, value in start.items()}
    with torch.no_grad():
        tensors["logits"] = logits_of(engine, texts["ids"])
    trained = dict(module.named_parameters())
    optimizer, losses = torch.optim.AdamW(trained.values(), lr=RATE, weight_decay=0.0), []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits_of(engine, texts["ids"])[:, -1], texts["labels"])
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            tensors |= {f"grad.{role(key)}": value.grad.clone() for key, value in trained.items()}
        optimizer.step()
    return tensors | {f"final.{role(key)}": value for key, value in trained.items()}, losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden/trunks")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/reft_subspaces")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "pyreft", "pyvene", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    manifest = {"command": common.command_line(), "versions": versions, "named": NAMED, "learning_rate": RATE,
                "values": "computed in float64, rounded to float32", "models": {}}
    for name in MODELS:
        random = np.random.default_rng(sum(map(ord, name)))
        texts = {"ids": torch.tensor(random.integers(4, 40, (TEXTS, LENGTH))), "labels": torch.tensor(random.integers(4, 40, TEXTS))}
        tensors, entry = dict(texts), {}
        for case, (_, _, edit) in CASES.items():
            exact, losses = run_case(args.models, name, case, texts, torch.float64)
            single, _ = run_case(args.models, name, case, texts, torch.float32)
            tensors |= {f"{case}.{key}": value for key, value in exact.items()}
            entry[case] = {"edit": f"{{rank: {RANK}{edit}}}", "losses": losses,
                           "float32_deviation": common.max_difference(single["logits"], exact["logits"])}
            print(name, case, json.dumps(entry[case]))
        common.write_tensors(args.out / f"{name}.safetensors", tensors)
        manifest["models"][name] = entry
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
