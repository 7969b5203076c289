"""Read a ledger, in the daemon or in a verb beside a live daemon."""

import json
import os
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from rekindle.state.ledger import rows, schema
from rekindle.state.ledger.connection import Connection, connect, explain
from rekindle.state.ledger.rows import AttemptRow, CheckpointRow, EpochRow, EventRow, JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home, Run

Row = TypeVar("Row", bound="rows._Row")


class Reader:
    """Read an open ledger; use :meth:`open`. One per thread."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._db = connection
        self._path = path
        self._older = int(connection.execute("PRAGMA user_version").fetchone()[0]) < schema.VERSION

    @classmethod
    def open(cls, path: Path, *, readonly: bool = False) -> Self:
        """Open a ledger; create a missing one unless ``readonly``.

        Raises:
            LedgerCorrupt: it is damaged or not a ledger.
            LedgerTooNew: a newer version of rekindle wrote it.
            NotFound: ``readonly`` and it does not exist.
            HomeUnusable: it cannot be opened; HomeClosed: the current user lacks permission.
        """
        return cls(connect(path, readonly=readonly), path)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def job(self, job_id: str) -> JobRow | None:
        """Find a job by its id."""
        return next(self._rows(JobRow, "FROM jobs WHERE id = ?", (job_id,)), None)

    def jobs(
        self, states: Collection[JobState] | None = None, *, grid: str | None = None
    ) -> list[JobRow]:
        """List all jobs, those in ``states``, or those of a grid, in the order of submission."""
        where, values = _among("state", states) if grid is None else ("WHERE grid = ?", (grid,))
        return list(self._rows(JobRow, f"FROM jobs {where} ORDER BY submitted_at, rowid", values))

    def jobs_named(self, name: str) -> list[JobRow]:
        """List all jobs of a name, newest first."""
        return list(self._rows(JobRow, "FROM jobs WHERE name = ? ORDER BY number DESC", (name,)))

    def newest_named(self, name: str) -> JobRow | None:
        """Find the newest job of a name."""
        query = "FROM jobs WHERE name = ? ORDER BY number DESC LIMIT 1"
        return next(self._rows(JobRow, query, (name,)), None)

    def newest_ids(self, limit: int, states: Collection[JobState] | None = None) -> list[str]:
        """List the ids of the newest jobs, or of those in ``states``."""
        where, values = _among("state", states)
        query = f"SELECT id FROM jobs {where} ORDER BY rowid DESC LIMIT ?"
        return [str(row[0]) for row in self._db.execute(query, (*values, limit))]

    def named_for(self, job: JobRow, named: str) -> JobRow | None:
        """Find the job that ``named`` means in the ``after`` of ``job``; None if none exists yet.

        The job with that id; else, for its own name, the one with the next lower number; else
        the newest job of that name before ``job``; else the first one after it.
        """
        found = self.job(named)
        if found is not None:
            return found
        if named == job.name:
            # uses the index: a scan of all later jobs is slow in a long series
            return next(
                self._rows(
                    JobRow,
                    "FROM jobs WHERE name = ? AND number < ? ORDER BY number DESC LIMIT 1",
                    (named, job.number),
                ),
                None,
            )
        place = (named, job.submitted_at, job.rowid)
        before = "FROM jobs WHERE name = ? AND (submitted_at, rowid) < (?, ?)"
        after = "FROM jobs WHERE name = ? AND (submitted_at, rowid) > (?, ?)"
        rows = self._rows(JobRow, f"{before} ORDER BY number DESC LIMIT 1", place)
        found = next(rows, None)
        if found is None:
            found = next(self._rows(JobRow, f"{after} ORDER BY number LIMIT 1", place), None)
        return found

    def ids(self, states: Collection[JobState]) -> set[str]:
        """List the ids of the jobs in ``states``."""
        where, values = _among("state", states)
        return {str(row[0]) for row in self._db.execute(f"SELECT id FROM jobs {where}", values)}

    def count(self, states: Collection[JobState] | None = None) -> int:
        """Count all jobs, or those in ``states``."""
        where, values = _among("state", states)
        return int(self._db.execute(f"SELECT count(*) FROM jobs {where}", values).fetchone()[0])

    def count_waiting(self, uid: int) -> int:
        """Count the jobs of a user that are queued or waiting."""
        row = self._db.execute(
            "SELECT count(*) FROM jobs WHERE state IN ('queued', 'waiting') AND uid = ?", (uid,)
        ).fetchone()
        return int(row[0])

    def spec(self, job_id: str) -> dict[str, Any]:
        """Read the job's resolved spec, without the values of ``env``."""
        spec: dict[str, Any] = json.loads(self.spec_text(job_id) or "{}")
        return spec

    def spec_text(self, job_id: str) -> str:
        """Read the same as JSON text; empty if the job does not exist."""
        row = self._db.execute("SELECT spec FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return str(row[0]) if row else ""

    def highest_number(self, name: str) -> int:
        """Find the highest number given to a job of this name; 0 for none."""
        row = self._db.execute("SELECT max(number) FROM jobs WHERE name = ?", (name,)).fetchone()
        return int(row[0] or 0)

    def find_claim(self, claim: str) -> str | None:
        """Find the job that an inbox file became, or None."""
        row = self._db.execute("SELECT id FROM jobs WHERE claim = ?", (claim,)).fetchone()
        return None if row is None else str(row[0])

    def last_job(self) -> int:
        """Return the ``rowid`` of the newest job; 0 for none."""
        return int(self._db.execute("SELECT max(rowid) FROM jobs").fetchone()[0] or 0)

    def job_of_file(self, inode: int, after: int) -> str | None:
        """Find the job that a file of the inbox became.

        Args:
            after: the newest job before the file was dropped; an earlier one may come from a
                removed file with the same inode.
        """
        row = self._db.execute(
            "SELECT id FROM jobs WHERE rowid > ? AND claim LIKE ? ORDER BY rowid DESC",
            (after, f"%-{inode:x}"),
        ).fetchone()
        return None if row is None else str(row[0])

    def latest_change(self) -> float | None:
        """Find the unix time of the last change of any job."""
        found = self._db.execute("SELECT max(updated_at) FROM jobs").fetchone()[0]
        return None if found is None else float(found)

    def attempt(self, job_id: str, n: int) -> AttemptRow | None:
        """Find an attempt by its number."""
        where = "FROM attempts WHERE job = ? AND n = ?"
        return next(self._rows(AttemptRow, where, (job_id, n)), None)

    def attempts(self, job_id: str) -> list[AttemptRow]:
        """List the attempts of a job, oldest first."""
        return list(self._rows(AttemptRow, "FROM attempts WHERE job = ? ORDER BY n", (job_id,)))

    def runtime(self, job_id: str) -> float:
        """Sum the seconds of all ended attempts of a job."""
        row = self._db.execute(
            "SELECT sum(coalesce(seconds, max(ended_at - started_at, 0), 0)) FROM attempts"
            " WHERE job = ? AND outcome IS NOT NULL",
            (job_id,),
        ).fetchone()
        return float(row[0] or 0.0)

    def epochs(self, job_id: str) -> list[EpochRow]:
        """List the finished epochs of a job, by stage."""
        where = "FROM epochs WHERE job = ? ORDER BY stage, epoch"
        return list(self._rows(EpochRow, where, (job_id,)))

    def last_epoch_seconds(self, job_id: str) -> float | None:
        """Return how long the last finished epoch of a job took; None before the first."""
        where = "FROM epochs WHERE job = ? ORDER BY stage DESC, epoch DESC LIMIT 1"
        return next((row.seconds for row in self._rows(EpochRow, where, (job_id,))), None)

    def checkpoints(self, job_id: str) -> list[CheckpointRow]:
        """List the checkpoints of a job, oldest first; paths are relative to its run directory."""
        where = "FROM checkpoints WHERE job = ? ORDER BY stage, step, epoch, name"
        return [
            # the journal names the place in quarantine of the home as it was then
            replace(row, path=str(Run(Path()).quarantine / Path(row.path).name))
            if os.path.isabs(row.path)
            else row
            for row in self._rows(CheckpointRow, where, (job_id,))
        ]

    def last_event(self) -> int:
        """Return the id of the newest event; 0 for none."""
        return int(self._db.execute("SELECT max(id) FROM events").fetchone()[0] or 0)

    def events(
        self,
        job: str | None = None,
        *,
        kind: str | None = None,
        newest: int | None = None,
        after: int | None = None,
    ) -> list[EventRow]:
        """List events in the order they were added.

        Args:
            newest: only so many, the newest.
            after: only those after the one with this id.
        """
        wanted = {"job = ?": job, "kind = ?": kind, "id > ?": after}
        given = {term: value for term, value in wanted.items() if value is not None}
        where = " AND ".join(given) or "1"
        found = self._rows(
            EventRow,
            f"FROM events WHERE {where} ORDER BY id DESC LIMIT ?",
            (*given.values(), -1 if newest is None else newest),
        )
        return list(found)[::-1]

    def check(self) -> list[str]:
        """List all faults that SQLite's full integrity check finds."""
        try:
            found = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check")]
            found += [
                f"a row of {row[0]} belongs to no job"
                for row in self._db.execute("PRAGMA foreign_key_check")
            ]
        except sqlite3.DatabaseError as error:
            return [str(error)]
        return [line for line in found if line != "ok"]

    def _rows(self, kind: type[Row], query: str, values: Collection[Any]) -> Iterator[Row]:
        names = list(kind.__dataclass_fields__)
        values = tuple(values)
        if kind is JobRow:
            # derived, since a home may be moved: the column holds where the run was accepted
            names[names.index("run_dir")] = "? || id"
            values = (os.path.join(Home(self._path.parent).runs, ""), *values)
        if self._older:
            # an older rekindle made it and it is open for reading: missing columns read as None
            table = query.split()[1]
            known = {row["name"] for row in self._db.execute(f"PRAGMA table_info({table})")}
            names = [name if name in known or "?" in name else f"NULL AS {name}" for name in names]
        yield from map(kind.of, self._query(f"SELECT {', '.join(names)} {query}", values))

    def _query(self, query: str, values: Collection[Any] = ()) -> Iterator[sqlite3.Row]:
        """Run a query; yield its rows.

        Raises:
            LedgerCorrupt: the ledger is damaged.
            HomeUnusable: it cannot be read.
        """
        try:
            yield from self._db.execute(query, tuple(values))
        except sqlite3.DatabaseError as error:
            raise explain(error, self._path) from error


def _among(column: str, values: Collection[str] | None) -> tuple[str, tuple[str, ...]]:
    if values is None:
        return "", ()
    return f"WHERE {column} IN ({', '.join('?' * len(values))})", tuple(values)
