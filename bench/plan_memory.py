"""Compares the peak memory that `graft train` predicts for a run with the peak that the run reaches, and writes both to bench/results/plan_memory.json.

    .venv-peers/bin/python bench/plan_memory.py [--out bench/results] [--only NAME,...] [--cache build/bench-models]

Models have the shape of published ones and random weights: the process's own base would drown tiny ones. The figures are bytes of resident memory, the
prediction is of the run's plan (log.jsonl), the peak of the kernel (metrics.json). Run by hand: about an hour on two cores.
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

from harness import CACHE, GRAFT, ROOT, STEPS_ALONE, Run, parser_of, train_command, write_json, write_rows

SEED = 7
STEPS = 2          # the optimizer has its state from the second on
ALLOWED = 0.15   # deviation

GENERATION = """name: words
kind: generation
prompt: prompt
target: target
metrics: [exact_match]
"""
CLASSES = """name: words
text: prompt
label: label
labels: [low, high]
metrics: [accuracy]
"""


def config_of(name):
    """The shapes: SmolLM2-135M, GPT-2 small, T5 small, T5 small of version 1.1, BART base, BERT base."""
    import transformers as t
    if name == "llama-135m":
        return t.LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
                             max_position_embeddings=2048, tie_word_embeddings=True, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    if name == "gpt2-small":
        return t.GPT2Config(bos_token_id=0, eos_token_id=2)
    if name in ("t5-small", "t5-v1.1-small"):
        new = {"d_ff": 1024, "num_heads": 6, "num_layers": 8, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False} if name == "t5-v1.1-small" else {}
        return t.T5Config(**{"vocab_size": 32128, "d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "decoder_start_token_id": 1, "pad_token_id": 1,
                             "eos_token_id": 2, **new})
    if name == "bart-base":
        return t.BartConfig(vocab_size=50265, d_model=768, encoder_layers=6, decoder_layers=6, encoder_attention_heads=12, decoder_attention_heads=12,
                            encoder_ffn_dim=3072, decoder_ffn_dim=3072, max_position_embeddings=1024)
    return t.BertConfig()


def make_model(name, folder, tokenizer):
    import torch
    import transformers as t
    if not (folder / "model.safetensors").exists():
        torch.manual_seed(SEED)
        config = config_of(name)
        kinds = {"llama": t.LlamaForCausalLM, "gpt2": t.GPT2LMHeadModel, "t5": t.T5ForConditionalGeneration, "bart": t.BartForConditionalGeneration, "bert": t.BertModel}
        kinds[config.model_type](config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer)


def words(count, source):
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    return " ".join(source.choice(syllables) + source.choice(syllables) for _ in range(count))


def make_inputs(folder):
    """A tokenizer that knows the words, rows of 96 words and 32 more to be learnt, and tasks."""
    sys.path.insert(0, str(ROOT / "tools"))
    from train_bpe import train
    source = random.Random(SEED)
    tokenizer = train([words(2000, source) for _ in range(40)], vocab_size=5000)
    write_rows(folder / "rows.jsonl", [{"prompt": words(96, source), "target": " " + words(32, source), "label": ["low", "high"][i % 2]} for i in range(400)])
    (folder / "generation.yaml").write_text(GENERATION)
    (folder / "classes.yaml").write_text(CLASSES)
    return tokenizer.to_str()


# (model, adapter, settings). Batches of 8 rows: 1024 tokens.
def cases():
    fp32, bf16 = "precision=fp32", "precision=bf16"
    out = []
    for model in ("llama-135m", "gpt2-small", "t5-small", "t5-v1.1-small", "bart-base", "bert-base"):
        out += [(model, "lora", [fp32]), (model, "lora", [bf16]), (model, "full", [fp32]), (model, "lora", [fp32, "save_memory=true"]), (model, "pfeiffer", [fp32])]
    for model in ("llama-135m", "t5-small"):
        out += [(model, "full", [bf16]), (model, "full", [fp32, "save_memory=true"])]
        out += [(model, "prefix", [fp32, "mlp=512"])]
        out += [(model, adapter, [fp32]) for adapter in ("loreft", "mov", "molora", "unipelt-apl", "adamix")]
    out += [("llama-135m", "lora", [fp32, "batch_size=32"]), ("llama-135m", "lora", [fp32, "batch_size=32", "save_memory=true"]),
            ("llama-135m", "lora", [bf16, "batch_size=32"]), ("llama-135m", "molora", [bf16]), ("bart-base", "unipelt-apl", [fp32]), ("bert-base", "unipelt-apl", [fp32])]
    return out


def name_of(case):
    model, adapter, settings = case
    return "/".join([model, adapter, *(s.replace("precision=", "") for s in settings)])


def measure(case, graft, cache, inputs, trace):
    model, adapter, settings = case
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        task = inputs / ("classes.yaml" if model == "bert-base" else "generation.yaml")
        common = {"batch_size": 8, "max_steps": STEPS, "max_length": 512, **STEPS_ALONE, "order": "file"}
        own = dict(setting.split("=") for setting in settings)
        command = train_command(cache / model, task, inputs / "rows.jsonl", adapter, {**common, **own}, out, program=[graft])
        process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)
        parts = {"RssAnon": 0, "RssFile": 0}
        while trace and process.poll() is None:
            try:
                for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    key = line.split(":")[0]
                    if key in parts:
                        parts[key] = max(parts[key], int(line.split()[1]) * 1024)
            except OSError:
                pass
        _, errors = process.communicate()
        if process.returncode != 0:
            return {"case": name_of(case), "error": errors.strip().splitlines()[-1] if errors.strip() else str(process.returncode)}
        done = Run(out)
        predicted, peak, tokens = done.predicted_peak_bytes, done.metrics["peak_bytes"], max(step["tokens"] for step in done.steps)
    return {"case": name_of(case), "tokens": tokens, "predicted_bytes": predicted, "peak_bytes": peak, "deviation": round(predicted / peak - 1, 4), **(parts if trace else {})}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--cache", type=pathlib.Path, default=CACHE)
    parser.add_argument("--graft", default=GRAFT)
    parser.add_argument("--only", default="", help="parts of cases' names")
    parser.add_argument("--trace", action="store_true", help="also the most memory of the heap and of mapped files, seen by polling")
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    wanted = [case for case in cases() if not args.only or any(part in name_of(case) for part in args.only.split(","))]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        inputs = pathlib.Path(folder)
        tokenizer = make_inputs(inputs)
        for case in wanted:
            make_model(case[0], args.cache / case[0], tokenizer)
            row = measure(case, args.graft, args.cache, inputs, args.trace)
            rows.append(row)
            extra = "".join(f"  {key} {row[key] / 1e6:6.0f}" for key in ("RssAnon", "RssFile") if key in row)
            print(f"{row['case']:48} {row.get('error') or '%6.0f MB predicted, %6.0f MB reached, %+.1f %%' % (row['predicted_bytes'] / 1e6, row['peak_bytes'] / 1e6, 100 * row['deviation'])}{extra}", flush=True)
    file = args.out / "plan_memory.json"
    if args.only and file.exists():   # the other cases stay as they were measured
        measured = {row["case"] for row in rows}
        rows += [row for row in json.loads(file.read_text())["rows"] if row["case"] not in measured]
    order = [name_of(case) for case in cases()]
    rows.sort(key=lambda row: order.index(row["case"]))
    known = [row for row in rows if "error" not in row]
    worst = max(known, key=lambda row: abs(row["deviation"]), default=None)
    result = {"steps": STEPS, "allowed": ALLOWED, "worst": worst, "missed": [row["case"] for row in known if abs(row["deviation"]) > ALLOWED], "rows": rows}
    write_json(file, result)


if __name__ == "__main__":
    main()
