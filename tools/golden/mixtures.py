"""Makes tests/golden/mixtures: MoV and MoLoRA (Zadouri et al. 2023) in float64, written from their equations.

Per case: three experts a site, mixed by a softmax router; ten AdamW steps of CE + balance * mean over sites of
E * mean over sequences of sum_e F P. Files hold logits, gradients and (per site) the mean routing probabilities of
each sequence of the first batch, all tensors before and after, and all losses. Names are those of adapter files.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch

import common
from tiny_bert import BATCH, MODEL, OPTIMIZER, STEPS, TinyBert, case_tensors, cross_entropy, drawn, make_rows, train

EXPERTS, RANK, ALPHA, HEADS, EMBEDDING = 3, 2, 8.0, 4, 5
WIDTHS = {"attn.k": (32, 32), "attn.v": (32, 32), "attn.q": (32, 32), "attn.o": (32, 32), "ffn.act": (32, 64), "ffn.up": (32, 64),
          "ffn.down": (64, 32)}  # part -> width of x, of y
MOV, MOLORA = ["attn.k", "attn.v", "ffn.act"], ["attn.q", "attn.v", "attn.o", "ffn.up", "ffn.down"]

# name -> (kind, parts, options of the router)
CASES = {
    "mov": ("affine", MOV, {}),
    "mov-block-input": ("affine", MOV, {"input": "block_input"}),
    "mov-whole-rows": ("affine", MOV, {"per_head": False}),
    "mov-top1": ("affine", MOV, {"top_k": 1}),
    "mov-top2-renormalized": ("affine", MOV, {"top_k": 2, "renormalize": True}),
    "mov-top2-balanced": ("affine", MOV, {"top_k": 2, "balance": 0.1}),
    "mov-embedding": ("affine", MOV, {"embedding": EMBEDDING}),
    "molora": ("lora", MOLORA, {}),
    "molora-top1": ("lora", MOLORA, {"top_k": 1}),
    "molora-top2-renormalized-balanced": ("lora", MOLORA, {"top_k": 2, "renormalize": True, "balance": 0.1}),
}
PATH = "0.router"


class Mixture:
    """change(site, x, y) of one case, with what it saw of the sequence at hand."""

    def __init__(self, name):
        self.kind, self.parts, options = CASES[name]
        self.options = {"input": "site", "per_head": True, "top_k": 0, "renormalize": False, "balance": 0.0, "embedding": 0} | options
        self.sites = [f"enc.{layer}.{part}" for layer in range(2) for part in self.parts]
        self.tensors, self.embedding, self.seen = {}, None, {}

    def heads(self, part):
        plain = self.options["input"] == "site" and not self.options["embedding"]
        return HEADS if self.kind == "affine" and part in ("attn.k", "attn.v") and plain and self.options["per_head"] else 1

    def make(self, random):
        for site in self.sites:
            part = site.split(".", 2)[2]
            x, y = WIDTHS[part]
            read = y // self.heads(part) if self.kind == "affine" and self.options["input"] == "site" else x
            self.tensors[f"{PATH}/{site}.router"] = drawn(random, (self.options["embedding"] or read, EXPERTS))
            if self.kind == "affine":
                self.tensors[f"{PATH}/of/{site}.scale"] = drawn(random, (EXPERTS, y), mean=1.0)
            else:
                self.tensors[f"{PATH}/of/{site}.lora_a"] = drawn(random, (EXPERTS, RANK, x))
                self.tensors[f"{PATH}/of/{site}.lora_b"] = drawn(random, (EXPERTS, y, RANK))

    def __call__(self, site, x, y):
        if site not in self.sites:
            return y
        heads = self.heads(site.split(".", 2)[2])
        router = self.tensors[f"{PATH}/{site}.router"]
        if self.options["embedding"]:
            read = self.embedding.expand(len(y), -1)
        elif self.options["input"] == "block_input" or self.kind == "lora":
            read = x
        else:
            read = y
        p = torch.softmax(read.reshape(len(y), heads, -1) @ router, -1)  # [T, H, E]
        mask = torch.zeros_like(p)
        k = self.options["top_k"] or EXPERTS
        for t in range(len(y)):
            for h in range(heads):
                order = sorted(range(EXPERTS), key=lambda e: (-p[t, h, e].item(), e))
                mask[t, h, order[:k]] = 1.0
        self.seen.setdefault(site, []).append((p.mean((0, 1)), mask.mean((0, 1))))
        shares = p * mask
        if self.options["renormalize"]:
            shares = shares / shares.sum(-1, keepdim=True)
        if self.kind == "affine":
            experts = self.tensors[f"{PATH}/of/{site}.scale"].view(EXPERTS, heads, -1)
            return y * torch.einsum("the,ehj->thj", shares, experts).reshape(y.shape)
        a, b = (self.tensors[f"{PATH}/of/{site}.{t}"] for t in ("lora_a", "lora_b"))
        whole = torch.stack([(x @ a[e].T) @ b[e].T for e in range(EXPERTS)], 1)  # [T, E, out]: complete expert outputs
        return y + ALPHA / RANK * (shares[:, 0, :, None] * whole).sum(1)

    def balance(self):
        """Mean over sites of E * mean over sequences of sum_e F P, of all sequences seen."""
        return sum(EXPERTS * sum((f * p).sum() for p, f in seen) / len(seen) for seen in self.seen.values()) / len(self.sites)


def run_case(name, bert, folder):
    seed = sum(map(ord, name))
    random = np.random.default_rng(seed)
    rows = make_rows(seed, bert.config)
    mixture = Mixture(name)
    mixture.make(random)
    tensors = mixture.tensors | bert.head()
    init = {n: t.clone() for n, t in tensors.items()}
    embeddings = (drawn(random, (len(rows), EMBEDDING)) * 5).float().double()

    def loss_of(step, batch):
        mixture.seen, logits = {}, []
        for i, (ids, types, _) in enumerate(batch):
            mixture.embedding = embeddings[step * BATCH + i]
            logits.append(bert.logits(tensors, ids, types, mixture))
        logits = torch.stack(logits)
        shares = {f"shares.{site}": torch.stack([p for p, _ in seen]).detach() for site, seen in mixture.seen.items()}
        loss = cross_entropy(logits, batch) + mixture.options["balance"] * mixture.balance()
        return loss, {"logits": logits.detach(), "balance": mixture.balance().detach(), **shares}

    losses, extras, gradients = train(tensors, rows, loss_of)
    final = {n: t.detach() for n, t in tensors.items()}
    if mixture.options["embedding"]:
        extras["embedding"] = embeddings
    common.write_tensors(folder / "case.safetensors", case_tensors(rows, init, extras, gradients, final))
    return {"kind": mixture.kind, "sites": mixture.parts, **mixture.options, "seed": seed, "losses": losses}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/mixtures")
    args = parser.parse_args()
    versions = common.check_versions("torch", "safetensors", "numpy")
    torch.set_num_threads(1)
    shutil.rmtree(args.out, ignore_errors=True)
    bert = TinyBert(MODEL)
    manifest = {"command": common.command_line(), "versions": versions, "model": MODEL.name, "steps": STEPS, "batch_size": BATCH,
                "optimizer": OPTIMIZER, "experts": EXPERTS, "rank": RANK, "alpha": ALPHA,
                "values": "computed in float64, rounded to float32; dropout off", "cases": {}}
    for case in CASES:
        folder = args.out / case
        folder.mkdir(parents=True)
        manifest["cases"][case] = run_case(case, bert, folder)
        print(case, manifest["cases"][case]["losses"])
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
