"""Rows of classification sets as prompts with options, several templates each, for rank classification.

    prompt_rows.py --data DIR --out DIR [--rows 500] [--held-out-rows 100]

DIR/glue and DIR/text hold SST-2, CoLA, RTE, TREC, CR and MR. Writes train.jsonl (--rows of SST-2, TREC, RTE and CoLA each, every row in one
template, drawn by a fixed seed) and NAME.jsonl of each set (--held-out-rows of its rows for development, each in every template):
{template, input, options, target}.
"""
import argparse
import csv
import pathlib
import random

from harness import write_rows

SENTIMENT = [("Review: {text}\nIs this review positive or negative?\nAnswer:", ["negative", "positive"]),
             ("{text}\nThe sentiment of this text is", ["negative", "positive"]),
             ("Somebody wrote: {text}\nDid they like it?", ["no", "yes"])]
TEMPLATES = {
    "sst2": SENTIMENT,
    "cr": SENTIMENT,
    "mr": SENTIMENT,
    "cola": [("Sentence: {text}\nIs this sentence grammatical?", ["no", "yes"]), ("{text}\nThis sentence is", ["wrong", "correct"])],
    "rte": [("{text}\nDoes it follow that {second}? Yes or no?", ["yes", "no"]), ("{text}\nQuestion: {second} True or false?\nAnswer:", ["true", "false"])],
    "trec": [("Question: {text}\nWhat is asked for?", ["a description", "an entity", "a person", "a number", "a place", "an abbreviation"])],
}


def tsv(path, columns=None):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, fieldnames=columns, delimiter="\t", quoting=csv.QUOTE_NONE))


def labelled(data, name, part):
    """(text, second text, index of the label) of a set."""
    text = data / "text"
    if name == "sst2":
        return [(row["sentence"].strip(), "", int(row["label"])) for row in tsv(data / f"glue/SST-2/{part}.tsv")]
    if name == "cola":
        return [(row["sentence"], "", int(row["label"])) for row in tsv(data / f"glue/CoLA/{part}.tsv", ["source", "label", "mark", "sentence"])]
    if name == "rte":
        return [(row["sentence1"], row["sentence2"], int(row["label"] != "entailment")) for row in tsv(data / f"glue/RTE/{part}.tsv")]
    if name == "trec":
        with open(text / f"TREC/{'train' if part == 'train' else 'test'}.csv", encoding="utf-8", newline="") as file:
            return [(row[1], "", int(row[0])) for row in csv.reader(file)]
    with open(text / name.upper() / f"{part}.tsv", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t", 1) for line in file]
    return [(row[1], "", int(row[0])) for row in rows]


def prompt(name, row, template):
    pattern, options = TEMPLATES[name][template]
    first, second, label = row
    return {"template": f"{name}/{template}", "input": pattern.format(text=first, second=second.rstrip(".")), "options": options, "target": options[label]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--held-out-rows", type=int, default=100)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    draw = random.Random(1)
    mixed = [prompt(name, row, draw.randrange(len(TEMPLATES[name])))
             for name in ("sst2", "trec", "rte", "cola") for row in draw.sample(labelled(args.data, name, "train"), args.rows)]
    draw.shuffle(mixed)
    write_rows(args.out / "train.jsonl", mixed)
    for name in ("cr", "mr", "sst2", "trec", "rte", "cola"):
        rows = draw.sample(labelled(args.data, name, "dev"), args.held_out_rows)
        write_rows(args.out / f"{name}.jsonl", [prompt(name, row, template) for row in rows for template in range(len(TEMPLATES[name]))])


if __name__ == "__main__":
    main()
