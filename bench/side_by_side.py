"""Two ways to do one thing, timed at the same time: what bench/old_and_new.py and bench/recording.py share.

Figures are seconds of a processor, of the whole process with one thread. In a round the two do a row at the same time, a core each, since
what else happens on a shared machine (10 % and more within minutes) hits both alike then; in the next round they change cores, since cores
differ, too. A figure is the median of the rounds. A ratio, of the first way's seconds over the second's, is the geometric mean of two rounds
that follow each other, of which the median and the quartiles are told; it is above 1 where the second is faster. The ratio of memory (peak
resident bytes) is above 1 where the second needs less.
"""
import concurrent.futures
import math
import os
import statistics

from harness import measured


def timed(command):
    _, peak, seconds = measured(command)
    return {"seconds": seconds, "peak_bytes": peak}


def rounds_of(cases, count):
    """Yields the rows after every other one of `count` rounds. cases: (what the row says of itself, {way: f(prefix of a command)}), two ways each."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if count < 2 or count % 2 != 0 or len(cores) < 2:
        raise SystemExit("bench: error: expected two cores, and an even number of rounds")
    found = [[] for _ in cases]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for number in range(count):
            pinned = [["taskset", "-c", str(core)] for core in (cores if number % 2 == 0 else cores[::-1])]
            for (_, ways), rounds in zip(cases, found):
                figures = pool.map(lambda way, prefix: way(prefix), ways.values(), pinned)
                rounds.append(dict(zip(ways, figures)))
            if number % 2 == 1:
                yield number + 1, [row_of(settings, list(ways), rounds) for (settings, ways), rounds in zip(cases, found)]


def row_of(settings, ways, rounds):
    """One row: `rounds` has for each round {way: {"seconds", "peak_bytes"}}."""
    def middle(way, key):
        return statistics.median(one[way][key] for one in rounds)

    first, second = ways
    logs = [math.log(one[first]["seconds"] / one[second]["seconds"]) for one in rounds]
    faster = [math.exp((a + b) / 2) for a, b in zip(logs[::2], logs[1::2])]
    low, _, high = statistics.quantiles(faster, n=4, method="inclusive") if len(faster) > 1 else faster * 3
    return {**settings, **{f"{way}_seconds": round(middle(way, "seconds"), 3) for way in ways},
            "ratio": round(statistics.median(faster), 3), "ratio_quartiles": [round(low, 3), round(high, 3)],
            **{f"{way}_peak_bytes": middle(way, "peak_bytes") for way in ways},
            "memory_ratio": round(middle(first, "peak_bytes") / middle(second, "peak_bytes"), 3)}
