"""Measure what supervision costs while nothing happens: steps, daemon, keeper, ledger.

    python benchmarks/steady.py [--rounds 20] [--idle 60] [--rows 50000] [--json FILE]

A step is one of 5 ms that waits, with the record of steps on; `step_cost.py` measures it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.served import Daemon, until

from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home
from rekindle.state.run import journal

SCRIPTS = Path(__file__).resolve().parent
CHUNK = 2**20


def private(pid):
    """Return the memory in MB that is a process' own."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return sizes["Private_Clean"] + sizes["Private_Dirty"]


def processor(pid):
    """Return the processor time of a process so far, in seconds, of all threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks)


def supervised(seconds, millions):
    """Measure daemon and keeper beside nothing, then beside a training that saves."""
    root = Path(tempfile.mkdtemp(prefix="rekindle-bench-"))
    home = Home(root / "home")
    home.create()
    daemon = Daemon(home)
    try:
        time.sleep(5)
        idle = daemon.idle(seconds)
        spec = root / "t.toml"
        words = json.dumps([str(millions), "0.02", "1000000"])
        spec.write_text(
            f'name = "t"\nscript = "{SCRIPTS / "scripts" / "waiting.py"}"\nargs = {words}\n'
            f'python = "{sys.executable}"\n[checkpoint]\nevery = "2 s"\n'
        )
        spec.rename(home.inbox / "t.toml")
        run = home.run("t-1")

        def entries(kind):
            found = journal.replay(run.journal).entries if run.journal.exists() else []
            return [one for one in found if one["kind"] == kind]

        until(lambda: len(entries("checkpoint_committed")) > 3, "it saves", 120)
        keeper = entries("attempt_started")[0]["keeper_pid"]
        before, began = processor(keeper), time.monotonic()
        busy = daemon.idle(seconds)
        share = 100 * (processor(keeper) - before) / (time.monotonic() - began)
        return {
            "idle": idle,
            "busy": busy,
            "rss": daemon.rss[0],
            "keeper": private(keeper),
            "share": share,
        }
    finally:
        daemon.end()
        shutil.rmtree(root, ignore_errors=True)


def ingested(rows):
    """Read so many epochs from a journal into the ledger; return rows per second."""
    with tempfile.TemporaryDirectory(prefix="rekindle-bench-") as folder:
        path, now = Path(folder) / "journal.jsonl", time.time()
        logs = {"loss": 0.5, "accuracy": 0.9, "val_loss": 0.6, "val_accuracy": 0.8}
        about = {"v": 1, "t": now, "kind": "epoch_ended", "attempt": 1, "stage": 0}
        path.write_bytes(
            b"".join(
                journal.encode({**about, "epoch": n, "step": 45 * n, "seconds": 0.5, "logs": logs})
                for n in range(rows)
            )
        )
        book = Ledger.open(Path(folder) / "ledger.db")
        book.insert_job(
            "a-1",
            name="a",
            number=1,
            run_dir=folder,
            priority=0,
            spec="{}",
            claim="c",
            submitted_at=now,
        )
        book.begin_attempt("a-1", 1, now)
        began, offset = time.perf_counter(), 0
        while (part := journal.replay(path, offset, most=CHUNK)).offset > offset:
            book.ingest("a-1", part.entries, offset := part.offset)
        seconds = time.perf_counter() - began
        book.close()
        return rows / seconds


def steps(rounds):
    """Return the result of step_cost.py."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "steps.json"
        words = ["--rounds", str(rounds), "--json", str(file)]
        subprocess.run(
            [sys.executable, str(SCRIPTS / "step_cost.py"), *words],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        return json.loads(file.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="of step_cost.py")
    parser.add_argument("--idle", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--millions", type=float, default=1.0, help="parameters, in millions")
    parser.add_argument("--json", type=Path, help="write the result into this file")
    args = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    rate = ingested(args.rows)
    found = supervised(args.idle, args.millions)
    cost = steps(args.rounds)
    rows = [
        ("own code in a step of 5 ms", cost["own_percent"], "%", "< 0.5 %"),
        *(
            (f"a step of 5 ms that waits, {kind}, beside plain `fit`", 100 * more, "%", "< 0.5 %")
            for kind, more in cost["waits"].items()
        ),
        ("RSS of the daemon", found["rss"], "MB", "< 50 MB"),
        ("private memory of the keeper, while it saves", found["keeper"], "MB", "< 20 MB"),
        ("processor time of the daemon, idle", found["idle"], "% of a core", "< 0.2 %"),
        ("processor time of the daemon, a job runs", found["busy"], "% of a core", ""),
        ("processor time of the keeper, a job saves every 2 s", found["share"], "% of a core", ""),
        ("ledger", rate, "rows/s", "> 5,000"),
    ]  # fmt: skip
    for what, value, unit, goal in rows:
        print(f"| {what} | {value:.3g} {unit} | {goal} |")
    if args.json:
        named = [dict(zip(("what", "found", "unit", "goal"), row, strict=True)) for row in rows]
        args.json.write_text(json.dumps(named, indent=1) + "\n")


if __name__ == "__main__":
    main()
