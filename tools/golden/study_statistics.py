#!/usr/bin/env python3
"""Makes tests/golden/stats/statistics.json: the statistics of studies by SciPy and statsmodels.

Run with the interpreter of the peers' environment:  .venv-peers/bin/python tools/golden/study_statistics.py
Random and degenerate cases: one value, two, ties, all equal. What a peer answers with NaN (an interval of equal values) or
refuses is written as null, and the test says what Graft answers instead. Values are multiples of 1/64, so that sums are exact
and two resamples with the same mean are equal in both programs.
"""
import itertools
import json
import math
import pathlib
import warnings

import numpy as np
import scipy
import statsmodels
from scipy import stats
from statsmodels.stats import contingency_tables, inter_rater, multitest, power

SEED = 20240315
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "stats" / "statistics.json"


def plain(value):
    value = float(value)
    return value if math.isfinite(value) else None


def sixty_fourths(values):
    return (np.round(np.asarray(values) * 64) / 64).tolist()


class Prepared:
    """A result of SciPy's bootstrap whose resamples were made elsewhere."""

    def __init__(self, distribution):
        self.bootstrap_distribution = np.asarray(distribution)


def bca(values, distribution, level):
    if np.ptp(values) == 0:
        return None
    found = stats.bootstrap((np.asarray(values),), np.mean, n_resamples=0, confidence_level=level, method="BCa",
                            bootstrap_result=Prepared(distribution)).confidence_interval
    return [plain(found.low), plain(found.high)]


def samples(rng):
    """name, values."""
    for number in range(40):
        count = int(rng.integers(2, 7))
        kind = number % 4
        drawn = {0: rng.normal(0, 1, count), 1: rng.normal(0.5, 0.3, count), 2: rng.exponential(1, count),
                 3: rng.integers(-1, 2, count) / 4}[kind]
        yield f"random {number}", sixty_fourths(drawn)
    yield "two values", [0.25, 0.75]
    yield "two equal values", [0.5, 0.5]
    yield "all equal", [0.25] * 5
    yield "all zero", [0.0] * 4
    yield "symmetric", [-1.0, 1.0]
    yield "ties", [0.5, 0.5, 0.5, 0.75]
    yield "one far value", [0.0, 0.0, 0.0, 0.0, 0.0, 8.0]


def summaries(rng):
    cases = []
    for name, values in samples(rng):
        count = len(values)
        every = [np.mean(pick) for pick in itertools.product(values, repeat=count)] if count <= 6 else None
        case = {"name": name, "values": values, "mean": plain(np.mean(values)), "deviation": plain(np.std(values, ddof=1))}
        case["student"] = {}
        case["bca"] = {}
        for level in (0.8, 0.95):
            width = stats.sem(values)
            t = stats.t.interval(level, count - 1, loc=np.mean(values), scale=width) if width > 0 else None
            case["student"][str(level)] = [plain(t[0]), plain(t[1])] if t else None
            case["bca"][str(level)] = bca(values, every, level)
        case["sign_flip"] = sign_flip(values)
        cases.append(case)
    return cases


def sign_flip(values):
    """SciPy's exact permutation test of pairs: exchanging x with 0 turns the sign of x - 0."""
    x = np.asarray(values)
    found = stats.permutation_test((x, np.zeros_like(x)), lambda a, b: np.mean(a - b), permutation_type="samples",
                                   n_resamples=np.inf, alternative="two-sided")
    return plain(found.pvalue)


def given_distributions(rng):
    """BCa from a list of resampled means that both programs are handed."""
    cases = []
    for number in range(12):
        count = int(rng.integers(9, 40))
        values = sixty_fourths(rng.gamma(2, 1, count) if number % 2 else rng.normal(0, 1, count))
        means = np.sort(rng.choice(values, (199, count)).mean(axis=1))
        cases.append({"values": values, "means": means.tolist(), "interval": bca(values, means, 0.95)})
    return cases


def drawn_intervals(rng):
    """SciPy's own resampling of larger samples, with what its ends move by from one seed to the next."""
    cases = []
    for number in range(4):
        count = [12, 30, 120, 400][number]
        values = sixty_fourths(rng.exponential(1, count))
        ends = []
        for seed in range(12):
            found = stats.bootstrap((np.asarray(values),), np.mean, n_resamples=9999, method="BCa",
                                    rng=np.random.default_rng(seed)).confidence_interval
            ends.append([found.low, found.high])
        cases.append({"values": values, "mean_ends": np.mean(ends, axis=0).tolist(),
                      "deviation": np.std(ends, axis=0, ddof=1).tolist()})
    return cases


def large_sign_flips(rng):
    cases = []
    for shift in (0.0, 0.2, 0.45):
        values = sixty_fourths(rng.normal(shift, 1, 30))
        x = np.asarray(values)
        found = stats.permutation_test((x, np.zeros_like(x)), lambda a, b, axis: np.mean(a - b, axis=axis), vectorized=True,
                                       permutation_type="samples", n_resamples=99999, rng=np.random.default_rng(1))
        cases.append({"values": values, "p": plain(found.pvalue)})
    return cases


def holm_cases(rng):
    lists = [sorted(rng.random(int(rng.integers(1, 9))) ** 3) for _ in range(20)]
    for p_values in lists:
        rng.shuffle(p_values)
    lists += [[0.04], [0.01, 0.01, 0.01], [1.0, 1.0], [0.0, 0.5], [0.03, 0.02, 0.06]]
    return [{"p": [plain(p) for p in values], "holm": [plain(p) for p in multitest.multipletests(values, method="holm")[1]]}
            for values in lists]


def mcnemar_cases(rng):
    pairs = [(int(b), int(c)) for b, c in rng.integers(0, 40, (25, 2))]
    pairs += [(0, 0), (0, 1), (5, 5), (0, 5), (0, 6), (1000, 900), (3000, 1), (12, 13)]
    cases = []
    for b, c in pairs:
        table = [[10, b], [c, 10]]
        case = {"b": b, "c": c, "exact_p": 1.0, "chi_square": 0.0, "chi_square_p": 1.0}
        if b != c:   # else statsmodels corrects a difference of 0 to 1, which R does not
            corrected = contingency_tables.mcnemar(table, exact=False, correction=True)
            case["chi_square"], case["chi_square_p"] = plain(corrected.statistic), plain(corrected.pvalue)
        if b + c:
            case["exact_p"] = min(1.0, plain(contingency_tables.mcnemar(table, exact=True).pvalue))
        cases.append(case)
    return cases


def agreement_cases(rng):
    cases = []
    tables = []
    for number in range(20):
        runs, rows, classes = int(rng.integers(2, 6)), int(rng.integers(1, 40)), int(rng.integers(2, 5))
        truth = rng.integers(0, classes, rows)
        tables.append([np.where(rng.random(rows) < 0.8, truth, rng.integers(0, classes, rows)).tolist() for _ in range(runs)])
    tables += [[[0, 1], [0, 1]], [[0, 0], [0, 0]], [[0, 1], [1, 0]], [[2], [2], [1]]]
    for answers in tables:
        counts, _ = inter_rater.aggregate_raters(np.asarray(answers).T)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case = {"answers": answers, "fleiss": plain(inter_rater.fleiss_kappa(counts))}
        pairs = list(itertools.combinations(answers, 2))
        case["alike"] = plain(np.mean([np.mean(np.equal(a, b)) for a, b in pairs]))
        cases.append(case)
    return cases


def ranking_cases(rng):
    tables = []
    for number in range(16):
        cells, methods = int(rng.integers(2, 12)), int(rng.integers(3, 7))
        scores = rng.normal(0, 1, (cells, methods)) + np.linspace(0, rng.random(), methods)
        tables.append(sixty_fourths(np.round(scores, 1) if number % 2 else scores))
    tables += [[[1.0, 1.0, 1.0]] * 3, [[3.0, 2.0, 1.0]] * 5, [[1.0, 1.0, 2.0]]]
    cases = []
    for scores in tables:
        columns = np.asarray(scores).T
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = stats.friedmanchisquare(*columns)
        ranks = stats.rankdata(-np.asarray(scores), axis=1)
        cases.append({"scores": scores, "ranks": ranks.tolist(), "mean_ranks": ranks.mean(axis=0).tolist(),
                      "chi_square": plain(found.statistic), "p": plain(found.pvalue)})
    return cases


def best_cases(rng):
    """By the definition: all draws of n scores with replacement."""
    lists = [sixty_fourths(rng.normal(0, 1, n)) for n in (1, 2, 3, 4, 5, 6)] + [[0.5] * 4, [0.0, 0.0, 1.0]]
    return [{"scores": scores, "best": [plain(np.mean([max(draw) for draw in itertools.product(scores, repeat=n)]))
                                        for n in range(1, len(scores) + 1)]} for scores in lists]


def reached(alpha, pairs):
    """The largest p below alpha that a sign-flip test of so many pairs can give."""
    return max((k / 2 ** (pairs - 1) for k in range(min(2 ** (pairs - 1), 600)) if k / 2 ** (pairs - 1) < alpha), default=0) \
        if pairs <= 12 else alpha if pairs > 50 else (math.ceil(alpha * 2 ** (pairs - 1)) - 1) / 2 ** (pairs - 1)


def power_cases(rng):
    test = power.TTestPower()
    cases = []
    for effect in (0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 1.0, 1.5, 2.0, 4.0):
        for alpha in (0.05, 0.01, 0.005):
            for target in (0.5, 0.8, 0.95):
                pairs = 2
                while reached(alpha, pairs) <= 0 or test.power(effect, pairs, reached(alpha, pairs)) < target:
                    pairs += 1
                cases.append({"effect": effect, "alpha": alpha, "power": target, "pairs": pairs})
    return cases


def main():
    rng = np.random.default_rng(SEED)
    makers = {"summary": summaries, "given_distributions": given_distributions, "drawn_intervals": drawn_intervals,
              "large_sign_flips": large_sign_flips, "holm": holm_cases, "mcnemar": mcnemar_cases, "agreement": agreement_cases,
              "ranking": ranking_cases, "best": best_cases, "pairs": power_cases}
    golden = {"made_by": "tools/golden/study_statistics.py", "seed": SEED,
              "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__}}
    golden.update({name: make(rng) for name, make in makers.items()})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" if not isinstance(value, list) else
             f" {json.dumps(name)}: [\n" + ",\n".join("  " + json.dumps(case) for case in value) + "\n ]"
             for name, value in golden.items()]
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
