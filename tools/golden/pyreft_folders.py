"""Makes tests/golden/pyreft: folders that pyreft wrote, and what it computes with them.

Per case: the folder as ReftModel.save leaves it (with the classifier where there is one), rows of ids, and the logits, or the last hidden
states where there is no classifier, in float64. Needs tests/golden/models (models.py first). The values are moved away from their start.
"""

import argparse
import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pyreft
import torch
from pyreft import ConsreftIntervention, DireftIntervention, LobireftIntervention, LoreftIntervention, NodireftIntervention, NoreftIntervention
from pyreft.dataset import get_intervention_locations
from transformers import AutoModelForSequenceClassification

import common

LABELS, ROWS = 3, 5
# name -> base, class, rank, options of the class, positions, tied?, layers, with a classifier?, what it is for
CASES = {
    "roberta-loreft": ("roberta-tiny", LoreftIntervention, 2, {}, "f3", True, [0, 1], True, "first tokens"),
    "bert-loreft-untied": ("bert-tiny", LoreftIntervention, 3, {}, "f2+l2", False, [0, 1], True, "a set a side"),
    "roberta-loreft-tied": ("roberta-tiny", LoreftIntervention, 2, {}, "f3+l3", True, [1], True, "one set for both sides, one layer"),
    "roberta-loreft-gelu": ("roberta-tiny", LoreftIntervention, 2, {"act_fn": "gelu"}, "f3", True, [0, 1], True, "an activation, which the folder does not name"),
    "bert-loreft-dots": ("bert-tiny", LoreftIntervention, 2, {"dtype": torch.bfloat16}, "f3", True, [0, 1], True, "names and numbers as of 2024"),
    "bert-consreft": ("bert-tiny", ConsreftIntervention, 2, {}, "f3", True, [0, 1], False, "constant source, no classifier"),
    "bert-lobireft": ("bert-tiny", LobireftIntervention, 2, {}, "f3", True, [0, 1], True, "constant source, nothing subtracted"),
    "roberta-direft": ("roberta-tiny", DireftIntervention, 2, {}, "l2", True, [0], True, "rotation, nothing subtracted, last tokens"),
    "roberta-noreft": ("roberta-tiny", NoreftIntervention, 2, {"add_bias": True}, "f3", True, [0, 1], True, "free projection with a bias"),
    "bert-nodireft": ("bert-tiny", NodireftIntervention, 2, {"add_bias": False}, "f3", True, [0, 1], True, "free projection, nothing subtracted"),
}


def make_model(models, base, classes):
    family = base.split("-")[0]
    model = AutoModelForSequenceClassification.from_pretrained(models / base, dtype=torch.float32, num_labels=LABELS, ignore_mismatched_sizes=True)
    representations = [{"layer": layer, "component": f"{family}.encoder.layer[{layer}].output", "low_rank_dimension": rank,
                        "intervention": cls(embed_dim=model.config.hidden_size, low_rank_dimension=rank, **{"dtype": torch.float32, **options})}
                       for layer, cls, rank, options in classes]
    return pyreft.get_reft_model(model, pyreft.ReftConfig(representations=representations), set_device=False)


def shake(modules, random):
    """Moves every trained tensor; not the diagonal of a rotation's chart, which must stay -1."""
    with torch.no_grad():
        for module in modules:
            for name, parameter in sorted(module.named_parameters()):
                moves = torch.from_numpy(random.normal(0.0, 0.3, tuple(parameter.shape))).to(parameter.dtype)
                parameter.add_(torch.tril(moves, -1) if "parametrizations" in name else moves)


def make_rows(config, random):
    first, separator = (0, 2) if config.model_type == "roberta" else (1, 2)
    rows = []
    for length in [12, 2, 5] + random.integers(6, 11, ROWS - 3).tolist():
        ids = [first] + random.integers(3, config.vocab_size, length - 2).tolist() + [separator]
        middle = length // 2 if config.type_vocab_size > 1 else length
        rows.append((ids, [0] * middle + [1] * (length - middle)))
    return rows


def locations(positions, tied, length, count):
    """The tokens of each intervention for a row of `length`; slots that are left over name one more token, appended as padding."""
    first, last = (int(next((part[1:] for part in positions.split("+") if part[0] == side), 0)) for side in "fl")
    return get_intervention_locations(last_position=length, first_n=first, last_n=last, pad_mode="last", positions=positions,
                                      num_interventions=count, share_weights=tied)


def compute(reft, rows, positions, tied, has_head):
    pad = reft.model.config.pad_token_id
    logits, last = [], []
    with torch.no_grad():
        reft.model.eval()
        for ids, types in rows:
            n = len(ids)
            inputs = {"input_ids": torch.tensor([ids + [pad]]), "token_type_ids": torch.tensor([types + [0]]),
                      "attention_mask": torch.tensor([[1] * n + [0]]), "output_hidden_states": True}
            where = [[row] for row in locations(positions, tied, n, len(reft.interventions))]
            _, out = reft(inputs, unit_locations={"sources->base": (None, where)})
            logits.append(out.logits[0])
            last.append(out.hidden_states[-1][0, :n])
    return {"logits": torch.stack(logits)} if has_head else {"last": torch.cat(last)}


def as_of_2024(folder):
    """Names as older pyvene wrote them, with dots."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    dotted = {key: key.replace("_", ".") for key in config["sorted_keys"]}
    config["sorted_keys"] = list(dotted.values())
    path.write_text(json.dumps(config, indent=2) + "\n")
    for old, new in dotted.items():
        (folder / f"intkey_{old}.bin").rename(folder / f"intkey_{new}.bin")


def run_case(case, models, folder):
    base, cls, rank, options, positions, tied, layers, has_head, about = CASES[case]
    seed = sum(map(ord, case))
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    blocks = layers if tied or "+" not in positions else layers + layers
    reft = make_model(models, base, [(layer, cls, rank, options) for layer in blocks])
    shake(reft.interventions.values(), random)
    if has_head:
        shake([reft.model.classifier], random)
        for parameter in reft.model.classifier.parameters():
            parameter.requires_grad = True
    folder.mkdir(parents=True)
    reft.save(str(folder / "pyreft"), include_model=has_head)
    if case == "bert-loreft-dots":
        as_of_2024(folder / "pyreft")
    rows = make_rows(reft.model.config, random)
    wide = copy.deepcopy(reft)
    for intervention in wide.interventions.values():
        intervention.double()
    wide.model.double()
    exact = compute(wide, rows, positions, tied, has_head)
    deviation = {}
    if "dtype" not in options:   # float32 activations cannot enter a bfloat16 layer
        single = compute(reft, rows, positions, tied, has_head)
        deviation = {name: common.max_difference(single[name], exact[name]) for name in exact}
    common.write_tensors(folder / "case.safetensors", {
        "ids": torch.tensor([i for ids, _ in rows for i in ids]),
        "token_types": torch.tensor([t for _, types in rows for t in types]),
        "lengths": torch.tensor([len(ids) for ids, _ in rows]),
        **exact,
    })
    return {"about": about, "model": base, "class": cls.__name__, "num_labels": LABELS if has_head else 0, "positions": positions, "tied": tied,
            "activation": options.get("act_fn", ""), "seed": seed, "float32_deviation": deviation}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden/models")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/pyreft")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "pyreft", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    manifest = {"command": common.command_line(), "versions": versions, "values": "computed in float64, rounded to float32", "cases": {}}
    for case in CASES:
        manifest["cases"][case] = run_case(case, args.models, args.out / case)
        print(case, json.dumps(manifest["cases"][case]))
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
