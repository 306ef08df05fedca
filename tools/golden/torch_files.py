"""Makes tests/golden/torch_files: files of torch.save, and their tensors as safetensors.

Every dtype that is read, views of one storage, strides, an OrderedDict with a module's metadata, parameters, an empty and a 0-d tensor; and
files that a reader must refuse: the layout before torch 1.6 (which names storages by their addresses, so that its bytes differ from run to
run), a whole module, a dictionary with a number.
"""

import argparse
import shutil
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

import common


def readable():
    torch.manual_seed(1)
    base = torch.randn(6, 4)
    dtypes = {str(t).removeprefix("torch."): (torch.randn(2, 3) * 40).to(t) for t in
              (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8)}
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    return {
        "dtypes": {**dtypes, "uint8": torch.arange(5, dtype=torch.uint8), "bool": torch.tensor([True, False, True])},
        "views": {"whole": base, "rows": base[2:4], "transposed": base.t(), "column": base[:, 1], "every.second": base[::2, ::2]},
        "state_dict": module.state_dict(),
        "parameters": OrderedDict(weight=torch.nn.Parameter(torch.randn(2, 2)), empty=torch.zeros(0, 3), number=torch.tensor(2.5)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/torch_files")
    args = parser.parse_args()
    versions = common.check_versions("torch", "safetensors", "numpy")
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    for name, tensors in readable().items():
        torch.save(tensors, args.out / f"{name}.bin")
        save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, str(args.out / f"{name}.safetensors"))
    torch.save({"weight": torch.ones(2)}, args.out / "old_layout.bin", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(2, 2), args.out / "module.bin")
    torch.save({"weight": torch.ones(2), "step": 3}, args.out / "number.bin")
    torch.save([torch.ones(2)], args.out / "list.bin")
    common.write_manifest(args.out, {"command": common.command_line(), "versions": versions})


if __name__ == "__main__":
    main()
