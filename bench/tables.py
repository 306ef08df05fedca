"""Prints the tables of README.md and doc/performance.md from bench/results/*.json.

    tables.py [RESULTS_FOLDER]
"""
import json
import pathlib
import sys

FOLDER = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent / "results"


def figures(name):
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text())["figures"] if path.exists() else None


def speed():
    print("| model | rows | method | trunk | Graft tok/s | peer default | peer best | over default | over best | of GEMM limit | memory, of peer's best |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for row in figures("speed"):
        default = next(iter(row["peer"].values()))["tokens_per_second"]
        best = row["peer"][row["peer_best"]]["tokens_per_second"]
        print(f"| {row['model']} | {row['task']} | {row['method']} | {row['precision']} | {row['graft']['tokens_per_second']:,.0f} | {default:,.0f} | {best:,.0f} | "
              f"{row['speed_over_default']:.1f}x | {row['speed_over_best']:.2f}x | {row['share_of_gemm_limit']:.0%} | "
              f"{row['graft']['peak_bytes'] / 1e6:,.0f} MB, {row['memory_over_best']:.0%} |")


def scaling():
    print("\n| trunk | rows | length | ms a step | tok/s |\n|---|---|---|---|---|")
    for row in figures("scaling"):
        print(f"| {row['precision']} | {row['batch']} | {row['length']} | {1000 * row['step_seconds']:.1f} | {row['tokens_per_second']:,.0f} |")


def small():
    losses, start, accuracy = figures("losses"), figures("start"), figures("accuracy")
    if losses:
        print("\nLargest difference of ten losses:", {method: f"{case['largest_difference']:.1e}" for method, case in losses.items()})
    if start:
        print("Start:", {key: round(value, 2) for key, value in start.items()})
    if accuracy:
        print("Accuracy:", accuracy["mean"], f"difference {accuracy['difference_in_points']:+.2f} points", accuracy["rows"])


if __name__ == "__main__":
    if figures("speed"):
        speed()
    if figures("scaling"):
        scaling()
    small()
