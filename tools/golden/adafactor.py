"""Makes tests/golden/adafactor: traces of transformers' Adafactor, in float64, on tensors of one dimension, which it does not factor.

Gradients grow, so that its clip of the update's size acts, or shrink, so that it does not; "restored" begins at step
1,100,000, as a restored T5 does; the last case starts at zero, where the floor of the step's size acts.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
from transformers.optimization import Adafactor

import common

CASES = {"fresh": (0, 0.5, 2), "shrinking": (0, 0.5, -2), "restored": (1_100_000, 0.5, 2), "from-zero": (0, 0.0, -1)}
RATE, STEPS, SIZE = 1e-2, 6, 12


def trace(first_step, deviation, power, random):
    start = torch.from_numpy(random.normal(0.0, 1.0, SIZE) * deviation).float()
    gradients = [torch.from_numpy(random.normal(0.0, 1.0, SIZE) * (1.0 + step) ** power).float() for step in range(STEPS)]
    param = torch.nn.Parameter(start.double())
    optimizer = Adafactor([param], lr=RATE, eps=(1e-30, 1e-3), clip_threshold=1.0, decay_rate=-0.8, beta1=None, weight_decay=0.0,
                          scale_parameter=True, relative_step=False, warmup_init=False)
    values, clips = [], []
    for step, gradient in enumerate(gradients):
        param.grad = gradient.double()
        if step == 0:
            optimizer.state[param].update(step=first_step, exp_avg_sq=torch.zeros(SIZE, dtype=torch.float64), RMS=0)
        before = param.detach().clone()
        scale = max(1e-3, before.pow(2).mean().sqrt().item())
        optimizer.step()
        values.append(param.detach().clone())
        clips.append(((values[-1] - before).pow(2).mean().sqrt() / (RATE * scale)).item())
    return start, torch.stack(gradients), torch.stack(values), clips


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/adafactor")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "safetensors", "numpy")
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    tensors, manifest = {}, {"command": common.command_line(), "versions": versions, "learning_rate": RATE, "cases": {}}
    for number, (case, (first_step, deviation, power)) in enumerate(CASES.items()):
        start, gradients, values, sizes = trace(first_step, deviation, power, np.random.default_rng(number))
        tensors |= {f"{case}.start": start, f"{case}.gradients": gradients, f"{case}.values": values}
        manifest["cases"][case] = {"first_step": first_step, "update_sizes": sizes}
        print(case, sizes)
    common.write_tensors(args.out / "traces.safetensors", tensors)
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
