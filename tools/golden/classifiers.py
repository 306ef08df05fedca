"""Makes tests/golden/classifiers: tiny random models of the classes XForSequenceClassification, and what they must compute.

Each folder holds a model as `transformers` writes it, with its own head and labels, expected.safetensors (logits of ragged sequences, each
run alone) and training.safetensors: gradients of all weights and of LoRA. README.md beside this file says more.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from torch.func import functional_call
from transformers import (BartForSequenceClassification, BartConfig, BertConfig, BertForSequenceClassification, GPT2Config,
                          GPT2ForSequenceClassification, LlamaConfig, LlamaForSequenceClassification, MistralConfig,
                          MistralForSequenceClassification, ModernBertConfig, ModernBertForSequenceClassification, MT5Config, MT5ForSequenceClassification, Qwen2Config,
                          Qwen2ForSequenceClassification, RobertaConfig, RobertaForSequenceClassification, T5Config,
                          T5ForSequenceClassification)

import common
import trunk_models as tiny
import trunks

LENGTHS = [1, 2, 5, 9, 14, 18]
THREE = {"id2label": {0: "bad", 1: "so so", 2: "good"}, "label2id": {"bad": 0, "so so": 1, "good": 2}}
VALUE = {"num_labels": 1, "problem_type": "regression"}

# name -> (class, config), what is special about it
CASES = {
    "bert-labels": (BertForSequenceClassification, BertConfig(**tiny.BERT, **THREE), "pooler and classifier, three named labels"),
    "roberta-labels": (RobertaForSequenceClassification, RobertaConfig(**tiny.ROBERTA, num_labels=2), "dense and out_proj; nobody named the two labels"),
    "gpt2-labels": (GPT2ForSequenceClassification, GPT2Config(**tiny.GPT2, pad_token_id=2, **THREE), "padding is the end token, which some texts end in: the row before it is read"),
    "llama-labels": (LlamaForSequenceClassification, LlamaConfig(**tiny.GROUPED, **THREE), "no padding token; untied, so that the file has no output layer at all"),
    "mistral-value": (MistralForSequenceClassification, MistralConfig(**{**tiny.GROUPED, "num_hidden_layers": 1, "sliding_window": None, "pad_token_id": 3}, **VALUE), "one output: a regression"),
    "qwen2-labels": (Qwen2ForSequenceClassification, Qwen2Config(**{**tiny.GROUPED, "tie_word_embeddings": True, "pad_token_id": 3}, num_labels=4), "tied; biases of q, k and v; four unnamed labels"),
    "t5-labels": (T5ForSequenceClassification, T5Config(**tiny.T5, **THREE), "names start with 'transformer.'; the last end token's row of the decoder"),
    "t5-gated-value": (T5ForSequenceClassification, T5Config(**{**tiny.T5, "num_layers": 1}, feed_forward_proj="gated-gelu", tie_word_embeddings=False, **VALUE), "gated and untied: no output layer in the file; one output; 1 + 2 layers"),
    "mt5-labels": (MT5ForSequenceClassification, MT5Config(**{**tiny.T5, "feed_forward_proj": "gated-gelu", "num_layers": 1, "num_decoder_layers": 1}, tie_word_embeddings=False, num_labels=2), "mT5's name"),
    "bart-labels": (BartForSequenceClassification, BartConfig(**tiny.BART, **THREE), "classification_head behind the last end token's row of the decoder"),
    "modernbert-labels": (ModernBertForSequenceClassification, ModernBertConfig(**tiny.MODERNBERT, **THREE), "the first token; the head's dense and norm are those for masks"),
    "modernbert-value": (ModernBertForSequenceClassification, ModernBertConfig(**{**tiny.MODERNBERT, "num_hidden_layers": 2, "classifier_bias": True, "norm_bias": True}, classifier_pooling="mean", **VALUE), "the mean over all tokens; one output; biases in the head"),
}


def is_encoder_decoder(config):
    return config.is_encoder_decoder


def make_rows(config, seed):
    """Rows of (ids, label). Texts of encoder-decoders end in the end token, once also in two, and once with a word behind it; where padding is a
    token that texts may end in, two do, and one is nothing else."""
    random, rows = np.random.default_rng(seed), []
    for i, length in enumerate(LENGTHS):
        ids = trunks.words(random, config, length)
        if is_encoder_decoder(config):
            ids[-1] = config.eos_token_id
            if i == 3:
                ids[4] = config.eos_token_id
            if i == 4:
                ids[-2:] = [config.eos_token_id, ids[0]]
        elif config.pad_token_id is not None and config.model_type not in ("bert", "roberta", "modernbert"):
            if i in (0, 3):
                ids[-1] = config.pad_token_id
            if i == 4:
                ids[-2:] = [config.pad_token_id] * 2
                ids[3] = config.pad_token_id
        label = float(random.normal()) if config.num_labels == 1 else int(random.integers(config.num_labels))
        rows.append((ids, label))
    return rows


def inputs_of(ids):
    return {"input_ids": torch.tensor([ids])}


def loss_of(logits, label):
    if logits.size(1) == 1:
        return (logits[0, 0] - label) ** 2
    return -torch.log_softmax(logits, -1)[0, label]


def mean_loss(model, rows, parameters=None):
    """Cross-entropy or squared error, the mean over the rows. `parameters` stand in for the model's own."""
    run = model if parameters is None else lambda **inputs: functional_call(model, parameters, (), inputs)
    total = 0.0
    for ids, label in rows:
        tiny.fresh_rotary(model)
        total = total + loss_of(run(**inputs_of(ids)).logits, label)
    return total / len(rows), len(rows)


def loss_of_library(model, rows):
    """The same by the library's own loss, float32: a check on the line above."""
    with torch.no_grad():
        losses = [model(**inputs_of(ids), labels=torch.tensor([label])).loss.item() for ids, label in rows]
    return sum(losses) / len(losses)


def run_all(model, rows):
    results = []
    for ids, _ in rows:
        tiny.fresh_rotary(model)
        with torch.no_grad():
            results.append(model(**inputs_of(ids)).logits)
    return torch.cat(results)


def expect(folder, kind, seed):
    """Writes expected.safetensors and training.safetensors. Returns the manifest's entry."""
    model = tiny.load(folder, kind)
    rows = make_rows(model.config, seed + 1)
    single, library_loss, stored = run_all(model, rows), loss_of_library(model, rows), trunks.stored_names(folder)
    with tiny.exactly(True):
        model = model.double()
        exact = run_all(model, rows)
        assert exact.dtype == torch.float64
        trained, entry = trunks.train(model, rows, stored, seed + 2, mean_loss)
    assert abs(library_loss - entry["loss"]) < 1e-5 * max(1, entry["loss"]), (library_loss, entry["loss"])
    common.write_tensors(folder / "expected.safetensors", {
        "ids": torch.tensor([i for ids, _ in rows for i in ids]), "lengths": torch.tensor([len(ids) for ids, _ in rows]),
        "labels": torch.tensor([label for _, label in rows]), "logits": exact})
    common.write_tensors(folder / "training.safetensors", trained)
    return {"float32_deviation": float(f"{common.max_difference(single, exact):.2e}"), "largest": round(exact.abs().max().item(), 4), **entry}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=common.ROOT / "tests/golden/classifiers")
    args = parser.parse_args()
    versions = common.check_versions("torch", "transformers", "safetensors", "numpy")
    torch.set_num_threads(1)
    manifest = {
        "command": common.command_line(),
        "versions": versions,
        "values": "computed in float64 from the stored weights, each sequence alone, rounded to float32; dropout off",
        "models": {},
    }
    shutil.rmtree(args.out, ignore_errors=True)
    for index, (name, (kind, config, about)) in enumerate(CASES.items()):
        seed = 9000 + 10 * index
        folder = args.out / name
        folder.mkdir(parents=True)
        model = kind(config)
        random = tiny.randomise(model, seed)
        tiny.save(model, folder, "plain", random)
        entry = expect(folder, kind, seed)
        manifest["models"][name] = {"about": about, "class": kind.__name__, "seed": seed, **entry}
        print(f"{name}: {json.dumps(entry)}")
    common.write_manifest(args.out, manifest)


if __name__ == "__main__":
    main()
