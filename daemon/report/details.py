"""Read what the page shows of each job beside the summary: curves, receipts, the end of its log."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.client import terminal
from rekindle.daemon.client.lines import plain
from rekindle.daemon.report import curves, timeline
from rekindle.daemon.report.curves import Curves
from rekindle.daemon.report.facts import Facts, JobFacts
from rekindle.state.counted import counted
from rekindle.state.ledger.period import Period
from rekindle.state.ledger.rows import AttemptRow
from rekindle.state.lifecycle import ACTIVE, JobState
from rekindle.state.paths import Home
from rekindle.state.run import proof, reading

MOST_JOBS: Final = 50
_ATTEMPTS: Final = 30
_LOG_BYTES: Final = 16 * 1024
_LOG_LINES: Final = 25
_FIRST: Final = frozenset({JobState.HELD, JobState.FAILED, *ACTIVE})
_ESCAPES: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)")


@dataclass(frozen=True, slots=True)
class Receipt:
    """Describe an attempt in words.

    Attributes:
        notes: what was refused, was not exact, or changed.
    """

    n: int
    started: str
    took: str
    begun: str
    end: str
    repeated: str
    proved: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Details:
    """Hold what the page shows of a job.

    Attributes:
        earlier: attempts that are left out.
        log: the last lines that a job which needs a person has printed.
    """

    curves: Curves | None
    receipts: tuple[Receipt, ...]
    earlier: int
    log: tuple[str, ...]


def read(home: Home, book: Period | None, facts: Facts) -> dict[str, Details]:
    """Read the details of at most `MOST_JOBS` jobs, by id.

    Of those that run or need a person first, then of those that changed last.
    """
    if book is None:
        return {}
    begun = [one for one in facts.jobs if one.row.attempts]
    first = [one for one in begun if one.row.state in _FIRST]
    others = [one for one in begun if one.row.state not in _FIRST]
    chosen = [*first, *others[::-1]][:MOST_JOBS]
    return {one.row.id: _of(home, book, one) for one in chosen}


def _of(home: Home, book: Period, one: JobFacts) -> Details:
    job = one.row
    attempts = book.newest_attempts(job.id, _ATTEMPTS)
    needs = job.state in (JobState.HELD, JobState.FAILED)
    log = last_lines(home.run(job.id).log(job.attempts)) if needs else ()
    return Details(
        curves.read(book, job.id),
        tuple(_receipt(row) for row in attempts),
        job.attempts - len(attempts),
        log,
    )


def _receipt(row: AttemptRow) -> Receipt:
    found = row.receipt or {}
    took = row.seconds
    if took is None and row.ended_at is not None:
        took = row.ended_at - row.started_at
    repeated = "-"
    if row.lost_steps is not None:
        repeated = counted(row.lost_steps, "step") if row.lost_steps else "nothing"
    elif found.get("checkpoint"):
        repeated = "unknown"
    proofs = [proof.words(one) for one in _dicts(found.get("proved"))]
    return Receipt(
        row.n,
        terminal.when(row.started_at),
        terminal.duration(took),
        str(found.get("checkpoint") or "the beginning"),
        timeline.end(row.cause, row.outcome, row.signal, row.exit_code),
        repeated,
        tuple(map(plain, proofs)),
        tuple(map(plain, _notes(row, found))),
    )


def _notes(row: AttemptRow, receipt: dict[str, Any]) -> list[str]:
    notes = [f"not followed: {row.unfollowed}"] if row.unfollowed else []
    notes += [
        f"refused {one.get('name')}: {one.get('reason')}" for one in _dicts(receipt.get("refused"))
    ]
    if (why := proof.instead_of(receipt)) is not None:
        notes.append(f"resumed {why}")
    for key, word in (("inexact", "not exact"), ("changed", "changed")):
        texts = receipt.get(key)
        notes += [f"{word}: {text}" for text in texts] if isinstance(texts, list) else []
    if receipt.get("allowed"):
        notes.append(f"changed, allowed by --allow-change: {receipt['allowed']}")
    new = receipt.get("new_code")
    if isinstance(new, dict):
        notes.append(f"new code: {new.get('text')}")
    if row.failure:
        failure = row.failure
        notes.append(f"{failure.get('error_type')}: {failure.get('message')}")
    return notes


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def last_lines(path: Path) -> tuple[str, ...]:
    """Return the last lines of a log, without escape sequences; empty where it cannot be read."""
    try:
        fd = reading.open_regular(path, os.O_RDONLY)
    except OSError:
        return ()
    try:
        size = os.fstat(fd).st_size
        text = os.pread(fd, _LOG_BYTES, max(size - _LOG_BYTES, 0)).decode(errors="replace")
    finally:
        os.close(fd)
    lines = _ESCAPES.sub("", text).split("\n")
    # a progress bar overwrites its line
    drawn = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines]
    shown = [line for line in drawn[1 if size > _LOG_BYTES else 0 :] if line.strip()]
    return tuple(_printable(line) for line in shown[-_LOG_LINES:])


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line)
