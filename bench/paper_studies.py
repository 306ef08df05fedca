"""The papers' studies (studies/*.yaml), run and summarised.

    paper_studies.py --data DIR [--only unipelt,adamix,...] [--out bench/results] [--work build/studies] [--graft FILE]

Makes the folder --work with links to the models of the benches and to DIR (glue and text in it), and the prompts of studies/mixtures.yaml;
trains there what is not trained yet; writes study_NAME.json with the tables of `graft sweep table`, and the page NAME.html into --work.
A study that was stopped goes on. Of AdaMix's adapters the ways of routing, and uncertainty, are measured when all are trained.
"""
import argparse
import csv
import io
import json
import pathlib
import statistics
import subprocess
import sys
import time

import compare
import smollm2
from compare import ROOT, machine, model_folder

# The studies in their order; the method that the others of each are compared with; None: nothing is compared.
BASELINES = {"unipelt": "apl", "adamix": "adamix", "reft": "loreft", "collapse": None, "reft-smollm2": "lora", "mixtures": "ia3", "prefix": "rows",
             "heads-smollm2-rates": None, "heads-smollm2": "lora"}
SMOLLM2 = {"reft-smollm2", "mixtures", "heads-smollm2-rates", "heads-smollm2"}
ROUTINGS = ["merged", "random", "fixed", "ensemble-logits", "ensemble-probabilities"]
FILES = {"sst2": "data/glue/SST-2/dev.tsv", "trec": "data/text/TREC/test.csv"}
# Eight samples of an answer, or one: (method whose adapters are asked, options of graft eval). A seed ensemble has one figure, the others five.
SAMPLES = {"one adapter": ("adapter", []), "AdaMix merged": ("adamix", []), "AdaMix by routes": ("adamix", ["--routing", "ensemble-probabilities", "--routes", 8]),
           "one adapter by dropout": ("adapter", ["--dropout-passes", 8]), "AdaMix merged, by dropout": ("adamix", ["--dropout-passes", 8])}


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(pathlib.Path(target).resolve())


def prepare(args):
    work = args.work
    link(work / "models/minilm", model_folder("minilm"))
    if SMOLLM2 & set(args.only.split(",")):
        link(work / "models/smollm2.gguf", smollm2.gguf_file())
    link(work / "data", args.data)
    link(work / "studies", ROOT / "studies")
    write_others(work)
    if not (work / "prompts/train.jsonl").exists():
        subprocess.run([sys.executable, ROOT / "bench/prompt_rows.py", "--data", args.data.resolve(), "--out", work / "prompts"], check=True)


def write_others(work):
    """For each set the texts of the other one in its own columns: rows of another kind."""
    with open(work / FILES["sst2"], encoding="utf-8") as file:
        sst2 = [line.split("\t")[0].strip() for line in file][1:]
    with open(work / FILES["trec"], encoding="utf-8", newline="") as file:
        trec = [row[1] for row in csv.reader(file)]
    for task, column, texts in (("sst2", "sentence", trec), ("trec", "text", sst2)):
        (work / f"other_than_{task}.jsonl").write_text("".join(json.dumps({column: text}) + "\n" for text in texts))


def graft(args, *command):
    """A command in the folder of the studies; its standard output."""
    done = subprocess.run([str(part) for part in (args.graft.resolve(), *command)], cwd=args.work, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench: error: graft {' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout


def table(args, out, part, *more):
    return list(csv.DictReader(io.StringIO(graft(args, "sweep", "table", out, "--format", "csv", "--part", part, *more))))


def runs_of(args, out):
    """(method, task, folder of the adapter) of each member, by the names of the runs' folders."""
    for run in sorted((args.work / out / "runs").iterdir()):
        yield (*run.name.split("_")[:2], run.relative_to(args.work) / "adapter")


def scored(args, task, adapter, *options):
    file = args.work / "scores.json"
    graft(args, "eval", "--model", "models/minilm", "--adapter", adapter, "--data", FILES[task], "--precision", "bf16", "--json", file.name, "--threads",
          args.threads, "--quiet", *options)
    return json.loads(file.read_text())


def means(values):
    return {"mean": statistics.mean(values), "values": values}


def routings(args, out):
    """Accuracy on the judging rows by routing: {method: {task: {routing: mean and values over seeds}}}."""
    found = {}
    for method, task, adapter in runs_of(args, out):
        if method in ("adapter", "learned-scores"):
            continue   # no route is drawn there
        for routing in ROUTINGS:
            found.setdefault(method, {}).setdefault(task, {}).setdefault(routing, []).append(scored(args, task, adapter, "--routing", routing)["accuracy"])
    return {method: {task: {routing: means(values) for routing, values in of_task.items()} for task, of_task in tasks.items()} for method, tasks in found.items()}


def trusted(args, task, adapter, *options):
    scores = scored(args, task, adapter, "--calibration", "--out-of-domain", f"other_than_{task}.jsonl", *options)
    told_apart = {f"told apart by {key}": value for key, value in scores["out_of_domain"]["auroc"].items()}
    return {"accuracy": scores["accuracy"], **{key: scores["calibration"][key] for key in ("nll", "brier", "ece")}, **told_apart}


def uncertainty(args, out):
    """How far answers can be trusted by the way in which they are sampled: {task: {way: {figure: mean and values over seeds}}}."""
    adapters = {}
    for method, task, adapter in runs_of(args, out):
        adapters.setdefault((method, task), []).append(adapter)
    found = {}
    for task in FILES:
        ways = {way: [trusted(args, task, adapter, *options) for adapter in adapters[method, task]] for way, (method, options) in SAMPLES.items()}
        for method in ("adapter", "adamix"):
            first, *others = adapters[method, task]
            ways[f"{method}, five seeds"] = [trusted(args, task, first, "--beside", *others)]
        found[task] = {way: {key: means([one[key] for one in figures]) for key in figures[0]} for way, figures in ways.items()}
    return found


def experts(args, out):
    """By run, of the last evaluation: entropy of the shares in nats, the largest mean share and the likeness of experts, each a mean over sites."""
    found = {}
    for run in sorted((args.work / out / "runs").iterdir()):
        told = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines() if '"records"' in line]
        if not told:
            continue
        means = told[-1]["means"]
        kinds = {"entropy": [values[0] for name, values in means.items() if name.endswith(".router.entropy")],
                 "largest_share": [max(values) for name, values in means.items() if name.endswith(".router")],
                 "cosine": [values[0] for name, values in means.items() if name.endswith(".cosine")]}
        found[run.name] = {kind: statistics.mean(values) for kind, values in kinds.items() if values}
    return found


def study(args, name):
    out = pathlib.Path("runs") / name
    begin = time.monotonic()
    graft(args, "sweep", pathlib.Path("studies") / f"{name}.yaml", "--out", out, "--threads", args.threads)
    seconds = time.monotonic() - begin
    figures = {"seconds_of_this_call": round(seconds, 1), "results": table(args, out, "results")}
    if BASELINES[name]:
        figures.update({"comparisons": table(args, out, "comparisons", "--baseline", BASELINES[name]), "ranks": table(args, out, "ranks")})
    if name in ("collapse", "mixtures"):
        figures["experts"] = experts(args, out)
    if name == "adamix":
        figures.update({"routings": routings(args, out), "uncertainty": uncertainty(args, out)})
    graft(args, "report", out, "--out", f"{name}.html")
    document = {"command": f"bench/paper_studies.py --only {name}", "machine": machine(), "figures": figures}
    (args.out / f"study_{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--only", default=",".join(BASELINES))
    parser.add_argument("--out", default=ROOT / "bench/results", type=pathlib.Path)
    parser.add_argument("--work", default=ROOT / "build/studies", type=pathlib.Path)
    parser.add_argument("--threads", default=compare.THREADS, type=int)
    parser.add_argument("--graft", default=compare.GRAFT, type=pathlib.Path, help="the program; a copy, where it may be built anew meanwhile")
    args = parser.parse_args()
    prepare(args)
    for name in args.only.split(","):
        study(args, name)


if __name__ == "__main__":
    main()
