"""Measure how long 10,000 specs dropped at once take, and whether the daemon answers meanwhile.

Run: ``python benchmarks/inbox.py [COUNT]``. A real daemon over a scratch home, one slot taken
by a command that sleeps. Every second a request is left; its answer is timed. Printed beside
it, from the same disk in the same run: as many bare file + fsync + rename + folder fsync.
"""

import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rekindle.daemon.intake import requests
from rekindle.state import durable
from rekindle.state.errors import NotFound
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        home.create()
        floor = _floor(Path(folder), 500)
        (home.inbox / "aaa.toml").write_text(f'command = ["sleep", "600"]\nworkdir = "{folder}"\n')
        daemon = subprocess.Popen(
            [sys.executable, "-m", "rekindle.daemon", "--home", str(home.root), "run"],
            env={**os.environ, "PYTHONPATH": str(ROOT / ".importroot")},
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            _measure(home, Path(folder), count, floor)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(120)


def _measure(home: Home, folder: Path, count: int, floor: float) -> None:
    while not home.ledger.exists() or not _count(home):
        time.sleep(0.1)
    outside = folder / "made"
    outside.mkdir()
    for n in range(count):
        suffix, text = (
            ("toml", f'command = ["true"]\nworkdir = "{folder}"\n')
            if n % 2
            else ("yaml", f'command: ["true"]\nworkdir: {folder}\n')
        )
        (outside / f"job-{n:05d}.{suffix}").write_text(text)
    began = time.monotonic()
    for file in outside.iterdir():
        os.rename(file, home.inbox / file.name)
    dropped = time.monotonic() - began
    answers: list[float] = []
    while (known := _count(home)) < count + 1:
        asked = time.monotonic()
        path = requests.write(home, "priority", "aaa-1", value=len(answers))
        while path.exists():
            time.sleep(0.01)
        answers.append(time.monotonic() - asked)
        time.sleep(1)
        if time.monotonic() - began > 600:
            print(f"gave up at {known}")
            break
    took = time.monotonic() - began
    print(
        f"{count} specs: moved in {dropped:.1f} s, all accepted {took:.1f} s after the first "
        f"({1000 * took / count:.2f} ms each; bare durable write {1000 * floor:.2f} ms, "
        f"ratio {took / count / floor:.1f})"
    )
    print(
        f"requests meanwhile: {len(answers)}, answered after a median of "
        f"{statistics.median(answers):.2f} s, at most {max(answers):.2f} s"
    )


def _count(home: Home) -> int:
    try:
        ledger = Ledger.open(home.ledger, readonly=True)
    except NotFound:
        return 0
    try:
        return ledger.count()
    except sqlite3.OperationalError:
        return 0  # the daemon is just making its tables
    finally:
        ledger.close()


def _floor(folder: Path, count: int) -> float:
    """Seconds for one durable small file, median."""
    times = []
    for n in range(count):
        began = time.monotonic()
        durable.write_bytes(folder / f"floor-{n}", b"x" * 400)
        times.append(time.monotonic() - began)
    return statistics.median(times)


if __name__ == "__main__":
    main()
