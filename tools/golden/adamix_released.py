"""Makes tests/golden/adamix_released: what the classes that AdaMix's authors released (MIT) compute.

Needs their repository (github.com/microsoft/AdaMix, commit d361e9d) beside this one: --released FOLDER. Nothing of it is
copied here but numbers. Two parts:
- gpt2/CASE: NLG/src/model.py as it is, with AdamixMergedLinear or ExpertSoup, on a random GPT-2: the loss with its second
  pass and label smoothing, gradients of the first step, ten losses with their AdamW, all tensors, and the merged logits.
- bert/CASE: src/transformers/models/expert_soup.py behind the feed-forward of tiny_bert.py, in its three levels of inference.
Experts are drawn as Graft draws them (draws.py), so that a test needs no search.
All in float64, but for their consistency loss, which is float32 by its own word.
"""

import argparse
import importlib.util
import json
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import common
from draws import key_of, key_with, philox
from tiny_bert import MODEL, TinyBert, drawn

SEED, STEPS, BATCH, EXPERTS, RANK, ALPHA, SMOOTHING = 3, 10, 3, 3, 2, 4, 0.1
OPTIMIZER = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "weight_decay": 0.01}  # decay of LoRA
GPT2 = {"model_type": "gpt2", "vocab_size": 40, "n_positions": 24, "n_embd": 12, "n_head": 3, "n_layer": 2, "n_inner": 48,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "bos_token_id": 1, "eos_token_id": 2,
        "attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1}
# name -> (adapter or LoRA, banks that are shared, whether scores are learned)
GPT2_CASES = {"lora": ("lora", ["up"], False), "lora-unshared": ("lora", [], False), "lora-scores": ("lora", ["up"], True),
              "adapter": ("adapter", ["up"], False), "adapter-unshared": ("adapter", [], False), "adapter-scores": ("adapter", ["up"], True)}
BERT_CASES = {"tokens": 0, "texts": 1, "merged": 3}


# ---- Graft's draws
def drawn_expert(route, place, bank):
    """As src/edit/stochastic.h; of three experts the first 64 bits are below the limit but once in 2^62."""
    bits = philox(key_with(route, place, bank))
    return ((bits[0] << 32) | bits[1]) % EXPERTS


@contextmanager
def drawing(values):
    """torch.randint gives `values` in turn: a number, or a tensor of the asked size. Of one expert it gives zeros."""
    values, released = list(values), torch.randint

    def given(low=0, high=None, size=None, **_):
        value = 0 if high == 1 else values.pop(0)
        return torch.as_tensor(value).expand(size) if not torch.is_tensor(value) else value.view(size)

    torch.randint = lambda *args, **kwargs: given(*args, **kwargs) if len(args) < 3 else given(args[0], args[1], kwargs.pop("size", args[2]))
    try:
        yield
        assert not values, "the released code draws as often as expected"
    finally:
        torch.randint = released


# ---- GPT-2
def load_released(folder):
    sys.path[:0] = [str(folder / "NLG"), str(folder / "NLG/src")]
    import loralib
    import model
    import optimizer
    spec = importlib.util.spec_from_file_location("released_expert_soup", folder / "src/transformers/models/expert_soup.py")
    soup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(soup)
    return loralib, model, optimizer, soup


def make_gpt2(folder):
    """A random GPT-2 in the layout of its checkpoints."""
    random = np.random.default_rng(11)
    c, layers = GPT2["n_embd"], GPT2["n_layer"]
    tensors = {"wte.weight": (GPT2["vocab_size"], c), "wpe.weight": (GPT2["n_positions"], c), "ln_f.weight": (c,), "ln_f.bias": (c,)}
    for n in range(layers):
        for name, shape in {"ln_1": (c,), "ln_2": (c,), "attn.c_attn": (c, 3 * c), "attn.c_proj": (c, c), "mlp.c_fc": (c, 4 * c),
                            "mlp.c_proj": (4 * c, c)}.items():
            tensors[f"h.{n}.{name}.weight"], tensors[f"h.{n}.{name}.bias"] = shape, (shape[-1],)
    values = {name: torch.from_numpy(random.normal(1.0 if ".ln_" in f".{name}" and name.endswith("weight") else 0.0, 0.2, shape)).float()
              for name, shape in tensors.items()}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(GPT2, indent=1) + "\n")
    save_file({f"transformer.{name}": value for name, value in values.items()}, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return values


def texts(seed):
    """STEPS batches of BATCH texts of one length a batch: ids, and the first token of the target."""
    random = np.random.default_rng(seed)
    out = []
    for _ in range(STEPS):
        length = int(random.integers(6, 12))
        out += [(random.integers(3, GPT2["vocab_size"], length).tolist(), int(random.integers(2, length - 1))) for _ in range(BATCH)]
    return out


def make_model(modules, case, base, start):
    loralib, model_py, _, _ = modules
    kind, shared, is_learned = GPT2_CASES[case]
    config = model_py.GPT2Config(
        GPT2["vocab_size"], n_positions=GPT2["n_positions"], n_ctx=GPT2["n_positions"], n_embd=GPT2["n_embd"], n_layer=GPT2["n_layer"],
        n_head=GPT2["n_head"], lora_attn_dim=RANK, lora_attn_alpha=ALPHA, n_experts=EXPERTS, share_A=0, share_B=int("up" in shared),
        adamix_only=int(kind == "adapter"))
    model = model_py.GPT2LMModel(config)
    model.transformer.load_state_dict(base, strict=False)
    model.set_tied()
    model.double()
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in start.items():
            parameters[name].copy_(value)
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in start)
    return model, {name: parameters[name] for name in start}


def start_values(modules, case, base):
    """Random values for what the released code trains in this case, by its names; scores too where they are learned."""
    model, _ = make_model(modules, case, base, {})
    is_learned = GPT2_CASES[case][2]
    random = np.random.default_rng(sum(map(ord, case)))
    out = {}
    for name, parameter in sorted(model.named_parameters()):
        is_expert = "experts_lora_" in name or "deepspeed_experts" in name
        is_score = "score_weight" in name and is_learned and parameter.numel() > 1
        if is_expert or is_score:
            out[name] = drawn(random, tuple(parameter.shape))
    return out


def to_graft(case, tensors):
    """Released names and layouts -> those of an adapter's file."""
    kind, shared, _ = GPT2_CASES[case]
    out, c = {}, GPT2["n_embd"]

    def member(bank, expert):
        return "0.stochastic/shared" if bank in shared else f"0.stochastic/expert.{expert}"

    for name, value in tensors.items():
        parts = name.split(".")
        layer = f"dec.{parts[2]}"
        if name.endswith("score_weight"):
            out[f"0.stochastic/{layer}.{'attn.q' if kind == 'lora' else 'ffn.down'}.scores.down"] = value
        elif kind == "lora":
            bank, tensor, rows = ("down", "lora_a", RANK) if "lora_A" in name else ("up", "lora_b", c)
            for i, site in enumerate(("attn.q", "attn.v")):
                out[f"{member(bank, parts[-1])}/{layer}.{site}.{tensor}"] = value[i * rows:(i + 1) * rows]
        else:
            bank = "down" if "MoA_A" in name else "up"
            out[f"{member(bank, parts[-2])}/{layer}.ffn.down.{bank}.{parts[-1]}"] = value
    return out


def draws_of(case, step):
    """In the order in which the released code draws: pass, layer, bank."""
    kind, shared, is_learned = GPT2_CASES[case]
    key = key_of(SEED, "step", step, 0)
    out = []
    for number in range(2):
        route = key_with(key, "route", number, "0.stochastic/")
        for layer in range(GPT2["n_layer"]):
            for bank in ("down", "up"):
                if bank in shared or (is_learned and kind == "lora"):
                    continue
                out.append(drawn_expert(route, f"dec.{layer}.out", bank))
    return out


def batch_of(rows):
    ids = torch.tensor([row for row, _ in rows])
    mask = torch.zeros(ids.shape, dtype=torch.float64)
    for n, (row, first) in enumerate(rows):
        mask[n, first - 1:len(row) - 1] = 1
    return ids, torch.roll(ids, -1, 1), mask


def forget_merged(model):
    """Theirs keeps what it merged first; a shared tensor even becomes a parameter of that name."""
    for module in model.modules():
        for name in ("lora_A_w", "lora_B_w"):
            if hasattr(module, name):
                module._parameters.pop(name, None)
                setattr(module, name, None)


def merged_logits(model, ids):
    forget_merged(model)
    model.eval()
    with torch.no_grad():
        logits, _ = model(ids, lm_labels=ids, lm_mask=torch.ones(ids.shape, dtype=torch.float64))
    forget_merged(model)
    model.train()
    return logits


def run_gpt2(modules, case, base, folder):
    start = start_values(modules, case, base)
    model, trained = make_model(modules, case, base, start)
    o = OPTIMIZER
    kind, shared, is_learned = GPT2_CASES[case]
    decay = 0.0 if kind == "adapter" else o["weight_decay"]  # theirs decays biases, too
    adamw = modules[2].AdamW(list(trained.values()), lr=o["learning_rate"], betas=(o["beta1"], o["beta2"]), eps=o["eps"], weight_decay=decay)
    rows = texts(sum(map(ord, case)))
    model.train()
    losses, tensors = [], {f"init.{name}": value for name, value in to_graft(case, start).items()}
    tensors["merged.before"] = merged_logits(model, batch_of(rows[:BATCH])[0])
    for step in range(STEPS):
        ids, labels, mask = batch_of(rows[step * BATCH:(step + 1) * BATCH])
        with drawing(draws_of(case, step)):
            logits, loss = model(ids, lm_labels=labels, lm_mask=mask, label_smooth=SMOOTHING)
        adamw.zero_grad(set_to_none=False)  # as torch 1.7 did
        loss.backward()
        if step == 0:
            tensors["logits"] = logits[mask.bool()]
            tensors |= {f"grad.{name}": value for name, value in
                        to_graft(case, {name: p.grad.clone() for name, p in trained.items() if p.grad is not None}).items()}
        losses.append(loss.item())
        adamw.step()
    tensors["merged.after"] = merged_logits(model, batch_of(rows[:BATCH])[0])
    tensors |= {f"final.{name}": value for name, value in to_graft(case, {n: p.detach() for n, p in trained.items()}).items()}
    tensors |= {"ids": torch.tensor([i for row, _ in rows for i in row]), "lengths": torch.tensor([len(row) for row, _ in rows]),
                "first_target": torch.tensor([first for _, first in rows])}
    folder.mkdir(parents=True)
    common.write_tensors(folder / "case.safetensors", tensors)
    return {"kind": kind, "share": shared, "scores": "learned" if is_learned else "even", "weight_decay": decay, "losses": losses}


# ---- BERT
def run_bert(modules, case, folder):
    level = BERT_CASES[case]
    random = np.random.default_rng(level + 1)
    bert = TinyBert(MODEL)
    layers, width, c = bert.config["num_hidden_layers"], 4, bert.config["hidden_size"]
    soups, stored = [], bert.head()
    for layer in range(layers):
        soup = modules[3].ExpertSoup(c, width, act="gelu", num_expert=EXPERTS, inference_level=level, sharing_up=1).double().eval()
        with torch.no_grad():
            for name, parameter in sorted(soup.named_parameters()):
                if "score" in name:
                    continue
                parameter.copy_(drawn(random, tuple(parameter.shape)))
                _, _, expert, tensor = name.split(".")  # MoA_A.deepspeed_experts.1.weight
                part = f"expert.{expert}" if "MoA_A" in name else "shared"
                stored[f"0.stochastic/{part}/enc.{layer}.ffn.down.{'down' if 'MoA_A' in name else 'up'}.{tensor}"] = parameter.detach().clone()
        soups.append(soup)
    rows = [(ids, types) for ids, types in
            ((torch.tensor([1] + random.integers(3, bert.config["vocab_size"], n).tolist() + [2]), torch.zeros(n + 2, dtype=torch.long))
             for n in (3, 7, 1, 5))]
    route = key_of("route", SEED, 0, "0.stochastic/")
    logits = []
    for example, (ids, types) in enumerate(rows):
        def change(site, x, y, example=example):
            if not site.endswith("ffn.down"):
                return y
            own = key_with(route, example)
            draw = lambda *parts: drawn_expert(key_with(own, *parts), site, "down")
            values = [] if level == 3 else [torch.tensor([draw()])] if level == 1 else [torch.tensor([draw(p) for p in range(len(y))])]
            with drawing(values):
                return soups[int(site.split(".")[1])](y.unsqueeze(0), residual=y.unsqueeze(0))[0]

        with torch.no_grad():
            logits.append(bert.logits(stored, ids, types, change))
    folder.mkdir(parents=True)
    common.write_tensors(folder / "case.safetensors", {
        "ids": torch.cat([ids for ids, _ in rows]), "token_types": torch.cat([types for _, types in rows]),
        "lengths": torch.tensor([len(ids) for ids, _ in rows]), "logits": torch.stack(logits), **{f"init.{n}": v for n, v in stored.items()}})
    return {"level": level, "width": width}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--released", type=Path, required=True, help="a work tree of microsoft/AdaMix")
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/adamix_released")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    modules = load_released(args.released)
    base = make_gpt2(args.out / "gpt2-model")
    manifest = {"command": common.command_line() + " --released AdaMix", "released": "microsoft/AdaMix d361e9d", "versions": versions,
                "steps": STEPS, "batch_size": BATCH, "optimizer": OPTIMIZER, "experts": EXPERTS, "rank": RANK, "alpha": ALPHA, "width": 8,
                "seed": SEED, "consistency": 100, "label_smoothing": SMOOTHING,
                "values": "computed in float64 but for the consistency loss, rounded to float32; dropout off",
                "gpt2": {}, "bert": {}}
    for case in GPT2_CASES:
        manifest["gpt2"][case] = run_gpt2(modules, case, base, args.out / "gpt2" / case)
        print(case, manifest["gpt2"][case]["losses"])
    for case in BERT_CASES:
        manifest["bert"][case] = run_bert(modules, case, args.out / "bert" / case)
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
