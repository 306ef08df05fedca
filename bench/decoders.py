"""Speed and memory on a decoder: SmolLM2-135M-Instruct on arithmetic prompts with rationales as targets, beside the peers.

    decoders.py --arithmetic DIR [--only training,decoding,requests] [--rounds 2] [--steps 6] [--out bench/results]

training   LoRA r=8 on q and v (peer: PEFT) and LoReFT f3+l3 of rank 4 (peer: pyreft), 16 rows a batch: real tokens/s and most memory
decoding   greedy, 64 new tokens, one prompt and 16: new tokens a second, prompts read within the time (peers: transformers; llama.cpp for reference)
requests   seconds of one prompt after the other against its length, with no adapter, LoRA, LoRA merged, and LoReFT

DIR holds gsm8k, SVAMP and SingleEq, each with test.json. Both sides read the same weights (bench/smollm2.py) and, in training, the same batches in the same
order: rows of similar length side by side, the peers' best case; their usual random order is measured, too. A figure is the median over rounds, and each round
runs every side once. Two peers are not in tools/requirements-peers.txt and are installed by hand, each into a folder of its own. Without pyreft LoReFT is not
trained: the bench ends at once. Without llama.cpp decoding has no such side, and says so.
    .venv-peers/bin/python -m pip install --no-deps --target build/bench-reft -r tools/golden/requirements-reft.txt
    .venv-peers/bin/python -m pip install --no-deps --target build/bench-llama llama-cpp-python==0.3.36 diskcache==5.6.3      # compiles for some minutes
"""
import json
import os
import pathlib
import random
import re
import statistics
import string
import sys
import tempfile

import smollm2
from harness import GRAFT, ROOT, THREADS, kept_figures, load_now, medians, parser_of, read_rows, run, train, write_figures, write_rows

PEER = ROOT / "bench/decoder_peer.py"
REFT, LLAMA = ROOT / "build/bench-reft", ROOT / "build/bench-llama"
BATCH, SKIPPED = 16, 2
LOREFT = {"rank": 4, "positions": "f3+l3", "tied": "false", "dropout": 0}
METHODS = {"lora": {"rank": 8}, "loreft": LOREFT}
# The settings of a peer whose best one counts: precision and order of rows.
SETTINGS = {("lora", "fp32"): [("fp32", "length"), ("fp32", "random")],
            ("lora", "bf16"): [("bf16-weights", "length"), ("bf16-weights", "random"), ("bf16", "length")],
            ("loreft", "fp32"): [("fp32", "length")], ("loreft", "bf16"): [("bf16-weights", "length")]}
NEW_TOKENS = 64
LENGTHS = [16, 32, 64, 128, 256, 512]
REQUESTS, REQUEST_TOKENS = 10, (1, 16)   # the program tells hundredths of a second


# --- rows and programs -------------------------------------------------------------------------------------------------------------

def write_files(args, count, folder):
    """`count` rows drawn from the three sets, in random order and with similar lengths side by side; the same rows in both files."""
    rows = [row for name in ("gsm8k", "SVAMP", "SingleEq") for row in json.loads((pathlib.Path(args.arithmetic) / name / "test.json").read_text())]
    rows = random.Random(1).sample([row for row in rows if row["output"].strip()], count)
    words = smollm2.tokenizer(args.model)
    lengths = {id(row): len(words(row["instruction"] + row["output"])["input_ids"]) for row in rows}
    batches = sorted(rows, key=lambda row: lengths[id(row)])
    batches = [batches[i : i + BATCH] for i in range(0, count, BATCH)]
    random.Random(2).shuffle(batches)
    for name, chosen in (("random", rows), ("length", [row for batch in batches for row in batch])):
        (folder / f"{name}.json").write_text(json.dumps(chosen))
    return {name: folder / f"{name}.json" for name in ("random", "length")}


def check_peers(args):
    """Tells of peers that are not installed before anything is measured."""
    sections = args.only.split(",")
    if "training" in sections and "loreft" in args.methods.split(",") and not REFT.exists():
        sys.exit(f"bench: error: expected pyreft in {REFT}; install it as decoders.py --help says, or leave LoReFT out: --methods lora")
    if "decoding" in sections and not LLAMA.exists():
        print(f"bench: llama.cpp was not found in {LLAMA}, so decoding is measured without it; decoders.py --help says how to install it", file=sys.stderr, flush=True)


def run_peer(*arguments, extra=None):
    environment = {**os.environ, "PYTHONPATH": str(extra) if extra else ""}
    done = run([sys.executable, PEER, *arguments, "--threads", THREADS], env=environment)
    line = next(line for line in reversed(done.stdout.splitlines()) if line.startswith("RESULT "))
    return json.loads(line.removeprefix("RESULT "))


def graft_train(args, method, precision, data, steps, out=None, batch_size=BATCH):
    settings = {**METHODS[method], "precision": precision, "max_steps": steps, "batch_size": batch_size, "order": "file", "max_length": 512,
                "checkpoint_every": "never", "keep_best": "false", "learning_rate": 5e-4, "schedule": "constant", "weight_decay": 0, "warmup": 0}
    return train(args.model, "gsm8k", data, method, settings, out)


def figures_of(done):
    return {"tokens_per_second": done.tokens_per_second(SKIPPED), "peak_bytes": done.metrics["peak_bytes"],
            "predicted_peak_bytes": done.predicted_peak_bytes, "losses": done.losses, "tokens": sum(step["tokens"] for step in done.steps[SKIPPED:])}


def graft_generate(model, prompts, new_tokens, precision, folder, batch, adapter=None):
    """prompts: texts. Greedy, always new_tokens of them. Seconds of the program's own clock, which starts once model and adapter are loaded."""
    rows, task, out = write_rows(folder / "prompts.jsonl", [{"prompt": prompt} for prompt in prompts]), folder / "prompts.yaml", folder / "written.jsonl"
    task.write_text("{name: prompts, kind: generation, prompt: prompt, target: prompt}\n")
    command = [GRAFT, "generate", "--model", model, "--task", task, "--data", rows, "--max-new-tokens", new_tokens, "--min-new-tokens", new_tokens, "--batch", batch,
               "--precision", precision, "--out", out, "--threads", THREADS]
    told = run(command + (["--adapter", adapter] if adapter else [])).stderr
    seconds = float(re.search(r"written in ([0-9.]+) s", told).group(1))
    ids = [row["tokens"] for row in read_rows(out)]
    assert all(len(each) == new_tokens for each in ids)
    return {"tokens_per_second": len(prompts) * new_tokens / seconds, "seconds": seconds, "ids": ids}


# --- sections ----------------------------------------------------------------------------------------------------------------------

def training(args):
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        files = write_files(args, BATCH * args.steps, folder)
        for method in args.methods.split(","):
            for precision in args.precisions.split(","):
                settings = SETTINGS[method, precision][: None if args.all_settings else 1]
                peers, ours, loads = {setting: [] for setting in settings}, [], []
                for _ in range(args.rounds):
                    loads.append(load_now())
                    ours.append(figures_of(graft_train(args, method, precision, files["length"], args.steps)))
                    for setting in settings:
                        peers[setting].append(run_peer("train", "--model", args.model, "--data", files[setting[1]], "--method", method, "--precision", setting[0], "--batch", BATCH,
                                                       "--steps", args.steps, "--skip-steps", SKIPPED, extra=REFT if method == "loreft" else None))
                rows.append(training_row(method, precision, peers, ours, loads))
    return {"batch": BATCH, "skipped_steps": SKIPPED, "rows": rows}


def training_row(method, precision, peers, ours, loads):
    losses = {"graft": ours[0]["losses"], **{"/".join(setting): found[0]["losses"] for setting, found in peers.items()}}
    tokens = ours[0]["tokens"]
    ours, peers = medians(ours), {"/".join(setting): medians(found) for setting, found in peers.items()}
    best = max(peers, key=lambda setting: peers[setting]["tokens_per_second"])
    row = {"method": method, "precision": precision, "rounds": len(loads), "steps": len(losses["graft"]), "graft": ours, "peer": peers, "peer_best": best, "load_before": loads, "losses": losses, "counted_tokens": tokens,
           "speed_over_best": ours["tokens_per_second"] / peers[best]["tokens_per_second"], "memory_over_best": ours["peak_bytes"] / peers[best]["peak_bytes"],
           "peak_over_predicted": ours["peak_bytes"] / ours["predicted_peak_bytes"]}
    print(f"{method:7} {precision}  {ours['tokens_per_second']:6.0f} tok/s  {row['speed_over_best']:.2f}x peer ({best}: {peers[best]['tokens_per_second']:.0f})  "
          f"{ours['peak_bytes'] / 1e9:.2f} GB, {row['memory_over_best']:.0%}  load {loads}", flush=True)
    return row


def decoding(args):
    words = smollm2.tokenizer(args.model)
    rows, versions = [], set()   # of llama.cpp
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = write_files(args, 2 * BATCH, folder)["random"]
        quoted = (ROOT / "tasks/gsm8k.yaml").read_text().split('prompt: "')[1].split('"\n')[0]
        prompt = re.sub(r"\\\n *", "", quoted).encode().decode("unicode_escape")   # a backslash joins two lines
        prompts = [string.Formatter().vformat(prompt, (), row) for row in json.loads(data.read_text())]
        for count in (1, 16):
            sides = {}
            loads = []
            for _ in range(args.rounds):
                loads.append(load_now())
                for precision in args.precisions.split(","):
                    found = graft_generate(args.model, prompts[:count], NEW_TOKENS, precision, folder, 16)
                    sides.setdefault(f"graft {precision}", []).append(found)
                    sides.setdefault(f"transformers {precision}", []).append(
                        run_peer("generate", "--model", args.model, "--data", data, "--prompts", count, "--new-tokens", NEW_TOKENS, "--precision", precision))
                if LLAMA.exists():
                    found = run_peer("generate", "--model", args.model, "--data", data, "--prompts", count, "--new-tokens", NEW_TOKENS,
                                     "--gguf", smollm2.gguf_file(), extra=LLAMA)
                    versions.add(found["version"])
                    sides.setdefault("llama.cpp (the file's 4 bits)", []).append(found)
            row = {"prompts": count, "new_tokens": NEW_TOKENS, "prompt_tokens": sum(len(words(text)["input_ids"]) for text in prompts[:count]), "load_before": loads,
                   "sides": {side: medians(found) for side, found in sides.items()}}
            for precision in args.precisions.split(","):
                row[f"over_transformers_{precision}"] = row["sides"][f"graft {precision}"]["tokens_per_second"] / row["sides"][f"transformers {precision}"]["tokens_per_second"]
            rows.append(row)
            print(count, {side: round(found["tokens_per_second"], 1) for side, found in row["sides"].items()}, flush=True)
    return {"rounds": args.rounds, "rows": rows, "llama_cpp": ", ".join(sorted(versions)) or "not installed"}


def text_of_length(words, text, length):
    """The beginning of a text that is exactly so many tokens when read again."""
    ids = words(text)["input_ids"]
    for end in range(length, 0, -1):
        found = words.decode(ids[:end])
        for tail in ("", " and", " and the", " and the end"):
            if len(words(found + tail)["input_ids"]) == length:
                return found + tail
    raise ValueError(f"no beginning of {length} tokens")


def requests(args):
    words = smollm2.tokenizer(args.model)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = write_files(args, BATCH * 40, folder)["random"]
        long_texts = [" ".join(row["instruction"] for row in json.loads(data.read_text())[i::REQUESTS]) for i in range(REQUESTS)]
        subjects = {"none": (args.model, None)}
        for method in METHODS:
            graft_train(args, method, "fp32", data, SKIPPED + 1, folder / method, batch_size=2)
            subjects[method] = (args.model, folder / method / "adapter")
        run([GRAFT, "merge", "--model", args.model, "--adapter", folder / "lora/adapter", "--out", folder / "merged", "--max-drift", 0.01])   # of hidden values in the hundreds
        subjects["lora merged"] = (folder / "merged", None)
        for length in LENGTHS:
            prompts = [text_of_length(words, text, length) for text in long_texts]
            for new_tokens in REQUEST_TOKENS:
                seconds = {subject: [] for subject in subjects}
                load = load_now()
                for _ in range(args.rounds):
                    for subject, (model, adapter) in subjects.items():
                        found = graft_generate(model, prompts, new_tokens, args.request_precision, folder, 1, adapter)
                        seconds[subject].append(found["seconds"] / REQUESTS)
                rows.append({"length": length, "new_tokens": new_tokens, "load_before": load, "seconds": {subject: statistics.median(found) for subject, found in seconds.items()}})
                print(rows[-1], flush=True)
    return {"precision": args.request_precision, "requests": REQUESTS, "rounds": args.rounds, "rows": rows}


SECTIONS = {"training": training, "decoding": decoding, "requests": requests}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--arithmetic", required=True)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--methods", default="lora,loreft")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--request-precision", default="bf16")
    parser.add_argument("--all-settings", action="store_true", help="all settings of the peers, not only the one that was found best")
    args = parser.parse_args()
    check_peers(args)
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    args.model = smollm2.model_folder()
    file = args.out / "decoder_speed.json"
    for section in args.only.split(","):
        print(f"== {section}", flush=True)
        figures, kept = SECTIONS[section](args), kept_figures(file, {})   # sections not asked for keep their figures
        if section == "training":   # and so do its methods
            measured = {(row["method"], row["precision"]) for row in figures["rows"]}
            old = kept.get(section, {}).get("rows", [])
            figures["rows"] = [row for row in old if (row["method"], row["precision"]) not in measured] + figures["rows"]
        write_figures(file, "bench/decoders.py", {**kept, section: figures})


if __name__ == "__main__":
    main()
