"""Read what happened in a period, for a report: bounded by the jobs that changed in it."""

import json
from dataclasses import dataclass
from typing import Any, Final

from rekindle.state.ledger.listing import Listing
from rekindle.state.ledger.rows import EventRow, JobRow, _Row
from rekindle.state.lifecycle import ACTIVE, JobState

UNINTERRUPTED: Final = frozenset({"done", "stopped", "window", "paused", "max_runtime"})
"""Causes of an attempt's end that are no interruption."""
_MOST_JOBS: Final = 20_000
_MOST_TURNS: Final = 1000
_MOST_EVENTS: Final = 5000


@dataclass(frozen=True, slots=True)
class Turn(_Row):
    """An attempt, with what a summary needs of it; see `AttemptRow`."""

    n: int
    outcome: str | None
    cause: str | None
    started_at: float
    ended_at: float | None
    exit_code: int | None
    signal: int | None
    from_epoch: int | None
    from_step: int | None
    to_epoch: int | None
    to_step: int | None
    lost_steps: int | None
    receipt: dict[str, Any] | None
    gpus: list[str] | None
    seconds: float | None
    unfollowed: str | None

    @property
    def interrupted(self) -> bool:
        """True if it has ended by something that a later attempt can survive."""
        return self.outcome is not None and self.cause not in UNINTERRUPTED

    def said(self, key: str) -> Any:
        """Return a field of the receipt; None without one."""
        return (self.receipt or {}).get(key)


@dataclass(frozen=True, slots=True)
class Best:
    """The best value of a metric over the epochs of a stage; ``epoch`` is 0-based."""

    metric: str
    value: float
    epoch: int
    higher: bool


class Period(Listing):
    """Read an open ledger for a report."""

    def touched(self, since: float) -> list[JobRow]:
        """List the jobs that run, are held, or have ended since a time, oldest first.

        Those that wait are among them if they have run.
        """
        found: list[JobRow] = []
        for state in JobState:
            always = state in ACTIVE or state == JobState.HELD
            found += self._rows(
                JobRow,
                "FROM jobs WHERE state = ? AND updated_at >= ? AND (attempts > 0 OR state NOT IN"
                " ('queued', 'waiting')) ORDER BY updated_at DESC LIMIT ?",
                (state, 0.0 if always else since, _MOST_JOBS),
            )
        return sorted(found, key=lambda job: (job.updated_at, job.rowid))

    def turns(self, job_id: str, since: float) -> list[Turn]:
        """List the attempts of a job that ran after a time, oldest first."""
        query = (
            "FROM attempts WHERE job = ? AND (ended_at IS NULL OR ended_at >= ?)"
            " ORDER BY n DESC LIMIT ?"
        )
        return list(self._rows(Turn, query, (job_id, since, _MOST_TURNS)))[::-1]

    def all_turns(self, since: float) -> dict[str, list[Turn]]:
        """List the attempts after a time of all jobs that :meth:`touched` finds, by job.

        Those of one job are in their order; the receipt of a first attempt, which resumes nothing,
        is left out.
        """
        columns = {name: f"attempts.{name}" for name in Turn.__dataclass_fields__}
        columns["receipt"] = "CASE WHEN n > 1 THEN receipt END"
        if self._older:
            known = {row["name"] for row in self._query("PRAGMA table_info(attempts)")}
            columns |= {name: "NULL" for name in columns if name not in known}
        always = ", ".join(f"'{state}'" for state in (*sorted(ACTIVE), JobState.HELD))
        found: dict[str, list[Turn]] = {}
        for row in self._query(
            f"SELECT {', '.join(columns.values())}, job FROM jobs JOIN attempts ON job = jobs.id"
            f" WHERE (updated_at >= ? OR state IN ({always}))"
            " AND (ended_at IS NULL OR ended_at >= ?) ORDER BY job, n",
            (since, since),
        ):
            *values, job = row
            found.setdefault(job, []).append(Turn.of(values))
        return found

    def furthest_step(self, job_id: str) -> int | None:
        """Return the last step that any attempt of a job reached."""
        rows = self._query("SELECT max(to_step) FROM attempts WHERE job = ?", (job_id,))
        found = next(rows)[0]
        return None if found is None else int(found)

    def last_stage(self, job_id: str) -> int | None:
        """Return the stage of the newest epoch of a job."""
        found = next(self._query("SELECT max(stage) FROM epochs WHERE job = ?", (job_id,)))[0]
        return None if found is None else int(found)

    def metrics(self, job_id: str, stage: int) -> dict[str, Any]:
        """Return the logs of the newest epoch of a stage."""
        rows = self._query(
            "SELECT logs FROM epochs WHERE job = ? AND stage = ? ORDER BY epoch DESC LIMIT 1",
            (job_id, stage),
        )
        text = next(rows, None)
        logs = {} if text is None else json.loads(text[0])
        return logs if isinstance(logs, dict) else {}

    def best(self, job_id: str, stage: int, metric: str, *, higher: bool) -> Best | None:
        """Find the best value of a metric in a stage; None where it was never a number."""
        if '"' in metric or "\\" in metric:
            return None  # SQLite's paths cannot quote it
        # a loss that diverged is a bare NaN, which is no JSON to SQLite
        rows = self._query(
            "SELECT epoch, value FROM (SELECT epoch, CASE WHEN json_valid(logs) THEN"
            " json_extract(logs, ?) END AS value FROM epochs WHERE job = ? AND stage = ?)"
            " WHERE typeof(value) IN ('real', 'integer')"
            f" ORDER BY value {'DESC' if higher else 'ASC'}, epoch LIMIT 1",
            (f'$."{metric}"', job_id, stage),
        )
        row = next(rows, None)
        return None if row is None else Best(metric, float(row[1]), int(row[0]), higher)

    def done_before(self, job: JobRow) -> JobRow | None:
        """Find the newest job of the same name before one that is done."""
        rows = self._rows(
            JobRow,
            "FROM jobs WHERE name = ? AND number < ? AND state = 'done'"
            " ORDER BY number DESC LIMIT 1",
            (job.name, job.number),
        )
        return next(rows, None)

    def happened(self, since: float, kinds: frozenset[str]) -> list[EventRow]:
        """List the events of some kinds since a time, of jobs and of the home, oldest first."""
        marks = ", ".join("?" * len(kinds))
        query = f"FROM events WHERE at >= ? AND +kind IN ({marks}) ORDER BY id DESC LIMIT ?"
        return list(self._rows(EventRow, query, (since, *sorted(kinds), _MOST_EVENTS)))[::-1]
