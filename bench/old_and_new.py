"""Two programs side by side on the same work: what a change of the house costs, or brings.

    old_and_new.py --old FILE [--new FILE] --glue DIR [--only training,predicting,writing,start] [--rows "smollm2 lora bf16,..."] [--rounds 8]

training    MiniLM (20 steps of 32 rows) on SST-2 and SmolLM2-135M (8 steps of 16 rows) on its texts, nothing evaluated
predicting  `graft eval` on rows of the same with a LoRA adapter
writing     `graft generate`, 48 tokens a prompt: four prompts one after another, sixteen side by side
start       `graft eval` on one row, and `graft --version`

How it is timed, and what a ratio is, says bench/side_by_side.py; above 1 the new program is faster. The figures are written after every
other round; rows that are not asked for keep theirs.
"""
import pathlib
import tempfile

import smollm2
from harness import GRAFT, evaluate_command, glue_file, kept_figures, measured, model_folder, parser_of, train_command, write_figures, write_rows
from side_by_side import rounds_of, timed

TRAINING = {"minilm": (["lora", "full", "unipelt-apl", "adamix"], {"max_steps": 20, "batch_size": 32}),
            "smollm2": (["lora", "full"], {"max_steps": 8, "batch_size": 16})}
SETTINGS = {"evaluate_every": "never", "checkpoint_every": "never"}
PRECISIONS = ("fp32", "bf16")
PREDICTED = {"minilm": 1500, "smollm2": 120}
SUFFIX = {"minilm": ".tsv", "smollm2": ".jsonl"}
PROMPTS = {1: 4, 16: 16}   # by how many are written side by side


def model_of(name):
    return smollm2.gguf_file() if name == "smollm2" else model_folder(name)


def write_texts(path, texts):
    write_rows(path, [{"input": text, "target": text} for text in texts])


class Work:
    """What both programs do: each method takes how a program is started, a list of words, and gives a figure and a peak."""

    def __init__(self, args, folder):
        self.folder = folder
        lines = glue_file(args.glue, "sst2").read_text().splitlines(keepends=True)[: 4801]
        texts = [line.split("\t")[0] for line in lines[1:]]
        self.task = folder / "texts.yaml"   # the older program gives a decoder no head
        self.task.write_text("{name: texts, kind: generation, prompt: input, target: target, metrics: [perplexity]}\n")
        self.tasks = {"minilm": "sst2", "smollm2": self.task}
        for count in PROMPTS.values():
            write_texts(folder / f"prompts-{count}.jsonl", texts[:count])
        for name, rows in PREDICTED.items():
            for some in (rows, 1):
                (folder / f"minilm-{some}.tsv").write_text("".join(lines[: some + 1]))
                write_texts(folder / f"smollm2-{some}.jsonl", texts[:some])
        (folder / "train-minilm.tsv").write_text("".join(lines[:1601]))
        write_texts(folder / "train-smollm2.jsonl", texts[:1600])
        self.adapters = {(name, precision): self.made_adapter([args.old], name, precision) for name in PREDICTED for precision in PRECISIONS}

    def made_adapter(self, program, name, precision):
        """An adapter that the older program wrote, since the newer one reads it, too. The older one reads those of its own precision alone."""
        out = self.folder / f"made-{name}-{precision}"
        measured(self.train_command(program, name, "lora", precision, {"max_steps": 2, "batch_size": 16}, out))
        return out / "adapter"

    def train_command(self, program, model, adapter, precision, settings, out):
        data = self.folder / f"train-{model}{SUFFIX[model]}"
        settings = {**SETTINGS, **settings, "precision": precision}
        return train_command(model_of(model), self.tasks[model], data, adapter, settings, out, threads=1, program=program)

    def training(self, program, model, adapter, precision, settings):
        with tempfile.TemporaryDirectory() as scratch:
            return timed(self.train_command(program, model, adapter, precision, settings, pathlib.Path(scratch) / "run"))

    def predicting(self, program, model, precision, count):
        with tempfile.TemporaryDirectory() as scratch:
            data = self.folder / f"{model}-{count}{SUFFIX[model]}"
            return timed(evaluate_command(model_of(model), data, f"{scratch}/scores.json", "--precision", precision,
                                          adapter=self.adapters[model, precision], threads=1, program=program))

    def writing(self, program, precision, batch):
        with tempfile.TemporaryDirectory() as scratch:
            return timed([*program, "generate", "--model", model_of("smollm2"), "--data", self.folder / f"prompts-{PROMPTS[batch]}.jsonl", "--task", self.task,
                          "--batch", batch, "--out", f"{scratch}/texts.jsonl", "--max-new-tokens", 48, "--min-new-tokens", 48, "--precision", precision,
                          "--threads", 1, "--quiet"])


def cases(work, sections):
    """(what, its settings, f(program)) in the order in which they are timed."""
    if "training" in sections:
        for model, (adapters, settings) in TRAINING.items():
            for precision in PRECISIONS:
                for adapter in adapters:
                    yield ("training", {"model": model, "adapter": adapter, "precision": precision},
                           lambda program, m=model, a=adapter, p=precision, s=settings: work.training(program, m, a, p, s))
    for precision in PRECISIONS:
        if "predicting" in sections:
            for model in PREDICTED:
                yield ("predicting", {"model": model, "adapter": "lora", "precision": precision},
                       lambda program, m=model, p=precision: work.predicting(program, m, p, PREDICTED[m]))
        if "writing" in sections:
            for batch in PROMPTS:
                yield ("writing", {"model": "smollm2", "batch": batch, "precision": precision},
                       lambda program, p=precision, b=batch: work.writing(program, p, b))
    if "start" in sections:
        for model in PREDICTED:
            yield "start", {"model": model, "rows": 1}, lambda program, m=model: work.predicting(program, m, "fp32", 1)
        yield "start", {"model": None}, lambda program: timed([*program, "--version"])


def is_asked_for(args, settings):
    return not args.rows or " ".join(map(str, settings.values())) in args.rows.split(",")


def both(args, do):
    return {side: lambda prefix, file=file: do([*prefix, file]) for side, file in (("old", args.old), ("new", args.new))}


def identity(row):
    return [row.get(key) for key in ("what", "model", "adapter", "precision", "batch", "rows")]


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--old", required=True)
    parser.add_argument("--new", default=GRAFT)
    parser.add_argument("--glue", required=True, help="the folder with SST-2")
    parser.add_argument("--only", default="training,predicting,writing,start")
    parser.add_argument("--rows", default="", help='only rows with these settings, divided by commas, as "smollm2 lora bf16"')
    parser.add_argument("--rounds", type=int, default=8, help="an even number")
    args = parser.parse_args()
    path = args.out / "old_and_new.json"
    kept = kept_figures(path, []) if args.rows else []
    with tempfile.TemporaryDirectory() as scratch:
        work = Work(args, pathlib.Path(scratch))
        timings = [({"what": what, **settings}, both(args, do)) for what, settings, do in cases(work, args.only.split(",")) if is_asked_for(args, settings)]
        for rounds, rows in rounds_of(timings, args.rounds):
            figures = [next((row for row in rows if identity(row) == identity(old)), old) for old in kept] or rows
            write_figures(path, "bench/old_and_new.py", figures, threads=1, rounds=rounds)
            print(f"{rounds} rounds: ratios from {min(row['ratio'] for row in rows)} to {max(row['ratio'] for row in rows)}", flush=True)


if __name__ == "__main__":
    main()
