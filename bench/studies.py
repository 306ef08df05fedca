"""What a study saves: members together, one after another and as processes of their own; and what is kept of rows from epoch to epoch.

    studies.py --glue DIR --out bench/results [--only together,passes,cache] [--rounds 3] [--precisions fp32,bf16]

together   twelve members, four methods x three seeds, CoLA, 500 rows, batches of 16, MiniLM        -> study_together.json
           Beside them --peer-rounds times the same grid with PEFT and AdapterHub in a plain loop (bench/peer.py --members).
passes     steps of twelve runs in one pass against one after another, by batch and by tokens of a pass (bench_together) -> passes_together.json
cache      head only, and LoRA in the last two layers, five epochs, with and without `cache`         -> row_cache.json
Ways alternate within a round; figures are medians over rounds. Members must be equal bit for bit, however they were trained.
"""
import hashlib
import json
import pathlib
import sys
import tempfile

import harness
from harness import GRAFT, ROOT, THREADS, machine, measured, model_folder, run

METHODS = {"lora": "lora", "pfeiffer": "pfeiffer", "loreft": "loreft", "late": "{adapter: lora, set: {layers: [4, 5], rank: 4}}"}
PASSES = ["{lora: {rank: 8}}", "{bottleneck: {sites: [ffn.out], placement: pfeiffer, reduction: 16}}", "{reft: {rank: 1}}"]   # in turn
PEER_METHODS = ["lora", "pfeiffer", "loreft", "lora-late"]
SEEDS = [1, 2, 3]
ROWS = 500
SETTINGS = {"batch_size": 16, "epochs": 5, "checkpoint_every": "never", "learning_rate": "1e-3", "dropout": 0}

STUDY = """study: bench
model: {model}
methods: {{{methods}}}
tasks: {{cola: {{task: cola, train: {train}, eval: {dev}}}}}
set: {{data.rows: {rows}, {settings}}}
grid: {{seed: {seeds}}}
"""


def digest(run):
    return hashlib.sha256((run / "adapter" / "adapter.safetensors").read_bytes()).hexdigest()


def study_file(args, folder, settings):
    text = STUDY.format(model=model_folder("minilm"), train=args.cola / "train.tsv", dev=args.cola / "dev.tsv", seeds=SEEDS, rows=ROWS,
                        methods=", ".join(f"{name}: {value}" for name, value in METHODS.items()),
                        settings=", ".join(f"{key}: {value}" for key, value in settings.items()))
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def sweep(study, out, together):
    seconds, peak, _ = measured([GRAFT, "sweep", study, "--out", out, "--together", together, "--threads", THREADS, "--quiet"])
    return {"seconds": seconds, "peak_bytes": peak}, {run.name: digest(run) for run in (out / "runs").iterdir()}


def processes(runs, out):
    """Every run of a study as graft train, one process after another."""
    seconds, peaks, digests = 0.0, [], {}
    for run in sorted(runs.iterdir()):
        config = out / (run.name + ".yaml")
        lines = [line for line in (run / "run.yaml").read_text().splitlines() if not line.startswith("out:")]
        config.write_text("\n".join(lines) + "\n")
        own_seconds, peak, _ = measured([GRAFT, "train", config, "--out", out / run.name, "--threads", THREADS, "--quiet"])
        seconds += own_seconds
        peaks.append(peak)
        digests[run.name] = digest(out / run.name)
    return {"seconds": seconds, "peak_bytes": max(peaks), "peak_bytes_of_all_at_once": sum(peaks)}, digests


def peers(args, precision):
    """The grid in one Python process, without dropout: the model loaded for each run, rows tokenised once, a score after every epoch."""
    members = ",".join(f"{method}:{seed}" for method in PEER_METHODS for seed in SEEDS)
    told = harness.run_peer("--model", "minilm", "--task", "cola", "--data", args.cola / "train.tsv", "--eval", args.cola / "dev.tsv", "--rows", ROWS,
                            "--batch", SETTINGS["batch_size"], "--epochs", SETTINGS["epochs"], "--learning-rate", SETTINGS["learning_rate"], "--dropout", 0,
                            "--precision", precision, "--threads", THREADS, "--members", members)
    return {"seconds": told["seconds"], "peak_bytes": told["peak_rss_bytes"]}


def medians(figures):
    return {key: round(value, 3) for key, value in harness.medians(figures).items()}


def one_round(args, precision):
    """Each way once: {way: {seconds, peak_bytes}}. Stops where a member's adapter depends on the way."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        study = study_file(args, folder, {**SETTINGS, "precision": precision})
        together, first = sweep(study, folder / "together", 12)
        turns, second = sweep(study, folder / "turns", 1)
        (folder / "alone").mkdir()
        alone, third = processes(folder / "turns" / "runs", folder / "alone")
        study = study_file(args, folder, {**SETTINGS, "precision": precision, "cache": "never"})
        uncached, fourth = sweep(study, folder / "uncached", 12)
    if not first == second == third == fourth:
        sys.exit("bench: error: members differ between the ways in which they were trained")
    return {"together": together, "one after another": turns, "processes": alone, "together, no cache": uncached}


def bench_together(args):
    results = {}
    for precision in args.precisions.split(","):
        rounds = [one_round(args, precision) for _ in range(args.rounds)]
        own = {way: medians([each[way] for each in rounds]) for way in rounds[0]}
        own["together over processes"] = round(own["together"]["seconds"] / own["processes"]["seconds"], 3)
        own["peak over processes at once"] = round(own["together"]["peak_bytes"] / own["processes"]["peak_bytes_of_all_at_once"], 3)
        if args.peer_rounds and precision == "fp32":   # by autocast to bf16 they are slower
            own["peers"] = medians([peers(args, precision) for _ in range(args.peer_rounds)])
            own["together over peers"] = round(own["together"]["seconds"] / own["peers"]["seconds"], 3)
        results[precision] = own
        print(precision, json.dumps(own), flush=True)
    return {"members": len(METHODS) * len(SEEDS), "methods": METHODS, "rows": ROWS, "settings": SETTINGS, "rounds": args.rounds, "peer_rounds": args.peer_rounds,
            "results": results}


def bench_cache(args):
    cases = {"head": ("head", {}), "lora in the last two layers": ("lora", {"layers": "[4,5]"})}
    common = {"data.rows": 2000, "epochs": 5, "batch_size": 16, "dropout": 0, "checkpoint_every": "never"}
    results = {}
    for precision in args.precisions.split(","):
        for name, (adapter, settings) in cases.items():
            found = {"never": [], "auto": []}
            for _ in range(args.rounds):
                digests = set()
                for cache, figures in found.items():
                    with tempfile.TemporaryDirectory() as scratch:
                        out = pathlib.Path(scratch) / "run"
                        pairs = {**settings, **common, "precision": precision, "cache": cache}
                        seconds, peak, _ = measured(harness.train_command(model_folder("minilm"), "cola", args.cola / "train.tsv", adapter, pairs, out))
                        figures.append({"seconds": seconds, "seconds_of_steps": harness.Run(out).metrics["seconds"], "peak_bytes": peak})
                        digests.add(digest(out))
                if len(digests) != 1:
                    sys.exit("bench: error: the cache changed what was trained")
            own = {cache: medians(figures) for cache, figures in found.items()}
            own["times faster"] = round(own["never"]["seconds_of_steps"] / own["auto"]["seconds_of_steps"], 2)
            results[f"{precision}, {name}"] = own
            print(precision, name, json.dumps(own), flush=True)
    return {"rows": 2000, "epochs": 5, "batch_size": 16, "rounds": args.rounds, "results": results}


def bench_passes(args):
    """In one process, which alternates: `make` the target bench_together first."""
    program = ROOT / "build/release/bench/bench_together"
    results = {}
    for precision in args.precisions.split(","):
        done = run([program, model_folder("minilm"), args.cola / "train.tsv", "cola", precision, 12, 2, 5, *PASSES], cwd=ROOT)
        results[precision] = json.loads(done.stdout)
    return {"members": 12, "methods": PASSES, "unit": "ms a step and member", "rounds": 5, "results": results}


SECTIONS = {"together": (bench_together, "study_together.json"), "passes": (bench_passes, "passes_together.json"), "cache": (bench_cache, "row_cache.json")}


def main():
    parser = harness.parser_of(__doc__)
    parser.add_argument("--glue", required=True, type=pathlib.Path)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, default=1)
    parser.add_argument("--precisions", default="fp32,bf16")
    args = parser.parse_args()
    args.cola = (args.glue / "CoLA").resolve()
    for section in args.only.split(","):
        measure, file = SECTIONS[section]
        harness.write_json(args.out / file, {"machine": machine(), **measure(args)})


if __name__ == "__main__":
    main()
