#!/usr/bin/env python3
"""Makes tests/golden/data/calibration.json: calibration of random and degenerate probabilities by scikit-learn and torchmetrics.

Run with the interpreter of the peers' environment:  .venv-peers/bin/python tools/golden/calibration.py
NLL, Brier score and the area under the curve are scikit-learn's, the expected calibration error of bins of one width torchmetrics'
(float64; confidences lie on no limit of a bin, where its bins are closed below and not above). Bins of equal mass and selective
answers, which neither has, are a few lines of NumPy here, of rows without ties.
"""
import json
import pathlib

import numpy as np
import sklearn
import torch
import torchmetrics
from sklearn import metrics
from torchmetrics.functional.classification import multiclass_calibration_error

SEED = 20240817
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "data" / "calibration.json"


def mass_error(confidence, right, bins):
    error = 0.0
    place = np.arange(len(confidence)) * min(bins, len(confidence)) // len(confidence)
    order = np.argsort(confidence)
    for index in range(place[-1] + 1):
        own = order[place == index]
        error += len(own) / len(order) * abs(confidence[own].mean() - right[own].mean())
    return error


def selective(confidence, right):
    wrong = 1 - right[np.argsort(-confidence)]
    risks = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    points = [1 - risks[int(np.ceil(len(wrong) * part / 10 - 1e-9)) - 1] for part in range(1, 11)]
    return {"risk_area": float(risks.mean()), "accuracies": [float(point) for point in points]}


def case(name, rng, rows, classes, sharpness):
    logits = rng.normal(size=(rows, classes)) * sharpness
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    truth = np.array([rng.choice(classes, p=0.7 * own + 0.3 / classes) for own in p])
    confidence, right = p.max(1), (p.argmax(1) == truth).astype(float)
    labels = list(range(classes))
    one_hot = np.eye(classes)[truth]
    out = {"name": name, "classes": classes, "truth": truth.tolist(), "probabilities": p.ravel().tolist(),
           "nll": float(metrics.log_loss(truth, p, labels=labels)),
           "brier": float(classes * metrics.mean_squared_error(one_hot, p)),
           "ece": {}, "mass_ece": {}, "selective": selective(confidence, right)}
    if classes == 2:   # scikit-learn's score of two classes counts one of them
        assert np.isclose(out["brier"], 2 * metrics.brier_score_loss(truth, p[:, 1], labels=labels))
    for bins in (1, 5, 15):
        value = multiclass_calibration_error(torch.tensor(p), torch.tensor(truth), num_classes=classes, n_bins=bins, norm="l1")
        out["ece"][str(bins)] = float(value)
        out["mass_ece"][str(bins)] = float(mass_error(confidence, right, bins))
    return out


def ranked(name, negatives, positives):
    truth = [0] * len(negatives) + [1] * len(positives)
    return {"name": name, "negatives": list(map(float, negatives)), "positives": list(map(float, positives)),
            "auroc": float(metrics.roc_auc_score(truth, [*negatives, *positives]))}


def main():
    rng = np.random.default_rng(SEED)
    cases = [case("two classes", rng, 200, 2, 1.5), case("five classes", rng, 150, 5, 2.0), case("sure of itself", rng, 60, 3, 9.0),
             case("few rows", rng, 4, 3, 1.0), case("one row", rng, 1, 2, 1.0)]
    ranks = [ranked("apart", [0.1, 0.2], [0.3, 0.9]), ranked("turned", [0.8, 0.9], [0.3, 0.1, 0.2]), ranked("all tied", [1, 1], [1, 1, 1]),
             ranked("random", rng.normal(size=50), rng.normal(size=40) + 0.7), ranked("ties", rng.integers(0, 4, 30), rng.integers(1, 5, 20))]
    made = {"made_by": {"numpy": np.__version__, "scikit-learn": sklearn.__version__, "torchmetrics": torchmetrics.__version__,
                        "torch": torch.__version__}, "cases": cases, "auroc": ranks}
    OUT.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
