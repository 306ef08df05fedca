"""Runs the peer and Graft in turn on the same rows and writes ratios to bench/results/.

    compare.py --glue DIR --out bench/results [--only speed,memory,start,scaling,accuracy,losses] [--rounds 3]

Each figure is the median over rounds; each round runs every side once, so that a slow moment of the machine hits all of them.
memory is no section of its own: it measures Graft's peaks in speed.json again.
"""
import json
import os
import pathlib
import statistics
import tempfile

import harness
from harness import CACHE, GRAFT, ROOT, THREADS, glue_file, measured, medians, model_folder, run, train, train_command

GEMM_LIMIT = ROOT / "build/release/bench/bench_gemm_limit"
MAX_LENGTH = {"sst2": 128, "rte": 256}
SKIPPED = 3          # first steps: kernels are compiled and caches filled

# (model, task, steps, most rounds): enough steps for a mean, few enough for the whole to end within an hour.
SPEED_CASES = [("minilm", "sst2", 24, 5), ("minilm", "rte", 10, 5), ("bert-base-random", "sst2", 9, 3), ("bert-base-random", "rte", 6, 1)]
# The peer's default is the first; its best is whichever turns out fastest.
PEER_SETTINGS = {"fp32": [("fp32", "none"), ("fp32", "length")], "bf16": [("bf16", "none"), ("bf16", "length")]}


def run_peer(args, model, task, method, precision, grouping, steps, extra=()):
    figures = harness.run_peer("--model", model, "--cache", CACHE, "--data", glue_file(args.glue, task), "--task", task, "--method", method,
                               "--precision", precision, "--grouping", grouping, "--steps", steps, "--skip-steps", SKIPPED, "--threads", THREADS, *extra)
    return {"tokens_per_second": figures["tokens_per_second"], "peak_bytes": figures["peak_rss_bytes"],
            "seconds_to_first_step": figures["seconds_to_first_step"]}


def graft_work(args, model, task, method, precision, steps):
    """What is trained and how: the first arguments of harness.train()."""
    settings = {"precision": precision, "max_length": MAX_LENGTH[task], "max_steps": steps, "checkpoint_every": "never", "keep_best": "false",
                "order": "length"}
    return model_folder(model), task, glue_file(args.glue, task), method, settings


def run_graft(args, model, task, method, precision, steps):
    done = train(*graft_work(args, model, task, method, precision, steps))
    return {"tokens_per_second": done.tokens_per_second(SKIPPED), "peak_bytes": done.metrics["peak_bytes"],
            "predicted_peak_bytes": done.predicted_peak_bytes, "mean_tokens": statistics.fmean(step["tokens"] for step in done.steps[SKIPPED:])}


def make_models(args):
    """The random BERT-base is made once, outside of what is measured."""
    if not (CACHE / "bert-base-random").exists():
        run_peer(args, "bert-base-random", "sst2", "lora", "bf16", "none", SKIPPED + 1, ["--rows", "128"])


def gemm_limit(model, method, precision, tokens):
    done = run([GEMM_LIMIT, model_folder(model) / "config.json", method, precision, int(tokens), THREADS])
    return json.loads(done.stdout)["tokens_per_second"]


def memory_figures(ours, peer):
    return {"memory_over_best": ours["peak_bytes"] / peer["peak_bytes"], "peak_over_predicted": ours["peak_bytes"] / ours["predicted_peak_bytes"]}


def speed_case(args, model, task, method, precision, steps, rounds):
    peers = {f"{p}/{g}": [] for p, g in PEER_SETTINGS[precision]}
    ours, limits = [], []
    for _ in range(rounds):
        for setting in peers:
            peers[setting].append(run_peer(args, model, task, method, *setting.split("/"), steps))
        ours.append(run_graft(args, model, task, method, precision, steps))
        limits.append(gemm_limit(model, method, precision, ours[-1]["mean_tokens"]))
    peers = {setting: medians(results) for setting, results in peers.items()}
    ours = medians(ours)
    best = max(peers, key=lambda setting: peers[setting]["tokens_per_second"])
    default = f"{PEER_SETTINGS[precision][0][0]}/{PEER_SETTINGS[precision][0][1]}"
    row = {"model": model, "task": task, "method": method, "precision": precision, "rounds": rounds, "graft": ours, "peer": peers, "peer_best": best,
           "speed_over_default": ours["tokens_per_second"] / peers[default]["tokens_per_second"],
           "speed_over_best": ours["tokens_per_second"] / peers[best]["tokens_per_second"],
           "gemm_limit_tokens_per_second": statistics.median(limits),
           "share_of_gemm_limit": ours["tokens_per_second"] / statistics.median(limits), **memory_figures(ours, peers[best])}
    print(f"{model:17} {task:5} {method:5} {precision}  {ours['tokens_per_second']:7.0f} tok/s  {row['speed_over_default']:5.2f}x default  "
          f"{row['speed_over_best']:5.2f}x best ({best})  {row['share_of_gemm_limit']:4.0%} of GEMM limit  memory {row['memory_over_best']:4.0%}", flush=True)
    return row


def speed(args):
    old = harness.kept_figures(args.out / "speed.json", [])
    wanted = args.cases.split(",")
    rows = [row for row in old if f"{row['model']}/{row['task']}" not in wanted]   # cases not asked for keep their figures
    for model, task, steps, most in SPEED_CASES:
        if f"{model}/{task}" not in wanted:
            continue
        for method in ("lora", "full"):
            for precision in ("fp32", "bf16"):
                rows.append(speed_case(args, model, task, method, precision, steps, min(args.rounds, most)))
    return rows


def memory(args):
    """Measures Graft's peaks in the rows of speed.json again: unlike speeds they do not depend on what else the machine does."""
    file = args.out / "speed.json"
    document = json.loads(file.read_text())
    steps_of = {(model, task): steps for model, task, steps, _ in SPEED_CASES}
    for row in document["figures"]:
        again = run_graft(args, row["model"], row["task"], row["method"], row["precision"], steps_of[row["model"], row["task"]])
        row["graft"] |= {key: again[key] for key in ("peak_bytes", "predicted_peak_bytes")}
        row |= memory_figures(row["graft"], row["peer"][row["peer_best"]])
        print(f"{row['model']:17} {row['task']:5} {row['method']:5} {row['precision']}  {row['graft']['peak_bytes'] / 1e6:6.0f} MB, "
              f"{row['memory_over_best']:4.0%} of the peer's", flush=True)
    harness.write_json(file, document)


def start(args):
    """Seconds of a whole command that makes one step: an upper bound of command to first step."""
    ours, peers = [], []
    *work, settings = graft_work(args, "minilm", "sst2", "lora", "fp32", 1)
    for _ in range(max(3, args.rounds)):
        with tempfile.TemporaryDirectory() as folder:
            ours.append(measured(train_command(*work, {**settings, "data.rows": 10000}, pathlib.Path(folder) / "run"))[0])
        peers.append(run_peer(args, "minilm", "sst2", "lora", "fp32", "none", SKIPPED + 1, ["--rows", "10000"])["seconds_to_first_step"])
    figures = {"graft_whole_command_seconds": statistics.median(ours), "peer_seconds_to_first_step": statistics.median(peers)}
    print(figures, flush=True)
    return figures


def scaling(args):
    """Milliseconds a step of MiniLM LoRA against length and batch, by the program's own calibration."""
    rows = []
    for precision in ("fp32", "bf16"):
        for batch, length in [(32, n) for n in (16, 32, 64, 128, 256, 512)] + [(n, 64) for n in (1, 2, 4, 8, 16, 64, 128)]:
            with tempfile.TemporaryDirectory() as folder:
                out = pathlib.Path(folder) / "plan.json"
                run([GRAFT, "plan", "--model", model_folder("minilm"), "--adapter", "lora", "--batch-size", batch, "--length", length, "--precision", precision,
                     "--threads", THREADS, "--json", out])
                plan = json.loads(out.read_text())
            rows.append({"precision": precision, "batch": batch, "length": length, "step_seconds": plan["step_seconds"],
                         "tokens_per_second": batch * length / plan["step_seconds"]})
            print(rows[-1], flush=True)
    return rows


def accuracy(args):
    """SST-2, 10,000 rows, LoRA r=8 on q and v, 2 epochs, 3 seeds, both sides with the same settings."""
    rows = []
    data, dev = (glue_file(args.glue, "sst2", part) for part in ("train", "dev"))
    for seed in (1, 2, 3):
        peer = harness.run_peer("--model", "minilm", "--data", data, "--task", "sst2", "--rows", 10000, "--epochs", 2, "--learning-rate", "1e-3",
                                "--seed", seed, "--threads", THREADS, "--grouping", "length", "--eval", dev, "--weight-decay", "0.01")
        settings = {"data.rows": 10000, "epochs": 2, "learning_rate": "1e-3", "warmup": 0, "seed": seed, "max_length": 128, "order": "length",
                    "keep_best": "false", "evaluate_every": "never"}
        ours = train(model_folder("minilm"), "sst2", data, "lora", settings, dev=dev).metrics
        rows.append({"seed": seed, "graft": ours["eval"]["accuracy"], "peer": peer["accuracy"],
                     "graft_seconds": ours["seconds"], "peer_seconds": peer["seconds"]})
        print(rows[-1], flush=True)
    means = {side: statistics.mean(row[side] for row in rows) for side in ("graft", "peer")}
    return {"rows": rows, "mean": means, "difference_in_points": 100 * (means["graft"] - means["peer"])}


def losses(args):
    """The first ten losses from the same initial adapter on the same rows, dropout off: Graft against the peer."""
    import bench_losses
    return bench_losses.compare(args.glue)


SECTIONS = {"speed": speed, "start": start, "scaling": scaling, "accuracy": accuracy, "losses": losses}


def main():
    parser = harness.parser_of(__doc__)
    parser.add_argument("--glue", required=True)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, or memory: see above")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", default=",".join(f"{model}/{task}" for model, task, _, _ in SPEED_CASES), help="of the section speed")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    make_models(args)
    for section in args.only.split(","):
        print(f"== {section}", flush=True)
        if section == "memory":
            memory(args)
            continue
        command = f"make bench (bench/compare.py --only {section})"
        harness.write_figures(args.out / f"{section}.json", command, SECTIONS[section](args), rounds=args.rounds)


if __name__ == "__main__":
    main()
