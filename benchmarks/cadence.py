"""Simulate the cadence of `every = "auto"` against the formula and the best fixed interval.

A training of many hours fails at random times; after each failure it repeats what it trained since
its last checkpoint. The efficiency is useful time by all time, without the relaunch itself.

    python benchmarks/cadence.py [--hours 200] [--runs 40] [--json FILE]
"""

import argparse
import json
import random
import statistics
from pathlib import Path

from rekindle.jobs.saving import cadence
from rekindle.jobs.saving.cadence import Costs

BETWEEN_H = (0.25, 0.5, 1, 2, 4, 8, 24)
DELAYS_S = (0.05, 1.0)
FACTORS = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)


def run(hours, between, delay, interval_of, dice):
    """Simulate one training; return its efficiency."""
    useful, spent, failures = 0.0, 0.0, 0
    end = hours * 3600
    while useful < end:
        life = dice.expovariate(1 / between)
        interval = interval_of(failures, spent)
        cycle = interval + delay
        saved = min(int(life // cycle) * interval, end - useful)
        if useful + saved + interval >= end and life >= (end - useful) * cycle / interval:
            spent += (end - useful) * cycle / interval
            useful = end
        else:
            useful += saved
            spent += life
            failures += 1
    return end / spent


def measure(hours, runs):
    rows = []
    for delay in DELAYS_S:
        costs = Costs()
        costs.wrote(delay, 0)
        costs.stalled(delay)
        for between in (3600 * h for h in BETWEEN_H):
            formula = cadence.optimum(delay, between)

            def mean(interval_of, between=between, delay=delay):
                return statistics.mean(
                    run(hours, between, delay, interval_of, random.Random(seed))
                    for seed in range(runs)
                )

            def auto(failures, spent, costs=costs):
                return costs.interval(cadence.time_between(failures, spent))

            fixed = {factor: mean(lambda *_, i=factor * formula: max(i, 0.1)) for factor in FACTORS}
            rows.append(
                {
                    "delay": delay,
                    "between_h": between / 3600,
                    "formula_s": formula,
                    "auto": mean(auto),
                    "formula": fixed[1.0],
                    "best": max(fixed.values()),
                }
            )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, default=100.0)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the result into this file")
    args = parser.parse_args()
    rows = measure(args.hours, args.runs)
    print("| delay of a save, s | hours between failures | auto | formula | best fixed |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['delay']:g} | {row['between_h']:g} | {row['auto']:.4f} "
            f"| {row['formula']:.4f} | {row['best']:.4f} |"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
