"""Whatever a run directory holds, only its own job is held: the others run, and the daemon starts.

flux-framework/flux-core#6123: one job's record that cannot be read keeps the whole service down.
NousResearch/hermes-agent#61723: one wrong type stops the scheduler for all jobs.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nights import Night
from rig import wait_for

from rekindle.jobs.job import Job
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.run import entries, journal

pytestmark = pytest.mark.faults

WRONG: list[Any] = [
    [],
    [1],
    {},
    {"a": {"b": []}},
    "",
    "x" * 5000,
    "\ud800",
    True,
    -1,
    0,
    2**53 + 1,
    2**63,
    2**70,
    1e308,
    float("inf"),
    float("nan"),
    0.5,
]
READ: dict[str, str] = {
    # what is made of a record, by the shell, in the run directory of an attempt
    "journal-fifo": "rm journal.jsonl; mkfifo journal.jsonl",
    "journal-folder": "rm journal.jsonl; mkdir journal.jsonl",
    "journal-device": "rm journal.jsonl; ln -s /dev/zero journal.jsonl",
    "heartbeat-fifo": "rm -f heartbeat; mkfifo heartbeat",
    "heartbeat-endless": "rm -f heartbeat; ln -s /dev/zero heartbeat",
    "job-fifo": "rm job.json; mkfifo job.json",
    "job-types": """sed -i 's/"keep": 3/"keep": []/' job.json""",
    "keeper-log-fifo": "rm keeper.log; mkfifo keeper.log",
    "log-fifo": "mkfifo logs/attempt-0002.log",
    "manifest-fifo": "mkdir checkpoints/e0001-s00000001; mkfifo checkpoints/e0001-s00000001/"
    "manifest.json",
    "checkpoints-fifo": "rm -r checkpoints; mkfifo checkpoints",
    "logs-file": "rm -r logs; touch logs",
}


def poisoned(kind: str) -> Iterator[bytes]:
    """Lines of a kind, each with one field of another type than its writer gives it."""
    good = {
        "t": 1.0,
        "attempt": 1,
        "epoch": 0,
        "step": 1,
        "name": "e0001-s00000001",
        "at": 1.0,
        "state": "held",
        "was": "running",
    }
    fields = {*entries.EVERYWHERE, *entries.KINDS[kind].fields}
    for field in sorted(fields):
        for value in WRONG:
            yield journal.encode({"v": 1, **good, "kind": kind, field: value})
    yield journal.encode({"v": 1, "kind": kind})
    for value in WRONG:
        yield journal.encode({"v": 1, **good, "kind": kind, "unknown": value})


def deep(levels: int) -> bytes:
    """A line with a good sum that the parser just takes, and no writer of JSON."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return journal.encode(
        {
            "v": 1,
            "t": 1.0,
            "kind": "epoch_ended",
            "attempt": 1,
            "epoch": 0,
            "step": 1,
            "logs": value,
        }
    )


def test_what_a_run_directory_holds_is_its_own_jobs_trouble(night: Night) -> None:
    """Each kind of line and each kind of file, all at once beside one good job."""
    night.work.mkdir(parents=True)
    bad = dict(READ)
    for kind in entries.KINDS:
        file = night.work / f"{kind}.lines"
        file.write_bytes(b"".join(poisoned(kind)))
        bad[f"line-{kind.replace('_', '-')}"] = f"cat {file} >> journal.jsonl"
    levels = night.work / "deep.lines"
    levels.write_bytes(b"".join(deep(n) for n in range(40, 960, 20)))
    bad["line-deep"] = f"cat {levels} >> journal.jsonl"
    for name, script in bad.items():
        argv = json.dumps(["sh", "-c", f"cd $REKINDLE_RUN_DIR; {script}; exit 3"])
        night.drop(
            f'name = "{name}"\nworkdir = "{night.work}"\ncommand = {argv}\n'
            '[retry]\nmax_failures = 1\nbackoff = "100ms..100ms"\n',
            f"{name}.toml",
        )
    night.start("--slots", "4")
    night.submit("good", args="--steps 5")
    over = {"held", "failed", "done", "cancelled"}
    wait_for(
        lambda: len(night.states()) == len(bad) + 1 and set(night.states().values()) <= over,
        "all end",
        300,
    )
    states = night.states()
    assert states.pop("good-1") == "done"
    assert set(states.values()) == {"held"}, states
    for row in night.ls():
        if row["state"] == "held":
            assert row["reason"]
            assert row["hint"], row
    assert night.end() == 0

    night.start()
    night.submit("later", args="--steps 5")
    night.wait_state("later-1", "done")
    assert {
        job: state for job, state in night.states().items() if job not in ("good-1", "later-1")
    } == states
    assert night.end() == 0


def test_a_fifo_in_the_journals_place_does_not_hold_up_the_next_daemon(night: Night) -> None:
    """Of a job that runs, one that waits and one that is over."""
    night.submit_command("over", "-c", "")
    night.submit_command("runs", "-c", "import time; time.sleep(600)")
    night.submit_command("waits", "-c", "import time; time.sleep(600)")
    night.start()
    night.wait_state("over-1", "done")
    night.wait_state("runs-1", "running")
    night.end(signal.SIGKILL)
    for job in ("over-1", "runs-1", "waits-1"):
        path = night.home.run(job).journal
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    night.start("--slots", "2")
    night.submit("good", args="--steps 5")
    night.wait_state("good-1", "done")
    for job in ("runs-1", "waits-1"):
        night.request("stop", job)
        night.wait_state(job, "held")
    assert night.end() == 0


def accept(night: Night, name: str, **changes: Any) -> Path:
    """A queued job whose records were never checked, as an older version took them over."""
    run = night.home.run(f"{name}-1")
    run.root.mkdir()
    value = json.loads(Job(name, str(night.work), id=run.id, command=["true"]).to_json())
    for key, item in changes.items():
        section, _, field = key.rpartition("__")
        (value[section] if section else value)[field] = item
    run.job_file.write_text(json.dumps(value))
    ledger = Ledger.open(night.home.ledger)
    ledger.insert_job(
        run.id,
        name=name,
        number=1,
        run_dir=str(run.root),
        priority=0,
        spec=json.dumps(value),
        claim=name,
        submitted_at=1.0,
    )
    ledger.close()
    return run.job_file


def test_a_spec_with_wrong_types_is_held_and_its_hint_works(night: Night) -> None:
    """A restarted daemon starts, and `release` reads the repaired file."""
    night.work.mkdir(parents=True)
    first = Ledger.open(night.home.ledger)
    first.close()
    changes: list[dict[str, Any]] = [
        {"after": 5},
        {"after": [[]]},
        {"limits__window": "xx"},
        {"limits__max_runtime": "long"},
        {"resources__gpus": "two"},
        {"resources__gpus": -1},
        {"priority": []},
        {"limits": []},
        {"retry__backoff_min": 1e400},
        {"checkpoint__keep": None},
        {"env": {"A": 1}},
    ]
    files = [accept(night, f"bad{n}", **change) for n, change in enumerate(changes)]
    for good in ("first", "second"):
        night.start()
        wait_for(
            lambda: set(night.states().values()) <= {"held", "done"} and night.states(),
            "all are held",
            60,
        )
        assert {job: state for job, state in night.states().items() if job.startswith("bad")} == {
            f"bad{n}-1": "held" for n in range(len(changes))
        }
        for row, file in zip(night.ls(), files, strict=False):
            assert str(file) in row["hint"], row
        night.submit(good, args="--steps 5")
        night.wait_state(f"{good}-1", "done")
        assert night.end() == 0
    night.start()
    files[0].write_text(json.dumps(json.loads(files[0].read_text()) | {"after": []}))
    night.cli("release", "bad0-1")
    night.wait_state("bad0-1", "done")
    assert night.end() == 0
