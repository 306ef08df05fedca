"""What the golden tools share: pinned versions, random weights, writing files and manifests.

Not a library for anything else. Every random number comes from numpy's PCG64 with a seed that is
written into the manifest, so that a second run gives the same bytes. Expected values are computed in
float64 from the stored weights and rounded once to float32: the reference then has no rounding error of
its own, and the manifest says how far the reference's own float32 run is from it.
"""

import hashlib
import json
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

PINNED = {"torch": "2.13.0", "transformers": "4.57.6", "peft": "0.21.2", "safetensors": "0.8.0",
          "numpy": "2.4.6", "adapters": "1.3.0", "pyreft": "0.1.0", "pyvene": "0.1.8"}
ROOT = Path(__file__).resolve().parents[2]


def check_versions(*names):
    """Stops unless the named packages have the pinned versions. Returns them for the manifest."""
    found = {name: version(name).split("+")[0] for name in names}
    wrong = {name: have for name, have in found.items() if have != PINNED[name]}
    if wrong:
        sys.exit(f"golden files are made with {PINNED}; found {wrong}. See tools/golden/README.md.")
    return {**found, "python": platform.python_version()}


def command_line():
    """The command that made the files, from the repository's root and without machine paths."""
    return shlex.join(["python", f"tools/golden/{Path(sys.argv[0]).name}"])


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_tensors(path, tensors):
    """Writes a safetensors file: floats as float32, integers as int64, in the order of the names."""
    stored = {}
    for name, value in tensors.items():
        value = torch.as_tensor(value).detach()
        stored[name] = value.to(torch.float32 if value.is_floating_point() else torch.int64).contiguous().clone()
    save_file(stored, str(path), metadata={"format": "pt"})


def write_manifest(folder, manifest):
    """Writes manifest.json, adding the digest of every other file below `folder`."""
    folder = Path(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
    for file in files:
        file.chmod(0o644)  # safetensors writes 0600
    manifest["sha256"] = {p.relative_to(folder).as_posix(): digest(p) for p in files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def randomise(model, seed, std=0.2):
    """Fills every parameter with random numbers, in the order of the names.

    Weights get std 0.2 (values far from zero, so that a wrong term shows), norm weights 1 +- 0.2.
    """
    random = np.random.default_rng(seed)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in sorted(parameters):
            value = random.normal(0.0, std, tuple(parameters[name].shape))
            if name.endswith("LayerNorm.weight") or name.endswith("layer_norm.weight"):
                value += 1.0
            parameters[name].copy_(torch.from_numpy(value))


def max_difference(a, b):
    """Largest absolute difference of two tensors or equally long lists, as a float."""
    a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    return (a - b).abs().max().item()


def tidy_peft(folder, base):
    """Takes out of a PEFT folder what differs from run to run: the README, the order of sets, the machine's path."""
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base
    for key in ("target_modules", "modules_to_save", "exclude_modules", "feedforward_modules"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
