"""Makes tests/golden/models: tiny random encoders as Hugging Face folders, and what they must compute.

Each folder holds config.json and weights as `transformers` writes them (or as older releases did, where
the case says so) and expected.safetensors: hidden states of ragged sequences, each run alone, so that
no padding row exists. Run with the peers' environment; see README.md beside this file.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import (AutoModel, AutoModelForSequenceClassification, BertConfig, BertForPreTraining,
                          BertForSequenceClassification, BertModel, RobertaConfig, RobertaForMaskedLM,
                          RobertaForSequenceClassification)

import common

LENGTHS = [1, 2, 3, 5, 8, 13, 16, 17, 31, 40]
LONGEST = 40
BERT = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=99,
            max_position_embeddings=LONGEST, type_vocab_size=2, pad_token_id=0, num_labels=2)
# RoBERTa's first position is padding_idx + 1 = 2: the table has two rows that no sequence reads.
ROBERTA = dict(BERT, vocab_size=101, max_position_embeddings=LONGEST + 2, type_vocab_size=1, pad_token_id=1,
               bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5, num_labels=3)

# name -> class, config, how it is stored, what is special about it
CASES = {
    "bert-tiny": (BertForSequenceClassification, BertConfig(**BERT), "plain", "the usual shape, two labels"),
    "roberta-tiny": (RobertaForSequenceClassification, RobertaConfig(**ROBERTA), "plain", "positions start at 2; three labels"),
    "bert-narrow": (BertForSequenceClassification,
                    BertConfig(**{**BERT, "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 1,
                                  "intermediate_size": 44, "vocab_size": 61, "hidden_act": "gelu_new", "num_labels": 3}),
                    "plain", "one layer, three heads, gelu_new"),
    "bert-one-head": (BertModel,
                      BertConfig(**{**BERT, "hidden_size": 20, "num_attention_heads": 1, "intermediate_size": 36,
                                    "vocab_size": 53}),
                      "plain", "one head; the bare trunk: names without 'bert.', no task head"),
    "roberta-narrow": (RobertaForSequenceClassification,
                       RobertaConfig(**{**ROBERTA, "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 1,
                                        "intermediate_size": 44, "vocab_size": 67, "hidden_act": "gelu_new",
                                        "num_labels": 1}),
                       "plain", "one layer, three heads, gelu_new, one output (regression)"),
    "roberta-mlm": (RobertaForMaskedLM, RobertaConfig(**{**ROBERTA, "hidden_size": 16, "num_attention_heads": 2}),
                    "plain", "a masked-LM checkpoint as roberta-base is: lm_head.*, no pooler"),
    "bert-sharded": (BertForSequenceClassification, BertConfig(**BERT), "sharded", "three shards and an index"),
    "bert-legacy": (BertForPreTraining, BertConfig(**{**BERT, "hidden_size": 16, "num_attention_heads": 2}),
                    "legacy", "as bert-base-uncased is: cls.*, LayerNorm.gamma and .beta"),
    "bert-bf16": (BertForSequenceClassification, BertConfig(**BERT), "bf16", "weights stored in bfloat16, computed in float"),
}


def sequences(config, seed):
    """Ragged inputs: for every length a single text, from 5 on a pair too. Yields (ids, token types).

    The first id is CLS / <s>, separators end the parts; the pad id never occurs.
    """
    random = np.random.default_rng(seed)
    is_roberta = config.model_type == "roberta"
    first, separator = (0, 2) if is_roberta else (1, 2)

    def words(count):
        return random.integers(3, config.vocab_size, count).tolist()

    for length in LENGTHS:
        ids = ([first] + words(max(length - 2, 0)) + [separator])[:length]
        yield ids, [0] * length
        if length < 5:
            continue
        middle = [separator] * (2 if is_roberta else 1)
        left = (length - 2 - len(middle)) // 2
        ids = [first] + words(left) + middle + words(length - 2 - len(middle) - left) + [separator]
        types = [0] * length if is_roberta else [0] * (left + 2) + [1] * (length - left - 2)
        yield ids, types


def save(model, folder, storage):
    """Stores the model as the case asks. Folder exists and is empty."""
    if storage == "bf16":
        model = model.to(torch.bfloat16)
    if storage == "sharded":
        model.save_pretrained(folder, max_shard_size="38KB")
        shards = sorted(folder.glob("model-*-of-*.safetensors"))
        assert len(shards) == 3, [(s.name, s.stat().st_size) for s in shards]
        return
    model.save_pretrained(folder)
    if storage == "legacy":
        tensors = load_file(folder / "model.safetensors")
        old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
               for name, value in tensors.items()}
        save_file(old, str(folder / "model.safetensors"), metadata={"format": "pt"})


def load(folder, kind):
    """Loads the stored folder again, so that what is expected is what a reader of the files gets."""
    is_classifier = "SequenceClassification" in kind.__name__
    auto = AutoModelForSequenceClassification if is_classifier else AutoModel
    options = {} if is_classifier or kind is not RobertaForMaskedLM else {"add_pooling_layer": False}
    model, info = auto.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **options)
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    return model.eval()


def run_alone(model, ids, types):
    """One sequence without padding -> dict of its rows. Float64 when the model is."""
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
              "token_type_ids": torch.tensor([types])}
    trunk = getattr(model, model.base_model_prefix, model)
    result = {}
    with torch.no_grad():
        out = trunk(**inputs, output_hidden_states=True)
        for layer, hidden in enumerate(out.hidden_states):
            result[f"hidden.{layer}"] = hidden[0]
        if out.pooler_output is not None:
            result["pooled"] = out.pooler_output
        if trunk is not model:
            result["logits"] = model(**inputs).logits
            if model.config.model_type == "roberta":
                result["head.pooled"] = torch.tanh(model.classifier.dense(out.last_hidden_state[:, 0]))
    return result


def run_padded(model, rows, pad_id):
    """All sequences as one padded batch -> the same dict, padding rows removed (a check on run_alone)."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), pad_id)
    types = torch.zeros_like(ids)
    for i, (row, kinds) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        types[i, : len(row)] = torch.tensor(kinds)
    lengths = torch.tensor([len(row) for row, _ in rows])
    mask = (torch.arange(longest)[None] < lengths[:, None]).long()
    with torch.no_grad():
        out = getattr(model, model.base_model_prefix, model)(ids, attention_mask=mask, token_type_ids=types,
                                                            output_hidden_states=True)
    return {f"hidden.{i}": hidden[mask.bool()] for i, hidden in enumerate(out.hidden_states)}


def expect(folder, kind, seed):
    """Writes expected.safetensors and returns the manifest's entry of this model."""
    model = load(folder, kind)
    rows = list(sequences(model.config, seed + 1))
    single = [run_alone(model, *row) for row in rows]
    padded = run_padded(model, rows, model.config.pad_token_id)
    exact = [run_alone(model.double(), *row) for row in rows]

    def join(results):
        return {name: torch.cat([result[name] for result in results]) for name in results[0]}

    single, exact = join(single), join(exact)
    first = model.config.pad_token_id + 1 if model.config.model_type == "roberta" else 0
    inputs = {
        "ids": torch.tensor([i for ids, _ in rows for i in ids]),
        "token_types": torch.tensor([t for _, types in rows for t in types]),
        "positions": torch.tensor([first + p for ids, _ in rows for p in range(len(ids))]),
        "lengths": torch.tensor([len(ids) for ids, _ in rows]),
    }
    common.write_tensors(folder / "expected.safetensors", {**inputs, **exact})
    deviation = {name: common.max_difference(single[name], exact[name]) for name in exact}
    batched = {name: common.max_difference(padded[name], exact[name]) for name in padded}
    assert max(deviation.values()) < 2e-5 and max(batched.values()) < 2e-5, (deviation, batched)
    return {
        "tensors": {name: list(value.shape) for name, value in {**inputs, **exact}.items()},
        "largest": {name: round(value.abs().max().item(), 4) for name, value in exact.items()},
        "float32_deviation": deviation,
        "float32_padded_deviation": batched,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/models")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "safetensors", "numpy")
    torch.set_num_threads(1)
    manifest = {
        "command": common.command_line(),
        "versions": versions,
        "values": "computed in float64 from the stored weights, each sequence alone, rounded to float32",
        "models": {},
    }
    for index, (name, (kind, config, storage, about)) in enumerate(CASES.items()):
        seed = 1000 + 10 * index
        folder = args.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model = kind(config)
        common.randomise(model, seed)
        save(model, folder, storage)
        entry = expect(folder, kind, seed)
        (folder / "generation_config.json").unlink(missing_ok=True)
        sizes = {p.name: p.stat().st_size for p in folder.iterdir()}
        assert sum(size for file, size in sizes.items() if file.startswith("model")) < 200_000, sizes
        manifest["models"][name] = {"about": about, "class": kind.__name__, "seed": seed, **entry}
        print(f"{name}: {sizes}\n  {json.dumps(entry['float32_deviation'])}")
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
