"""What recording costs: the same runs and evaluations with and without it.

    recording.py --glue DIR [--graft FILE] [--rounds 8] [--out bench/results]

MiniLM on SST-2, bf16. A run's records are those of every step (gradient norms by edit, routes that are drawn) and of two evaluations of 500 rows
(means of gates and routers stand in every log; the likeness of experts); an evaluation's are those of every row, and with sizes of changes.
How it is timed, and what a ratio is, says bench/side_by_side.py: 0.98 is two percent slower with records.
"""
import pathlib
import tempfile

from harness import GRAFT, evaluate_command, glue_file, measured, model_folder, parser_of, train_command, write_figures
from side_by_side import rounds_of, timed

RUNS = {"unipelt-apl": ["record.gradients=true"], "adamix": ["record.gradients=true", "record.routes=true", "record.experts=true"],
        "mov": ["record.gradients=true", "record.experts=true"]}
RECORDED = {"rows": [], "rows, changes": ["--record", "changes"]}


def command_of(args, adapter, out, settings, prefix=()):
    data, dev = (glue_file(args.glue, "sst2", part) for part in ("train", "dev"))
    common = {"precision": "bf16", "max_steps": 60, "batch_size": 32, "data.rows": 2000, "data.eval_rows": 500, "evaluate_every": "30 steps",
              "checkpoint_every": "never"}
    own = dict(setting.split("=") for setting in settings)
    return train_command(model_folder("minilm"), "sst2", data, adapter, {**common, **own}, out, threads=1, dev=dev, program=[*prefix, args.graft])


def training(args, adapter, settings, prefix):
    with tempfile.TemporaryDirectory() as scratch:
        return timed(command_of(args, adapter, f"{scratch}/run", settings, prefix))


def evaluating(args, adapter, options, prefix):
    with tempfile.TemporaryDirectory() as scratch:
        records = ["--records", f"{scratch}/records.jsonl", *options] if options is not None else []
        return timed(evaluate_command(model_folder("minilm"), glue_file(args.glue, "sst2", "dev"), f"{scratch}/scores.json", "--precision", "bf16",
                                      *records, adapter=adapter, threads=1, program=[*prefix, args.graft]))


def cases(args, folder):
    """(what the row says of itself, {way: f(prefix)}) as side_by_side takes them."""
    for adapter, settings in RUNS.items():
        yield ({"what": "training", "adapter": adapter, "records": settings},
               {"plain": lambda prefix, a=adapter: training(args, a, [], prefix), "recorded": lambda prefix, a=adapter, s=settings: training(args, a, s, prefix)})
    for adapter in ("unipelt-apl", "mov"):
        made = folder / adapter
        measured(command_of(args, adapter, made, ["max_steps=2"]))
        for name, options in RECORDED.items():
            yield ({"what": "evaluating", "adapter": adapter, "records": name},
                   {"plain": lambda prefix, m=made: evaluating(args, m / "adapter", None, prefix),
                    "recorded": lambda prefix, m=made, o=options: evaluating(args, m / "adapter", o, prefix)})


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--glue", required=True, help="the folder with SST-2")
    parser.add_argument("--graft", default=GRAFT)
    parser.add_argument("--rounds", type=int, default=8, help="an even number")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for rounds, rows in rounds_of(list(cases(args, pathlib.Path(scratch))), args.rounds):
            write_figures(args.out / "recording.json", "bench/recording.py", rows, threads=1, rounds=rounds)
            for row in rows:
                print(f"{row['what']:10} {row['adapter']:12} {row['records']}  {row['ratio']:.3f}  {row['ratio_quartiles']}", flush=True)


if __name__ == "__main__":
    main()
