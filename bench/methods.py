"""Real runs of the methods on MiniLM and GLUE, and their speed beside LoRA and beside the peer that has them.

    methods.py --glue DIR --out bench/results [--only scores,speed] [--jobs 2] [--rounds 3]

scores    nine methods on CoLA, RTE and SST-2, 2,000 rows, three seeds             -> scores.json
speed     training tokens/s and inference tokens/s, in turn, medians over rounds   -> method_speed.json
How every preset does as it is: presets_learn.py. Scores run --jobs processes of one thread each side by side; speed runs alone with two threads.
"""
import pathlib
import statistics
import tempfile

import harness
from harness import GLUE, THREADS, evaluate, glue_file, medians, model_folder, train
from study_analyses import ROUTINGS

METRICS = {"cola": "matthews", "rte": "accuracy", "sst2": "accuracy"}
METHODS = ["lora", "pfeiffer", "bitfit", "head", "unipelt-apl", "adamix", "loreft", "mov", "molora"]
SEEDS = [1, 2, 3]
# One recipe for all but the rate: of 1e-3, 3e-3 and 1e-2 the one that did best on SST-2 with seed 1 (the presets' published rates are for models
# and schedules several times as long).
RECIPE = {"data.rows": 2000, "batch_size": 16, "max_length": 128, "precision": "bf16", "checkpoint_every": "never", "evaluate_every": "1 epoch"}
OF_TASK = {"cola": {"epochs": 4}, "rte": {"epochs": 2, "max_length": 64}, "sst2": {"epochs": 4}}   # RTE's rows are five times as long
RATES = {"lora": 1e-3, "pfeiffer": 1e-3, "bitfit": 3e-3, "head": 1e-2, "unipelt-apl": 1e-3, "adamix": 3e-3, "loreft": 3e-3, "mov": 3e-3, "molora": 1e-3}

# name -> (Graft's --adapter, its settings, the peer's --method): what is timed. lora-rank-4-all-sites is what MoLoRA's ten experts stand on.
SPEED = {
    "lora": ("lora", {}, "lora"),
    "lora r4 on six sites": ("lora", {"sites": "[attn.q, attn.k, attn.v, attn.o, ffn.up, ffn.down]", "rank": 4}, None),
    "molora (10 experts of r4 on six sites)": ("molora", {}, None),
    "mov (10 experts)": ("mov", {}, None),
    "ia3": ("ia3", {}, "ia3"),
    "dora": ("dora", {}, "dora"),
    "pfeiffer": ("pfeiffer", {}, "pfeiffer"),
    "houlsby": ("houlsby", {}, "houlsby"),
    "parallel": ("parallel", {}, "parallel"),
    "prefix": ("prefix:published", {}, "prefix"),
    "adamix one pass": ("adamix", {"consistency": 0}, None),
    "adamix two passes": ("adamix", {}, None),
    "unipelt-apl": ("unipelt-apl", {}, "unipelt"),
    "mam": ("mam", {}, "mam"),
    "loreft": ("loreft", {}, "loreft"),
    "bitfit": ("bitfit", {}, None),
    "head": ("head", {}, None),
}
SPEED_STEPS, INFERENCE_ROWS, SKIPPED = 24, 1500, 3


def figures_of(metrics, metric):
    return {"score": metrics["eval"][metric], "edit_parameters": metrics["edit_parameters"], "seconds": metrics["seconds"], "tokens": metrics["tokens"],
            "peak_bytes": metrics["peak_bytes"], "step": metrics["step"], "steps": metrics["steps"]}


def routed_scores(args, adapter, task, metric):
    """The same AdaMix adapter merged, on one random and the fixed route, and as ensembles of four."""
    data = glue_file(args.glue, task, "dev")
    return {routing: evaluate(model_folder("minilm"), data, "--routing", routing, adapter=adapter, threads=1)[metric] for routing in ROUTINGS}


def one_score(args, method, task, seed):
    settings = {**RECIPE, **OF_TASK[task], "learning_rate": RATES[method], "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        metrics = train(model_folder("minilm"), task, args.glue / GLUE[task], method, settings, out, threads=1).metrics
        row = {"method": method, "task": task, "seed": seed, **figures_of(metrics, METRICS[task])}
        if method == "adamix":
            row["routings"] = routed_scores(args, out / "adapter", task, METRICS[task])
    print(f"{method:12} {task:5} seed {seed}  {METRICS[task]} {row['score']:.4f}  {row['seconds']:.0f} s", flush=True)
    return row


def scores(args):
    chosen = args.methods.split(",") if args.methods else METHODS
    work = [(method, task, seed) for seed in SEEDS for task in args.tasks.split(",") for method in chosen]
    rows = harness.in_parallel(args.jobs, lambda *case: one_score(args, *case), work)
    rows = [*(row for row in kept_figures(args, "scores.json", "runs") if row["method"] not in chosen), *rows]
    summary = []
    for method in METHODS:
        for task in args.tasks.split(","):
            own = [row["score"] for row in rows if row["method"] == method and row["task"] == task]
            summary.append({"method": method, "task": task, "metric": METRICS[task], "mean": statistics.mean(own), "deviation": statistics.stdev(own)})
    return {"recipe": RECIPE, "of_task": OF_TASK, "rates": RATES, "jobs": args.jobs, "seeds": SEEDS, "summary": summary, "runs": rows}


def kept_figures(args, name, key):
    """What was measured before, where only some methods are measured now."""
    return harness.kept_figures(args.out / name, {key: []})[key] if args.methods else []


def graft_speed(args, adapter, settings):
    data, model = glue_file(args.glue, "sst2"), model_folder("minilm")
    common = {"precision": "fp32", "batch_size": 32, "max_length": 128, "max_steps": SPEED_STEPS, "checkpoint_every": "never", "evaluate_every": "never",
              "order": "length", "data.rows": 8000}
    with tempfile.TemporaryDirectory() as folder:
        done = train(model, "sst2", data, adapter, {**common, **settings}, pathlib.Path(folder) / "run")
        rows = pathlib.Path(folder) / "rows.tsv"
        rows.write_text("".join(data.read_text().splitlines(keepends=True)[: INFERENCE_ROWS + 1]))
        for _ in range(2):   # the first pays for reading the model from disk
            scored = evaluate(model, rows, adapter=pathlib.Path(folder) / "run/adapter")
    return {"training": done.tokens_per_second(SKIPPED), "inference": scored["tokens"] / scored["seconds"], "peak_bytes": done.metrics["peak_bytes"]}


def peer_speed(args, method, grouping):
    figures = harness.run_peer("--model", "minilm", "--data", glue_file(args.glue, "sst2"), "--task", "sst2", "--method", method, "--precision", "fp32",
                               "--rows", 8000, "--grouping", grouping, "--steps", SPEED_STEPS, "--skip-steps", SKIPPED, "--threads", THREADS,
                               "--inference-rows", INFERENCE_ROWS)
    return {"training": figures["tokens_per_second"], "inference": figures["inference_tokens_per_second"], "peak_bytes": figures["peak_rss_bytes"]}


def speed(args):
    chosen = {name: case for name, case in SPEED.items() if args.methods in ("", name) or name in args.methods.split(",") or name == "lora"}
    ours, peers = {name: [] for name in chosen}, {}
    for _ in range(args.rounds):
        for name, (adapter, settings, peer) in chosen.items():
            ours[name].append(graft_speed(args, adapter, settings))
            for grouping in args.groupings.split(",") if peer else ():
                peers.setdefault(name, {}).setdefault(grouping, []).append(peer_speed(args, peer, grouping))
    base = medians(ours["lora"])
    rows = []
    for name in chosen:
        row = {"method": name, **medians(ours[name])}
        row["training_over_lora"], row["inference_over_lora"] = row["training"] / base["training"], row["inference"] / base["inference"]
        if name in peers:
            found = {grouping: medians(figures) for grouping, figures in peers[name].items()}
            best = max(found, key=lambda grouping: found[grouping]["training"])
            row["peer"] = {"grouping": best, **found[best]}
            row["training_over_peer"] = row["training"] / row["peer"]["training"]
            row["inference_over_peer"] = row["inference"] / row["peer"]["inference"]
        print(f"{name:40} {row['training']:7.0f} tok/s ({row['training_over_lora']:.2f} of lora)  inference {row['inference']:7.0f} ({row['inference_over_lora']:.2f})"
              + (f"  {row['training_over_peer']:.2f}x peer" if "peer" in row else ""), flush=True)
        rows.append(row)
    kept = {row["method"]: row for row in [*kept_figures(args, "method_speed.json", "rows"), *rows]}
    return {"rounds": args.rounds, "steps": SPEED_STEPS, "rows": [kept[name] for name in SPEED if name in kept]}


SECTIONS = {"scores": (scores, "scores.json"), "speed": (speed, "method_speed.json")}


def main():
    parser = harness.parser_of(__doc__)
    parser.add_argument("--glue", required=True, type=pathlib.Path)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--tasks", default=",".join(GLUE))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--methods", default="", help="the others keep their figures; lora is always among those of the section speed")
    parser.add_argument("--groupings", default="none,length", help="of the peers' batches in the section speed; the best one counts")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for section in args.only.split(","):
        print(f"== {section}", flush=True)
        measure, file = SECTIONS[section]
        harness.write_figures(args.out / file, f"bench/methods.py --only {section}", measure(args))


if __name__ == "__main__":
    main()
