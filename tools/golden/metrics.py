#!/usr/bin/env python3
"""Makes tests/golden/data/metrics.json: metrics of random and degenerate cases by scikit-learn and SciPy.

Run with the interpreter of the peers' environment:  .venv-peers/bin/python tools/golden/metrics.py
The file names the versions that made it. A NaN is written as null; SciPy refuses pearsonr of one row, which is written as null too
(src/data/metrics.h says so).
"""
import argparse
import json
import math
import pathlib
import statistics
import warnings

import numpy as np
import scipy
import sklearn
from scipy import stats
from sklearn import metrics

SEED = 20240229


def plain(value):
    value = float(value)
    return None if math.isnan(value) else value


def classification(name, truth, predicted):
    truth, predicted = [int(v) for v in truth], [int(v) for v in predicted]
    case = {"name": name, "truth": truth, "predicted": predicted}
    case["accuracy"] = plain(metrics.accuracy_score(truth, predicted))
    case["report"] = report(truth, predicted)
    case["f1_macro"] = plain(metrics.f1_score(truth, predicted, average="macro"))
    case["matthews"] = plain(metrics.matthews_corrcoef(truth, predicted))
    # labels=[k], average="macro" is the binary F1 of class k, and defined for any set of classes.
    case["f1"] = {str(k): plain(metrics.f1_score(truth, predicted, labels=[k], average="macro")) for k in range(3)}
    if set(truth) | set(predicted) == {0, 1}:
        assert case["f1"]["1"] == plain(metrics.f1_score(truth, predicted))
    return case


LABELS = 8  # of the reports: more than any case has, so that classes that do not occur are among them


def report(truth, predicted):
    """Per class precision, recall, F1 and support; their means as classification_report has them; the confusion matrix."""
    averages = metrics.classification_report(truth, predicted, output_dict=True, zero_division=0)
    per_class = metrics.precision_recall_fscore_support(truth, predicted, labels=list(range(LABELS)), zero_division=0)
    case = {"classes": [[plain(p), plain(r), plain(f), int(s)] for p, r, f, s in zip(*per_class)]}
    for name in ("macro", "weighted"):
        case[name] = [plain(averages[f"{name} avg"][key]) for key in ("precision", "recall", "f1-score", "support")]
    case["confusion"] = metrics.confusion_matrix(truth, predicted, labels=list(range(LABELS))).tolist()
    return case


def regression(name, truth, predicted):
    truth, predicted = [float(v) for v in truth], [float(v) for v in predicted]
    case = {"name": name, "truth": truth, "predicted": predicted}
    case["pearson"] = plain(stats.pearsonr(truth, predicted).statistic) if len(truth) > 1 else None
    case["spearman"] = plain(stats.spearmanr(truth, predicted).statistic) if len(truth) > 1 else None
    case["mean"] = plain(statistics.mean(truth))
    if not any(math.isnan(v) for v in truth + predicted) and max(map(abs, truth + predicted)) < 1e100:  # squares of more overflow
        case["mean_absolute_error"] = plain(metrics.mean_absolute_error(truth, predicted))
        case["root_mean_squared_error"] = plain(metrics.root_mean_squared_error(truth, predicted))
        case["r2"] = plain(metrics.r2_score(truth, predicted))
    return case


def classification_cases(rng):
    cases = []
    for number in range(120):
        classes = int(rng.integers(2, 7))
        rows = int(rng.integers(1, 60))
        truth = rng.integers(0, classes, rows)
        right = rng.random(rows) < rng.random()
        predicted = np.where(right, truth, rng.integers(0, classes, rows))
        cases.append(classification(f"random {number}: {classes} classes, {rows} rows", truth, predicted))
    fixed = {
        "one row, right": ([1], [1]), "one row, wrong": ([0], [1]), "one row, class 0": ([0], [0]),
        "two rows, right": ([0, 1], [0, 1]), "two rows, swapped": ([0, 1], [1, 0]),
        "all of one class, right": ([1] * 8, [1] * 8), "all of one class, wrong": ([1] * 8, [0] * 8),
        "all negative on both sides": ([0] * 8, [0] * 8), "constant prediction 1": ([0, 1, 0, 1, 1], [1] * 5),
        "constant prediction 0": ([0, 1, 0, 1, 1], [0] * 5), "constant truth": ([1] * 5, [0, 1, 0, 1, 1]),
        "a class only in the predictions": ([0, 1, 0, 1], [0, 2, 0, 1]), "a class only in the truth": ([0, 1, 2, 1], [0, 1, 0, 1]),
        "perfectly wrong": ([0, 1] * 10, [1, 0] * 10), "three classes turned": ([0, 1, 2] * 4, [1, 2, 0] * 4),
    }
    return cases + [classification(name, *sides) for name, sides in fixed.items()]


def regression_cases(rng):
    cases = []
    for number in range(120):
        rows = int(rng.integers(2, 60))
        truth = rng.normal(size=rows) * 10.0 ** rng.integers(-3, 4) + rng.normal() * 10.0 ** rng.integers(-3, 3)
        predicted = rng.normal() * truth + rng.normal(size=rows) * rng.random() * np.std(truth)
        if number % 3 == 0:  # ties
            truth, predicted = np.round(rng.random(rows) * 5, 1), np.round(rng.random(rows) * 5)
        cases.append(regression(f"random {number}: {rows} rows", truth, predicted))
    fixed = {
        "one row": ([1.5], [2.5]), "two rows, same order": ([1, 2], [5, 9]), "two rows, other order": ([1, 2], [9, 5]),
        "two rows, tied": ([1, 2], [3, 3]), "constant prediction": ([1, 2, 3, 4], [2, 2, 2, 2]),
        "constant truth": ([2, 2, 2, 2], [1, 2, 3, 4]), "both constant": ([1, 1, 1], [2, 2, 2]), "equal sides": ([1, 2, 3], [1, 2, 3]),
        "opposite sides": ([1, 2, 3], [-1, -2, -3]), "monotone, not linear": ([1, 2, 3, 4], [1, 8, 27, 64]),
        "ties on both sides": ([1, 1, 2, 2, 3], [4, 5, 5, 5, 9]), "very large": ([1e200, 2e200, 4e200], [1, 2, 3]),
        "very small": ([1e-200, 2e-200, 4e-200], [1, 2, 3]), "a NaN": ([1, 2, 3], [1, float("nan"), 3]),
        "STS-B scores": ([0, 0.5, 1.25, 2.6, 3.8, 5], [0.1, 0.2, 1.9, 2.2, 4.1, 4.8]),
    }
    return cases + [regression(name, *sides) for name, sides in fixed.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "data" / "metrics.json"
    parser.add_argument("--out", type=pathlib.Path, default=default)
    out = parser.parse_args().out
    warnings.simplefilter("ignore")  # the warnings about undefined scores are what the degenerate cases are about
    rng = np.random.default_rng(SEED)
    made_by = {"tool": "tools/golden/metrics.py", "seed": SEED, "numpy": np.__version__, "scikit-learn": sklearn.__version__, "scipy": scipy.__version__}
    cases = {"made_by": made_by, "classification": classification_cases(rng), "regression": regression_cases(rng)}

    def line(case):
        case = {k: [None if isinstance(x, float) and math.isnan(x) else x for x in v] if isinstance(v, list) else v for k, v in case.items()}
        return "  " + json.dumps(case, allow_nan=False)

    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out, "w", encoding="utf-8") as file:
        file.write('{"made_by": ' + json.dumps(made_by) + ",\n")
        for index, kind in enumerate(("classification", "regression")):
            file.write(f'"{kind}": [\n' + ",\n".join(line(case) for case in cases[kind]) + ("\n],\n" if index == 0 else "\n]}\n"))
    print(f"wrote {len(cases['classification'])} + {len(cases['regression'])} cases to {out}")


if __name__ == "__main__":
    main()
