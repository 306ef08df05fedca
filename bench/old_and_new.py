"""Two programs side by side on the same runs: what a change of the house costs, or brings.

    old_and_new.py --old FILE [--new FILE] --glue DIR [--rounds 3] [--out bench/results]

Trains MiniLM on the first 1,600 rows of SST-2 for 40 steps of 32 rows, nothing evaluated, by the old program and the new
one in turn, `rounds` times for each adapter and precision. Figures are tokens a second: the median of each, and their
ratio (above 1: the new one is faster).
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import compare
from compare import machine, model_folder

ADAPTERS = ["lora", "full", "unipelt-apl", "adamix"]
SETTINGS = ["data.rows=1600", "max_steps=40", "batch_size=32", "evaluate_every=never", "checkpoint_every=never"]


def tokens_a_second(program, glue, adapter, precision):
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        command = [program, "train", "--model", model_folder("minilm"), "--task", "sst2", "--data", pathlib.Path(glue) / "SST-2/train.tsv",
                   "--adapter", adapter, "--out", run, "--quiet", "--threads", 2, "--set", *SETTINGS, f"precision={precision}"]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"bench: error: {done.stderr[-2000:]}")
        metrics = json.loads((run / "metrics.json").read_text())
    return metrics["tokens"] / metrics["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", required=True)
    parser.add_argument("--new", default=str(compare.GRAFT))
    parser.add_argument("--glue", required=True, help="the folder with SST-2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default=str(compare.ROOT / "bench/results"))
    args = parser.parse_args()
    found = {}
    for _ in range(args.rounds):
        for precision in ("fp32", "bf16"):
            for adapter in ADAPTERS:
                for name, program in (("old", args.old), ("new", args.new)):
                    found.setdefault((adapter, precision), {}).setdefault(name, []).append(
                        tokens_a_second(program, args.glue, adapter, precision))
    rows = []
    for (adapter, precision), runs in found.items():
        old, new = (statistics.median(runs[name]) for name in ("old", "new"))
        rows.append({"adapter": adapter, "precision": precision, "old": round(old), "new": round(new), "ratio": round(new / old, 3)})
        print(f"{adapter:12} {precision}  {old:8.0f}  {new:8.0f}  {new / old:.3f}")
    document = {"command": "bench/old_and_new.py", "machine": machine(), "rounds": args.rounds, "unit": "tokens a second", "figures": rows}
    (pathlib.Path(args.out) / "old_and_new.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
