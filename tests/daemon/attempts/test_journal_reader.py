"""Journals are ingested in pieces, and summarised on the way."""

from pathlib import Path
from typing import Any

import pytest

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home, Run
from rekindle.state.run import journal, summary


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


def accept(home: Home, ledger: Ledger) -> Run:
    """Make a job that has an attempt."""
    run = home.run("a-1")
    run.root.mkdir()
    ledger.insert_job(
        "a-1",
        name="a",
        number=1,
        run_dir=str(run.root),
        priority=0,
        spec="{}",
        claim=None,
        submitted_at=1.0,
    )
    ledger.begin_attempt("a-1", 1, 1.0)
    ledger.set_state("a-1", JobState.STARTING, "It starts.", now=1.0)
    return run


def _job(ledger: Ledger) -> JobRow:
    job = ledger.job("a-1")
    assert job is not None
    return job


def epochs(run: Run, numbers: range) -> None:
    with run.journal.open("ab") as file:
        for n in numbers:
            fields = {"attempt": 1, "epoch": n, "step": n, "stage": 0, "logs": {}}
            file.write(journal.encode({"v": 1, "t": 1.0, "kind": "epoch_ended", **fields}))


def test_the_end_of_an_attempt_reads_no_line_that_was_ingested(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tick that reads new lines also summarises them."""
    ledger = Ledger.open(home.ledger)
    run = accept(home, ledger)
    attempts = Attempts(home, ledger, Launcher())
    epochs(run, range(3000))
    attempts.read(_job(ledger))
    attempts._reader.save_summary("a-1")
    lines: list[int] = []
    real = journal.decode

    def count(data: bytes) -> Any:
        lines.append(data.count(b"\n"))
        return real(data)

    monkeypatch.setattr(journal, "decode", count)
    epochs(run, range(3000, 3005))
    assert len(summary.read(run).entries) < 10
    assert sum(lines) == 5
    ledger.close()


def test_a_tick_reads_only_a_part_of_a_long_journal(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has used its time says so, and the next ones read the rest."""
    monkeypatch.setattr("rekindle.daemon.attempts.watch._BUDGET_S", 0.0)
    ledger = Ledger.open(home.ledger)
    run = accept(home, ledger)
    attempts = Attempts(home, ledger, Launcher())
    epochs(run, range(1000))
    size = run.journal.stat().st_size
    ticks = 0
    while True:
        attempts.watch()
        ticks += 1
        if not attempts.is_behind:
            break
        assert ticks < 100
    assert _job(ledger).journal_offset >= size
    assert ticks > size / 2**15
    assert len(ledger.epochs("a-1")) == 1000
    ledger.close()


def test_a_journal_that_was_cut_is_read_from_its_beginning(home: Home) -> None:
    """An offset beyond its end would hide every later line."""
    ledger = Ledger.open(home.ledger)
    run = accept(home, ledger)
    attempts = Attempts(home, ledger, Launcher())
    epochs(run, range(100))
    attempts.read(_job(ledger))
    run.journal.unlink()
    epochs(run, range(100, 103))
    attempts.read(_job(ledger))
    assert [row.epoch for row in ledger.epochs("a-1")] == list(range(103))
    assert "journal_cut" in [event.kind for event in ledger.events("a-1")]
    ledger.close()
