"""Read what `ls` and `show` print: bounded by limits and indexes, whatever the ledger holds."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rekindle.state.ledger.reader import Reader
from rekindle.state.ledger.rows import AttemptRow, EpochRow, EventRow, JobRow
from rekindle.state.ledger.schema import INTERRUPTED
from rekindle.state.lifecycle import JobState

PAGE: Final = 1000
"""Rows that are read at once. Between two pages no query is open: a reader that is not read from
(`rekindle show --json JOB | less`) would keep the write-ahead log from being emptied for ever."""
_TIMED_EPOCHS: Final = 5
"""Epochs from which the time of the next one is estimated."""


@dataclass(frozen=True, slots=True)
class Latest:
    """Describe the latest attempt of a job, and the interruptions before it.

    Attributes:
        epoch: finished epochs, 0-based number of the one in progress.
        epochs: how many the stage trains in all, if its receipt says so.
        stage: the stage that ``epochs`` and ``steps_per_epoch`` are of.
        unfollowed: what it reported of training that is not saved.
        interruptions: how many earlier attempts were interrupted, by cause.
        differed_in: the first attempt of the run whose repeated steps differ from the earlier ones.
    """

    epoch: int | None = None
    step: int | None = None
    epochs: int | None = None
    stage: int | None = None
    unfollowed: str | None = None
    interruptions: dict[str, int] = field(default_factory=dict)
    differed_in: int | None = None
    steps_per_epoch: int | None = None


class Listing(Reader):
    """Read an open ledger for a person or a script."""

    def counts(self) -> dict[JobState, int]:
        """Count the jobs in each state."""
        rows = self._query("SELECT state, count(*) FROM jobs GROUP BY state")
        return {JobState(state): count for state, count in rows}

    def in_line(self, state: JobState, limit: int) -> list[JobRow]:
        """List the first jobs in a state, by priority and arrival as the queue does."""
        query = "FROM jobs WHERE state = ? ORDER BY priority DESC, submitted_at, rowid LIMIT ?"
        return list(self._rows(JobRow, query, (state, limit)))

    def latest_changes(self, state: JobState, limit: int) -> list[JobRow]:
        """List the jobs that entered a state last, the oldest of them first."""
        query = "FROM jobs WHERE state = ? ORDER BY updated_at DESC LIMIT ?"
        return list(self._rows(JobRow, query, (state, limit)))[::-1]

    def interrupted(self, since: float, limit: int) -> list[str]:
        """List the ids of the jobs with the latest interruptions after ``since`` (unix time)."""
        rows = self._query(
            f"SELECT job FROM attempts WHERE {INTERRUPTED} AND ended_at > ?"
            " ORDER BY ended_at DESC LIMIT ?",
            (since, limit),
        )
        return list(dict.fromkeys(str(row[0]) for row in rows))

    def named(self, name: str, limit: int) -> list[JobRow]:
        """List the job of this id, and the newest of this name, the oldest of them first."""
        query = "FROM jobs WHERE name = ? ORDER BY number DESC LIMIT ?"
        found = list(self._rows(JobRow, query, (name, limit)))[::-1]
        one = self.job(name)
        return found if one is None or one in found else [one, *found]

    def count_named(self, name: str) -> int:
        """Count the jobs of a name."""
        (row,) = self._query("SELECT count(*) FROM jobs WHERE name = ?", (name,))
        return int(row[0])

    def each_job(self, state: JobState | None = None) -> Iterator[JobRow]:
        """Yield all jobs, or those in a state, in the order of submission."""
        where, values = ("", ()) if state is None else ("state = ? AND", (state,))
        query = (
            f"FROM jobs WHERE {where} (submitted_at, rowid) > (?, ?)"
            " ORDER BY submitted_at, rowid LIMIT ?"
        )
        after: tuple[float, int] = (-1.0, -1)
        while rows := list(self._rows(JobRow, query, (*values, *after, PAGE))):
            yield from rows
            after = (rows[-1].submitted_at, rows[-1].rowid)

    def latest(self, job: JobRow) -> Latest:
        """Describe the latest attempt of a job."""
        if not job.attempts:
            return Latest()
        unfollowed = "NULL" if self._older else "unfollowed"
        rows = self._query(
            "SELECT to_epoch, to_step, json_extract(receipt, '$.epochs'),"
            f" json_extract(receipt, '$.stage'), {unfollowed},"
            " json_extract(receipt, '$.steps_per_epoch')"
            " FROM attempts WHERE job = ? AND n = ?",
            (job.id, job.attempts),
        )
        row = next(rows, None)
        if row is None:
            return Latest()
        causes = self._query(
            f"SELECT cause, count(*) FROM attempts WHERE job = ? AND n < ? AND {INTERRUPTED}"
            " GROUP BY cause",
            (job.id, job.attempts),
        )
        interruptions = {str(cause): int(count) for cause, count in causes}
        # sticky: an attempt that has no receipt yet has not changed it
        receipts = self._query(
            "SELECT json_extract(receipt, '$.differed_in') FROM attempts"
            " WHERE job = ? AND receipt IS NOT NULL ORDER BY n DESC LIMIT 1",
            (job.id,),
        )
        differed_in = next(receipts, (None,))[0]
        return Latest(row[0], row[1], row[2], row[3], row[4], interruptions, differed_in, row[5])

    def seconds_of_epoch(self, job_id: str, stage: int) -> tuple[float, float] | None:
        """Return the median time of the latest epochs, and when the last one ended (unix time)."""
        rows = list(
            self._query(
                "SELECT seconds, at FROM epochs WHERE job = ? AND stage = ?"
                " ORDER BY epoch DESC LIMIT ?",
                (job_id, stage, _TIMED_EPOCHS),
            )
        )
        took = sorted(row[0] for row in rows if row[0] is not None)
        return (took[len(took) // 2], rows[0][1]) if took else None

    # one job

    def newest_attempts(self, job_id: str, limit: int) -> list[AttemptRow]:
        """List the newest attempts of a job, the oldest of them first."""
        query = "FROM attempts WHERE job = ? ORDER BY n DESC LIMIT ?"
        return list(self._rows(AttemptRow, query, (job_id, limit)))[::-1]

    def each_attempt(self, job_id: str) -> Iterator[AttemptRow]:
        """Yield the attempts of a job, oldest first."""
        query = "FROM attempts WHERE job = ? AND n > ? ORDER BY n LIMIT ?"
        after = -1
        while rows := list(self._rows(AttemptRow, query, (job_id, after, PAGE))):
            yield from rows
            after = rows[-1].n

    def newest_epochs(self, job_id: str, limit: int) -> list[EpochRow]:
        """List the newest epochs of a job, the oldest of them first."""
        query = "FROM epochs WHERE job = ? ORDER BY stage DESC, epoch DESC LIMIT ?"
        return list(self._rows(EpochRow, query, (job_id, limit)))[::-1]

    def each_epoch(self, job_id: str) -> Iterator[EpochRow]:
        """Yield the epochs of a job, by stage."""
        query = (
            "FROM epochs WHERE job = ? AND (stage, epoch) > (?, ?) ORDER BY stage, epoch LIMIT ?"
        )
        after = (-1, -1)
        while rows := list(self._rows(EpochRow, query, (job_id, *after, PAGE))):
            yield from rows
            after = (rows[-1].stage, rows[-1].epoch)

    def each_epoch_text(self, job_id: str) -> Iterator[tuple[Any, ...]]:
        """Yield stage, epoch, step, seconds, attempt and the JSON text of the logs."""
        query = (
            "SELECT stage, epoch, step, seconds, attempt, logs FROM epochs WHERE job = ?"
            " AND (stage, epoch) > (?, ?) ORDER BY stage, epoch LIMIT ?"
        )
        after = (-1, -1)
        while rows := list(self._query(query, (job_id, *after, PAGE))):
            yield from map(tuple, rows)
            after = (rows[-1][0], rows[-1][1])

    def count_epochs(self, job_id: str) -> int:
        """Count the epochs of a job."""
        (row,) = self._query("SELECT count(*) FROM epochs WHERE job = ?", (job_id,))
        return int(row[0])

    def sample_epochs(self, job_id: str, stage: int, most: int) -> list[EpochRow]:
        """List evenly distributed epochs of a stage, the first and the last among them."""
        low, high = (
            next(
                self._query(
                    f"SELECT {end}(epoch) FROM epochs WHERE job = ? AND stage = ?", (job_id, stage)
                )
            )[0]
            for end in ("min", "max")
        )
        if low is None:
            return []
        wanted = {low + (high - low) * n // max(most - 1, 1) for n in range(most)}
        query = "FROM epochs WHERE job = ? AND stage = ? AND epoch >= ? ORDER BY epoch LIMIT 1"
        found = {
            row.epoch: row
            for epoch in sorted(wanted)
            for row in self._rows(EpochRow, query, (job_id, stage, epoch))
        }
        return [*found.values()]

    def events_of_kinds(self, job_id: str, kinds: frozenset[str], limit: int) -> list[EventRow]:
        """List the newest events of some kinds, the oldest of them first."""
        marks = ", ".join("?" * len(kinds))
        query = f"FROM events WHERE job = ? AND +kind IN ({marks}) ORDER BY id DESC LIMIT ?"
        return list(self._rows(EventRow, query, (job_id, *sorted(kinds), limit)))[::-1]

    def pauses(self) -> list[EventRow]:
        """List when the queue was paused and resumed, and the record of dropped events."""
        query = (
            "FROM events WHERE job IS NULL AND +kind IN ('queue_paused', 'queue_resumed',"
            " 'events_dropped') ORDER BY id"
        )
        return list(self._rows(EventRow, query, ()))
