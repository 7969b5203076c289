"""The ledger is durable, checked at start, and never replaced silently."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import environment

from rekindle.state.errors import HomeUnusable, LedgerCorrupt, LedgerTooNew, NotFound
from rekindle.state.ledger import schema
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import TRANSITIONS, IllegalTransition, JobState


def insert(ledger: Ledger, name: str = "a", number: int = 1, claim: str | None = None) -> str:
    job = f"{name}-{number}"
    ledger.insert_job(
        job,
        name=name,
        number=number,
        run_dir=f"/runs/{job}",
        priority=0,
        spec="{}",
        claim=claim or job,
        submitted_at=time.time(),
    )
    return job


def test_every_commit_is_durable(tmp_path: Path) -> None:
    """Write-ahead log and full sync: every answered request is on the disk."""
    ledger = Ledger.open(tmp_path / "ledger.db")

    def value(name: str) -> object:
        return ledger._db.execute(f"PRAGMA {name}").fetchone()[0]

    assert (value("journal_mode"), value("synchronous"), value("foreign_keys")) == ("wal", 2, 1)
    assert value("user_version") == schema.VERSION
    ledger.close()


def test_a_killed_writer_leaves_only_what_it_committed(tmp_path: Path) -> None:
    """SIGKILL in the middle of a transaction."""
    code = (
        "import os, sys, pathlib, time\n"
        "from rekindle.state.ledger.ledger import Ledger\n"
        "ledger = Ledger.open(pathlib.Path(sys.argv[1]))\n"
        "ledger.add_event('whole')\n"
        "with ledger.transaction():\n"
        "    ledger.add_event('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "ledger.db"
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=environment(), timeout=60)
    assert done.returncode == -9
    ledger = Ledger.open(path)
    assert [event.kind for event in ledger.events()] == ["whole"]
    ledger.close()


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"\0" * 4096, b"SQLite format 3\0" + b"\xff" * 8000]
)
def test_a_file_that_is_not_a_ledger_is_refused_and_unchanged(
    tmp_path: Path, content: bytes
) -> None:
    """The hint names `verify --rebuild`."""
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(LedgerCorrupt) as caught:
        Ledger.open(path)
    assert "--rebuild" in caught.value.hint
    assert path.read_bytes() == content


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """An older program would write rows that the newer one does not expect."""
    path = tmp_path / "ledger.db"
    Ledger.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    for readonly in (False, True):
        with pytest.raises(LedgerTooNew):
            Ledger.open(path, readonly=readonly)


def test_a_ledger_of_the_first_version_is_migrated(tmp_path: Path) -> None:
    """Each migration keeps the rows of a ledger with a job."""
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as db:
        db.executescript(
            schema.MIGRATIONS[0] + "; PRAGMA user_version = 1;"
            "INSERT INTO jobs (id, name, number, state, run_dir, spec, submitted_at,"
            " updated_at) VALUES ('a-1', 'a', 1, 'held', '/a', '{}', 1, 2)"
        )
    ledger = Ledger.open(path)
    assert [(job.id, job.state) for job in ledger.jobs()] == [("a-1", JobState.HELD)]
    assert ledger.check() == []
    ledger.close()


def test_reading_creates_no_ledger(tmp_path: Path) -> None:
    """`ls` in a wrong folder creates no file."""
    with pytest.raises(NotFound):
        Ledger.open(tmp_path / "ledger.db", readonly=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_its_place_is_an_error_with_a_hint(tmp_path: Path) -> None:
    """It raises an error of rekindle, not a traceback."""
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(HomeUnusable):
        Ledger.open(tmp_path / "ledger.db")


def test_ingesting_the_same_entries_twice_changes_nothing(tmp_path: Path) -> None:
    """A daemon that was killed after the commit reads them again."""
    ledger = Ledger.open(tmp_path / "ledger.db")
    job = insert(ledger)
    ledger.begin_attempt(job, 1, 1.0)
    entries = [
        {"kind": "attempt_started", "t": 1.0, "attempt": 1, "keeper_pid": 5, "boot_id": "b"},
        {"kind": "resumed", "t": 2.0, "attempt": 1, "epoch": 0, "step": 0},
        {"kind": "epoch_ended", "t": 3.0, "attempt": 1, "epoch": 0, "step": 9, "logs": {"l": 1.0}},
        {
            "kind": "checkpoint_committed",
            "t": 4.0,
            "attempt": 1,
            "name": "e0001-s00000009",
            "epoch": 1,
            "step": 9,
            "bytes": 3,
            "best": True,
        },
        {"kind": "warned", "t": 5.0, "attempt": 1, "message": "hm"},
        {
            "kind": "checkpoint_refused",
            "t": 6.0,
            "attempt": 1,
            "name": "e0001-s00000009",
            "reason": "torn",
        },
        {"kind": "failed", "t": 7.0, "attempt": 1, "error_type": "E", "message": "m"},
        {"kind": "of_a_newer_version", "t": 8.0},
    ]

    def dump() -> list[str]:
        return list(ledger._db.iterdump())

    ledger.ingest(job, entries, 100)
    once = dump()
    ledger.ingest(job, entries, 100)
    assert dump() == once
    assert [(e.epoch, e.logs) for e in ledger.epochs(job)] == [(0, {"l": 1.0})]
    assert [(c.good, c.reason) for c in ledger.checkpoints(job)] == [(False, "torn")]
    ledger.close()


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.none())
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                [
                    "kind",
                    "t",
                    "attempt",
                    "epoch",
                    "step",
                    "name",
                    "stage",
                    "bytes",
                    "logs",
                    "best",
                    "reason",
                    "state",
                    "at",
                    "wish",
                    "priority",
                    "outcome",
                    "cause",
                    "failures",
                    "hint",
                    "was",
                    "next_at",
                    "lost_steps",
                    "quarantined_to",
                ]
            ),
            VALUES,
            max_size=8,
        ).flatmap(
            lambda entry: st.sampled_from(
                [
                    "attempt_started",
                    "resumed",
                    "epoch_ended",
                    "checkpoint_committed",
                    "checkpoint_refused",
                    "checkpoint_pruned",
                    "failed",
                    "warned",
                    "state_changed",
                    "job_changed",
                    "attempt_changed",
                    "attempt_ended",
                ]
            ).map(lambda kind: {**entry, "kind": kind})
        ),
        max_size=4,
    )
)
def test_invalid_entries_never_stop_the_daemon(entries: list[dict[str, object]]) -> None:
    """The user's script can write anything into the journal, valid checksums included."""
    ledger = Ledger.open(Path(":memory:"))
    insert(ledger)
    ledger.ingest("a-1", entries, 1)
    ledger.restore("a-1", entries, 1)
    assert ledger.job("a-1") is not None
    assert ledger.attempts("a-1") is not None
    assert ledger.epochs("a-1") is not None
    assert ledger.checkpoints("a-1") is not None
    ledger.close()


def test_a_claim_and_a_number_belong_to_one_job(tmp_path: Path) -> None:
    """Inserting the same run twice makes one row and one event."""
    ledger = Ledger.open(tmp_path / "ledger.db")
    insert(ledger)
    insert(ledger)
    assert len(ledger.jobs()) == len(ledger.events()) == 1
    assert ledger.find_claim("a-1") == "a-1"
    insert(ledger, number=7)
    assert ledger.highest_number("a") == 7
    ledger.close()


@pytest.mark.parametrize("old", JobState)
@pytest.mark.parametrize("new", JobState)
def test_a_job_changes_state_only_along_the_table(
    tmp_path: Path, old: JobState, new: JobState
) -> None:
    """Every pair of states; an illegal transition changes nothing."""
    ledger = Ledger.open(Path(":memory:"))
    job = insert(ledger)
    ledger._db.execute("UPDATE jobs SET state = ?", (old,))
    if new in TRANSITIONS[old]:
        ledger.set_state(job, new, "Why.", now=1.0)
        assert [j.state for j in ledger.jobs()] == [new]
    else:
        with pytest.raises(IllegalTransition):
            ledger.set_state(job, new, "Why.", now=1.0)
        assert [j.state for j in ledger.jobs()] == [old]
    ledger.close()
