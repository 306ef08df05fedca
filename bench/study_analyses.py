"""What is measured of the adapters of a study when all of them are trained (bench/paper_studies.py).

Each analysis takes the arguments of the bench and the study's folder, and gives what stands under its name in study_NAME.json.
"""
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

from harness import read_rows

ROUTINGS = ["merged", "random", "fixed", "ensemble-logits", "ensemble-probabilities"]
FILES = {"sst2": "data/glue/SST-2/dev.tsv", "trec": "data/text/TREC/test.csv"}
# Eight samples of an answer, or one: (method whose adapters are asked, options of graft eval). A seed ensemble has one figure, the others five.
SAMPLES = {"one adapter": ("adapter", []), "AdaMix merged": ("adamix", []), "AdaMix by routes": ("adamix", ["--routing", "ensemble-probabilities", "--routes", 8]),
           "one adapter by dropout": ("adapter", ["--dropout-passes", 8]), "AdaMix merged, by dropout": ("adamix", ["--dropout-passes", 8])}
PARTS = {"prefix": "0.gate", "adapter": "1.gate", "lora": "2.gate"}   # of the preset unipelt-apl, by how the names of their records begin
PROMPTED = {"trained on": ["sst2", "trec", "rte", "cola"], "held out": ["cr", "mr"]}


def graft(args, *command):
    """A command in the folder of the studies; its standard output."""
    done = subprocess.run([str(part) for part in (args.graft.resolve(), *command)], cwd=args.work, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):   # 1: members of a study failed, as its tables tell
        sys.exit(f"bench: error: graft {' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout


def runs_of(args, out):
    """(method, task, folder of the run) of each member, by the names of the runs' folders."""
    for run in sorted((args.work / out / "runs").iterdir()):
        yield (*run.name.split("_")[:2], run)


def rows_of(run):
    """How many rows a member trained on."""
    return next(part.removeprefix("rows-") for part in run.name.split("_") if part.startswith("rows-"))


def scored(args, task, run, *options):
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch) / "scores.json"
        graft(args, "eval", "--model", "models/minilm", "--adapter", run.relative_to(args.work) / "adapter", "--data", FILES[task], "--precision", "bf16",
              "--json", file, "--threads", args.threads, "--quiet", *options)
        return json.loads(file.read_text())


def means(values):
    return {"mean": statistics.mean(values), "values": values}


def gathered(found):
    """Lists of values by paths of names, as nested dictionaries of means."""
    out = {}
    for path, values in found.items():
        place = out
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = means(values)
    return out


def routings(args, out):
    """Accuracy on the judging rows by routing: {method: {task: {routing: mean and values over seeds}}}."""
    found = {}
    for method, task, run in runs_of(args, out):
        if method in ("adapter", "learned-scores"):
            continue   # no route is drawn there
        for routing in ROUTINGS:
            found.setdefault((method, task, routing), []).append(scored(args, task, run, "--routing", routing)["accuracy"])
    return gathered(found)


def trusted(args, task, run, *options):
    scores = scored(args, task, run, "--calibration", "--out-of-domain", f"other_than_{task}.jsonl", *options)
    told_apart = {f"told apart by {key}": value for key, value in scores["out_of_domain"]["auroc"].items()}
    return {"accuracy": scores["accuracy"], **{key: scores["calibration"][key] for key in ("nll", "brier", "ece")}, **told_apart}


def uncertainty(args, out):
    """How far answers can be trusted by the way in which they are sampled: {task: {way: {figure: mean and values over seeds}}}."""
    runs = {}
    for method, task, run in runs_of(args, out):
        runs.setdefault((method, task), []).append(run)
    found = {}
    for task in FILES:
        ways = {way: [trusted(args, task, run, *options) for run in runs[method, task]] for way, (method, options) in SAMPLES.items()}
        for method in ("adapter", "adamix"):
            first, *others = runs[method, task]
            ways[f"{method}, five seeds"] = [trusted(args, task, first, "--beside", *(run.relative_to(args.work) / "adapter" for run in others))]
        found[task] = {way: {key: means([one[key] for one in figures]) for key in figures[0]} for way, figures in ways.items()}
    return found


def experts(args, out):
    """By run, of the last evaluation: entropy of the shares in nats, the largest mean share and the likeness of experts, each a mean over sites."""
    found = {}
    for run in sorted((args.work / out / "runs").iterdir()):
        told = [event for event in read_rows(run / "log.jsonl") if event["event"] == "records"]
        if not told:
            continue
        last = told[-1]["means"]
        kinds = {"entropy": [values[0] for name, values in last.items() if name.endswith(".router.entropy")],
                 "largest_share": [max(values) for name, values in last.items() if name.endswith(".router")],
                 "cosine": [values[0] for name, values in last.items() if name.endswith(".cosine")]}
        found[run.name] = {kind: statistics.mean(values) for kind, values in kinds.items() if values}
    return found


def gates(args, out):
    """Means over the judging rows: {"gate" or "change": {task: {rows: {part of UniPELT: {layer: mean and values over seeds}}}}}."""
    found = {}
    for _, task, run in runs_of(args, out):
        recorded = json.loads((run / "records.json").read_text())["test"]
        for part, beginning in PARTS.items():
            for kind in ("gate", "change"):
                by_layer = {}   # LoRA has two gates a layer: their mean
                for name, values in recorded.items():
                    if name.startswith(beginning) and name.endswith(f".{kind}"):
                        by_layer.setdefault(name.split("/")[1].split(".")[1], []).append(statistics.mean(values["mean"]))
                for layer, values in by_layer.items():
                    found.setdefault((kind, task, rows_of(run), part, layer), []).append(statistics.mean(values))
    return gathered(found)


def forced(args, out):
    """Accuracy on the judging rows with the gates of one part at 0 or 1: {task: {rows: {"own" or "part = value": mean and values over seeds}}}."""
    found = {}
    for _, task, run in runs_of(args, out):
        def put(name, *options):
            found.setdefault((task, rows_of(run), name), []).append(scored(args, task, run, *options)["accuracy"])

        put("own")
        for part, beginning in PARTS.items():
            for value in (0, 1):
                put(f"{part} = {value}", "--gate", f"{beginning}={value}")
    return gathered(found)


def shares_by_task(args, out):
    """Mean share of each expert at the last layer's feed-forward activation, where targets are predicted: {kind: {set: {expert: mean and values}}}."""
    found = {}
    for _, _, run in [each for each in runs_of(args, out) if each[0] == "mov-5"]:
        for kind, names in PROMPTED.items():
            for name in names:
                for key, value in recorded_shares(args, run, name).items():
                    found.setdefault((kind, name, key), []).append(value)
    return gathered(found)


def recorded_shares(args, run, name):
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch) / "routes.jsonl"
        graft(args, "eval", "--model", "models/smollm2.gguf", "--adapter", run.relative_to(args.work) / "adapter", "--task", "studies/prompt_targets.task.yaml",
              "--data", f"prompts/{name}.jsonl", "--precision", "bf16", "--records", file, "--threads", args.threads, "--quiet")
        return last_router(file)


def last_router(file):
    """{"expert 1": its mean share, ..., "entropy": of a token's shares in nats}, means over rows, of the last layer's router of ffn.act."""
    by_name = {}
    for record in read_rows(file):
        if ".ffn.act.router" in record["name"]:
            by_name.setdefault(record["name"], []).append(record["values"])
    layer_of = lambda name: int(name.split("/")[1].split(".")[1])
    last = max(map(layer_of, by_name))
    columns = {name: [statistics.mean(column) for column in zip(*rows)] for name, rows in by_name.items() if layer_of(name) == last}
    [shares] = [values for name, values in columns.items() if name.endswith(".router")]
    [entropy] = [values for name, values in columns.items() if name.endswith(".entropy")]
    return {**{f"expert {number + 1}": share for number, share in enumerate(shares)}, "entropy": entropy[0]}
