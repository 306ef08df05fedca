"""What recording costs: the same runs and evaluations with and without it.

    recording.py --glue DIR [--graft FILE] [--rounds 8] [--out bench/results]

MiniLM on SST-2, bf16. A run's records are those of every step (gradient norms by edit, routes that are drawn) and of two evaluations of 500 rows
(means of gates and routers stand in every log; the likeness of experts); an evaluation's are those of every row, and with sizes of changes.
How it is timed, and what a ratio is, says bench/side_by_side.py: 0.98 is two percent slower with records.
"""
import argparse
import json
import pathlib
import tempfile

import compare
from compare import machine, measured, model_folder
from side_by_side import rounds_of, timed

RUNS = {"unipelt-apl": ["record.gradients=true"], "adamix": ["record.gradients=true", "record.routes=true", "record.experts=true"],
        "mov": ["record.gradients=true", "record.experts=true"]}
RECORDED = {"rows": [], "rows, changes": ["--record", "changes"]}


def train_command(args, adapter, out, settings):
    return [args.graft, "train", "--model", model_folder("minilm"), "--task", "sst2", "--data", pathlib.Path(args.glue) / "SST-2/train.tsv", "--eval",
            pathlib.Path(args.glue) / "SST-2/dev.tsv", "--adapter", adapter, "--out", out, "--quiet", "--threads", 1, "--set", "precision=bf16", "max_steps=60",
            "batch_size=32", "data.rows=2000", "data.eval_rows=500", "evaluate_every=30 steps", "checkpoint_every=never", *settings]


def training(args, adapter, settings, prefix):
    with tempfile.TemporaryDirectory() as scratch:
        return timed([*prefix, *train_command(args, adapter, f"{scratch}/run", settings)])


def evaluating(args, adapter, options, prefix):
    with tempfile.TemporaryDirectory() as scratch:
        records = ["--records", f"{scratch}/records.jsonl", *options] if options is not None else []
        return timed([*prefix, args.graft, "eval", "--model", model_folder("minilm"), "--adapter", adapter, "--data",
                      pathlib.Path(args.glue) / "SST-2/dev.tsv", "--json", f"{scratch}/scores.json", "--precision", "bf16", "--threads", 1, "--quiet", *records])


def cases(args, folder):
    """(what the row says of itself, {way: f(prefix)}) as side_by_side takes them."""
    for adapter, settings in RUNS.items():
        yield ({"what": "training", "adapter": adapter, "records": settings},
               {"plain": lambda prefix, a=adapter: training(args, a, [], prefix), "recorded": lambda prefix, a=adapter, s=settings: training(args, a, s, prefix)})
    for adapter in ("unipelt-apl", "mov"):
        made = folder / adapter
        measured(train_command(args, adapter, made, ["max_steps=2"]))
        for name, options in RECORDED.items():
            yield ({"what": "evaluating", "adapter": adapter, "records": name},
                   {"plain": lambda prefix, m=made: evaluating(args, m / "adapter", None, prefix),
                    "recorded": lambda prefix, m=made, o=options: evaluating(args, m / "adapter", o, prefix)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue", required=True, help="the folder with SST-2")
    parser.add_argument("--graft", default=str(compare.GRAFT))
    parser.add_argument("--rounds", type=int, default=8, help="an even number")
    parser.add_argument("--out", default=str(compare.ROOT / "bench/results"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for rounds, rows in rounds_of(list(cases(args, pathlib.Path(scratch))), args.rounds):
            document = {"command": "bench/recording.py", "machine": {**machine(), "threads": 1}, "rounds": rounds, "figures": rows}
            (pathlib.Path(args.out) / "recording.json").write_text(json.dumps(document, indent=1) + "\n")
            for row in rows:
                print(f"{row['what']:10} {row['adapter']:12} {row['records']}  {row['ratio']:.3f}  {row['ratio_quartiles']}", flush=True)


if __name__ == "__main__":
    main()
