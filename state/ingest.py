"""How journal entries become rows of the ledger.

Each entry is applied so that applying it again changes nothing: a daemon that was killed
between the commit and anything else reads it a second time.
"""

import json
import sqlite3
from typing import Any

Entry = dict[str, Any]


def apply(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    """Takes one entry in; kinds of a newer version are passed over."""
    handler = _HANDLERS.get(entry["kind"])
    if handler is not None:
        handler(db, job, entry)


def _attempt_started(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    # a rebuilt ledger has no row for it yet
    db.execute("INSERT INTO attempts (job, n, started_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
               (job, entry["attempt"], entry["t"]))
    db.execute("UPDATE jobs SET attempts = max(attempts, ?) WHERE id = ?", (entry["attempt"], job))
    _update(db, job, entry, keeper_pid=entry.get("keeper_pid"),
            keeper_start=entry.get("keeper_start"), trainer_pid=entry.get("trainer_pid"),
            trainer_start=entry.get("trainer_start"), boot_id=entry.get("boot_id"))


def _resumed(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    attempt, step = entry["attempt"], int(entry.get("step") or 0)
    lost = entry.get("lost_steps")
    if lost is None:
        row = db.execute("SELECT to_step FROM attempts WHERE job = ? AND n < ? AND to_step"
                         " IS NOT NULL ORDER BY n DESC LIMIT 1", (job, attempt)).fetchone()
        lost = max(int(row[0]) - step, 0) if row else 0
    receipt = {k: v for k, v in entry.items() if k not in ("v", "kind", "attempt")}
    first = db.execute("SELECT from_step FROM attempts WHERE job = ? AND n = ?",
                       (job, attempt)).fetchone()
    if first is not None and first[0] is not None:
        return  # a later stage of the same attempt: the attempt began where it began
    _update(db, job, entry, from_epoch=entry.get("epoch"), from_step=step, lost_steps=lost,
            to_epoch=entry.get("epoch"), to_step=step,
            receipt=json.dumps({**receipt, "lost_steps": lost}))


def _epoch_ended(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    db.execute(
        "INSERT OR REPLACE INTO epochs (job, stage, epoch, step, seconds, logs, attempt, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (job, entry.get("stage") or 0, entry["epoch"], entry.get("step") or 0,
         entry.get("seconds"), json.dumps(entry.get("logs") or {}), entry["attempt"], entry["t"]))
    _update(db, job, entry, to_epoch=entry["epoch"] + 1, to_step=entry.get("step") or 0)


def _checkpoint_committed(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    stage = entry.get("stage") or 0
    if entry.get("best"):
        db.execute("UPDATE checkpoints SET best = 0 WHERE job = ? AND stage = ?", (job, stage))
    db.execute(
        "INSERT OR REPLACE INTO checkpoints (job, name, stage, epoch, step, bytes, good, best,"
        " path, at) VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
        (job, entry["name"], stage, entry["epoch"], entry["step"], entry.get("bytes") or 0,
         bool(entry.get("best")), f"checkpoints/{entry['name']}", entry["t"]))
    _update(db, job, entry, to_epoch=entry["epoch"], to_step=entry["step"])


def _checkpoint_refused(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    db.execute("UPDATE checkpoints SET good = 0, best = 0, reason = ?, path = coalesce(?, path)"
               " WHERE job = ? AND name = ?",
               (entry.get("reason") or "", entry.get("quarantined_to"), job, entry["name"]))
    _event(db, job, entry)


def _checkpoint_pruned(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    db.execute("DELETE FROM checkpoints WHERE job = ? AND name = ?", (job, entry["name"]))


def _failed(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    failure = {k: v for k, v in entry.items() if k not in ("v", "t", "kind", "attempt")}
    _update(db, job, entry, failure=json.dumps(failure))


def _event(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    data = {k: v for k, v in entry.items() if k not in ("v", "t", "kind", "attempt")}
    same = db.execute("SELECT 1 FROM events WHERE job = ? AND at = ? AND kind = ?",
                      (job, entry["t"], entry["kind"])).fetchone()
    if same is None:
        db.execute("INSERT INTO events (at, job, attempt, kind, data) VALUES (?, ?, ?, ?, ?)",
                   (entry["t"], job, entry.get("attempt"), entry["kind"], json.dumps(data)))


def _update(db: sqlite3.Connection, job: str, entry: Entry, **fields: Any) -> None:
    assignments = ", ".join(f"{name} = ?" for name in fields)
    db.execute(f"UPDATE attempts SET {assignments} WHERE job = ? AND n = ?",
               (*fields.values(), job, entry["attempt"]))


_HANDLERS = {
    "attempt_started": _attempt_started,
    "resumed": _resumed,
    "epoch_ended": _epoch_ended,
    "checkpoint_committed": _checkpoint_committed,
    "checkpoint_refused": _checkpoint_refused,
    "checkpoint_pruned": _checkpoint_pruned,
    "failed": _failed,
    "save_failed": _event,
    "warned": _event,
    "stage_ended": _event,
    "scratch_requested": _event,
}
