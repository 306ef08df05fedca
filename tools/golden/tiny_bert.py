"""A small BERT classifier in float64, and how it is trained: what adamix.py and mixtures.py stand on.

Written from the equations of Devlin et al. 2019, one sequence at a time, without padding, so that it shares no
code path with any library's model. Weights come from tests/golden/models/bert-tiny. An edit is a function
change(site, x, y) -> y' that is shown what enters and what leaves a site.
"""

import json
import math

import numpy as np
import torch
from safetensors.torch import load_file

import common

BATCH, STEPS = 4, 10
OPTIMIZER = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1}


class TinyBert:
    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        weights = load_file(folder / "model.safetensors")
        self.weights = {name.removeprefix("bert."): value.double() for name, value in weights.items()}

    def linear(self, name, x):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, name, x):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt((centred ** 2).mean(-1, keepdim=True) + self.config["layer_norm_eps"])
        return scaled * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def embed(self, ids, types):
        table = "embeddings.{}_embeddings.weight".format
        x = (self.weights[table("word")][ids] + self.weights[table("position")][: len(ids)]
             + self.weights[table("token_type")][types])
        return self.norm("embeddings.LayerNorm", x)

    def block(self, layer, x, change):
        name = f"encoder.layer.{layer}."
        heads = self.config["num_attention_heads"]

        def site(part, module, value):
            return change(f"enc.{layer}.{part}", value, self.linear(name + module, value))

        def split(value):  # [T, C] -> [H, T, D]
            return value.view(len(value), heads, -1).transpose(0, 1)

        q, k, v = (split(site(f"attn.{letter}", f"attention.self.{word}", x))
                   for letter, word in (("q", "query"), ("k", "key"), ("v", "value")))
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        mixed = (torch.softmax(scores, -1) @ v).transpose(0, 1).reshape(len(x), -1)
        h = self.norm(name + "attention.output.LayerNorm", site("attn.o", "attention.output.dense", mixed) + x)
        up = site("ffn.up", "intermediate.dense", h)
        act = change(f"enc.{layer}.ffn.act", h, up * 0.5 * (1 + torch.erf(up / math.sqrt(2))))
        return self.norm(name + "output.LayerNorm", site("ffn.down", "output.dense", act) + h)

    def logits(self, head, ids, types, change):
        """[outputs]: a trained linear layer on the frozen pooler of the first token."""
        x = self.embed(ids, types)
        for layer in range(self.config["num_hidden_layers"]):
            x = self.block(layer, x, change)
        pooled = torch.tanh(self.linear("pooler.dense", x[0]))
        return pooled @ head["head/out.weight"].T + head["head/out.bias"]

    def head(self):
        return {"head/out.weight": self.weights["classifier.weight"].clone(),
                "head/out.bias": self.weights["classifier.bias"].clone()}


def make_rows(seed, config):
    """STEPS batches of BATCH sequences: ids, types and label of each. Lengths 2 to 12."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(STEPS * BATCH):
        length = int(random.integers(2, 13))
        ids = [1] + random.integers(3, config["vocab_size"], length - 2).tolist() + [2]
        types = [int(p > length // 2) for p in range(length)]
        rows.append((torch.tensor(ids), torch.tensor(types), int(random.integers(2))))
    return rows


def drawn(random, shape, mean=0.0):
    """Random start values, rounded to float32 as they will be stored."""
    return torch.from_numpy(mean + random.normal(0.0, 0.2, shape)).float().double()


class AdamW:
    """Decoupled decay first, then the step; no decay on biases. A tensor without a gradient so far rests; one that
    had a gradient once keeps moving on zeros (AdaMix's released code fills gradients with zeros between steps)."""

    def __init__(self, tensors):
        self.tensors, self.state = tensors, {}

    def step(self, gradients):
        o = OPTIMIZER
        for name, tensor in self.tensors.items():
            g = gradients.get(name)
            if g is None and name not in self.state:
                continue
            m, v, t = self.state.get(name, (torch.zeros_like(tensor), torch.zeros_like(tensor), 0))
            g = torch.zeros_like(tensor) if g is None else g
            m, v, t = o["beta1"] * m + (1 - o["beta1"]) * g, o["beta2"] * v + (1 - o["beta2"]) * g * g, t + 1
            self.state[name] = (m, v, t)
            with torch.no_grad():
                if not name.endswith(".bias"):
                    tensor -= o["learning_rate"] * o["weight_decay"] * tensor
                tensor -= o["learning_rate"] * (m / (1 - o["beta1"] ** t)) / (torch.sqrt(v / (1 - o["beta2"] ** t)) + o["eps"])


def train(tensors, rows, loss_of):
    """Ten steps of `loss_of(step, batch) -> (loss, extras)`. Tensors are moved in place.

    Returns losses, the extras and the gradients of the first step; a tensor that got no gradient is not in them.
    """
    optimizer = AdamW(tensors)
    losses, first = [], None
    for tensor in tensors.values():
        tensor.requires_grad_(True)
    for step in range(STEPS):
        loss, extras = loss_of(step, rows[step * BATCH : (step + 1) * BATCH])
        found = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
        gradients = {name: g for name, g in zip(tensors, found) if g is not None}
        first = first or (extras, gradients)
        losses.append(loss.item())
        optimizer.step(gradients)
    return losses, *first


def cross_entropy(logits, rows):
    """Mean over the batch. logits: [N, outputs]."""
    labels = torch.tensor([label for _, _, label in rows])
    return (torch.logsumexp(logits, 1) - logits[torch.arange(len(rows)), labels]).mean()


def case_tensors(rows, init, extras, gradients, final):
    """What a case's safetensors file holds."""
    return {
        "ids": torch.cat([ids for ids, _, _ in rows]), "token_types": torch.cat([types for _, types, _ in rows]),
        "lengths": torch.tensor([len(ids) for ids, _, _ in rows]), "labels": torch.tensor([label for _, _, label in rows]),
        **extras,
        **{f"init.{name}": value for name, value in init.items()},
        **{f"grad.{name}": value for name, value in gradients.items()},
        **{f"final.{name}": value for name, value in final.items()},
    }


MODEL = common.ROOT / "tests/golden/models/bert-tiny"
