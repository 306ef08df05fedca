"""Two programs side by side on the same work: what a change of the house costs, or brings.

    old_and_new.py --old FILE [--new FILE] --glue DIR [--only training,predicting,writing,start] [--rounds 8] [--out bench/results]

training    MiniLM (20 steps of 32 rows) on SST-2 and SmolLM2-135M (8 steps of 16 rows) on its texts, nothing evaluated
predicting  `graft eval` on rows of the same with a LoRA adapter
writing     `graft generate`, 48 tokens a prompt: four prompts one after another, sixteen side by side
start       `graft eval` on one row, and `graft --version`

Figures are seconds of a processor, of the whole process with one thread. In a round the two do a row at the same time, a core each, since
what else happens on a shared machine (10 % and more within minutes) hits both alike then; in the next round they change cores, since cores
differ, too. A figure is the median of the rounds. A ratio is the geometric mean of two rounds that follow each other, of which the median
and the quartiles are told; it is above 1 where the new program is faster. The ratio of memory (peak resident bytes) is above 1 where the
new one needs less. The figures are written after every other round.
"""
import argparse
import concurrent.futures
import json
import math
import os
import pathlib
import statistics
import tempfile

import compare
import smollm2
from compare import machine, measured, model_folder

TRAINING = {"minilm": (["lora", "full", "unipelt-apl", "adamix"], ["max_steps=20", "batch_size=32"]),
            "smollm2": (["lora", "full"], ["max_steps=8", "batch_size=16"])}
SETTINGS = ["evaluate_every=never", "checkpoint_every=never"]
PRECISIONS = ("fp32", "bf16")
PREDICTED = {"minilm": 1500, "smollm2": 120}
SUFFIX = {"minilm": ".tsv", "smollm2": ".jsonl"}
PROMPTS = {1: 4, 16: 16}   # by how many are written side by side


def model_of(name):
    return smollm2.gguf_file() if name == "smollm2" else model_folder(name)


def write_texts(path, texts):
    path.write_text("".join(json.dumps({"input": text, "target": text}) + "\n" for text in texts))


def timed(command):
    _, peak, seconds = measured(command)
    return {"seconds": seconds, "peak_bytes": peak}


class Work:
    """What both programs do: each method takes how a program is started, a list of words, and gives a figure and a peak."""

    def __init__(self, args, folder):
        self.folder = folder
        lines = (pathlib.Path(args.glue) / "SST-2/train.tsv").read_text().splitlines(keepends=True)[: 4801]
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
        measured(self.train_command(program, name, "lora", precision, ["max_steps=2", "batch_size=16"], out))
        return out / "adapter"

    def train_command(self, program, model, adapter, precision, settings, out):
        data = self.folder / f"train-{model}{SUFFIX[model]}"
        return [*program, "train", "--model", model_of(model), "--task", self.tasks[model], "--data", data, "--adapter", adapter, "--out", out, "--quiet",
                "--threads", 1, *[part for each in (*SETTINGS, *settings, f"precision={precision}") for part in ("--set", each)]]

    def training(self, program, model, adapter, precision, settings):
        with tempfile.TemporaryDirectory() as scratch:
            return timed(self.train_command(program, model, adapter, precision, settings, pathlib.Path(scratch) / "run"))

    def predicting(self, program, model, precision, count):
        with tempfile.TemporaryDirectory() as scratch:
            return timed([*program, "eval", "--model", model_of(model), "--adapter", self.adapters[model, precision], "--data",
                          self.folder / f"{model}-{count}{SUFFIX[model]}", "--json", f"{scratch}/scores.json", "--precision", precision, "--threads", 1, "--quiet"])

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


def row_of(what, settings, rounds):
    """One row of the result: `rounds` has for each round {"old"|"new": {"seconds", "peak_bytes"}}."""
    def middle(name, key):
        return statistics.median(one[name][key] for one in rounds)

    logs = [math.log(one["old"]["seconds"] / one["new"]["seconds"]) for one in rounds]
    faster = [math.exp((a + b) / 2) for a, b in zip(logs[::2], logs[1::2])]
    low, _, high = statistics.quantiles(faster, n=4, method="inclusive") if len(faster) > 1 else faster * 3
    return {"what": what, **settings, "old_seconds": round(middle("old", "seconds"), 3), "new_seconds": round(middle("new", "seconds"), 3),
            "ratio": round(statistics.median(faster), 3), "ratio_quartiles": [round(low, 3), round(high, 3)],
            "old_peak_bytes": middle("old", "peak_bytes"), "new_peak_bytes": middle("new", "peak_bytes"),
            "memory_ratio": round(middle("old", "peak_bytes") / middle("new", "peak_bytes"), 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", required=True)
    parser.add_argument("--new", default=str(compare.GRAFT))
    parser.add_argument("--glue", required=True, help="the folder with SST-2")
    parser.add_argument("--only", default="training,predicting,writing,start")
    parser.add_argument("--rounds", type=int, default=8, help="an even number")
    parser.add_argument("--out", default=str(compare.ROOT / "bench/results"))
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if args.rounds < 2 or args.rounds % 2 != 0 or len(cores) < 2:
        parser.error("expected two cores, and an even number of rounds")
    with tempfile.TemporaryDirectory() as scratch:
        every = list(cases(Work(args, pathlib.Path(scratch)), args.only.split(",")))
        found = [[] for _ in every]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for number in range(args.rounds):
                sides = {"old": ["taskset", "-c", cores[number % 2], args.old], "new": ["taskset", "-c", cores[1 - number % 2], args.new]}
                for case, rounds in zip(every, found):
                    rounds.append(dict(zip(sides, pool.map(case[-1], sides.values()))))
                if number % 2 == 0:
                    continue
                rows = [row_of(*case[:-1], rounds) for case, rounds in zip(every, found)]
                document = {"command": "bench/old_and_new.py", "machine": {**machine(), "threads": 1}, "rounds": number + 1, "figures": rows}
                (pathlib.Path(args.out) / "old_and_new.json").write_text(json.dumps(document, indent=1) + "\n")
                print(f"{number + 1} rounds: ratios from {min(row['ratio'] for row in rows)} to {max(row['ratio'] for row in rows)}", flush=True)


if __name__ == "__main__":
    main()
