"""Real runs of the methods on MiniLM and GLUE, and their speed beside LoRA and beside the peer that has them.

    methods.py --glue DIR --out bench/results [--only scores,speed] [--jobs 2] [--rounds 3]

scores    nine methods on CoLA, RTE and SST-2, 2,000 rows, three seeds             -> scores.json
speed     training tokens/s and inference tokens/s, in turn, medians over rounds   -> method_speed.json
How every preset does as it is: presets_learn.py. Scores run --jobs processes of one thread each side by side; speed runs alone with two threads.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import compare
from compare import GRAFT, PEER, THREADS, machine, model_folder, run
from study_analyses import ROUTINGS

FOLDERS = {"cola": "CoLA", "rte": "RTE", "sst2": "SST-2"}
METRICS = {"cola": "matthews", "rte": "accuracy", "sst2": "accuracy"}
METHODS = ["lora", "pfeiffer", "bitfit", "head", "unipelt-apl", "adamix", "loreft", "mov", "molora"]
SEEDS = [1, 2, 3]
# One recipe for all but the rate: of 1e-3, 3e-3 and 1e-2 the one that did best on SST-2 with seed 1 (the presets' published rates are for models
# and schedules several times as long).
RECIPE = {"data.rows": 2000, "batch_size": 16, "max_length": 128, "precision": "bf16", "checkpoint_every": "never", "evaluate_every": "1 epoch"}
OF_TASK = {"cola": {"epochs": 4}, "rte": {"epochs": 2, "max_length": 64}, "sst2": {"epochs": 4}}   # RTE's rows are five times as long
RATES = {"lora": 1e-3, "pfeiffer": 1e-3, "bitfit": 3e-3, "head": 1e-2, "unipelt-apl": 1e-3, "adamix": 3e-3, "loreft": 3e-3, "mov": 3e-3, "molora": 1e-3}

# name -> (Graft's --adapter and settings, the peer's --method): what is timed. lora-rank-4-all-sites is what MoLoRA's ten experts stand on.
SPEED = {
    "lora": (["lora"], "lora"),
    "lora r4 on six sites": (["lora", "sites=[attn.q, attn.k, attn.v, attn.o, ffn.up, ffn.down]", "rank=4"], None),
    "molora (10 experts of r4 on six sites)": (["molora"], None),
    "mov (10 experts)": (["mov"], None),
    "ia3": (["ia3"], "ia3"),
    "dora": (["dora"], "dora"),
    "pfeiffer": (["pfeiffer"], "pfeiffer"),
    "houlsby": (["houlsby"], "houlsby"),
    "parallel": (["parallel"], "parallel"),
    "prefix": (["prefix:published"], "prefix"),
    "adamix one pass": (["adamix", "consistency=0"], None),
    "adamix two passes": (["adamix"], None),
    "unipelt-apl": (["unipelt-apl"], "unipelt"),
    "mam": (["mam"], "mam"),
    "loreft": (["loreft"], "loreft"),
    "bitfit": (["bitfit"], None),
    "head": (["head"], None),
}
SPEED_STEPS, INFERENCE_ROWS, SKIPPED = 24, 1500, 3


def settings_of(pairs):
    return [text for key, value in pairs.items() for text in ("--set", f"{key}={value}")]


def train(args, preset, task, out, settings, threads):
    data = pathlib.Path(args.glue) / FOLDERS[task]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    run([GRAFT, "train", "--model", model_folder("minilm"), "--task", task, "--data", data, "--adapter", preset, "--out", out, "--quiet", "--threads", threads,
         *settings_of(settings)], env=environment)
    return json.loads((out / "metrics.json").read_text())


def figures_of(metrics, metric):
    return {"score": metrics["eval"][metric], "edit_parameters": metrics["edit_parameters"], "seconds": metrics["seconds"], "tokens": metrics["tokens"],
            "peak_bytes": metrics["peak_bytes"], "step": metrics["step"], "steps": metrics["steps"]}


def routed_scores(args, adapter, task, metric):
    """The same AdaMix adapter merged, on one random and the fixed route, and as ensembles of four."""
    scores = {}
    for routing in ROUTINGS:
        file = adapter.parent / f"{routing}.json"
        run([GRAFT, "eval", "--model", model_folder("minilm"), "--adapter", adapter, "--data", pathlib.Path(args.glue) / FOLDERS[task] / "dev.tsv", "--routing", routing,
             "--json", file, "--quiet", "--threads", 1])
        scores[routing] = json.loads(file.read_text())[metric]
    return scores


def one_score(args, method, task, seed):
    settings = {**RECIPE, **OF_TASK[task], "learning_rate": RATES[method], "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        row = {"method": method, "task": task, "seed": seed, **figures_of(train(args, method, task, out, settings, 1), METRICS[task])}
        if method == "adamix":
            row["routings"] = routed_scores(args, out / "adapter", task, METRICS[task])
    print(f"{method:12} {task:5} seed {seed}  {METRICS[task]} {row['score']:.4f}  {row['seconds']:.0f} s", flush=True)
    return row


def scores(args):
    chosen = args.methods.split(",") if args.methods else METHODS
    work = [(method, task, seed) for seed in SEEDS for task in args.tasks.split(",") for method in chosen]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        rows = list(pool.map(lambda each: one_score(args, *each), work))
    rows = [*(row for row in kept_figures(args, "scores.json", "runs") if row["method"] not in chosen), *rows]
    summary = []
    for method in METHODS:
        for task in args.tasks.split(","):
            own = [row["score"] for row in rows if row["method"] == method and row["task"] == task]
            summary.append({"method": method, "task": task, "metric": METRICS[task], "mean": statistics.mean(own), "deviation": statistics.stdev(own)})
    return {"recipe": RECIPE, "of_task": OF_TASK, "rates": RATES, "jobs": args.jobs, "seeds": SEEDS, "summary": summary, "runs": rows}


def kept_figures(args, name, key):
    """What was measured before, where only some methods are measured now."""
    file = pathlib.Path(args.out) / name
    return json.loads(file.read_text())["figures"][key] if args.methods and file.exists() else []


def graft_speed(args, adapter, settings):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        common = {"precision": "fp32", "batch_size": 32, "max_length": 128, "max_steps": SPEED_STEPS, "checkpoint_every": "never", "evaluate_every": "never", "order": "length",
                  "data.rows": 8000}
        pairs = [*settings_of(common), *[text for each in settings for text in ("--set", each)]]
        data = pathlib.Path(args.glue) / "SST-2"
        run([GRAFT, "train", "--model", model_folder("minilm"), "--task", "sst2", "--data", data / "train.tsv", "--adapter", adapter, "--out", out, "--quiet",
             "--threads", THREADS, *pairs])
        events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        counted = [event for event in events if event["event"] == "step" and event["step"] > SKIPPED]
        rows = pathlib.Path(folder) / "rows.tsv"
        rows.write_text("".join((data / "train.tsv").read_text().splitlines(keepends=True)[: INFERENCE_ROWS + 1]))
        file = pathlib.Path(folder) / "eval.json"
        for _ in range(2):   # the first pays for reading the model from disk
            run([GRAFT, "eval", "--model", model_folder("minilm"), "--adapter", out / "adapter", "--data", rows, "--json", file, "--quiet", "--threads", THREADS])
        scored = json.loads(file.read_text())
        metrics = json.loads((out / "metrics.json").read_text())
    return {"training": sum(e["tokens"] for e in counted) / sum(e["seconds"] for e in counted), "inference": scored["tokens"] / scored["seconds"],
            "peak_bytes": metrics["peak_bytes"]}


def peer_speed(args, method, grouping):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "peer.json"
        run(PEER + ["--model", "minilm", "--data", pathlib.Path(args.glue) / "SST-2/train.tsv", "--task", "sst2", "--method", method, "--precision", "fp32", "--rows", "8000",
                    "--grouping", grouping, "--steps", SPEED_STEPS, "--skip-steps", SKIPPED, "--threads", THREADS, "--inference-rows", INFERENCE_ROWS, "--json", file])
        figures = json.loads(file.read_text())
    return {"training": figures["tokens_per_second"], "inference": figures["inference_tokens_per_second"], "peak_bytes": figures["peak_rss_bytes"]}


def speed(args):
    chosen = {name: case for name, case in SPEED.items() if args.methods in ("", name) or name in args.methods.split(",") or name == "lora"}
    ours, peers = {name: [] for name in chosen}, {}
    for _ in range(args.rounds):
        for name, ((adapter, *settings), peer) in chosen.items():
            ours[name].append(graft_speed(args, adapter, settings))
            for grouping in args.groupings.split(",") if peer else ():
                peers.setdefault(name, {}).setdefault(grouping, []).append(peer_speed(args, peer, grouping))
    median = lambda rows, key: statistics.median(row[key] for row in rows)
    base = {key: median(ours["lora"], key) for key in ("training", "inference")}
    rows = []
    for name in chosen:
        row = {"method": name, **{key: median(ours[name], key) for key in ("training", "inference", "peak_bytes")}}
        row["training_over_lora"], row["inference_over_lora"] = row["training"] / base["training"], row["inference"] / base["inference"]
        if name in peers:
            best = max(peers[name], key=lambda grouping: median(peers[name][grouping], "training"))
            row["peer"] = {"grouping": best, **{key: median(peers[name][best], key) for key in ("training", "inference", "peak_bytes")}}
            row["training_over_peer"] = row["training"] / row["peer"]["training"]
            row["inference_over_peer"] = row["inference"] / row["peer"]["inference"]
        print(f"{name:40} {row['training']:7.0f} tok/s ({row['training_over_lora']:.2f} of lora)  inference {row['inference']:7.0f} ({row['inference_over_lora']:.2f})"
              + (f"  {row['training_over_peer']:.2f}x peer" if "peer" in row else ""), flush=True)
        rows.append(row)
    kept = {row["method"]: row for row in [*kept_figures(args, "method_speed.json", "rows"), *rows]}
    return {"rounds": args.rounds, "steps": SPEED_STEPS, "rows": [kept[name] for name in SPEED if name in kept]}


SECTIONS = {"scores": (scores, "scores.json"), "speed": (speed, "method_speed.json")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--glue", required=True)
    parser.add_argument("--out", default=str(compare.ROOT / "bench/results"))
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--tasks", default=",".join(FOLDERS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--methods", default="", help="the others keep their figures; lora is always among those of the section speed")
    parser.add_argument("--groupings", default="none,length", help="of the peers' batches in the section speed; the best one counts")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for section in args.only.split(","):
        print(f"== {section}", flush=True)
        measure, file = SECTIONS[section]
        document = {"command": f"bench/methods.py --only {section}", "machine": machine(), "figures": measure(args)}
        (pathlib.Path(args.out) / file).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
