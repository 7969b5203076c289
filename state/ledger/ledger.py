"""Write ``ledger.db``: jobs, attempts, epochs, checkpoints and events in SQLite.

The daemon is its only writer. Every commit is durable (WAL, ``synchronous=FULL``). A damaged
ledger is never replaced silently; it can be rebuilt from the run directories
(`daemon/verify/rebuild.py`), since every decision about a job is written into the journal of
its run before it is committed here.
"""

import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rekindle.state import lifecycle
from rekindle.state.errors import NotFound
from rekindle.state.hints import name_job
from rekindle.state.ledger import events, ingest, waiting
from rekindle.state.ledger.connection import Connection
from rekindle.state.ledger.reader import Reader
from rekindle.state.ledger.rows import AttemptRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home
from rekindle.state.run import entries, journal
from rekindle.state.run.entries import Entry

_FROM_KEEPER: Final = frozenset({"keeper_pid", "keeper_start", "boot_id"})
_KEEP: Final[Any] = object()
_ATTEMPT_FIELDS: Final = frozenset(AttemptRow.__dataclass_fields__) - {"job", "n"}


_INSERT: Final = (
    "INSERT INTO jobs (id, name, number, state, priority, claim, run_dir, spec, submitted_at,"
    " updated_at, uid, user, grid, point) VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO NOTHING"
)


class Ledger(Reader):
    """Read and write an open ledger, as its daemon; use :meth:`open`."""

    def __init__(self, connection: Connection, path: Path) -> None:
        super().__init__(connection, path)
        self._changed: set[str] = set()

    def allow_wait(self, seconds: float) -> None:
        """Limit the total wait for other clients of all statements until the next call."""
        self._db.allow_wait(seconds)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all statements inside together or not at all; may be nested."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # on a full disk SQLite may have rolled back by itself: another ROLLBACK would fail
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def insert_job(
        self,
        job_id: str,
        *,
        name: str,
        number: int,
        run_dir: str,
        priority: int,
        spec: str,
        claim: str | None,
        submitted_at: float,
        uid: int | None = None,
        user: str | None = None,
        grid: str | None = None,
        point: str | None = None,
    ) -> None:
        """Insert an accepted job as queued, ``point`` as JSON; do nothing if it exists already."""
        with self.transaction():
            values = (job_id, name, number, priority, claim, run_dir, spec)
            row = (*values, submitted_at, submitted_at, uid, user, grid, point)
            if self._db.execute(_INSERT, row).rowcount:
                self._changed.add(job_id)
                self.add_event("job_accepted", job=job_id, at=submitted_at)

    def set_spec(self, job_id: str, spec: str) -> None:
        """Update a spec that a person changed; ``job.json`` has the change already."""
        with self.transaction():
            self._db.execute("UPDATE jobs SET spec = ? WHERE id = ?", (spec, job_id))
            self._changed.add(job_id)

    def set_state(
        self,
        job_id: str,
        new: JobState,
        reason: str,
        *,
        now: float,
        hint: str | None = None,
        next_at: float | None = None,
        failures: int | None = None,
        wish: str | None = _KEEP,
    ) -> None:
        """Change a job's state along the table of transitions, and add an event.

        Raises:
            IllegalTransition: the table has no such transition.
            NotFound: the job does not exist.
        """
        hint = name_job(hint or "", job_id)
        with self.transaction():
            job = self.job(job_id)
            if job is None:
                raise NotFound(f"There is no job {job_id}.", hint="`rekindle ls` lists all jobs.")
            lifecycle.check(job.state, new)
            failures = job.failures if failures is None else failures
            wish = job.wish if wish is _KEEP else wish
            if new != JobState.RUNNING:  # the keeper's own entry records that
                self._write_ahead(
                    job_id,
                    attempt=job.attempts,
                    **entries.state_changed(
                        at=now,
                        state=new,
                        was=job.state,
                        reason=reason,
                        hint=hint,
                        next_at=next_at,
                        failures=failures,
                        wish=wish,
                    ),
                )
            self._db.execute(
                "UPDATE jobs SET state = ?, reason = ?, hint = ?, next_at = ?, updated_at = ?,"
                " failures = ?, wish = ? WHERE id = ?",
                (new, reason, hint, next_at, now, failures, wish, job_id),
            )
            self._changed.add(job_id)
            self.add_event(
                f"job_{new}",
                job=job_id,
                attempt=job.attempts or None,
                at=now,
                data={"reason": reason, "was": job.state},
            )

    def put_off(self, job_id: str, next_at: float) -> None:
        """Set another end of a wait (unix time) whose reason stays the same; add no event."""
        with self.transaction():
            self._db.execute(
                "UPDATE jobs SET next_at = ? WHERE id = ? AND state = 'waiting'", (next_at, job_id)
            )
            self._changed.add(job_id)

    def set_clock_back(self, seconds: float) -> None:
        """Move the ends of all waits back with a clock that was set back."""
        with self.transaction():
            self._db.execute(
                "UPDATE jobs SET next_at = next_at - ? WHERE state = 'waiting'"
                " AND next_at IS NOT NULL",
                (seconds,),
            )

    def set_waiting(
        self, job_ids: Collection[str], reason: str, *, now: float, hint: str = ""
    ) -> None:
        """Update the reason for which queued or waiting jobs wait, where it has changed.

        It is not journaled: the queue can derive it again.
        """
        with self.transaction():
            waiting.update(self._db, job_ids, reason, hint=hint, now=now)

    def explain_stop(self, job_id: str, reason: str, hint: str) -> None:
        """Update the reason of a job that is being stopped; it is not journaled, either."""
        update = "UPDATE jobs SET reason = ?, hint = ? WHERE id = ? AND state = 'stopping'"
        with self.transaction():
            self._db.execute(update, (reason, hint, job_id))

    def take_changed(self) -> set[str]:
        """Return the ids of jobs that this connection changed since the last call."""
        taken, self._changed = self._changed, set()
        return taken

    def set_wish(self, job_id: str, wish: str, reason: str) -> None:
        """Record what a job is to do once its attempt has ended, and the reason to show."""
        with self.transaction():
            self._write_ahead(job_id, **entries.job_changed(wish=wish, reason=reason))
            changed = "UPDATE jobs SET wish = ?, reason = ? WHERE id = ?"
            self._db.execute(changed, (wish, reason, job_id))

    def set_asked_by(self, job_id: str, user: str | None) -> None:
        """Record the name of who asked for the job's wish, for the reason after its end."""
        with self.transaction():
            self._write_ahead(job_id, **entries.job_changed(asked_by=user))
            self._db.execute("UPDATE jobs SET asked_by = ? WHERE id = ?", (user, job_id))

    def set_priority(self, job_id: str, priority: int) -> None:
        """Change the priority of a job."""
        with self.transaction():
            self._write_ahead(job_id, **entries.job_changed(priority=priority))
            self._db.execute("UPDATE jobs SET priority = ? WHERE id = ?", (priority, job_id))
            self._changed.add(job_id)

    def begin_attempt(
        self, job_id: str, n: int, now: float, gpus: Collection[str] | None = None
    ) -> None:
        """Record an attempt and its GPUs before any of its processes is spawned."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO attempts (job, n, started_at, gpus) VALUES (?, ?, ?, ?)",
                (job_id, n, now, None if gpus is None else json.dumps(list(gpus))),
            )
            self._db.execute("UPDATE jobs SET attempts = ? WHERE id = ?", (n, job_id))

    def update_attempt(self, job_id: str, n: int, **fields: Any) -> None:
        """Set fields of :class:`AttemptRow`; dicts are stored as JSON."""
        unknown = fields.keys() - _ATTEMPT_FIELDS
        if unknown:
            raise ValueError(f"unknown fields of an attempt: {sorted(unknown)}")
        values = [json.dumps(v) if isinstance(v, dict) else v for v in fields.values()]
        assignments = ", ".join(f"{name} = ?" for name in fields)
        with self.transaction():
            if not fields.keys() <= _FROM_KEEPER:
                self._write_ahead(job_id, attempt=n, **entries.attempt_changed(**fields))
            self._db.execute(
                f"UPDATE attempts SET {assignments} WHERE job = ? AND n = ?", (*values, job_id, n)
            )

    def ingest(self, job_id: str, found: list[Entry], offset: int) -> None:
        """Apply journal entries and set the job's offset (bytes), in one transaction."""
        with self.transaction():
            for entry in found:
                ingest.apply(self._db, job_id, entry)
            self._db.execute("UPDATE jobs SET journal_offset = ? WHERE id = ?", (offset, job_id))

    def restore(self, job_id: str, found: list[Entry], offset: int, *, begun: int = 0) -> None:
        """Apply a whole journal and its decisions to a new ledger.

        Args:
            begun: the last attempt that is known from elsewhere to have begun.
        """
        with self.transaction():
            for entry in found:
                ingest.restore(self._db, job_id, entry)
            self._changed.add(job_id)
            self._db.execute("UPDATE jobs SET journal_offset = ? WHERE id = ?", (offset, job_id))
            job = self.job(job_id)
            if job is not None and begun > job.attempts:
                self.begin_attempt(job_id, begun, time.time())
                ingest.assume_begun(self._db, job_id, begun)
            ingest.end_earlier_attempts(self._db, job_id)

    def add_event(
        self,
        kind: str,
        *,
        job: str | None = None,
        attempt: int | None = None,
        data: dict[str, Any] | None = None,
        at: float | None = None,
    ) -> None:
        """Add an event, at ``at`` (unix time) or now, as `state/ledger/events.py` bounds them."""
        with self.transaction():
            events.add(
                self._db,
                kind,
                at=time.time() if at is None else at,
                job=job,
                attempt=attempt,
                data=data,
            )

    def _write_ahead(self, job_id: str, kind: str, **fields: Any) -> None:
        """Write a decision into the journal of the run before it is committed here."""
        try:
            journal.append(Home(self._path.parent).run(job_id).journal, kind, **fields)
        except FileNotFoundError:
            return  # without a run directory nothing can be rebuilt; `verify` reports that
        except OSError as error:
            # a person must be able to stop a job on a full disk
            self.add_event(
                "decision_not_journaled", job=job_id, data={"kind": kind, "error": str(error)}
            )
