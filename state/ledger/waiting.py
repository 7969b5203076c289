"""Update the reasons for which jobs wait."""

import sqlite3
from collections.abc import Collection
from typing import Final

from rekindle.state.ledger import events

_SET: Final = (
    "UPDATE jobs SET state = 'waiting', reason = ?1, hint = ?2, next_at = NULL, updated_at = ?3"
    " WHERE id = ?4"
)


def update(
    db: sqlite3.Connection, jobs: Collection[str], reason: str, *, hint: str, now: float
) -> None:
    """Update the reason of the jobs that are queued, or that wait for another reason.

    A new reason of many jobs that wait already is one event of the home: a pause must not add ten
    thousand events.
    """
    changed = []
    for job in jobs:
        values = (reason, hint, now, job)
        if db.execute(f"{_SET} AND state = 'queued'", values).rowcount:
            events.add(db, "job_waiting", job=job, at=now, data={"reason": reason})
        elif db.execute(
            f"{_SET} AND state = 'waiting' AND (reason != ?1 OR hint != ?2 OR next_at IS NOT NULL)",
            values,
        ).rowcount:
            changed.append(job)
    if len(changed) == 1:
        events.add(db, "job_waiting", job=changed[0], at=now, data={"reason": reason})
    elif changed:
        data = {"jobs": len(changed), "reason": reason}
        events.add(db, "jobs_wait", at=now, data=data)
