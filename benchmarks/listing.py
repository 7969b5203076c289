"""Measure what `ls` and `show` cost with very many jobs and epochs.

python benchmarks/listing.py [--jobs 10000] [--epochs 1000000]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

VERBS = (
    ("ls",),
    ("ls", "--state", "waiting"),
    ("ls", "w7"),
    ("show", "w7"),
    ("show", "long"),
    ("wait", "long"),
    ("ls", "--quiet"),
    ("ls", "--all"),
    ("ls", "--json"),
    ("show", "long", "--json"),
)


def fill(home, jobs, epochs):
    """Write a ledger with so many waiting jobs, and a done one with so many epochs."""
    book = Ledger.open(home.ledger)
    now = time.time()
    with book.transaction():
        for name in ("long", *(f"w{n}" for n in range(jobs))):
            book.insert_job(
                f"{name}-1",
                name=name,
                number=1,
                run_dir=str(home.runs / f"{name}-1"),
                priority=0,
                spec='{"script": "train.py", "args": []}',
                claim=name,
                submitted_at=now,
            )
        book.set_waiting([f"w{n}-1" for n in range(jobs)], "It waits for a CPU slot.", now=now)
        book.begin_attempt("long-1", 1, now)
        for state in ("starting", "done"):
            book.set_state("long-1", state, "It has ended with exit code 0.", now=now)
        book._db.executemany(
            "INSERT INTO epochs VALUES ('long-1', 0, ?, ?, 1.0, ?, 1, 1.0)",
            ((n, 10 * n, '{"loss": 0.5, "val_loss": 0.6}') for n in range(epochs)),
        )
    book.close()


def measure(home, words):
    """Return the seconds of processor time of a verb, its memory in MB, and its lines."""
    command = [sys.executable, "-m", "rekindle.daemon", "--home", str(home.root), *words]
    output = home.root / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file)
        _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, words
    with output.open("rb") as file:
        lines = sum(1 for _ in file)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    home = Home(Path(tempfile.mkdtemp(prefix="rekindle-bench-")))
    home.create()
    try:
        fill(home, args.jobs, args.epochs)
        print(
            f"{args.jobs} waiting jobs, {args.epochs} epochs of one job; medians of {args.repeats}"
        )
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        for words in VERBS:
            found = [measure(home, words) for _ in range(args.repeats)]
            seconds, memory, lines = (statistics.median(one) for one in zip(*found, strict=True))
            print(f"{' '.join(words):<24} {seconds:7.2f} s {memory:6.0f} MB {lines:9.0f} lines")
    finally:
        shutil.rmtree(home.root)


if __name__ == "__main__":
    main()
