"""Makes tests/golden/interventions: what pyvene's engine computes with its interventions. Needs tests/golden/trunks (trunks.py first)
and the packages of reft.py.

A tiny decoder reads source texts and base texts; what leaves a block at the last token of the first is put, as a whole or in a
subspace, into that of the second. Logits of the base texts, for two of them five training steps of the rotation. Noise of pyvene
is drawn by NumPy; here its buffer holds numbers of this script's, which the test gives to Graft as an addend.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pyvene
import torch
from transformers import AutoModelForCausalLM

import common
from reft import completed, draw, start_rotation

MODELS = ["gpt2-tiny", "llama-tiny"]
LAYER, TEXTS, BASE, SOURCE, STEPS, RATE = 0, 4, 6, 4, 5, 5e-3
# name -> class, coordinates, constant source, options of Graft's edit
CASES = {
    "vanilla": (pyvene.VanillaIntervention, None, None, "{}"),
    "vanilla-some": (pyvene.VanillaIntervention, 5, None, "{rank: 5}"),
    "constant": (pyvene.VanillaIntervention, None, "drawn", "{}"),
    "addition": (pyvene.AdditionIntervention, None, "drawn", "{operation: add}"),
    "subtraction": (pyvene.SubtractionIntervention, 7, "drawn", "{operation: subtract, rank: 7}"),
    "zero": (pyvene.ZeroIntervention, None, None, "{source: zero}"),
    "zero-some": (pyvene.ZeroIntervention, 3, None, "{source: zero, rank: 3}"),
    "noise": (pyvene.NoiseIntervention, None, None, "{operation: add}"),
    "low-rank": (pyvene.LowRankRotatedSpaceIntervention, 3, None, "{space: low_rank, rank: 3}"),
    "rotated": (pyvene.RotatedSpaceIntervention, 4, None, "{space: rotated, rank: 4}"),
}
TRAINED = ["low-rank", "rotated"]


def engine_of(model, kind, coordinates, constant=None):
    options = {"low_rank_dimension": coordinates} if kind is pyvene.LowRankRotatedSpaceIntervention else {}
    if constant is not None:
        options = {"source_representation": constant}
    one = pyvene.RepresentationConfig(LAYER, "block_output", "pos", 1, **options)
    engine = pyvene.IntervenableModel(pyvene.IntervenableConfig([one], intervention_types=kind), model)
    engine.disable_model_gradients()
    intervention = next(iter(engine.interventions.values()))
    if isinstance(intervention, tuple):
        intervention = intervention[0]
    if coordinates is not None and kind is not pyvene.LowRankRotatedSpaceIntervention:
        intervention.set_interchange_dim(coordinates)
    return engine, intervention


def run(engine, base, source):
    places = {"sources->base": (SOURCE - 1, BASE - 1)} if source is not None else {"base": BASE - 1}
    sources = [{"input_ids": source}] if source is not None else None
    return engine({"input_ids": base}, sources, places)


def run_case(folder, models, name, case, texts, dtype):
    kind, coordinates, constant, _ = CASES[case]
    random = np.random.default_rng(sum(map(ord, name + case)))
    model = AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32).to(dtype).eval()
    vector, tensors = draw(random, (model.config.hidden_size,), 1.0), {}
    if constant or case == "noise":
        tensors["vector"] = vector
    engine, intervention = engine_of(model, kind, coordinates, vector.to(dtype) if constant else None)
    if case == "noise":
        intervention.noise, intervention.noise_level = vector.to(dtype)[None], torch.tensor(1.0, dtype=dtype)
    if case in TRAINED:
        base_of = (lambda q: completed(q.to(dtype))) if case == "low-rank" else (lambda q: q.to(dtype))
        start = start_rotation(intervention.rotate_layer.parametrizations.weight, random, base_of)
        intervention.to(dtype)
        tensors |= {f"init.{key}": value for key, value in start.items()}
    source = None if constant or "zero" in case or case == "noise" else texts["source"]
    with torch.no_grad():
        tensors["logits"] = run(engine, texts["base"], source)[1].logits
    if case not in TRAINED:
        return tensors, []
    original = intervention.rotate_layer.parametrizations.weight.original
    optimizer, losses = torch.optim.AdamW([original], lr=RATE, weight_decay=0.0), []
    for step in range(STEPS):
        optimizer.zero_grad()
        logits = run(engine, texts["base"], source)[1].logits
        loss = torch.nn.functional.cross_entropy(logits[:, -1], texts["labels"])
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            tensors["grad.chart"] = original.grad.clone()
        optimizer.step()
    tensors["final.chart"] = original
    return tensors, losses


def collected(models, name, texts):
    model = AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32).double().eval()
    engine, _ = engine_of(model, pyvene.CollectIntervention, None)
    with torch.no_grad():
        (_, states), _ = engine({"input_ids": texts["source"]}, unit_locations={"base": SOURCE - 1})
    return (torch.cat(states) if isinstance(states, list) else states).reshape(TEXTS, -1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden/trunks")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/interventions")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "pyvene", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    manifest = {"command": common.command_line(), "versions": versions, "layer": LAYER, "learning_rate": RATE,
                "values": "computed in float64, rounded to float32", "models": {}}
    for name in MODELS:
        random = np.random.default_rng(sum(map(ord, name)))
        texts = {"base": torch.tensor(random.integers(4, 40, (TEXTS, BASE))), "source": torch.tensor(random.integers(4, 40, (TEXTS, SOURCE))),
                 "labels": torch.tensor(random.integers(4, 40, TEXTS))}
        tensors, entry = {**texts, "states": collected(args.models, name, texts)}, {}
        for case, (_, _, _, edit) in CASES.items():
            exact, losses = run_case(args.out, args.models, name, case, texts, torch.float64)
            single, _ = run_case(args.out, args.models, name, case, texts, torch.float32)
            tensors |= {f"{case}.{key}": value for key, value in exact.items()}
            entry[case] = {"edit": edit, "losses": losses, "float32_deviation": common.max_difference(single["logits"], exact["logits"])}
            print(name, case, json.dumps(entry[case]))
        common.write_tensors(args.out / f"{name}.safetensors", tensors)
        manifest["models"][name] = entry
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
