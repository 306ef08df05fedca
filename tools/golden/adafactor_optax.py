#!/usr/bin/env python3
"""Makes tests/golden/optimizers/adafactor.json: what optax's Adafactor, without momentum and decay, makes of tensors of several shapes.

Run in an environment with requirements-optax.txt:  python tools/golden/adafactor_optax.py
Everything in float64. Entry i of a tensor begins as scale * sin(0.7 i + 1); its gradient at step t is size[t] * sin(1.3 i + 0.9 t), i
counting in row-major order. A tensor is told by some entries, and by the sum and the root mean square of all.
"""
import argparse
import json
import math
import pathlib

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np
import optax

from pinned import check_versions

HERE = pathlib.Path(__file__).resolve().parent
RATE = 0.05
SIZES = [1e-3, 2e-3, 1e-3, 0.05, 1e-4, 0.0]   # the fourth is clipped
TENSORS = {  # shape, scale of the first values
    "vector": ([7], 1.0), "narrow": ([127, 200], 1.0), "square": ([128, 128], 1.0), "tall": ([160, 128], 0.5),
    "wide": ([128, 160], 0.5), "stack": ([3, 128, 130], 1.0), "zeros": ([130, 128], 0.0),
}


def trace(shape, scale, factored):
    count = math.prod(shape)
    i = np.arange(count, dtype=np.float64)
    param = (scale * np.sin(0.7 * i + 1)).astype(np.float32).astype(np.float64).reshape(shape)
    optimizer = optax.adafactor(RATE, min_dim_size_to_factor=128, momentum=None, weight_decay_rate=None, factored=factored)
    state = optimizer.init(param)
    steps = []
    for t, size in enumerate(SIZES):
        gradient = (size * np.sin(1.3 * i + 0.9 * t)).astype(np.float32).astype(np.float64).reshape(shape)
        updates, state = optimizer.update(gradient, state, param)
        param = np.asarray(optax.apply_updates(param, updates))
        flat = param.reshape(-1)
        steps.append({"entries": flat[:: max(1, count // 5)].tolist(), "sum": flat.sum(), "root_mean_square": math.sqrt(np.square(flat).mean())})
    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parents[1] / "tests/golden/optimizers/adafactor.json")
    args = parser.parse_args()
    out = {"versions": check_versions("requirements-optax.txt"), "rate": RATE, "sizes": SIZES, "tensors": {}}
    for name, (shape, scale) in TENSORS.items():
        out["tensors"][name] = {"shape": shape, "scale": scale, "factored": trace(shape, scale, True), "plain": trace(shape, scale, False)}
    args.out.write_text(json.dumps(out, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
