"""Makes tests/golden/transformers5: config.json of every model of tests/golden/trunks and models as transformers 5 writes it.

The weights stay where they are: what such a folder computes is what its old config.json says, which is checked here with transformers 5
itself. Runs in an environment of its own (requirements-transformers5.txt).
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

import common

SKIPPED = {
    "bert-mlm-untied": "to transformers 5 the bias of an untied decoder is another tensor, which this file does not hold",
    "bart-logits-bias": "refused: its final_logits_bias is not zero",
    "bert-legacy": "its class writes no other config than bert-tiny's",
}


def load(folder):
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    return getattr(transformers, architecture).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def deviation(model, expected):
    """Largest difference of the last hidden states from those of the older release, of each sequence alone."""
    largest, begin, target_begin = 0.0, 0, 0
    is_pair = model.config.is_encoder_decoder
    for n, length in enumerate(expected["lengths"].tolist()):
        inputs = {"input_ids": expected["ids"][begin:begin + length][None]}
        rows = slice(begin, begin + length)
        begin += length
        if "token_types" in expected:
            inputs["token_type_ids"] = expected["token_types"][rows][None]
        if is_pair:
            rows = slice(target_begin, target_begin + expected["target_lengths"][n].item())
            inputs["decoder_input_ids"] = expected["target_ids"][rows][None]
            target_begin = rows.stop
        if length > getattr(model.config, "max_position_embeddings", length):
            continue   # dynamic angles: refused by Graft
        with torch.no_grad():
            out = model(**inputs)
        if not hasattr(out, "logits"):
            name = "last" if "last" in expected else f"hidden.{model.config.num_hidden_layers}"
            found, wanted = out.last_hidden_state[0], expected[name][rows]
        elif out.logits.dim() == 3:
            found, wanted = out.logits[0], expected["logits"][rows]
        else:
            found, wanted = out.logits[0], expected["logits"][n]
        largest = max(largest, (found - wanted).abs().max().item())
    return largest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/transformers5")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    manifest = {"command": common.command_line(), "versions": {"transformers": transformers.__version__}, "skipped": SKIPPED, "models": {}}
    for root in ("trunks", "models"):
        for folder in sorted((common.ROOT / "tests/golden" / root).iterdir()):
            if not (folder / "config.json").exists() or folder.name in SKIPPED or (args.out / f"{folder.name}.json").exists():
                continue
            model = load(folder)
            difference = deviation(model, load_file(folder / "expected.safetensors"))
            assert difference < 2e-5, (folder, difference)
            with tempfile.TemporaryDirectory() as saved:
                model.save_pretrained(saved)
                config = json.loads((Path(saved) / "config.json").read_text())
                names = sorted(load_file(Path(saved) / "model.safetensors"))
            (args.out / f"{folder.name}.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
            manifest["models"][folder.name] = {"folder": root, "largest_deviation": float(f"{difference:.2e}"), "tensors": len(names)}
            print(folder.name, manifest["models"][folder.name])
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
