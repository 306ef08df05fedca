"""Prints the demo's table and a few test mails with their probabilities. Standard library only.

    report.py DEMO_FOLDER
"""
import json
import pathlib
import sys
import textwrap

METHODS = ("head", "lora", "full")
SHOWN_MAILS = 6


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def print_mails(folder):
    mails = read_lines(folder / "mail/test.jsonl")
    predictions = {line["id"]: line for line in read_lines(folder / "predictions.jsonl")}
    labels = ("ham", "spam")
    # Half of them of each label, and among those the ones in file order: not chosen by how well they turned out.
    shown = [mail for label in labels for mail in [m for m in mails if m["label"] == label][:SHOWN_MAILS // 2]]
    for mail in shown:
        guess = predictions[mail["id"]]
        chance = guess["probabilities"]
        text = textwrap.shorten(mail["text"], 76, placeholder=" ...")
        verdict = "right" if guess["prediction"] == mail["label"] else "WRONG"
        print(f"  {mail['label']:5} spam {chance['spam']:6.1%}  {verdict}  {text}")


def figures(folder):
    """The rows of the table: always "ham", and what each run's metrics.json says."""
    test = read_lines(folder / "mail/test.jsonl")
    rows = [{"method": "always ham", "accuracy": sum(mail["label"] == "ham" for mail in test) / len(test), "f1": 0.0, "trained_parameters": 0}]
    for method in METHODS:
        with open(folder / "runs" / method / "metrics.json", encoding="utf-8") as file:
            metrics = json.load(file)
        rows.append({"method": method, "accuracy": metrics["test"]["accuracy"], "f1": metrics["test"]["f1"],
                     "trained_parameters": metrics["edit_parameters"] + metrics["head_parameters"], "seconds": metrics["seconds"],
                     "peak_bytes": metrics["peak_bytes"]})
    return rows


def print_rows(rows):
    print(f"{'method':12} {'accuracy':>9} {'F1 spam':>9} {'trained parameters':>19} {'seconds':>9} {'peak memory':>12}")
    for row in rows:
        cost = f" {row['seconds']:9.1f} {row['peak_bytes'] / 1e6:9.0f} MB" if "seconds" in row else ""
        print(f"{row['method']:12} {row['accuracy']:9.3f} {row['f1']:9.3f} {row['trained_parameters']:19,}{cost}")


if __name__ == "__main__":
    demo = pathlib.Path(sys.argv[1])
    print_mails(demo)
    print(f"\n{len(read_lines(demo / 'mail/test.jsonl'))} test mails")
    print_rows(figures(demo))
