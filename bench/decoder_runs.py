"""Real runs on decoders and an encoder-decoder: what the methods reach, not how fast. Every run states its rows, epochs, rate and seed in the JSON.

    decoder_runs.py --commonsense DIR --nlg DIR [--only commonsense,answers,e2e,mixtures] [--jobs 2] [--rows 640] [--seeds 1,2] [--out bench/results]

commonsense  SmolLM2-135M-Instruct on ARC-Easy and OpenBookQA: LoReFT f3+l3, LoRA, MoLoRA; accuracy on 300 test rows before and after, of the text it writes and by rank
answers      the same rows and methods, but the options are the answers' own words, ranked by their mean log-probability a token: no label has to be found
e2e          AdaMix-LoRA against LoRA: a small GPT-2, trained from random weights on DART, WebNLG and the bare texts of E2E, adapted to E2E on valid.txt, judged on test.txt
mixtures     (IA)^3, MoV, MoLoRA on six commands at once that a tiny T5 was not trained on; soft, top-1, top-2; the experts' shares by command (bench/small_models.py)

Runs go --jobs side by side with one thread each. Figures go to decoder_runs.json; sections not asked for keep theirs.
"""
import json
import pathlib
import random
import re
import statistics
import tempfile

import harness
import small_models
import smollm2
from harness import CACHE, GRAFT, STEPS_ALONE, in_parallel, load_now, read_rows, run, write_rows

COMMONSENSE = {"epochs": 2, "batch_size": 16, "precision": "bf16", "max_length": 256, "order": "length", **STEPS_ALONE, "warmup": 0.1}
COMMONSENSE_METHODS = {"lora": ("lora", {"learning_rate": 1e-3}), "loreft": ("loreft", {"learning_rate": 2e-3, "positions": "f3+l3", "rank": 8, "tied": "false", "dropout": 0, "weight_decay": 0}),
                       "molora": ("molora", {"learning_rate": 1e-3})}
TEST_ROWS = 300
SMALL_FULL = {"epochs": 6, "batch_size": 32, "learning_rate": 2e-3, "max_length": 200, "order": "length", **STEPS_ALONE}
E2E = {"epochs": 5, "batch_size": 16, "learning_rate": 3e-3, "max_length": 200, "order": "length", **STEPS_ALONE, "warmup": 0.06}
# The released recipe has 20 epochs of batches of 8; LoRA's here is the same without the second pass and its loss.
E2E_RELEASED = {"max_length": 200, **STEPS_ALONE}
E2E_METHODS = {"lora": ("LORA", E2E), "adamix-lora": ("adamix-lora", {**E2E, "consistency": 1}),
               "lora, released recipe": ("LORA", {**E2E_RELEASED, "learning_rate": 2e-4, "dropout": 0, "label_smoothing": 0.1, "batch_size": 8, "epochs": 20,
                                                  "warmup": 2000, "epsilon": 1e-6, "adamw_form": "transformers"}),
               "adamix-lora, released recipe": ("adamix-lora:published", E2E_RELEASED)}
E2E_TRAIN_ROWS, E2E_PROMPTS = 2000, 150
VERBS = {"epochs": 4, "batch_size": 64, "learning_rate": 3e-3, **STEPS_ALONE}
MIXTURES = {"epochs": 8, "batch_size": 64, **STEPS_ALONE}
MIXTURE_METHODS = {"ia3": ("ia3", {"learning_rate": 1e-2}), "lora": ("lora", {"learning_rate": 3e-3}),
                   **{f"mov {name}": ("mov", {"learning_rate": 1e-2, **more}) for name, more in (("soft", {}), ("top-1", {"top_k": 1}), ("top-2", {"top_k": 2}))},
                   **{f"molora {name}": ("molora", {"learning_rate": 3e-3, **more}) for name, more in (("soft", {}), ("top-1", {"top_k": 1}), ("top-2", {"top_k": 2}))}}


# --- running graft -----------------------------------------------------------------------------------------------------------------

def train(model, task, data, adapter, settings, out):
    metrics = harness.train(model, task, data, adapter, settings, out, threads=1).metrics
    return {key: metrics[key] for key in ("edit_parameters", "steps", "tokens", "seconds", "peak_bytes")}


def evaluate(model, data, adapter=None, task=None, more=()):
    return harness.evaluate(model, data, *(["--task", task] if task else []), *more, adapter=adapter, threads=1)


def trained_trunk(make, task, data, settings, name):
    """A small model with random weights, fully trained and merged, kept in CACHE/NAME with what was done."""
    folder = CACHE / name
    done = folder / "training.json"
    if not done.exists():
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            (scratch / "random").mkdir()
            make(scratch / "random")
            figures = train(scratch / "random", task, data, "full", settings, scratch / "run")
            run([GRAFT, "merge", "--model", scratch / "random", "--adapter", scratch / "run/adapter", "--out", folder])
            figures["last_loss"] = harness.Run(scratch / "run").losses[-1]
            done.write_text(json.dumps({**figures, "settings": settings}))
    return folder, json.loads(done.read_text())


# --- SmolLM2 on commonsense --------------------------------------------------------------------------------------------------------

def commonsense_rows(args, folder):
    """Half of each set, drawn by a fixed seed; of the training rows and of the test rows."""
    files = {}
    for part, count, seed in (("train", args.rows, 1), ("test", TEST_ROWS, 2)):
        draw = random.Random(seed)
        rows = [row for name in ("ARC-Easy", "openbookqa") for row in draw.sample(json.loads((pathlib.Path(args.commonsense) / name / f"{part}.json").read_text()), count // 2)]
        draw.shuffle(rows)
        files[part] = folder / f"{part}.json"
        files[part].write_text(json.dumps(rows))
    return files


def both_scores(model, data, adapter=None):
    written = evaluate(model, data, adapter, "arc-easy", ["--max-new-tokens", 24, "--precision", "bf16"])
    ranked = evaluate(model, data, adapter, "commonsense-choice", ["--precision", "bf16"])
    return {"answer_after": written["answer_after"], "answer_option": written["answer_option"], "rank": ranked["accuracy"], "loss": written["loss"]}


def commonsense(args):
    model = smollm2.model_folder()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        files = commonsense_rows(args, folder)

        def one(method, seed):
            if method == "none":
                row = {"method": "none", **both_scores(model, files["test"])}
            else:
                preset, own = COMMONSENSE_METHODS[method]
                out = folder / f"{method}-{seed}"
                figures = train(model, "arc-easy", files["train"], preset, {**COMMONSENSE, **own, "seed": seed}, out)
                row = {"method": method, "seed": seed, "settings": own, **figures, **both_scores(model, files["test"], out / "adapter")}
            print({key: row[key] for key in ("method", "answer_after", "answer_option", "rank", "seconds") if key in row}, flush=True)
            return row

        rows = in_parallel(args.jobs, one, [("none", 0), *((method, seed) for seed in args.seeds for method in ("molora", "lora", "loreft"))])
    return {"model": "SmolLM2-135M-Instruct", "train_rows": args.rows, "test_rows": TEST_ROWS, "recipe": COMMONSENSE, "max_new_tokens": 24, "rows": rows}


# --- SmolLM2 on the same questions, answered in the options' own words -------------------------------------------------------------

ANSWERS_TASK = r'''name: answers
kind: choice
prompt: "Question: {question}\nAnswer:"
options: options
as: " {option}"
target: answer
target_form: text
score: mean
metrics: [accuracy]
'''


def in_words(row):
    parts = re.fullmatch(r"Please choose the correct answer to the question: (.*?)\n\n(Answer1: .*?)\n\nAnswer format: .*", row["instruction"], re.S)
    options = re.split(r"\s*Answer\d: ", " " + parts[2])[1:]
    return {"question": parts[1], "options": options, "answer": options[int(row["answer"].removeprefix("answer")) - 1]}


def answers(args):
    model = smollm2.model_folder()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for part, file in commonsense_rows(args, folder).items():
            rows = [in_words(row) for row in json.loads(file.read_text())]
            rows = [row for row in rows if len(set(row["options"])) == len(row["options"])]
            write_rows(folder / f"{part}.jsonl", rows)
        task = folder / "answers.yaml"
        task.write_text(ANSWERS_TASK)

        def one(method, seed):
            row, what = {"method": method}, {"task": task}
            if method != "none":
                preset, own = COMMONSENSE_METHODS[method]
                out = folder / f"{method}-{seed}"
                row.update({"seed": seed, "settings": own, **train(model, task, folder / "train.jsonl", preset, {**COMMONSENSE, **own, "seed": seed}, out)})
                what = {"adapter": out / "adapter"}
            row["rank"] = evaluate(model, folder / "test.jsonl", **what, more=["--precision", "bf16"])["accuracy"]
            print(row, flush=True)
            return row

        rows = in_parallel(args.jobs, one, [("none", 0), *((method, seed) for seed in args.seeds for method in ("molora", "lora", "loreft"))])
    return {"model": "SmolLM2-135M-Instruct", "train_rows": args.rows, "test_rows": TEST_ROWS, "recipe": COMMONSENSE, "task": ANSWERS_TASK, "rows": rows}


# --- AdaMix-LoRA and LoRA on E2E ---------------------------------------------------------------------------------------------------

def webnlg_pairs(path):
    for entry in json.loads(path.read_text())["entries"]:
        (content,) = entry.values()
        source = " | ".join(f"{t['subject']} : {t['property']} : {t['object']}" for t in content["modifiedtripleset"])
        for text in content["lexicalisations"]:
            if text["comment"] == "good":
                yield source, text["lex"]


def dart_pairs(path):
    for entry in json.loads(path.read_text()):
        source = " | ".join(f"{a} : {relation.lower()} : {b}" for a, relation, b in entry["tripleset"])
        for note in entry["annotations"]:
            yield source, note["text"]


def e2e_rows(args, folder):
    """-> what the trunk is trained on, E2E's lines to adapt on, those to judge on (of prompts drawn by a fixed seed, all their texts)."""
    nlg, draw = pathlib.Path(args.nlg), random.Random(1)
    valid = (nlg / "e2e/valid.txt").read_text().splitlines()
    test = (nlg / "e2e/test.txt").read_text().splitlines()
    pairs = [*webnlg_pairs(nlg / "webnlg/dev.json"), *dart_pairs(nlg / "dart/dart-v1.1.1-full-dev.json")]
    pairs = [pair for pair in pairs if len(pair[0]) + len(pair[1]) < 450]
    pairs += [("text", line.split("||", 1)[1].strip()) for line in valid]
    draw.shuffle(pairs)
    prompts = list(dict.fromkeys(line.split("||", 1)[0] for line in test))
    chosen = set(draw.sample(prompts, E2E_PROMPTS))
    write_rows(folder / "trunk.jsonl", [{"input": source, "target": text} for source, text in pairs if text.strip()])
    (folder / "trunk.yaml").write_text("{name: pairs, kind: generation, prompt: input, target: ' {target|strip}', prompt_end: eos, loss: all, metrics: [perplexity]}\n")
    (folder / "train.txt").write_text("\n".join(draw.sample(valid, E2E_TRAIN_ROWS)) + "\n")
    (folder / "test.txt").write_text("\n".join(line for line in test if line.split("||", 1)[0] in chosen) + "\n")
    (folder / "lora.yaml").write_text("about: the pair that AdaMix-LoRA has eight of\nedits:\n  - lora: {sites: [attn.q, attn.v], rank: 4, alpha: 32, dropout: 0.1, init: kaiming}\n"
                                      "train: {weight_decay: 0.01, clip: 0}\n")
    return pairs


def e2e(args):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        pairs = e2e_rows(args, folder)
        texts = [text for pair in pairs for text in pair] + (folder / "train.txt").read_text().splitlines()
        trunk, made = trained_trunk(lambda where: small_models.make_gpt2(where, texts), folder / "trunk.yaml", folder / "trunk.jsonl", SMALL_FULL, "gpt2-small-e2e")

        def one(method, seed):
            more = ["--max-new-tokens", 64]
            if method == "none":
                row = {"method": method, **evaluate(trunk, folder / "test.txt", None, "e2e", more)}
            else:
                preset, own = E2E_METHODS[method]
                out = folder / f"{method}-{seed}"
                figures = train(trunk, "e2e", folder / "train.txt", folder / "lora.yaml" if preset == "LORA" else preset, {**own, "seed": seed}, out)
                row = {"method": method, "seed": seed, **evaluate(trunk, folder / "test.txt", out / "adapter", None, more), **figures}
            print({key: round(row[key], 3) if isinstance(row[key], float) else row[key] for key in ("method", "bleu", "nist", "rouge_l", "cider", "ter", "loss", "seconds")}, flush=True)
            return row

        rows = in_parallel(args.jobs, one, [("none", 0), *((method, seed) for seed in args.seeds for method in E2E_METHODS)])
    metrics = ("bleu", "nist", "rouge_l", "cider", "ter", "loss")
    summary = [{"method": method, **{metric: statistics.mean(row[metric] for row in rows if row["method"] == method) for metric in metrics}}
               for method in ("none", *E2E_METHODS)]
    return {"trunk": {"about": "GPT-2: width 128, four layers, 1,500 words, random weights; fully trained on DART dev, WebNLG dev and the texts of E2E valid without their slots",
                      "rows": len(pairs), **made}, "recipes": {method: settings for method, (_, settings) in E2E_METHODS.items()}, "train_rows": E2E_TRAIN_ROWS, "prompts": E2E_PROMPTS, "decoding": "greedy, at most 64 tokens", "summary": summary, "runs": rows}


# --- mixtures on commands ----------------------------------------------------------------------------------------------------------

def shares_by_command(records, rows):
    """Records of routers -> {site: {command: mean share of each expert}} and the mean entropy by site, in nats."""
    command = {row["id"]: row["command"] for row in rows}
    shares, entropies = {}, {}
    for record in read_rows(records):
        site = re.fullmatch(r"\d+\.router/(.+)\.router(\.entropy)?", record["name"])
        if site.group(2):
            entropies.setdefault(site.group(1), []).append(record["values"][0])
        else:
            shares.setdefault(site.group(1), {}).setdefault(command[record["id"]], []).append(record["values"])
    means = {site: {name: [round(statistics.mean(column), 3) for column in zip(*values)] for name, values in sorted(of_site.items())} for site, of_site in shares.items()}
    return means, {site: round(statistics.mean(values), 3) for site, values in entropies.items()}


def spread(means):
    """How far commands differ in their use of experts: half the summed distance of each command's shares from the mean over commands, averaged; 0: all alike."""
    distances = []
    for of_site in means.values():
        centre = [statistics.mean(column) for column in zip(*of_site.values())]
        distances += [sum(abs(a - b) for a, b in zip(values, centre)) / 2 for values in of_site.values()]
    return statistics.mean(distances)


def mixtures(args):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        verbs = {verb: verb for verb in small_models.VERBS}
        write_rows(folder / "verbs.jsonl", small_models.verb_rows(20000, 1, verbs))
        write_rows(folder / "train.jsonl", small_models.verb_rows(8000, 3, small_models.COMMANDS))
        test = small_models.verb_rows(600, 4, small_models.COMMANDS)
        write_rows(folder / "test.jsonl", test)
        for command in small_models.COMMANDS:
            write_rows(folder / f"{command}.jsonl", [row for row in test if row["command"] == command])
        task = folder / "task.yaml"
        task.write_text("name: commands\nkind: generation\nid: id\nprompt: input\ntarget: target\nmetrics: [exact_match]\n")
        trunk, made = trained_trunk(small_models.make_t5, task, folder / "verbs.jsonl", VERBS, "t5-verbs")
        known = write_rows(folder / "known.jsonl", small_models.verb_rows(300, 2, verbs))
        before = {name: evaluate(trunk, rows, None, task)["exact_match"] for name, rows in (("verbs", known), ("commands", folder / "test.jsonl"))}

        def one(method, seed):
            preset, own = MIXTURE_METHODS[method]
            out = folder / f"{method}-{seed}"
            adapter, records = out / "adapter", folder / f"{method}-{seed}.records.jsonl"
            figures = train(trunk, task, folder / "train.jsonl", preset, {**MIXTURES, **own, "seed": seed}, out)
            is_routed = preset in ("mov", "molora")
            scores = evaluate(trunk, folder / "test.jsonl", adapter, None, ["--records", records] if is_routed else [])
            row = {"method": method, "seed": seed, "settings": own, **figures, "exact_match": scores["exact_match"], "loss": scores["loss"],
                   "by_command": {command: evaluate(trunk, folder / f"{command}.jsonl", adapter)["exact_match"] for command in small_models.COMMANDS}}
            if is_routed:
                means, entropies = shares_by_command(records, test)
                row.update({"spread_over_commands": spread(means), "mean_entropy": statistics.mean(entropies.values()), "entropy": entropies})
                if seed == args.seeds[0]:
                    row["shares"] = means
            print(f"{method:13} seed {seed}  exact match {row['exact_match']:.3f}  {figures['edit_parameters']} parameters  {figures['seconds']:.0f} s"
                  + (f"  spread {row['spread_over_commands']:.3f}" if is_routed else ""), flush=True)
            return row

        rows = in_parallel(args.jobs, one, [(method, seed) for seed in args.seeds for method in MIXTURE_METHODS])
    summary = [{"method": method, "exact_match": statistics.mean(row["exact_match"] for row in rows if row["method"] == method),
                "runs": [row["exact_match"] for row in rows if row["method"] == method]} for method in MIXTURE_METHODS]
    return {"trunk": {"about": "T5 v1.1: width 64, two and two layers, random weights; fully trained on 20,000 rows of six verbs", **made, "exact_match": before}, "commands": small_models.COMMANDS,
            "recipe": MIXTURES, "train_rows": 8000, "test_rows": len(test), "summary": summary, "runs": rows}


SECTIONS = {"mixtures": mixtures, "e2e": e2e, "commonsense": commonsense, "answers": answers}


def main():
    parser = harness.parser_of(__doc__)
    parser.add_argument("--commonsense", help="folder with ARC-Easy and openbookqa, each with train.json and test.json")
    parser.add_argument("--nlg", help="folder with e2e, webnlg and dart")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=int, default=640, help="training rows of commonsense")
    parser.add_argument("--seeds", default="1,2", type=lambda text: [int(part) for part in text.split(",")])
    args = parser.parse_args()
    file = args.out / "decoder_runs.json"
    for section in args.only.split(","):
        print(f"== {section}", flush=True)
        figures = {"jobs": args.jobs, "seeds": args.seeds, "load_before": load_now(), **SECTIONS[section](args)}
        harness.write_figures(file, "bench/decoder_runs.py", {**harness.kept_figures(file, {}), section: figures})


if __name__ == "__main__":
    main()
