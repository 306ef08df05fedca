"""Makes tests/golden/reft: what pyreft and AdapterHub compute with ReFT. Needs tests/golden/models (models.py first).

Three things. `functions`: the six intervention classes of pyreft on plain tensors, with gradients. `positions`: the token
positions that pyreft's data sets choose for sequences of n tokens. One folder a case: ten training steps on a tiny model, by
pyreft's classes at the outputs of the blocks, or by AdapterHub's ReFT layers.

pyreft's parametrization keeps a random orthogonal [C,C] base of which the first R columns are the initial rotation; Graft builds
the rest of it from those columns. The peers' base is set to that completion before training, so that the same optimizer steps in
the same chart lead to the same tensors. Charts and bases are stored as [C,R] whichever way the peer keeps them.
"""

import argparse
import json
import shutil
from pathlib import Path

import adapters
import numpy as np
import torch
from adapters import DiReftConfig, LoReftConfig, NoReftConfig
from pyreft import (ConsreftIntervention, DireftIntervention, LobireftIntervention, LoreftIntervention, NodireftIntervention,
                    NoreftIntervention)
from pyreft.dataset import get_intervention_locations
from transformers import AutoModelForSequenceClassification

import common
import training

CLASSES = {"loreft": LoreftIntervention, "noreft": NoreftIntervention, "consreft": ConsreftIntervention,
           "lobireft": LobireftIntervention, "direft": DireftIntervention, "nodireft": NodireftIntervention}
WIDTH, RANK = 32, 3
LENGTHS = [0, 1, 2, 5, 10, 11, 13, 14, 20]

# name -> model folder, number of labels, peer, its options. `edit` is the same in Graft's words.
PYREFT = {
    "bert-loreft": ("bert-tiny", 2, "loreft", "f3", {}, "{rank: 3, positions: f3}"),
    "roberta-loreft": ("roberta-tiny", 3, "loreft", "f7+l7", {"share_weights": True}, "{rank: 3, positions: f7+l7}"),
    "roberta-loreft-untied": ("roberta-tiny", 3, "loreft", "f3+l2", {"share_weights": False},
                              "{rank: 3, positions: f3+l2, tied: false}"),
    "bert-loreft-gelu": ("bert-tiny", 2, "loreft", "f2+l2", {"share_weights": True, "act_fn": "gelu"},
                         "{rank: 3, positions: f2+l2, activation: gelu}"),
    "bert-noreft": ("bert-tiny", 2, "noreft", "f3", {"add_bias": True},
                    "{rank: 3, positions: f3, rotation: false, projection_bias: true}"),
    "bert-nodireft": ("bert-tiny", 2, "nodireft", "f3", {"add_bias": False},
                      "{rank: 3, positions: f3, rotation: false, subtract: false}"),
    "roberta-direft": ("roberta-tiny", 3, "direft", "f3", {}, "{rank: 3, positions: f3, subtract: false}"),
    "bert-consreft": ("bert-tiny", 2, "consreft", "f3", {}, "{rank: 3, positions: f3, source: constant}"),
    "bert-lobireft": ("bert-tiny", 2, "lobireft", "f3", {}, "{rank: 3, positions: f3, source: constant, subtract: false}"),
}
HUB = {
    "roberta-hub-loreft": ("roberta-tiny", 3, LoReftConfig, "{rank: 3, positions: f3}"),
    "bert-hub-noreft": ("bert-tiny", 2, NoReftConfig, "{rank: 3, positions: f3, rotation: false}"),
    "bert-hub-direft": ("bert-tiny", 2, DiReftConfig, "{rank: 3, positions: f3, rotation: false, subtract: false}"),
}


def completed(columns):
    """The orthogonal [C,C] matrix whose first columns are `columns`: the product of their Householder reflectors, signs set right."""
    reflectors, factors = torch.geqrf(columns)
    base = torch.ormqr(reflectors, factors, torch.eye(len(columns), dtype=columns.dtype))
    rank = columns.shape[1]
    base[:, :rank] *= torch.sign(reflectors.diagonal())
    assert common.max_difference(base[:, :rank], columns) < 1e-6
    return base


def draw(random, shape, std=0.2):
    return torch.from_numpy(random.normal(0.0, std, tuple(shape))).float()


def start_rotation(parametrizations, random, base_of):
    """Sets a peer's rotation to a drawn one, a little off the chart's origin, and returns chart and base as [C,R] float32.

    The base is written in the dtype of the peer: `base_of` widens the float32 columns that are stored.
    """
    original = parametrizations.original
    is_wide = original.shape[0] < original.shape[1]
    tall = original.T if is_wide else original
    columns = torch.linalg.qr(draw(random, tall.shape, 1.0).double())[0].float()
    chart = -torch.eye(*tall.shape) + torch.tril(draw(random, tall.shape), -1)
    with torch.no_grad():
        tall.copy_(chart)
        parametrizations[0].base = base_of(columns)
    return {"chart": chart, "base": columns}


def make_intervention(kind, random, dtype, **options):
    """A pyreft module with drawn tensors, and those tensors under Graft's names."""
    module = CLASSES[kind](embed_dim=WIDTH, low_rank_dimension=RANK, dropout=0.0, dtype=torch.float32, **options)
    stored = {}
    if hasattr(module, "rotate_layer"):
        stored |= start_rotation(module.rotate_layer.parametrizations.weight, random, lambda columns: completed(columns.to(dtype)))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "parametrizations" in name:
                continue
            parameter.copy_(draw(random, parameter.shape))
            stored[role(name)] = parameter.detach().clone()
    return module.to(dtype), stored


def role(name):
    """The end of Graft's name for a parameter of a pyreft module or an AdapterHub unit."""
    return {"learned_source.weight": "weight", "learned_source.bias": "bias", "learned_source": "bias",
            "proj_layer.weight": "projection", "proj_layer.bias": "projection_bias", "projection.weight": "projection",
            "rotate_layer.parametrizations.weight.original": "chart",
            "projection.parametrizations.weight.original": "chart"}[name]


def as_stored(name, tensor):
    """[C,R] for a chart that the peer keeps as [R,C]."""
    is_wide = name.startswith("projection.parametrizations")
    return (tensor.T if is_wide else tensor).detach().clone()


def functions(folder):
    """Phi(h) for eleven h and the gradients of sum(Phi(h) * g), float64."""
    entries = {}
    rows = [("loreft", {}), ("noreft", {"add_bias": True}), ("consreft", {}), ("lobireft", {}), ("direft", {}),
            ("nodireft", {"add_bias": False}), ("loreft", {"act_fn": "tanh"})]
    for number, (kind, options) in enumerate(rows):
        random = np.random.default_rng(100 + number)
        module, stored = make_intervention(kind, random, torch.float64, **options)
        h, g = draw(random, (11, WIDTH), 1.0).double().requires_grad_(), draw(random, (11, WIDTH), 1.0).double()
        out = module(h)
        (out * g).sum().backward()
        name = "-".join([kind, *(str(v) for v in options.values() if isinstance(v, str))])
        tensors = {"h": h, "g": g, "out": out, "grad.h": h.grad, **{f"init.{k}": v for k, v in stored.items()},
                   **{f"grad.{role(k)}": p.grad for k, p in module.named_parameters()}}
        if hasattr(module, "rotate_layer"):
            tensors["rotation"] = module.rotate_layer.weight.T
        common.write_tensors(folder / f"function-{name}.safetensors", tensors)
        entries[name] = {"seed": 100 + number, "options": options}
    return entries


def positions():
    """By specification: for each n the prefix and suffix that pyreft edits, its fillers taken out."""
    out = []
    for text in ("f7+l7", "f3", "l7", "f7+l1", "f11", "l1"):
        is_two_sided = "+" in text
        for tied in (True, False) if is_two_sided else (True,):
            rows = []
            for n in LENGTHS:
                lists = get_intervention_locations(last_position=n, positions=text, num_interventions=1 if tied else 2,
                                                   share_weights=tied, pad_mode="first")
                rows.append({"tokens": n, "positions": [[p for p in one if p >= 0] for one in lists]})
            out.append({"text": text, "tied": tied, "rows": rows})
    return out


class AtPositions:
    """Applies interventions to the output of a block at the positions that pyreft's data sets choose for each sequence."""

    def __init__(self, model, text, share_weights, modules):
        self.text, self.share_weights, self.modules = text, share_weights, modules
        self.lengths = None
        model.base_model.register_forward_pre_hook(self.note_lengths, with_kwargs=True)
        for index, layer in enumerate(model.base_model.encoder.layer):
            layer.register_forward_hook(lambda _, __, out, index=index: self.edit(index, out))

    def note_lengths(self, _, args, kwargs):
        self.lengths = kwargs["attention_mask"].sum(1).tolist()

    def edit(self, layer, out):
        hidden = out[0] if isinstance(out, tuple) else out
        sets = self.modules[layer]
        rows = []
        for n, length in enumerate(self.lengths):
            lists = get_intervention_locations(last_position=length, positions=self.text, num_interventions=len(sets),
                                               share_weights=self.share_weights, pad_mode="first")
            row = hidden[n]
            if len(sets) > 1 and length < 2:
                lists = [[], []]  # nothing is edited; the function falls into its tied branch
            for module, places in zip(sets.values(), lists):
                places = [p for p in places if p >= 0]
                if places:
                    row = row.index_copy(0, torch.tensor(places), module(hidden[n, places]))
            rows.append(row)
        edited = torch.stack(rows)
        return (edited, *out[1:]) if isinstance(out, tuple) else edited


def head_only(folder, models, num_labels):
    base = AutoModelForSequenceClassification.from_pretrained(models / folder, num_labels=num_labels, dtype=torch.float32,
                                                              hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    for name, parameter in base.named_parameters():
        parameter.requires_grad_(name.startswith("classifier."))
    return base


def make_pyreft(case, models, seed, dtype):
    """The model of a case, and its edit's tensors by Graft's names."""
    folder, num_labels, kind, text, options, _ = PYREFT[case]
    base = head_only(folder, models, num_labels)
    random = np.random.default_rng(seed)
    options = dict(options)
    tied = options.pop("share_weights", True)
    stored, modules, holder = {}, [], torch.nn.Module()
    for layer in range(base.config.num_hidden_layers):
        sets = {}
        for name in ("tied",) if tied else ("prefix", "suffix"):
            sets[name], tensors = make_intervention(kind, random, dtype, **options)
            stored |= {f"enc.{layer}.out.{name}.{k}": v for k, v in tensors.items()}
            holder.add_module(f"enc-{layer}-{name}", sets[name])
        modules.append(sets)
    base = base.to(dtype)
    AtPositions(base, text, tied, modules)
    base.add_module("edits", holder)
    return base, stored


def own_name(name):
    """Graft's stored name of a trained parameter of either peer, without the edit's path; None for the head's."""
    if name.startswith("edits."):
        place, _, rest = name.removeprefix("edits.").partition(".")
        _, layer, part = place.split("-")
        return f"enc.{layer}.out.{part}.{role(rest)}"
    if ".reft_layer." in name:
        layer = name.split("encoder.layer.")[1].split(".")[0]
        return f"enc.{layer}.out.tied.{role(name.split('.units.0.')[1])}"
    return None


def make_hub(case, models, seed, dtype):
    folder, num_labels, config, _ = HUB[case]
    model = head_only(folder, models, num_labels)
    adapters.init(model)
    # One unit: with untied weights AdapterHub makes a second one that a prefix never uses.
    model.add_adapter("reft", config=config(r=RANK, dropout=0.0, prefix_positions=3, suffix_positions=0, tied_weights=True))
    model.train_adapter("reft")
    random = np.random.default_rng(seed)
    stored = {}
    for name, module in model.named_modules():
        if not name.endswith(".units.0"):
            continue
        prefix = own_name(name + ".learned_source.weight").removesuffix("weight")
        if hasattr(module.projection, "parametrizations"):
            rotation = start_rotation(module.projection.parametrizations.weight, random, lambda columns: completed(columns.to(dtype)))
            stored |= {prefix + k: v for k, v in rotation.items()}
        with torch.no_grad():
            for k, parameter in module.named_parameters():
                if "parametrizations" not in k:
                    parameter.copy_(draw(random, parameter.shape))
                    stored[prefix + role(k)] = parameter.detach().clone()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(own_name(name) is not None or name.startswith("classifier."))
    return model.to(dtype), stored


def lengthened(row, least):
    """AdapterHub edits three tokens of short sequences too; pyreft, whose rule Graft follows, only from six tokens on."""
    ids, types, label = row
    more = max(0, least - len(ids))
    return ids[:-1] + [5] * more + ids[-1:], types + [0] * more, label


def run_case(case, models, folder):
    is_hub = case in HUB
    make = make_hub if is_hub else make_pyreft
    model_name, num_labels = (HUB if is_hub else PYREFT)[case][:2]
    definition = (HUB if is_hub else PYREFT)[case][-1]
    config = head_only(model_name, models, num_labels).config
    seed, rows = training.make_data(case, config, False, num_labels)
    if is_hub:
        rows = [lengthened(row, 6) for row in rows]
    exact_model, stored = make(case, models, seed, torch.float64)
    stored |= {name: p.detach().clone() for name, p in exact_model.named_parameters() if name.startswith("classifier.")}
    exact = training.train(exact_model, rows)
    single = training.train(make(case, models, seed, torch.float32)[0], rows)

    def stored_tensors(kind):
        return {f"{kind}.{own_name(name) or name}": as_stored(name.split(".units.0.")[-1], value) for name, value in exact[kind].items()}

    tensors = {
        "ids": torch.tensor([i for ids, _, _ in rows for i in ids]),
        "token_types": torch.tensor([t for _, types, _ in rows for t in types]),
        "lengths": torch.tensor([len(ids) for ids, _, _ in rows]),
        "labels": torch.tensor([label for _, _, label in rows]),
        "logits": exact["logits"],
        **{f"init.{name}": value for name, value in stored.items()}, **stored_tensors("grad"), **stored_tensors("final"),
    }
    common.write_tensors(folder / "case.safetensors", tensors)
    zero = sorted(own_name(name) or name for name, g in exact["grad"].items() if g.abs().max() < 1e-12)
    return {"peer": "adapters" if is_hub else "pyreft", "model": model_name, "num_labels": num_labels, "seed": seed,
            "edit": definition, "losses": exact["losses"], "gradient_norms": exact["gradient_norms"],
            "learning_rates": exact["learning_rates"], "zero_gradient": zero, "float32_deviation": training.compare(single, exact)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=common.ROOT / "tests/golden/models")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/reft")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "adapters", "pyreft", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    training.OPTIMIZER["weight_decay"] = 0.0
    manifest = {"command": common.command_line(), "versions": versions, "steps": training.STEPS, "batch_size": training.BATCH,
                "optimizer": training.OPTIMIZER, "values": "computed in float64, rounded to float32; dropout off",
                "functions": functions(args.out), "positions": positions(), "cases": {}}
    for case in [*PYREFT, *HUB]:
        folder = args.out / case
        folder.mkdir()
        entry = run_case(case, args.models, folder)
        manifest["cases"][case] = entry
        print(case, json.dumps({k: entry[k] for k in ("losses", "zero_gradient", "float32_deviation")}))
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
