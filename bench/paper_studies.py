"""The papers' studies (studies/*.yaml), run and summarised.

    paper_studies.py --data DIR [--only unipelt,adamix,...] [--out bench/results] [--work build/studies] [--graft FILE]

Makes the folder --work with links to the models of the benches and to DIR (glue and text in it), and the prompts of studies/mixtures.yaml;
trains there what is not trained yet; writes study_NAME.json with the tables of `graft sweep table`, and the page NAME.html into --work.
A study that was stopped goes on. What is measured of adapters when all are trained is in study_analyses.py.
"""
import csv
import io
import pathlib
import subprocess
import sys
import time

import smollm2
import study_analyses as analyses
from harness import GRAFT, ROOT, THREADS, model_folder, parser_of, write_figures, write_rows
from study_analyses import FILES, graft

# The studies in their order; the method that the others of each are compared with; None: nothing is compared.
BASELINES = {"unipelt": "apl", "unipelt-gates": None, "adamix": "adamix", "reft": "loreft", "reft-smollm2": "lora", "mixtures": "ia3",
             "mixtures-routing": "mov 5", "collapse": None, "prefix": "rows", "heads-smollm2-rates": None, "heads-smollm2": "lora"}
SMOLLM2 = {"reft-smollm2", "mixtures", "mixtures-routing", "heads-smollm2-rates", "heads-smollm2"}
# What is measured when all are trained, by its name in study_NAME.json.
ANALYSES = {"adamix": {"routings": analyses.routings, "uncertainty": analyses.uncertainty}, "collapse": {"experts": analyses.experts},
            "mixtures": {"experts": analyses.experts}, "mixtures-routing": {"experts": analyses.experts, "shares_by_task": analyses.shares_by_task},
            "unipelt-gates": {"gates": analyses.gates, "forced": analyses.forced}}


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
    if not (work / "prompts").exists():
        write_prompts(args)


def write_others(work):
    """For each set the texts of the other one in its own columns: rows of another kind."""
    with open(work / FILES["sst2"], encoding="utf-8") as file:
        sst2 = [line.split("\t")[0].strip() for line in file][1:]
    with open(work / FILES["trec"], encoding="utf-8", newline="") as file:
        trec = [row[1] for row in csv.reader(file)]
    for task, column, texts in (("sst2", "sentence", trec), ("trec", "text", sst2)):
        write_rows(work / f"other_than_{task}.jsonl", [{column: text} for text in texts])


def write_prompts(args):
    """The prompts of all sets, each with the mean state of MiniLM's last layer, for routers of whole sentences."""
    bare, embedded = args.work / "bare_prompts", args.work / "embedded_prompts"
    subprocess.run([sys.executable, ROOT / "bench/prompt_rows.py", "--data", args.data.resolve(), "--out", bare], check=True)
    embedded.mkdir(exist_ok=True)
    for file in sorted(bare.iterdir()):
        graft(args, "collect", "--model", "models/minilm", "--task", "studies/prompt_texts.task.yaml", "--data", file.relative_to(args.work), "--positions", "all",
              "--threads", args.threads, "--out", (embedded / file.name).relative_to(args.work))
    embedded.rename(args.work / "prompts")


def table(args, out, part, *more):
    return list(csv.DictReader(io.StringIO(graft(args, "sweep", "table", out, "--format", "csv", "--part", part, *more))))


def study(args, name):
    out = pathlib.Path("runs") / name
    begin = time.monotonic()
    graft(args, "sweep", pathlib.Path("studies") / f"{name}.yaml", "--out", out, "--threads", args.threads)
    seconds = time.monotonic() - begin
    figures = {"seconds_of_this_call": round(seconds, 1), "results": table(args, out, "results")}
    if BASELINES[name]:
        figures.update({"comparisons": table(args, out, "comparisons", "--baseline", BASELINES[name]), "ranks": table(args, out, "ranks")})
    figures.update({what: analysis(args, out) for what, analysis in ANALYSES.get(name, {}).items()})
    graft(args, "report", out, "--out", f"{name}.html")
    write_figures(args.out / f"study_{name}.json", f"bench/paper_studies.py --only {name}", figures)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--only", default=",".join(BASELINES))
    parser.add_argument("--work", default=ROOT / "build/studies", type=pathlib.Path)
    parser.add_argument("--threads", default=THREADS, type=int)
    parser.add_argument("--graft", default=GRAFT, type=pathlib.Path, help="the program; a copy, where it may be built anew meanwhile")
    args = parser.parse_args()
    prepare(args)
    for name in args.only.split(","):
        study(args, name)


if __name__ == "__main__":
    main()
