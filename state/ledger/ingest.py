"""Turn journal entries into rows of the ledger.

Applying an entry twice changes nothing: a daemon that was killed right after the commit reads
the entry again.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any

from rekindle.state.ledger import events
from rekindle.state.lifecycle import JobState
from rekindle.state.run import entries, proof
from rekindle.state.run.entries import Entry

Handler = Callable[[sqlite3.Connection, str, Entry], None]


def apply(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    """Apply one entry; ignore kinds of a newer version.

    The user's script can write the journal. An invalid entry only becomes an event that says
    so. The start of an attempt is also invalid if the ledger, which records each attempt before
    it is spawned, has not recorded it.
    """
    attempt = entry.get("attempt")
    if entry.get("kind") == entries.attempt_started.name and isinstance(attempt, int):
        row = db.execute("SELECT attempts FROM jobs WHERE id = ?", (job,)).fetchone()
        if row is not None and attempt > row[0]:
            _add_not_understood(db, job, entry["kind"], f"attempt {attempt} has not begun")
            return
    _dispatch(_HANDLERS, db, job, entry)


def restore(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    """Apply one entry to a ledger that is rebuilt: its decisions exist only in the journal."""
    _dispatch(_HANDLERS, db, job, entry)
    _dispatch(_DECISIONS, db, job, entry)


def assume_begun(db: sqlite3.Connection, job: str, attempt: int) -> None:
    """Mark an attempt that is missing in the journal as begun."""
    db.execute(
        "UPDATE jobs SET state = ?, reason = ? WHERE id = ?",
        (JobState.RUNNING, f"Attempt {attempt} had begun.", job),
    )


def end_earlier_attempts(db: sqlite3.Connection, job: str) -> None:
    """Mark attempts before the latest one as lost if no entry records their end."""
    db.execute(
        "UPDATE attempts SET outcome = 'lost', cause = 'lost' WHERE job = ? AND outcome IS"
        " NULL AND n < (SELECT attempts FROM jobs WHERE id = ?)",
        (job, job),
    )


def _dispatch(
    handlers: Mapping[str, Handler], db: sqlite3.Connection, job: str, entry: Entry
) -> None:
    kind = entry.get("kind")
    handler = handlers.get(kind) if isinstance(kind, str) else None
    if handler is None:
        return
    try:
        handler(db, job, entry)
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        sqlite3.IntegrityError,
        sqlite3.ProgrammingError,
        sqlite3.InterfaceError,
        sqlite3.DataError,
    ) as error:
        _add_not_understood(db, job, str(kind), str(error))


def _add_not_understood(db: sqlite3.Connection, job: str, kind: str, error: str) -> None:
    events.add(
        db,
        entries.entry_not_understood.name,
        at=time.time(),
        job=job,
        data={"kind": kind, "error": error},
    )


def _not_understood(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    _add_not_understood(db, job, str(entry.get("was")), str(entry.get("error")))


def running(attempt: int, unfollowed: str | None = None) -> str:
    """Format the reason of a running job."""
    return f"Attempt {int(attempt)} is running." + (f" {unfollowed}" if unfollowed else "")


def _attempt_started(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    # a ledger that is rebuilt has no row for it yet
    db.execute(
        "INSERT INTO attempts (job, n, started_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (job, entry["attempt"], entry["t"]),
    )
    db.execute("UPDATE jobs SET attempts = max(attempts, ?) WHERE id = ?", (entry["attempt"], job))
    _update(
        db,
        job,
        entry,
        keeper_pid=entry.get("keeper_pid"),
        keeper_start=entry.get("keeper_start"),
        trainer_pid=entry.get("trainer_pid"),
        trainer_start=entry.get("trainer_start"),
        boot_id=entry.get("boot_id"),
        spare=entry.get("spare"),
    )
    if entry.get("gpus") is not None:
        _update(db, job, entry, gpus=json.dumps(entry["gpus"]))


def _attempt_measured(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    times = entry.get("times")
    about = {} if times is None else {"times": json.dumps(times)}
    _update(db, job, entry, seconds=entry.get("seconds"), **about)


def _resumed(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    attempt, step = entry["attempt"], int(entry.get("step") or 0)
    lost = entry.get("lost_steps")
    if "lost_steps" not in entry:
        row = db.execute(
            "SELECT to_step FROM attempts WHERE job = ? AND n < ? AND to_step"
            " IS NOT NULL ORDER BY n DESC LIMIT 1",
            (job, attempt),
        ).fetchone()
        lost = max(int(row[0]) - step, 0) if row else 0
    receipt = {k: v for k, v in entry.items() if k not in ("v", "kind", "attempt")}
    first = db.execute(
        "SELECT from_step FROM attempts WHERE job = ? AND n = ?", (job, attempt)
    ).fetchone()
    if first is not None and first[0] is not None:
        return  # a later stage of the same attempt: the first one says where the attempt began
    _update(
        db,
        job,
        entry,
        from_epoch=entry.get("epoch"),
        from_step=step,
        lost_steps=lost,
        to_epoch=entry.get("epoch"),
        to_step=step,
        receipt=json.dumps({**receipt, "lost_steps": lost}),
    )


def _proved(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    """Add what was proved to the receipt: one entry for each stage, the latest."""
    row = db.execute(
        "SELECT receipt FROM attempts WHERE job = ? AND n = ?", (job, entry["attempt"])
    ).fetchone()
    if row is None or row[0] is None:
        return  # no receipt, no proof of it
    receipt = json.loads(row[0])
    about = {k: v for k, v in entry.items() if k not in ("v", "t", "kind", "attempt")}
    others = [one for one in receipt.get("proved") or [] if one["stage"] != entry["stage"]]
    receipt["proved"] = [*others, about]
    if entry["result"] == proof.DIFFERENT and receipt.get("differed_in") is None:
        receipt["differed_in"] = entry["attempt"]
    _update(db, job, entry, receipt=json.dumps(receipt))


def _epoch_ended(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    db.execute(
        "INSERT OR REPLACE INTO epochs (job, stage, epoch, step, seconds, logs, attempt, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job,
            entry.get("stage") or 0,
            entry["epoch"],
            entry.get("step") or 0,
            entry.get("seconds"),
            json.dumps(entry.get("logs") or {}),
            entry["attempt"],
            entry["t"],
        ),
    )
    _update(db, job, entry, to_epoch=entry["epoch"] + 1, to_step=entry.get("step") or 0)


def _checkpoint_committed(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    stage = entry.get("stage") or 0
    if entry.get("best"):
        db.execute("UPDATE checkpoints SET best = 0 WHERE job = ? AND stage = ?", (job, stage))
    db.execute(
        "INSERT OR REPLACE INTO checkpoints (job, name, stage, epoch, step, bytes, good, best,"
        " path, at) VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
        (
            job,
            entry["name"],
            stage,
            entry["epoch"],
            entry["step"],
            entry.get("bytes") or 0,
            bool(entry.get("best")),
            f"checkpoints/{entry['name']}",
            entry["t"],
        ),
    )
    _update(db, job, entry, to_epoch=entry["epoch"], to_step=entry["step"])


def _checkpoint_refused(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    db.execute(
        "UPDATE checkpoints SET good = 0, best = 0, reason = ?, path = coalesce(?, path)"
        " WHERE job = ? AND name = ?",
        (entry.get("reason") or "", entry.get("quarantined_to"), job, entry["name"]),
    )
    _event(db, job, entry)


def _checkpoint_pruned(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    db.execute("DELETE FROM checkpoints WHERE job = ? AND name = ?", (job, entry["name"]))


def _weights_dropped(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    db.execute(
        "UPDATE checkpoints SET bytes = ? WHERE job = ? AND name = ?",
        (entry.get("left") or 0, job, entry["name"]),
    )


def _quarantine_pruned(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    # a good checkpoint of the same name may have been committed since
    db.execute(
        "DELETE FROM checkpoints WHERE job = ? AND name = ? AND good = 0", (job, entry["name"])
    )


def _provenance(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    about = {k: v for k, v in entry.items() if k not in ("v", "t", "kind", "attempt")}
    _update(db, job, entry, provenance=json.dumps(about))


def _failed(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    failure = {k: v for k, v in entry.items() if k not in ("v", "t", "kind", "attempt")}
    _update(db, job, entry, failure=json.dumps(failure))


def _warned(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    if entry.get("unfollowed") is True:
        message = str(entry["message"])
        _update(db, job, entry, unfollowed=message)
        # `ls` shows the reason while the job runs
        db.execute(
            "UPDATE jobs SET reason = ?, hint = ? WHERE id = ? AND state = ? AND attempts = ?",
            (
                running(entry["attempt"], message),
                str(entry.get("hint") or ""),
                job,
                JobState.RUNNING,
                entry["attempt"],
            ),
        )
    _event(db, job, entry)


def _event(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    data = {k: v for k, v in entry.items() if k not in ("v", "t", "kind", "attempt")}
    if not events.has(db, entry["kind"], at=entry["t"], job=job):
        events.add(
            db, entry["kind"], at=entry["t"], job=job, attempt=entry.get("attempt"), data=data
        )


def _state_changed(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    attempt, at = int(entry.get("attempt") or 0), entry["at"]
    if entry["state"] == JobState.STARTING:
        db.execute(
            "INSERT INTO attempts (job, n, started_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (job, attempt, at),
        )
    db.execute(
        "UPDATE jobs SET state = ?, reason = ?, hint = ?, next_at = ?, updated_at = ?,"
        " failures = ?, wish = ?, attempts = max(attempts, ?) WHERE id = ?",
        (
            JobState(entry["state"]),
            entry["reason"],
            entry["hint"],
            entry["next_at"],
            at,
            entry["failures"],
            entry["wish"],
            attempt,
            job,
        ),
    )
    data = {"reason": entry["reason"], "was": entry["was"]}
    events.add(db, f"job_{entry['state']}", at=at, job=job, attempt=attempt or None, data=data)


def _job_changed(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    for name in ("wish", "priority", "reason", "asked_by"):
        if name in entry:
            db.execute(f"UPDATE jobs SET {name} = ? WHERE id = ?", (entry[name], job))


def _is_running(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    # a later entry holds the decision about the attempt; until then it runs, or the next daemon
    # settles it
    db.execute(
        "UPDATE jobs SET state = ?, reason = ?, updated_at = ? WHERE id = ? AND state <> ?",
        (JobState.RUNNING, running(entry["attempt"]), entry["t"], job, JobState.STOPPING),
    )


def _attempt_ended(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    cause = str(entry.get("cause"))
    outcome = {"crash": "crashed", "permanent": "refused"}.get(cause, cause)
    _update(
        db,
        job,
        entry,
        outcome=outcome,
        cause=cause,
        exit_code=entry.get("exit_code"),
        signal=entry.get("signal"),
        ended_at=entry["t"],
    )


def _attempt_changed(db: sqlite3.Connection, job: str, entry: Entry) -> None:
    known = {row[1] for row in db.execute("PRAGMA table_info(attempts)")} - {"job", "n"}
    fields = {k: v for k, v in entry.items() if k in known}
    _update(
        db,
        job,
        entry,
        **{k: json.dumps(v) if isinstance(v, dict) else v for k, v in fields.items()},
    )


def _update(db: sqlite3.Connection, job: str, entry: Entry, **fields: Any) -> None:
    if not fields:
        return
    assignments = ", ".join(f"{name} = ?" for name in fields)
    db.execute(
        f"UPDATE attempts SET {assignments} WHERE job = ? AND n = ?",
        (*fields.values(), job, entry["attempt"]),
    )


_HANDLERS = {
    entries.attempt_started.name: _attempt_started,
    entries.attempt_ended.name: _attempt_measured,
    entries.resumed.name: _resumed,
    entries.proved.name: _proved,
    entries.epoch_ended.name: _epoch_ended,
    entries.checkpoint_committed.name: _checkpoint_committed,
    entries.checkpoint_refused.name: _checkpoint_refused,
    entries.checkpoint_pruned.name: _checkpoint_pruned,
    entries.weights_dropped.name: _weights_dropped,
    entries.quarantine_pruned.name: _quarantine_pruned,
    entries.provenance.name: _provenance,
    entries.failed.name: _failed,
    entries.save_failed.name: _event,
    entries.warned.name: _warned,
    entries.stage_ended.name: _event,
    entries.scratch_requested.name: _event,
    entries.code_replaced.name: _event,
    entries.entry_not_understood.name: _not_understood,
}

_DECISIONS = {
    entries.state_changed.name: _state_changed,
    entries.job_changed.name: _job_changed,
    entries.attempt_started.name: _is_running,
    entries.attempt_ended.name: _attempt_ended,
    entries.attempt_changed.name: _attempt_changed,
}
