"""Makes tests/golden/data/numpy_permutations.json: numpy.random.default_rng(seed).permutation(count), by which Hugging Face's datasets shuffle."""

import json

import numpy as np

import common

SEEDS = [0, 42, 111, 222, 333, 444, 555]
COUNTS = [1, 2, 100, 2490]   # the last: RTE
MORE = [(555, 392702), (2**40 + 7, 1000), (2**64 - 1, 3668)]


def main():
    versions = common.check_versions("numpy")
    out = []
    for seed, count in [(seed, count) for seed in SEEDS for count in COUNTS][:25] + MORE:
        rows = np.random.default_rng(seed).permutation(count).tolist()
        total = 0
        for row in rows:
            total = (total * 1000003 + row) % 2**64
        out.append({"seed": seed, "count": count, "first": rows[:20], "last": rows[-5:], "sum": total})
    path = common.ROOT / "tests/golden/data/numpy_permutations.json"
    path.write_text(json.dumps({"versions": versions, "permutations": out}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
