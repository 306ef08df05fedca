"""Whether every preset learns with its defaults: real rows, small and larger numbers of them, several seeds.

    presets_learn.py --glue DIR --text DIR [--out bench/results] [--graft FILE] [--only NAME,...] [--rows 200,1000] [--tasks ...] [--seeds 1]
    presets_learn.py --summary            what has been done so far, and who failed

On the first rows of SST-2, CR and TREC; MiniLM; nothing is set but the seed and the rows, and the adapter of the last step is scored, on
at most 1,000 rows: a choice among evaluations would hide a run that does not stay where it was best. A preset fails where its score is
within two points of the commonest label's, and LoRA, at the best of a few rates, is ten points above that.
Each run is written to presets_learn.json as it ends, and one that is there is not run again: the grid may be stopped and gone on with.
The runs come in the order of seeds, rows, tasks, presets; --jobs of them side by side, each of --threads threads.
"""
import itertools
import pathlib
import threading

from harness import GRAFT, ROOT, STEPS_ALONE, glue_file, in_parallel, kept_figures, model_folder, parser_of, train, write_figures

PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))
TUNED = [3e-4, 1e-3, 3e-3, 1e-2]          # rates of the LoRA that the others are held against, first seed
EVAL_ROWS, NEAR, FAR = 1000, 0.02, 0.10


def files_of(args, task):
    text = pathlib.Path(args.text)
    return {"sst2": (glue_file(args.glue, "sst2"), glue_file(args.glue, "sst2", "dev")), "cr": (text / "CR/train.tsv", text / "CR/dev.tsv"),
            "trec": (text / "TREC/train.csv", text / "TREC/test.csv")}[task]


def count_rows(path, task):
    lines = sum(1 for _ in open(path, encoding="utf-8"))
    return lines - (task == "sst2")   # the others have no header line


def cases(args):
    """(preset, rate or None, task, rows, seed), the cheapest first."""
    numbers = lambda text: [int(part) for part in text.split(",")]
    for seed, rows, task in itertools.product(numbers(args.seeds), numbers(args.rows), args.tasks.split(",")):
        for preset in args.only.split(",") if args.only else PRESETS:
            yield preset, None, task, rows, seed
        if seed == 1 and not args.only:
            yield from (("lora", rate, task, rows, seed) for rate in TUNED)


def key_of(row):
    return row["preset"], row["rate"], row["task"], row["rows"], row["seed"]


def one(args, preset, rate, task, rows, seed):
    train_rows, dev = files_of(args, task)
    settings = {"data.rows": min(rows, count_rows(train_rows, task)), "data.eval_rows": min(EVAL_ROWS, count_rows(dev, task)), "seed": seed,
                **STEPS_ALONE, **({"learning_rate": rate} if rate else {})}
    metrics = train(model_folder("minilm"), task, train_rows, preset, settings, threads=args.threads, dev=dev, program=[args.graft]).metrics
    return {"preset": preset, "rate": rate, "task": task, "rows": rows, "seed": seed, "used_rows": settings["data.rows"], "score": metrics["eval"]["accuracy"],
            "majority": metrics["eval"]["majority"]["accuracy"], "steps": metrics["steps"], "loss": metrics["loss"], "warnings": metrics["warnings"],
            "seconds": metrics["seconds"]}


def summary(runs):
    """Per preset, task and rows: the scores over seeds, the commonest label's, LoRA's best, and whether the preset failed."""
    out = []
    for preset, task, rows in sorted({(r["preset"], r["task"], r["rows"]) for r in runs if r["rate"] is None}, key=lambda k: (k[2], k[1], k[0])):
        own = [r for r in runs if (r["preset"], r["task"], r["rows"], r["rate"]) == (preset, task, rows, None)]
        tuned = [r["score"] for r in runs if r["preset"] == "lora" and r["task"] == task and r["rows"] == rows]
        majority, best = own[0]["majority"], max(tuned, default=None)
        failed = best is not None and best >= majority + FAR and any(r["score"] <= majority + NEAR for r in own)
        out.append({"preset": preset, "task": task, "rows": rows, "scores": [r["score"] for r in own], "majority": majority, "lora_best": best, "failed": failed})
    return out


def write(path, runs, threads):
    order = {preset: i for i, preset in enumerate(PRESETS)}
    runs.sort(key=lambda r: (r["rows"], r["task"], order.get(r["preset"], 99), r["rate"] or 0, r["seed"]))
    write_figures(path, "bench/presets_learn.py", {"eval_rows": EVAL_ROWS, "summary": summary(runs), "runs": runs}, threads=threads)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--glue")
    parser.add_argument("--text")
    parser.add_argument("--graft", default=GRAFT, help="the program; a copy, where it may be built anew meanwhile")
    parser.add_argument("--rows", default="200,1000,5000")
    parser.add_argument("--tasks", default="sst2,cr,trec")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--only", default="", help="presets; without it all, and LoRA at several rates")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    path = args.out / "presets_learn.json"
    runs = kept_figures(path, {"runs": []})["runs"]
    if not args.summary:
        if not args.glue or not args.text:
            parser.error("give --glue and --text: the folders with SST-2, and with CR and TREC")
        done = {key_of(run) for run in runs}
        writing = threading.Lock()

        def run_and_keep(*case):
            run = one(args, *case)
            with writing:
                runs.append(run)
                print(f"{case}  {run['score']:.4f} (majority {run['majority']:.4f})  {run['seconds']:.0f} s", flush=True)
                write(path, runs, args.threads)

        in_parallel(args.jobs, run_and_keep, [case for case in cases(args) if case not in done])
    for row in summary(runs):
        print(f"{row['rows']:5} {row['task']:5} {row['preset']:14} {' '.join(f'{s:.3f}' for s in row['scores'])}  majority {row['majority']:.3f}"
              + ("  FAILED" if row["failed"] else ""))


if __name__ == "__main__":
    main()
