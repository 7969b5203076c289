"""Add events to the ledger, and keep their number bounded.

An event that repeats the newest one of its job is counted there and not added. Of each job, and of
the home itself, the newest events are kept; one event says how many older ones were dropped. The
journal of a run keeps all of its entries.
"""

import json
import sqlite3
from typing import Any, Final

MOST: Final = 1000
"""Events that a job, or the home, keeps at least."""
SLACK: Final = 100
"""More events before some are dropped, so that this is done once for many."""
DROPPED: Final = "events_dropped"


def add(
    db: sqlite3.Connection,
    kind: str,
    *,
    at: float,
    job: str | None = None,
    attempt: int | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Add an event, or count it where it repeats the newest one of its job."""
    text = json.dumps(data or {})
    newest = db.execute(
        "SELECT id, kind, attempt, data FROM events WHERE job IS ? ORDER BY id DESC LIMIT 1", (job,)
    ).fetchone()
    if newest is not None and tuple(newest)[1:] == (kind, attempt, text):
        db.execute("UPDATE events SET count = count + 1, last_at = ? WHERE id = ?", (at, newest[0]))
        return
    db.execute(
        "INSERT INTO events (at, job, attempt, kind, data) VALUES (?, ?, ?, ?, ?)",
        (at, job, attempt, kind, text),
    )
    _drop_oldest(db, job)


def has(db: sqlite3.Connection, kind: str, *, at: float, job: str) -> bool:
    """Return whether the event of this kind and time was added or counted already."""
    before = db.execute(
        "SELECT at, last_at FROM events WHERE job = ? AND kind = ? AND at <= ?"
        " ORDER BY at DESC LIMIT 1",
        (job, kind, at),
    ).fetchone()
    return before is not None and at <= (before[0] if before[1] is None else before[1])


def _drop_oldest(db: sqlite3.Connection, job: str | None) -> None:
    """Drop the oldest events of a job that has too many; the last of them becomes the record."""
    over = "SELECT id FROM events WHERE job IS ? ORDER BY id DESC LIMIT 1 OFFSET ?"
    if db.execute(over, (job, MOST + SLACK)).fetchone() is None:
        return
    (last,) = db.execute(over, (job, MOST)).fetchone()
    (before,) = db.execute(
        "SELECT coalesce(sum(CASE WHEN kind = ? THEN json_extract(data, '$.dropped')"
        " ELSE count END), 0) FROM events WHERE job IS ? AND id <= ?",
        (DROPPED, job, last),
    ).fetchone()
    db.execute("DELETE FROM events WHERE job IS ? AND id < ?", (job, last))
    db.execute(
        "UPDATE events SET kind = ?, attempt = NULL, count = 1, data = ? WHERE id = ?",
        (DROPPED, json.dumps({"dropped": before}), last),
    )
