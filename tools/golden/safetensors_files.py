"""Writes the small files of tests/golden/tensor with the safetensors package, for tests/tensor/test_safetensors.cpp.

    .venv-peers/bin/python tools/golden/safetensors_files.py

Every tensor is arange(count) - 3 in its dtype (BOOL: odd numbers), so that the test can make it again by formula.
"""
import hashlib
import json
import pathlib

import safetensors
import torch
from safetensors.torch import save_file

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
          "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}


def made(name, shape):
    count = 1
    for size in shape:
        count *= size
    values = torch.arange(count).reshape(shape)
    if name == "BOOL":
        return values % 2 == 1
    return (values if name == "U8" else values - 3).to(DTYPES[name])


def main():
    folder = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/tensor"
    (folder / "sharded").mkdir(parents=True, exist_ok=True)
    save_file({name: made(name, (2, 5)) for name in DTYPES}, folder / "dtypes.safetensors", {"note": 'a "quoted" ü'})   # one entry: their order is random
    save_file({"scalar": made("F32", ()), "empty": torch.zeros(0, 4), "odd": made("I8", (3,)), "after.odd": made("F32", (3,))},
              folder / "shapes.safetensors")
    save_file({}, folder / "nothing.safetensors")
    parts = {"model-00001-of-00002.safetensors": {"a.weight": made("F32", (2, 3)), "a.bias": made("F32", (3,))},
             "model-00002-of-00002.safetensors": {"b.weight": made("BF16", (3, 2))}}
    for file, tensors in parts.items():
        save_file(tensors, folder / "sharded" / file, {"part": file[6:11]})
    index = {"metadata": {"total_size": 48}, "weight_map": {name: file for file, tensors in parts.items() for name in tensors}}
    (folder / "sharded/model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
    for file in files:
        file.chmod(0o644)
    manifest = {"made_by": "tools/golden/safetensors_files.py", "safetensors": safetensors.__version__, "torch": torch.__version__,
                "sha256": {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
