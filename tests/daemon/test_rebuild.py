"""A missing or damaged ledger is rebuilt from the run directories with the same content."""

import dataclasses
import fcntl
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.background import Background
from rekindle.daemon.checks.checks import Checks
from rekindle.daemon.config import Retention, SourceLimits
from rekindle.daemon.gpus.monitor import Monitor
from rekindle.daemon.gpus.pool import Pool
from rekindle.daemon.handlers.dispatcher import Dispatcher
from rekindle.daemon.handlers.tools import Tools
from rekindle.daemon.intake import submit
from rekindle.daemon.intake.inbox import Inbox
from rekindle.daemon.intake.requests import Request
from rekindle.daemon.queue_file import QueueFile
from rekindle.daemon.queueing.queue import Queue
from rekindle.daemon.retention.pruning import Pruning
from rekindle.daemon.source.present_code import PresentCode
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.daemon.verify import rebuild, verify
from rekindle.state.errors import LedgerCorrupt, LockHeld
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home, Run
from rekindle.state.run import checkpoints, journal
from rekindle.state.run.checkpoints import Position

# depends on the order of commits
UNLIKE = {"journal_offset"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def accept(home: Home, ledger: Ledger, *names: str) -> None:
    """Drop and accept a spec for each name, as the daemon does."""
    for name in names:
        text = f'command = ["true"]\nworkdir = "{home.root}"\nenv = {{ TOKEN = "hush" }}\n'
        submit.drop(home, f"{name}.toml", text.encode())
    inbox = Inbox(home, ledger)
    found = inbox.scan(0.0)
    inbox.close()
    assert len(found.accepted) == len(names), found


def attempt(
    ledger: Ledger, run: Run, n: int, cause: str, *, decided: JobState | None = None, **verdict: Any
) -> None:
    """Record an attempt with an epoch and a checkpoint, as daemon, keeper and trainer do."""
    with ledger.transaction():
        ledger.begin_attempt(run.id, n, time.time())
        ledger.set_state(run.id, JobState.STARTING, f"Attempt {n} is starting.", now=time.time())
    journal.append(
        run.journal,
        "attempt_started",
        attempt=n,
        keeper_pid=10 + n,
        keeper_start=1,
        trainer_pid=20 + n,
        trainer_start=2,
        boot_id="boot",
    )
    journal.append(
        run.journal,
        "resumed",
        attempt=n,
        epoch=n - 1,
        step=10 * (n - 1),
        checkpoint=None,
        lost_steps=0,
    )
    journal.append(
        run.journal,
        "epoch_ended",
        attempt=n,
        epoch=n - 1,
        step=10 * n,
        stage=0,
        seconds=1.5,
        logs={"loss": 1 / n},
    )
    run.checkpoints.mkdir(exist_ok=True)
    made = checkpoints.commit(
        run.checkpoints,
        Position(0, n, 10 * n),
        lambda folder: (folder / "state.safetensors").write_bytes(b"x") and None,
        {},
    )
    journal.append(
        run.journal,
        "checkpoint_committed",
        attempt=n,
        name=made.name,
        epoch=n,
        step=10 * n,
        stage=0,
        bytes=1,
        best=True,
    )
    row = ledger.job(run.id)
    assert row is not None
    ledger.set_state(run.id, JobState.RUNNING, f"Attempt {n} is running.", now=time.time())
    if not cause:
        return
    journal.append(run.journal, "attempt_ended", attempt=n, cause=cause, exit_code=3, signal=None)
    replay = journal.replay(run.journal, row.journal_offset)
    ledger.ingest(run.id, replay.entries, replay.offset)
    if decided is None:
        return
    with ledger.transaction():
        ledger.update_attempt(
            run.id,
            n,
            outcome="crashed",
            cause="poison",
            exit_code=3,
            ended_at=time.time(),
            to_epoch=n,
            to_step=10 * n,
        )
        ledger.set_state(
            run.id,
            decided,
            "It ended, and here is why.",
            hint="Do this.",
            now=time.time(),
            **verdict,
        )


def contents(home: Home) -> dict[str, Any]:
    """Read the content of a ledger as plain values."""
    ledger = Ledger.open(home.ledger, readonly=True)
    try:
        jobs = {row.id: dataclasses.asdict(row) for row in ledger.jobs()}
        for row in jobs.values():
            for name in UNLIKE:
                del row[name]
        return {
            "jobs": jobs,
            "order": list(jobs),
            "specs": {job: ledger.spec(job) for job in jobs},
            "attempts": {job: ledger.attempts(job) for job in jobs},
            "epochs": {job: ledger.epochs(job) for job in jobs},
            "checkpoints": {job: ledger.checkpoints(job) for job in jobs},
            "states": {
                job: [
                    e.kind
                    for e in ledger.events(job)
                    if e.kind.startswith("job_") and e.kind != "job_running"
                ]
                for job in jobs
            },
        }
    finally:
        ledger.close()


def test_a_rebuilt_ledger_equals_the_original(home: Home) -> None:
    """Every column of jobs, attempts, epochs and checkpoints; the damaged file is kept."""
    ledger = Ledger.open(home.ledger)
    accept(home, ledger, "new")
    accept(home, ledger, "done", "failed", "held", "cancelled", "waiting", "stopped", "urgent")
    attempts, file = Attempts(home, ledger, Launcher()), QueueFile(home)
    pool = Pool(ledger, Monitor("-1"), file, free_share=0.8)
    dispatcher = Dispatcher(
        Tools(
            home,
            ledger,
            attempts,
            Pruning(home, ledger, Retention(), attempts),
            Queue(ledger, attempts, pool, file, slots=1),
            Checks(home, ledger, Background()),
            PresentCode(Snapshots(home.sources, SourceLimits(), home.root), Background()),
        )
    )
    attempt(
        ledger,
        home.run("done-1"),
        1,
        "crash",
        decided=JobState.WAITING,
        failures=1,
        next_at=time.time() + 5,
    )
    attempt(ledger, home.run("done-1"), 2, "done", decided=JobState.DONE, failures=0)
    attempt(ledger, home.run("failed-1"), 1, "crash", decided=JobState.FAILED, failures=2)
    attempt(ledger, home.run("held-1"), 1, "crash", decided=JobState.HELD, failures=6)
    attempt(
        ledger,
        home.run("waiting-1"),
        1,
        "crash",
        decided=JobState.WAITING,
        failures=1,
        next_at=time.time() + 600,
    )
    attempt(ledger, home.run("stopped-1"), 1, "")
    for verb, job, fields in (
        ("cancel", "cancelled-1", {}),
        ("priority", "urgent-1", {"value": 7}),
        ("stop", "stopped-1", {}),
        ("cancel", "stopped-1", {}),
        ("stop", "urgent-1", {}),
        ("release", "held-1", {}),
        ("stop", "held-1", {}),
    ):
        dispatcher.carry_out(Request(home.inbox / "none", verb, job, fields))
    row = ledger.job("stopped-1")
    assert row is not None
    assert (row.state, row.wish) == (JobState.STOPPING, "cancel")
    replay = journal.replay(home.run("stopped-1").journal)
    ledger.ingest("stopped-1", replay.entries, replay.offset)
    ledger.close()
    before = contents(home)
    home.ledger.write_bytes(b"this is no ledger" * 1000)

    made = rebuild.rebuild(home)

    assert made.problems == []
    assert (made.jobs, made.attempts) == (8, 6)
    assert made.kept_damaged is not None
    assert made.kept_damaged.read_bytes().startswith(b"this is no ledger")
    after = contents(home)
    for job in before["jobs"]:
        for one, other in zip(before["attempts"][job], after["attempts"][job], strict=True):
            assert abs(one.started_at - other.started_at) < 1
    for side in (before, after):
        side["attempts"] = {
            job: [dataclasses.replace(a, started_at=0.0) for a in found]
            for job, found in side["attempts"].items()
        }
    assert before == after
    assert "hush" not in str(after)


def test_an_end_without_a_verdict_is_judged_by_the_next_daemon(home: Home) -> None:
    """The job is running in the new ledger: the daemon that adopts it reaches the verdict."""
    ledger = Ledger.open(home.ledger)
    accept(home, ledger, "a")
    attempt(ledger, home.run("a-1"), 1, "done")
    ledger.close()
    home.ledger.unlink()

    assert rebuild.rebuild(home).kept_damaged is None

    ledger = Ledger.open(home.ledger)
    row = ledger.job("a-1")
    assert row is not None
    assert row.state == JobState.RUNNING
    Attempts(home, ledger, Launcher()).adopt()
    row = ledger.job("a-1")
    assert row is not None
    assert (row.state, ledger.attempts("a-1")[0].outcome) == (JobState.DONE, "done")
    ledger.close()


def test_an_attempt_with_only_a_log_keeps_its_number(home: Home) -> None:
    """A second attempt of the same number would write the same log."""
    ledger = Ledger.open(home.ledger)
    accept(home, ledger, "a")
    ledger.close()
    home.run("a-1").logs.mkdir()
    home.run("a-1").log(3).write_text("up\n")
    home.ledger.unlink()

    rebuild.rebuild(home)

    ledger = Ledger.open(home.ledger)
    Attempts(home, ledger, Launcher()).adopt()
    row = ledger.job("a-1")
    assert row is not None
    assert (row.attempts, row.state) == (3, JobState.QUEUED)
    ledger.close()


def test_a_home_without_its_ledger_is_refused(home: Home) -> None:
    """An empty ledger over full run directories would start every job again."""
    ledger = Ledger.open(home.ledger)
    accept(home, ledger, "a")
    ledger.close()
    home.ledger.unlink()

    with pytest.raises(LedgerCorrupt, match="missing") as caught:
        Ledger.open(home.ledger)

    assert "--rebuild" in caught.value.hint
    assert not home.ledger.exists()


@pytest.mark.parametrize("readonly", [True, False])
def test_an_empty_ledger_file_is_refused_as_a_missing_one(home: Home, readonly: bool) -> None:
    """A file of no bytes is a sound database to SQLite."""
    ledger = Ledger.open(home.ledger)
    accept(home, ledger, "a")
    ledger.close()
    home.ledger.write_bytes(b"")

    with pytest.raises(LedgerCorrupt, match="missing"):
        Ledger.open(home.ledger, readonly=readonly)

    assert rebuild.rebuild(home).jobs == 1


def test_rebuild_is_refused_while_a_daemon_runs(home: Home) -> None:
    """Two writers would damage the ledger."""
    fd = os.open(home.daemon_lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(LockHeld):
        rebuild.rebuild(home)
    os.close(fd)


def test_the_wal_of_the_damaged_ledger_is_renamed_with_it(home: Home) -> None:
    """SQLite would replay its pages into the new ledger."""
    ledger = Ledger.open(home.ledger)
    accept(home, ledger, "a", "b")
    # a killed daemon leaves the -wal without a checkpoint of SQLite
    copy = home.ledger.with_name(home.ledger.name + "-wal").read_bytes()
    ledger.close()
    wal = home.ledger.with_name(home.ledger.name + "-wal")
    wal.write_bytes(copy)

    made = rebuild.rebuild(home)

    assert made.kept_damaged is not None
    assert made.kept_damaged.with_name(made.kept_damaged.name + "-wal").read_bytes() == copy
    assert not wal.exists()
    assert set(contents(home)["jobs"]) == {"a-1", "b-1"}


def test_an_unreadable_run_is_named_and_the_others_are_restored(home: Home) -> None:
    """One damaged job.json costs one job, and is reported."""
    ledger = Ledger.open(home.ledger)
    accept(home, ledger, "a", "b", "c")
    ledger.close()
    home.run("a-1").job_file.write_text("{")
    home.run("b-1").job_file.write_text(home.run("c-1").job_file.read_text())
    home.ledger.unlink()

    made = rebuild.rebuild(home)

    assert made.jobs == 1
    assert [p.partition(":")[0] for p in made.problems] == ["a-1", "b-1"]
    assert home.run("a-1").root.is_dir()


def test_invalid_journal_entries_do_not_stop_a_rebuild(home: Home) -> None:
    """The user's script can write the journal: valid checksums do not prove valid content."""
    ledger = Ledger.open(home.ledger)
    accept(home, ledger, "a")
    ledger.close()
    path = home.run("a-1").journal
    journal.append(path, "state_changed", state="on holiday", at=1, attempt=1)
    journal.append(path, "state_changed")
    journal.append(path, "attempt_changed", attempt=1, **{"outcome = 'x' --": 1})
    journal.append(path, "attempt_started", attempt="first")
    journal.append(path, "epoch_ended", attempt=1, epoch=2**70)
    journal.append(path, "job_changed", priority=[])
    home.ledger.unlink()

    assert rebuild.rebuild(home).jobs == 1

    assert contents(home)["jobs"]["a-1"]["state"] == "queued"
    ledger = Ledger.open(home.ledger, readonly=True)
    assert sum(e.kind == "entry_not_understood" for e in ledger.events("a-1")) >= 4
    assert verify.verify(home) == []
    ledger.close()


def test_a_sound_home_has_no_finding_and_each_damage_has_one(home: Home) -> None:
    """Ledger, job, journal, checkpoint, leftover: each is reported with a hint."""
    ledger = Ledger.open(home.ledger)
    accept(home, ledger, "a", "b", "c", "d")
    for job in ("a-1", "b-1"):
        attempt(ledger, home.run(job), 1, "done", decided=JobState.DONE)
    ledger.close()
    assert verify.verify(home) == []

    run = home.run("a-1")
    (run.checkpoints / "e0001-s00000010" / "state.safetensors").write_bytes(b"y")
    os.rename(home.run("b-1").checkpoints / "e0001-s00000010", home.root / "elsewhere")
    home.run("c-1").job_file.unlink()
    os.rename(home.run("d-1").root, home.runs / "stranger-1")
    (home.claimed / "1-2--x.toml").write_text("")
    (home.runs / ".new-e-1").mkdir()
    with run.journal.open("ab") as file:
        file.write(b"half a line\n")

    found = verify.verify(home)

    assert all(finding.hint and finding.what.endswith(".") for finding in found)
    assert sorted((f.severity, f.job or Path(f.where).name, f.what[:24]) for f in found) == sorted(
        [
            ("error", "a-1", "This checkpoint is damag"),
            ("warning", "a-1", "1 damaged lines are skip"),
            ("error", "b-1", "This checkpoint is in th"),
            ("error", "c-1", "The accepted job cannot "),
            ("error", "d-1", "The run directory of the"),
            ("warning", "stranger-1", "This run directory is no"),
            ("warning", "1-2--x.toml", "This spec is claimed, no"),
            ("warning", ".new-e-1", "This run directory is in"),
        ]
    )


def test_a_damaged_ledger_is_a_finding(home: Home) -> None:
    """Also if a page in its middle is overwritten."""
    ledger = Ledger.open(home.ledger)
    accept(home, ledger, *(f"job{n:03d}" for n in range(40)))
    ledger.close()
    data = bytearray(home.ledger.read_bytes())
    data[8192:12288] = os.urandom(4096)
    home.ledger.write_bytes(data)

    assert any(f.severity == "error" and f.where == str(home.ledger) for f in verify.verify(home))

    with pytest.raises(LedgerCorrupt):
        Ledger.open(home.ledger)
    assert home.ledger.read_bytes() == data, "never replaced or repaired silently"
    rebuild.rebuild(home)
    assert len(contents(home)["jobs"]) == 40
    with sqlite3.connect(home.ledger) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
