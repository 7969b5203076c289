"""The daemon's size and speed, and the command line's with many jobs in the ledger.

python benchmarks/daemon.py [--jobs 10000] [--idle 20]
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

from scripts.served import Daemon, until

from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home
from rekindle.state.run import journal

TICKS = os.sysconf("SC_CLK_TCK")
TARGETS = {"rss": 50.0, "idle": 0.2, "spawn": 0.3, "verb": 0.5}


def spawn(home, name):
    """Seconds from the rename into the inbox to the start of the trainer process."""
    temporary = home.inbox / f".{name}.tmp"
    temporary.write_text(f'name = "{name}"\ncommand = ["true"]\nworkdir = "{home.root}"\n')
    begun = time.time()
    os.rename(temporary, home.inbox / f"{name}.toml")
    run = home.run(f"{name}-1")

    def started():
        return (
            [e for e in journal.replay(run.journal).entries if e["kind"] == "attempt_started"]
            if run.journal.exists()
            else []
        )

    entry = until(started, "the attempt starts")[0]
    until(
        lambda: any(e["kind"] == "attempt_ended" for e in journal.replay(run.journal).entries),
        "it ends",
    )
    return entry["t"] - begun


def fill(home, jobs):
    """Write the ledger of a host after years: jobs with epochs, attempts and events."""
    book = Ledger.open(home.ledger)
    now = time.time() - 86400
    with book.transaction():
        for n in range(1, jobs + 1):
            job = f"old-{n}"
            book.insert_job(
                job,
                name="old",
                number=n,
                run_dir=str(home.runs / job),
                priority=0,
                spec='{"script": "train.py", "args": []}',
                claim=f"c{n}",
                submitted_at=now + n,
            )
            book.begin_attempt(job, 1, now + n)
            book.update_attempt(
                job, 1, outcome="done", cause="done", ended_at=now + n + 1, exit_code=0
            )
            book.ingest(
                job,
                [
                    {
                        "kind": "epoch_ended",
                        "t": now + n,
                        "attempt": 1,
                        "stage": 0,
                        "epoch": e,
                        "step": 45 * (e + 1),
                        "seconds": 0.5,
                        "logs": {"loss": 0.5, "accuracy": 0.9},
                    }
                    for e in range(10)
                ],
                1000,
            )
            for state in (JobState.STARTING, JobState.RUNNING, JobState.DONE):
                book.set_state(job, state, "It has ended with exit code 0.", now=now + n)
    book.close()


def verb(home, *words):
    """Seconds of a whole call of the command line: as a person waits, and of a processor."""
    return called("-m", "rekindle.daemon", "--home", str(home.root), *words)


def called(*words):
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, words
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime


def row(what, found, target, unit):
    word = (
        ""
        if target is None
        else f"target under {target:g} {unit}: " + ("met" if found < target else "MISSED")
    )
    print(f"{what:<46} {found:9.3f} {unit:<9} {word}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--idle", type=float, default=15.0, metavar="SECONDS")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="rekindle-bench-"))
    home = Home(root)
    home.create()
    daemon = Daemon(home)
    try:
        row(
            "spec to spawn, idle daemon (median)",
            statistics.median(
                spawn(home, f"job{n}") for n in range(args.repeats) if not time.sleep(1.5)
            ),
            TARGETS["spawn"],
            "s",
        )
        time.sleep(1)
        row("idle processor time, few jobs", daemon.idle(args.idle), TARGETS["idle"], "% of core")
        row("RSS after some jobs", daemon.rss[0], TARGETS["rss"], "MiB")
        row("  of it private", daemon.rss[1], None, "MiB")
        daemon.end()
        fill(home, args.jobs)
        print(f"with {args.jobs} jobs in the ledger ({home.ledger.stat().st_size / 1e6:.0f} MB)")
        daemon = Daemon(home)
        time.sleep(2)
        row(
            "spec to spawn (median)",
            statistics.median(
                spawn(home, f"late{n}") for n in range(args.repeats) if not time.sleep(1.5)
            ),
            TARGETS["spawn"],
            "s",
        )
        time.sleep(1)
        row("idle processor time", daemon.idle(args.idle), TARGETS["idle"], "% of core")
        row("RSS", daemon.rss[0], TARGETS["rss"], "MiB")
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        python = statistics.median(called("-c", "pass")[0] for _ in range(args.repeats))
        row("python itself, to compare with (median)", python, None, "s")
        for words in (
            ("ls",),
            ("ls", "--json"),
            ("show", f"old-{args.jobs // 2}"),
            ("show", f"old-{args.jobs // 2}", "--json"),
        ):
            found = [verb(home, *words) for _ in range(args.repeats)]
            row(
                f"rekindle {' '.join(words)} (median)",
                statistics.median(wall for wall, _ in found),
                TARGETS["verb"],
                "s",
            )
            row("  of it processor time", statistics.median(cpu for _, cpu in found), None, "s")
    finally:
        daemon.end()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
