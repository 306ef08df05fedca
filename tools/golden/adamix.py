"""Makes tests/golden/adamix: AdaMix (Wang et al. 2022) in float64, written from its equations.

Per case: three experts a bank; ten steps, each with two passes over the same rows by two given routes; loss
CE(first pass) + 1.0 * 1/2 [KL(sg q || p) + KL(sg p || q)]; AdamW in which an expert drawn once keeps moving.
Files hold the logits of both passes and the gradients of the first step, all losses, all tensors before and
after, and the logits of the averaged experts. The manifest has the routes. Names are those of adapter files.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch

import common
from tiny_bert import BATCH, MODEL, OPTIMIZER, STEPS, TinyBert, case_tensors, cross_entropy, drawn, make_rows, train

EXPERTS, WIDTH, RANK, ALPHA, CONSISTENCY = 3, 4, 2, 4.0, 1.0

# name -> (kind, sites, shared banks)
CASES = {
    "bottleneck": ("bottleneck", ["ffn.down"], ["up"]),
    "bottleneck-unshared": ("bottleneck", ["ffn.down"], []),
    "bottleneck-shared-down": ("bottleneck", ["ffn.down"], ["down"]),
    "lora": ("lora", ["attn.q", "attn.v"], ["up"]),
    "lora-unshared": ("lora", ["attn.q", "attn.v"], []),
}
BANKS = {"bottleneck": {"down": {"down.weight": (WIDTH, 32), "down.bias": (WIDTH,)},
                        "up": {"up.weight": (32, WIDTH), "up.bias": (32,)}},
         "lora": {"down": {"lora_a": (RANK, 32)}, "up": {"lora_b": (32, RANK)}}}
PATH = "0.stochastic"


def apply(kind, member, x, y):
    """One adapter or LoRA pair. member(tensor) gives the tensor of that name."""
    if kind == "lora":
        return y + ALPHA / RANK * (x @ member("lora_a").T) @ member("lora_b").T
    u = y @ member("down.weight").T + member("down.bias")
    u = u * 0.5 * (1 + torch.erf(u / 2 ** 0.5))
    return y + u @ member("up.weight").T + member("up.bias")


def member_names(kind, site, bank, expert):
    part = "shared" if expert is None else f"expert.{expert}"
    return {tensor: f"{PATH}/{part}/{site}.{tensor}" for tensor in BANKS[kind][bank]}


def make_tensors(random, kind, sites, shared):
    tensors = {}
    for site in sites:
        for bank, shapes in BANKS[kind].items():
            for expert in [None] if bank in shared else range(EXPERTS):
                for tensor, name in member_names(kind, site, bank, expert).items():
                    tensors[name] = drawn(random, shapes[tensor])
    return tensors


def changed_by(kind, sites, shared, tensors, choose):
    """change(site, x, y) with choose(site, bank) -> expert, or None for the mean of all."""
    def member_of(site, bank):
        if bank in shared:
            return {t: tensors[n] for t, n in member_names(kind, site, bank, None).items()}
        expert = choose(site, bank)
        chosen = range(EXPERTS) if expert is None else [expert]
        names = [member_names(kind, site, bank, e) for e in chosen]
        return {t: sum(tensors[n[t]] for n in names) / len(names) for t in names[0]}

    def change(site, x, y):
        if site not in sites:
            return y
        found = {t: value for bank in BANKS[kind] for t, value in member_of(site, bank).items()}
        return apply(kind, found.__getitem__, x, y)

    return change


def consistency(a, b):
    """Mean over rows of 1/2 [KL(sg(q) || p) + KL(sg(p) || q)], p = softmax(a), q = softmax(b)."""
    def kl(target, logits):
        target = target.detach()
        return (target * (target.log() - torch.log_softmax(logits, 1))).sum(1)

    return 0.5 * (kl(torch.softmax(b, 1), a) + kl(torch.softmax(a, 1), b)).mean()


def run_case(name, bert, folder):
    kind, parts, shared = CASES[name]
    seed = sum(map(ord, name))
    random = np.random.default_rng(seed)
    sites = [f"enc.{layer}.{part}" for layer in range(2) for part in parts]
    apart = [(site, bank) for site in sites for bank in BANKS[kind] if bank not in shared]
    routes = [[{f"{site} {bank}": int(random.integers(EXPERTS)) for site, bank in apart} for _ in range(2)] for _ in range(STEPS)]
    for passes in routes:  # the last expert of the first bank is never drawn: it must not move
        for route in passes:
            first = "{} {}".format(*apart[0])
            route[first] = min(route[first], EXPERTS - 2)
    rows = make_rows(seed, bert.config)
    tensors = make_tensors(random, kind, sites, shared) | bert.head()
    init = {n: t.clone() for n, t in tensors.items()}

    def logits_of(batch, choose):
        change = changed_by(kind, sites, shared, tensors, choose)
        return torch.stack([bert.logits(tensors, ids, types, change) for ids, types, _ in batch])

    def loss_of(step, batch):
        a, b = (logits_of(batch, lambda site, bank, r=route: r[f"{site} {bank}"]) for route in routes[step])
        return cross_entropy(a, batch) + CONSISTENCY * consistency(a, b), {"logits.0": a.detach(), "logits.1": b.detach()}

    merged_before = logits_of(rows[:BATCH], lambda site, bank: None).detach()
    losses, extras, gradients = train(tensors, rows, loss_of)
    merged_after = logits_of(rows[:BATCH], lambda site, bank: None).detach()
    final = {n: t.detach() for n, t in tensors.items()}
    still = sorted(n for n in final if torch.equal(final[n], init[n]))
    assert still, "some expert is never drawn"
    extras |= {"merged.before": merged_before, "merged.after": merged_after}
    common.write_tensors(folder / "case.safetensors", case_tensors(rows, init, extras, gradients, final))
    return {"kind": kind, "sites": parts, "share": shared, "seed": seed, "routes": routes, "losses": losses, "never_drawn": still}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/adamix")
    args = parser.parse_args()
    versions = common.check_versions("torch", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    bert = TinyBert(MODEL)
    manifest = {"command": common.command_line(), "versions": versions, "model": MODEL.name, "steps": STEPS, "batch_size": BATCH,
                "optimizer": OPTIMIZER, "experts": EXPERTS, "width": WIDTH, "rank": RANK, "alpha": ALPHA,
                "consistency": CONSISTENCY, "values": "computed in float64, rounded to float32; dropout off", "cases": {}}
    for case in CASES:
        folder = args.out / case
        folder.mkdir(parents=True)
        manifest["cases"][case] = run_case(case, bert, folder)
        print(case, manifest["cases"][case]["losses"])
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
