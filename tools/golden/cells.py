"""Cells of a table of foreign adapters, as tests/interop/cells.h reads them: many folders in one JSON file and one safetensors file.

A cell holds the config as the peer wrote it and the shapes of its tensors. The numbers are a formula of a tensor's name, so that none is stored
but the logits that the peer computes with them. What no formula gives (rotations) is stored beside the logits.
"""

import json

import numpy as np
import torch

import common

LENGTHS = (7, 3)
MASK = (1 << 64) - 1


def seed_of(name):
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def fill(name, shape):
    """Numbers in -1/4 .. 1/4 by splitmix64, around 1 where a tensor multiplies: the same bits everywhere, and for every copy that PEFT
    writes of a saved module's tensor."""
    name = name.replace(".modules_to_save.default", "").replace(".modules_to_save", "")
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(seed_of(name)) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    values = ((z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)) * np.float32(0.5)
    around_one = any(part in name for part in ("ia3_l", "magnitude"))
    return torch.from_numpy((values + np.float32(1 if around_one else 0)).reshape(tuple(shape)))


def rows_of(config, is_classifier=False):
    """Two rows of ids, and what an encoder-decoder's decoder reads of each. An encoder-decoder classifier reads where a row ends."""
    random = np.random.default_rng(7)
    rows = [random.integers(3, config.vocab_size, length).tolist() for length in LENGTHS]
    if is_classifier and config.is_encoder_decoder:
        rows = [row[:-1] + [config.eos_token_id] for row in rows]
    targets = [[0] + random.integers(3, config.vocab_size, length).tolist() for length in (3, 1)] if config.is_encoder_decoder else None
    return rows, targets


def rows_tensors(folder, config, is_classifier=False):
    """The rows under rows/FOLDER/..., as a test reads them."""
    rows, targets = rows_of(config, is_classifier)
    out = {f"rows/{folder}/ids": torch.tensor([i for row in rows for i in row]), f"rows/{folder}/lengths": torch.tensor([len(row) for row in rows])}
    if targets:
        out[f"rows/{folder}/target_ids"] = torch.tensor([i for row in targets for i in row])
        out[f"rows/{folder}/target_lengths"] = torch.tensor([len(row) for row in targets])
    return out


def compute(model, config, is_classifier):
    """[rows, labels] of a classifier, else the logits (or hidden states) of all tokens end to end; row by row in float64."""
    rows, targets = rows_of(config, is_classifier)
    model.eval().double()
    out = []
    with torch.no_grad():
        for i, row in enumerate(rows):
            inputs = {"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row), dtype=torch.long)}
            if targets and not is_classifier:
                inputs["decoder_input_ids"] = torch.tensor([targets[i]])
            result = model(**inputs)
            values = result.logits if hasattr(result, "logits") else result.last_hidden_state
            kept = 1 if is_classifier else len(targets[i] if targets else row)
            out.append(values[0] if values.dim() == 3 else values)
            out[-1] = out[-1][-kept:]  # a prompt's own rows come first
    return torch.cat(out).float()


def write(folder, name, cells, tensors, manifest):
    """`cells`: key -> what JSON holds of it; `tensors`: key -> logits, and key/NAME -> a tensor that no formula gives."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text("{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(cell)}" for key, cell in cells.items()) + "\n}\n")
    common.write_tensors(folder / f"{name}.safetensors", tensors)
    common.write_manifest(folder, manifest)
