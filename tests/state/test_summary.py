"""A summary of a journal tells every reader what the whole journal tells, and is cheap to read.

Kinds of source: event stores that replay everything at each start (write-ahead logs without a
checkpoint), and index files beside a log that went stale after a copy or a truncation.
"""

import json
import os
import socket
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rekindle.daemon.verdict import outcome
from rekindle.jobs import provenance
from rekindle.jobs.attempt.run_history import RunHistory
from rekindle.jobs.capture import tensorboard_files
from rekindle.jobs.keeper import command
from rekindle.jobs.keeper.hang_detector import seen_before
from rekindle.state.paths import Run
from rekindle.state.run import journal, summary
from rekindle.state.run.summary import Summary

Entry = dict[str, Any]


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Draw what keepers, trainers and daemons may write, attempt by attempt."""
    found: list[Entry] = []
    clock = 0.0

    def add(kind: str, attempt: int, **fields: Any) -> None:
        nonlocal clock
        clock += draw(st.sampled_from([0.1, 1.0, 3600.0]))
        found.append({"v": 1, "t": clock, "kind": kind, "attempt": attempt, **fields})

    step = 0
    for attempt in range(1, draw(st.integers(1, 4)) + 1):
        add("attempt_started", attempt, boot_id="b", trainer_pid=attempt, keeper_pid=attempt)
        if draw(st.booleans()):
            add("provenance", attempt, machine={"host": f"h{attempt}"})
        for _ in range(draw(st.integers(0, 2))):
            step = draw(st.integers(0, step))
            stage = draw(st.integers(0, 2))
            receipt = {"checkpoint": draw(st.sampled_from([None, "c1"])), "stage": stage}
            add("resumed", attempt, step=step, restored=[], epochs=9, **receipt)
            for _ in range(draw(st.integers(0, 6))):
                kind = draw(st.sampled_from(WITHIN))
                step += draw(st.integers(0, 2))
                name = f"c{draw(st.integers(0, 3))}"
                add(kind, attempt, **_fields(draw, kind, step, stage, name))
        if draw(st.booleans()):
            cause = draw(st.sampled_from(["crash", "done", "hang", "host_oom", "preempted"]))
            signal = draw(st.sampled_from([None, 9, 11]))
            longest = {"step": float(attempt)}
            add("attempt_ended", attempt, cause=cause, signal=signal, at_step=step, longest=longest)
        if draw(st.booleans()):
            add("attempt_changed", attempt, cause=draw(st.sampled_from(["interrupted", "crash"])))
        if draw(st.booleans()):
            was = draw(st.sampled_from(["held", "running", "queued"]))
            add("state_changed", attempt, was=was, state="queued")
        if draw(st.integers(0, 5)) == 0:
            add("scratch_requested", attempt)
    return found


WITHIN = [
    "epoch_ended",
    "checkpoint_committed",
    "checkpoint_committed",
    "checkpoint_pruned",
    "checkpoint_pruned",
    "stage_ended",
    "warned",
    "failed",
    "stop_received",
    "save_failed",
    "hung",
    "of_a_newer_version",
]


def _fields(draw: st.DrawFn, kind: str, step: int, stage: int, name: str) -> Entry:
    if kind == "checkpoint_committed":
        cost = {"seconds": 0.5, "bytes": step, "delay": draw(st.sampled_from([None, 0.25]))}
        return {"name": name, "step": step, "stage": stage, "end": draw(st.booleans()), **cost}
    if kind == "checkpoint_pruned":
        return {"name": name}
    if kind == "warned":
        return {"message": f"m{step % 2}", "unfollowed": draw(st.booleans())}
    if kind == "failed":
        return {"error_type": "E", "message": f"m{step % 2}", "step": step, "traceback": "x"}
    if kind == "hung":
        return {"section": "step", "silent": 3}
    return {"step": step, "stage": stage}


def readings(run: Run, found: list[Entry]) -> list[object]:
    """Return the result of every reader of a run's past."""
    last = max(entry["attempt"] for entry in found)
    results: list[object] = [
        outcome.read(found, attempt, interrupted=interrupted)
        for attempt in range(1, last + 1)
        for interrupted in (False, True)
    ]
    results += [RunHistory.of(found, attempt, None) for attempt in range(1, last + 2)]
    results += [
        tensorboard_files.authors(found, attempt, socket.gethostname())
        for attempt in range(1, last + 2)
    ]
    return [*results, seen_before(found), command.is_first(found), last]


@given(histories(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_summary_tells_each_reader_what_the_journal_tells(
    found: list[Entry], data: st.DataObject
) -> None:
    """However it is cut into pieces, and also after it was saved and loaded in between."""
    run = Run(Path("/nowhere"))
    whole = readings(run, found)
    made = Summary()
    rest = list(found)
    while rest:
        many = data.draw(st.integers(1, len(rest)))
        made.take(rest[:many], 0)
        rest = rest[many:]
        if data.draw(st.booleans()):
            again = Summary()
            again.take(json.loads(json.dumps(made.entries)), 0)
            made = again
    assert readings(run, made.entries) == whole


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def write(run: Run, lines: int, start: int = 0) -> None:
    """Append what a training of many checkpoints writes; without fsync, which a test can spare."""
    with run.journal.open("ab") as file:
        for n in range(start, start + lines // 2):
            name = f"e0000-s{n:08d}"
            committed = {"name": name, "stage": 0, "epoch": 0, "step": n, "bytes": 1}
            for kind, fields in (
                ("checkpoint_committed", committed),
                ("checkpoint_pruned", {"name": f"e0000-s{n - 3:08d}"}),
            ):
                entry = {"v": 1, "t": float(n), "kind": kind, "attempt": 1, **fields}
                file.write(journal.encode(entry))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the lines of journals that are decoded."""
    counts: list[int] = []
    real = journal.decode

    def count(data: bytes) -> Any:
        counts.append(data.count(b"\n"))
        return real(data)

    monkeypatch.setattr(journal, "decode", count)
    return counts


def test_only_the_lines_after_the_summary_are_read(run: Run, decoded: list[int]) -> None:
    """Each reader of a start or an end: the first reads all, the next ones the rest."""
    write(run, 4000)
    before = len(summary.read(run).entries)
    assert sum(decoded) == 4000
    assert before < 12
    decoded.clear()
    write(run, 10, start=2000)
    found = summary.read(run).entries
    provenance.previous(run, 2)
    tensorboard_files.before(run, 2)
    assert sum(decoded) == 30
    assert len(found) < 12
    committed = RunHistory.of(found, 2, None).committed
    assert committed == {f"e0000-s{n:08d}" for n in (2002, 2003, 2004)}


def test_a_journal_is_read_in_pieces(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded however long it is."""
    asked: list[int] = []
    real = journal.replay

    def replay(path: Path, offset: int = 0, *, most: int = -1) -> Any:
        asked.append(most)
        return real(path, offset, most=most)

    monkeypatch.setattr(journal, "replay", replay)
    monkeypatch.setattr(summary, "CHUNK_BYTES", 4096)
    write(run, 400)
    summary.read(run)
    assert set(asked) == {4096}
    assert len(asked) > 10


def _cut(run: Run) -> None:
    data = run.journal.read_bytes()
    run.journal.write_bytes(data[: data.rfind(b"\n", 0, len(data) // 2) + 1])


def _replace(run: Run) -> None:
    run.journal.unlink()
    write(run, 4200, start=7000)


def _damage(run: Run) -> None:
    data = bytearray(run.journal_summary.read_bytes())
    data[len(data) // 2] ^= 1
    run.journal_summary.write_bytes(data)


def _empty(run: Run) -> None:
    run.journal_summary.write_bytes(b"")


def _remove(run: Run) -> None:
    run.journal_summary.unlink()


def _newer(run: Run) -> None:
    body = json.dumps({"format": 2, "offset": 5}).encode()
    run.journal_summary.write_bytes(body + b"\n%08x" % zlib.crc32(body))


def _odd(run: Run) -> None:
    body = json.dumps({"format": 1, "offset": -5, "windows": [], "entries": [3]}).encode()
    run.journal_summary.write_bytes(body + b"\n%08x" % zlib.crc32(body))


def _fifo(run: Run) -> None:
    run.journal_summary.unlink()
    os.mkfifo(run.journal_summary)


def _folder(run: Run) -> None:
    run.journal_summary.unlink()
    run.journal_summary.mkdir()


@pytest.mark.parametrize(
    "spoil", [_cut, _replace, _damage, _empty, _remove, _newer, _odd, _fifo, _folder]
)
def test_a_summary_that_does_not_fit_is_made_again(run: Run, spoil: Any) -> None:
    """The reader gets what the journal says."""
    write(run, 4000)
    summary.read(run)
    spoil(run)
    fresh = Summary()
    fresh.read_on(run.journal)
    assert summary.read(run).entries == fresh.entries
    if spoil != _folder:
        assert summary.load(run).offset == run.journal.stat().st_size


def test_a_run_directory_that_cannot_be_written_is_read_all_the_same(run: Run) -> None:
    """On a full disk the end of an attempt must still be read."""
    write(run, 4000)
    run.journal_summary.mkdir()
    assert summary.read(run).offset == run.journal.stat().st_size
    assert [path.name for path in run.root.iterdir() if path.name.startswith(".")] == []
