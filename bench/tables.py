"""Prints the tables of doc/methods.md and doc/performance.md from bench/results/*.json.

    tables.py [RESULTS_FOLDER]
"""
import json
import pathlib
import sys

from paper_studies import BASELINES

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
    rows = figures("scaling")
    for fixed, value, free in (("batch", 32, "length"), ("length", 64, "batch")):
        chosen = [row for row in rows if row[fixed] == value]
        sizes = sorted({row[free] for row in chosen})
        speeds = {(row["precision"], row[free]): row["tokens_per_second"] for row in chosen}
        grid([f"tok/s at {fixed} {value}, {free}", *map(str, sizes)], [[p, *(f"{speeds[p, size]:,.0f}" for size in sizes)] for p in ("fp32", "bf16")])


def small():
    losses, start, accuracy = figures("losses"), figures("start"), figures("accuracy")
    if losses:
        print("\nLargest difference of ten losses:", {method: f"{case['largest_difference']:.1e}" for method, case in losses.items()})
    if start:
        print("Start:", {key: round(value, 2) for key, value in start.items()})
    if accuracy:
        print("Accuracy:", accuracy["mean"], f"difference {accuracy['difference_in_points']:+.2f} points", accuracy["rows"])


def grid(header, rows):
    print("\n| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def scores():
    found = figures("scores")
    if not found:
        return
    tasks = list(dict.fromkeys(row["task"] for row in found["summary"]))
    metrics = {row["task"]: row["metric"] for row in found["summary"]}
    rows = []
    for method in dict.fromkeys(row["method"] for row in found["summary"]):
        own = {row["task"]: row for row in found["summary"] if row["method"] == method}
        runs = [run for run in found["runs"] if run["method"] == method]
        rows.append([method, f"{runs[0]['edit_parameters']:,}", *(f"{100 * own[task]['mean']:.1f} ± {100 * own[task]['deviation']:.1f}" for task in tasks)])
    grid(["method", "parameters", *(f"{task} ({metrics[task]})" for task in tasks)], rows)
    routed = [run for run in found["runs"] if "routings" in run]
    names = list(routed[0]["routings"])
    print("\nAdaMix by routing, means over seeds:")
    grid(["task", *names], [[task, *(f"{100 * sum(r['routings'][n] for r in routed if r['task'] == task) / len([r for r in routed if r['task'] == task]):.1f}" for n in names)]
                            for task in tasks])


def presets():
    found = figures("presets_learn")
    if not found:
        return
    columns = list(dict.fromkeys((r["task"], r["rows"]) for r in found["summary"]))
    by = {(r["preset"], r["task"], r["rows"]): r for r in found["summary"]}
    mean = lambda scores: f"{100 * sum(scores) / len(scores):.1f}" + (f" ({len(scores)})" if len(scores) > 1 else "")
    rows = []
    for preset in dict.fromkeys(r["preset"] for r in sorted(found["summary"], key=lambda r: r["preset"])):
        cells = [by.get((preset, *column)) for column in columns]
        rows.append([preset, *("" if cell is None else mean(cell["scores"]) + (" !" if cell["failed"] else "") for cell in cells)])
    any_of = lambda column: next(r for r in found["summary"] if (r["task"], r["rows"]) == column)
    rows.append(["always the commonest label", *(f"{100 * any_of(column)['majority']:.1f}" for column in columns)])
    grid(["preset", *(f"{task}, {count:,} rows" for task, count in columns)], rows)


def method_speed():
    found = figures("method_speed")
    if not found:
        return
    rows = []
    for r in found["rows"]:
        peer = f"{r['peer']['training']:,.0f} ({r['training_over_peer']:.1f}x)" if "peer" in r else ""
        behind = f"{r['peer']['inference']:,.0f} ({r['inference_over_peer']:.1f}x)" if "peer" in r else ""
        rows.append([r["method"], f"{r['training']:,.0f}", f"{r['training_over_lora']:.2f}", peer, f"{r['inference']:,.0f}", f"{r['inference_over_lora']:.2f}", behind])
    grid(["method", "training tok/s", "of lora", "peer's best", "inference tok/s", "of lora", "peer"], rows)


def decoder_speed():
    found = figures("decoder_speed")
    if not found:
        return
    if "training" in found:
        grid(["method", "trunk", "Graft tok/s", "peer's best", "times", "memory", "of the peer's"],
             [[r["method"], r["precision"], f"{r['graft']['tokens_per_second']:,.0f}", f"{r['peer'][r['peer_best']]['tokens_per_second']:,.0f} ({r['peer_best']})", f"{r['speed_over_best']:.1f}x",
               f"{r['graft']['peak_bytes'] / 1e9:.1f} GB", f"{r['memory_over_best']:.0%}"] for r in found["training"]["rows"]])
    if "decoding" in found:
        rows = found["decoding"]["rows"]
        grid(["new tokens a second", *(f"{r['prompts']} at once" for r in rows)], [[side, *(f"{r['sides'][side]['tokens_per_second']:,.0f}" for r in rows)] for side in rows[0]["sides"]])
    for tokens in sorted({r["new_tokens"] for r in found.get("requests", {}).get("rows", [])}):
        rows = [r for r in found["requests"]["rows"] if r["new_tokens"] == tokens]
        grid([f"ms a request, {tokens} new, prompt of", *(str(r["length"]) for r in rows)], [[subject, *(f"{1000 * r['seconds'][subject]:.0f}" for r in rows)] for subject in rows[0]["seconds"]])


def decoder_runs():
    found = figures("decoder_runs") or {}
    if "answers" in found:
        grid(["method", "ranked by the options' words", "parameters"],
             [[r["method"], f"{100 * r['rank']:.1f}", f"{r.get('edit_parameters', 0):,}"] for r in found["answers"]["rows"]])
    if "commonsense" in found:
        grid(["method", "written: after the phrase", "first option named", "ranked", "loss", "parameters", "seconds"],
             [[r["method"], *(f"{100 * r[key]:.1f}" for key in ("answer_after", "answer_option", "rank")), f"{r['loss']:.3f}", f"{r.get('edit_parameters', 0):,}", f"{r.get('seconds', 0):.0f}"]
              for r in found["commonsense"]["rows"]])
    if "e2e" in found:
        runs = found["e2e"]["runs"]
        def told(method, key, digits=2):   # the mean over seeds, and from the least to the largest
            values = [r[key] for r in runs if r["method"] == method]
            spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
            return f"{sum(values) / len(values):.{digits}f}{spread}"

        grid(["method", "BLEU", "NIST", "ROUGE-L", "CIDEr", "TER", "loss"],
             [[name, *(told(name, key) for key in ("bleu", "nist", "rouge_l", "cider", "ter")), told(name, "loss", 3)] for name in dict.fromkeys(r["method"] for r in runs)])
    if "mixtures" in found:
        runs = found["mixtures"]["runs"]
        by = lambda method, key: [r[key] for r in runs if r["method"] == method and key in r]
        grid(["method", "parameters", "exact match", "spread of shares over commands", "entropy, nats"],
             [[s["method"], f"{by(s['method'], 'edit_parameters')[0]:,}", f"{100 * s['exact_match']:.1f}",
               *(f"{sum(values) / len(values):.2f}" if values else "" for values in (by(s["method"], "spread_over_commands"), by(s["method"], "mean_entropy")))] for s in found["mixtures"]["summary"]])


def study(name):
    """Scores by method and cell (mean over seeds ± half of Student's interval, in %), and differences from the study's baseline in points."""
    found = figures(f"study_{name}")
    if not found:
        return
    row_of = lambda row: " ".join(row[key] for key in ("method", "learning_rate") if row.get(key))
    cell_of = lambda row: " ".join(row[key] for key in ("task", "rows", "batch_size") if row.get(key))
    half = lambda row: 50 * (float(row["high"]) - float(row["low"]))
    score = lambda row: f"{100 * float(row['mean']):.1f}" + (f" ± {half(row):.1f}" if int(row["members"]) > 1 else "")
    results = found["results"]
    cells, names = (list(dict.fromkeys(map(part, results))) for part in (cell_of, row_of))
    scores = {(row_of(row), cell_of(row)): score(row) for row in results}
    parameters = {row_of(row): f"{int(row['parameters']):,}" for row in results}
    print(f"\n{name}, {'/'.join(sorted({row['members'] for row in results}))} seeds")
    grid(["method", "parameters", *cells], [[name_, parameters[name_], *(scores[name_, cell] for cell in cells)] for name_ in names])
    pairs = found.get("comparisons", [])
    if not pairs:
        return
    baseline = next(name_ for name_ in (pairs[0]["first"], pairs[0]["second"]) if all(name_ in (row["first"], row["second"]) for row in pairs))
    difference = {}
    for row in pairs:
        sign, other = (-1, row["second"]) if row["first"] == baseline else (1, row["first"])
        difference[other, cell_of(row)] = f"{100 * sign * float(row['mean']):+.1f} ± {half(row):.1f}, p {float(row['p']):.2f}, {row['pairs_to_decide'] or 'none'}"
    print(f"\nless {baseline}: points, p of sign flips, pairs that would decide")
    grid(["method", *cells], [[name_, *(difference.get((name_, cell), "") for cell in cells)] for name_ in names if name_ != baseline])


if __name__ == "__main__":
    if figures("speed"):
        speed()
    if figures("scaling"):
        scaling()
    small()
    scores()
    presets()
    method_speed()
    decoder_speed()
    decoder_runs()
    for each in BASELINES:
        study(each)
