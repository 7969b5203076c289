"""``ledger.db``: jobs, attempts, epochs, checkpoints and events in SQLite.

The daemon is its only writer. Every commit is durable (WAL, ``synchronous=FULL``). A
ledger that is damaged is never replaced silently; it can be built anew from the run
directories (`daemon/verify/rebuild.py`), since every decision about a job is written into the
journal of its run before it is committed here.
"""

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from rekindle.state import access, lifecycle
from rekindle.state.errors import HomeUnusable, LedgerCorrupt, LedgerTooNew, NotFound
from rekindle.state.hints import name_job
from rekindle.state.ledger import ingest, rows, schema
from rekindle.state.ledger.rows import AttemptRow, CheckpointRow, EpochRow, EventRow, JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home
from rekindle.state.run import journal

Row = TypeVar("Row", bound="rows._Row")
_KEEPER_TELLS: Final = frozenset({"keeper_pid", "keeper_start", "boot_id"})
_KEEP: Final[Any] = object()
_NO_ROOM: Final = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN})
_NOTICED_S: Final = 0.01
"""A statement that took no longer has waited for nobody."""
_REBUILD: Final = (
    "`rekindle verify --rebuild` builds it anew from the run directories; a damaged file is kept."
)
_ATTEMPT_FIELDS: Final = frozenset(AttemptRow.__dataclass_fields__) - {"job", "n"}


class Ledger:
    """An open ledger; use :meth:`open`. One per thread."""

    def __init__(self, connection: "_Connection", path: Path) -> None:
        self._db = connection
        self._path = path
        self._older = int(connection.execute("PRAGMA user_version").fetchone()[0]) < schema.VERSION
        self._changed: set[str] = set()

    @classmethod
    def open(cls, path: Path, *, readonly: bool = False) -> Self:
        """Opens a ledger, making a new one where there is none (unless ``readonly``).

        Raises:
            LedgerCorrupt: it is damaged or not a ledger.
            LedgerTooNew: a newer version of rekindle wrote it.
            NotFound: ``readonly`` and there is none.
            HomeUnusable: it cannot be opened; HomeClosed: not by this user.
        """
        if not access.there(path, path.parent):
            if readonly:
                raise _none_yet(path)
            _refuse_to_begin_anew(path)
        try:
            connection = _connect(path, readonly=readonly)
            version = _check(connection, path, thorough=not readonly)
            if version == 0:
                _refuse_to_begin_anew(path)
                if readonly:
                    # the first daemon of this home is making its tables at this moment
                    raise _none_yet(path)
            if not readonly:
                schema.migrate(connection)
        except sqlite3.DatabaseError as error:
            raise _explain(error, path) from error
        return cls(connection, path)

    def close(self) -> None:
        self._db.close()

    def allow_wait(self, seconds: float) -> None:
        """Let all statements until the next call wait this long, together, for other clients.

        What would wait longer raises `sqlite3.OperationalError`: a tick of the daemon does not
        stand still because somebody holds the ledger.
        """
        self._db.allow_wait(seconds)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed together or not at all; may be nested."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # a full disk makes SQLite roll back by itself, or leaves a COMMIT undone
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # jobs

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
    ) -> None:
        """Takes an accepted job in, as queued; does nothing where it is there already."""
        with self.transaction():
            inserted = self._db.execute(
                "INSERT INTO jobs (id, name, number, state, priority, claim, run_dir, spec,"
                " submitted_at, updated_at) VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (job_id, name, number, priority, claim, run_dir, spec, submitted_at, submitted_at),
            ).rowcount
            if inserted:
                self._changed.add(job_id)
                self.add_event("job_accepted", job=job_id, at=submitted_at)

    def job(self, job_id: str) -> JobRow | None:
        return next(self._rows(JobRow, "FROM jobs WHERE id = ?", (job_id,)), None)

    def jobs(self, states: Collection[JobState] | None = None) -> list[JobRow]:
        """All jobs, or those in ``states``, in the order of submission."""
        where, values = _among("state", states)
        return list(self._rows(JobRow, f"FROM jobs {where} ORDER BY submitted_at, rowid", values))

    def jobs_named(self, name: str) -> list[JobRow]:
        """All jobs of a name, the newest first."""
        return list(self._rows(JobRow, "FROM jobs WHERE name = ? ORDER BY number DESC", (name,)))

    def count(self, states: Collection[JobState] | None = None) -> int:
        where, values = _among("state", states)
        return int(self._db.execute(f"SELECT count(*) FROM jobs {where}", values).fetchone()[0])

    def spec(self, job_id: str) -> dict[str, Any]:
        """The job's resolved spec, without the values of ``env``."""
        spec: dict[str, Any] = json.loads(self.spec_text(job_id) or "{}")
        return spec

    def spec_text(self, job_id: str) -> str:
        """The same as JSON text; empty where there is no such job."""
        row = self._db.execute("SELECT spec FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return str(row[0]) if row else ""

    def set_spec(self, job_id: str, spec: str) -> None:
        """Notes a spec that a person changed; ``job.json`` holds it already."""
        with self.transaction():
            self._db.execute("UPDATE jobs SET spec = ? WHERE id = ?", (spec, job_id))
            self._changed.add(job_id)

    def highest_number(self, name: str) -> int:
        """The highest number given to a job of this name, 0 where there is none."""
        row = self._db.execute("SELECT max(number) FROM jobs WHERE name = ?", (name,)).fetchone()
        return int(row[0] or 0)

    def find_claim(self, claim: str) -> str | None:
        """The job that an inbox file became, or None."""
        row = self._db.execute("SELECT id FROM jobs WHERE claim = ?", (claim,)).fetchone()
        return None if row is None else str(row[0])

    def job_of_file(self, inode: int, since: float) -> str | None:
        """The job that a file dropped into the inbox at ``since`` (unix time) became."""
        row = self._db.execute(
            "SELECT id FROM jobs WHERE submitted_at >= ? AND claim LIKE ? ORDER BY rowid DESC",
            (since - 1, f"%-{inode:x}"),
        ).fetchone()
        return None if row is None else str(row[0])

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
        """Moves a job along the table of transitions and notes it as an event.

        Raises:
            IllegalTransition: the table does not lead there.
            NotFound: there is no such job.
        """
        hint = name_job(hint or "", job_id)
        with self.transaction():
            job = self.job(job_id)
            if job is None:
                raise NotFound(f"There is no job {job_id}.", hint="`rekindle ls` lists all jobs.")
            lifecycle.check(job.state, new)
            failures = job.failures if failures is None else failures
            wish = job.wish if wish is _KEEP else wish
            if new != JobState.RUNNING:  # the keeper's own entry says that
                self._write_ahead(
                    job_id,
                    "state_changed",
                    attempt=job.attempts,
                    at=now,
                    state=new,
                    was=job.state,
                    reason=reason,
                    hint=hint,
                    next_at=next_at,
                    failures=failures,
                    wish=wish,
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
        """Moves the end of a wait (unix time) whose reason stays the same; no event."""
        with self.transaction():
            self._db.execute(
                "UPDATE jobs SET next_at = ? WHERE id = ? AND state = 'waiting'", (next_at, job_id)
            )
            self._changed.add(job_id)

    def set_clock_back(self, seconds: float) -> None:
        """Moves the ends of all waits along with a clock that was set back."""
        with self.transaction():
            self._db.execute(
                "UPDATE jobs SET next_at = next_at - ? WHERE state = 'waiting'"
                " AND next_at IS NOT NULL",
                (seconds,),
            )

    def latest_change(self) -> float | None:
        """Unix time of the newest change of a job."""
        found = self._db.execute("SELECT max(updated_at) FROM jobs").fetchone()[0]
        return None if found is None else float(found)

    def set_waiting(
        self, job_ids: Collection[str], reason: str, *, now: float, hint: str = ""
    ) -> None:
        """Says of jobs that are queued or waiting what they wait for, where it has changed.

        Not journaled: the queue works it out anew from what is.
        """
        with self.transaction():
            for job_id in job_ids:
                changed = self._db.execute(
                    "UPDATE jobs SET state = 'waiting', reason = ?1, hint = ?2, next_at = NULL,"
                    " updated_at = ?3 WHERE id = ?4 AND (state = 'queued' OR (state = 'waiting' AND"
                    " (reason != ?1 OR hint != ?2 OR next_at IS NOT NULL)))",
                    (reason, hint, now, job_id),
                ).rowcount
                if changed:
                    self.add_event("job_waiting", job=job_id, at=now, data={"reason": reason})

    def take_changed(self) -> set[str]:
        """Ids of the jobs that this connection took in or changed since the last call."""
        taken, self._changed = self._changed, set()
        return taken

    def set_wish(self, job_id: str, wish: str) -> None:
        with self.transaction():
            self._write_ahead(job_id, "job_changed", wish=wish)
            self._db.execute("UPDATE jobs SET wish = ? WHERE id = ?", (wish, job_id))

    def set_priority(self, job_id: str, priority: int) -> None:
        with self.transaction():
            self._write_ahead(job_id, "job_changed", priority=priority)
            self._db.execute("UPDATE jobs SET priority = ? WHERE id = ?", (priority, job_id))
            self._changed.add(job_id)

    # attempts

    def begin_attempt(
        self, job_id: str, n: int, now: float, gpus: Collection[str] | None = None
    ) -> None:
        """Notes an attempt, and the GPUs it gets, before anything of it is spawned."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO attempts (job, n, started_at, gpus) VALUES (?, ?, ?, ?)",
                (job_id, n, now, None if gpus is None else json.dumps(list(gpus))),
            )
            self._db.execute("UPDATE jobs SET attempts = ? WHERE id = ?", (n, job_id))

    def update_attempt(self, job_id: str, n: int, **fields: Any) -> None:
        """Sets fields of :class:`AttemptRow`; dicts are stored as JSON."""
        unknown = fields.keys() - _ATTEMPT_FIELDS
        if unknown:
            raise ValueError(f"no such fields of an attempt: {sorted(unknown)}")
        values = [json.dumps(v) if isinstance(v, dict) else v for v in fields.values()]
        assignments = ", ".join(f"{name} = ?" for name in fields)
        with self.transaction():
            if not fields.keys() <= _KEEPER_TELLS:
                self._write_ahead(job_id, "attempt_changed", attempt=n, **fields)
            self._db.execute(
                f"UPDATE attempts SET {assignments} WHERE job = ? AND n = ?", (*values, job_id, n)
            )

    def attempt(self, job_id: str, n: int) -> AttemptRow | None:
        where = "FROM attempts WHERE job = ? AND n = ?"
        return next(self._rows(AttemptRow, where, (job_id, n)), None)

    def attempts(self, job_id: str) -> list[AttemptRow]:
        return list(self._rows(AttemptRow, "FROM attempts WHERE job = ? ORDER BY n", (job_id,)))

    def runtime(self, job_id: str) -> float:
        """Seconds that all ended attempts of a job have run, together."""
        row = self._db.execute(
            "SELECT sum(coalesce(seconds, max(ended_at - started_at, 0), 0)) FROM attempts"
            " WHERE job = ? AND outcome IS NOT NULL",
            (job_id,),
        ).fetchone()
        return float(row[0] or 0.0)

    def named_for(self, job: JobRow, named: str) -> JobRow | None:
        """The job that ``named`` means in the ``after`` of ``job``, None while there is none.

        A job's id; else, for its own name, the one before it in number; else the newest job
        of that name that came before ``job``; else the first that came after it.
        """
        found = self.job(named)
        if found is not None:
            return found
        if named == job.name:
            # by the index: to go through all the later ones is too much in a long series
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

    def reached(self) -> dict[str, tuple[int | None, int | None]]:
        """Epoch and step that the latest attempt of each job has reached, by the job's id."""
        rows = self._db.execute(
            "SELECT a.job, a.to_epoch, a.to_step FROM jobs j JOIN attempts a"
            " ON a.job = j.id AND a.n = j.attempts"
        )
        return {row[0]: (row[1], row[2]) for row in rows}

    def unfollowed(self) -> dict[str, str]:
        """What the latest attempt of each job reported of training that is not saved."""
        if self._older:
            return {}
        rows = self._db.execute(
            "SELECT a.job, a.unfollowed FROM jobs j JOIN attempts a"
            " ON a.job = j.id AND a.n = j.attempts WHERE a.unfollowed IS NOT NULL"
        )
        return {row[0]: row[1] for row in rows}

    # what a run tells

    def ingest(self, job_id: str, entries: list[dict[str, Any]], offset: int) -> None:
        """Takes journal entries in and moves the job's offset (bytes), in one transaction."""
        with self.transaction():
            for entry in entries:
                ingest.apply(self._db, job_id, entry)
            self._db.execute("UPDATE jobs SET journal_offset = ? WHERE id = ?", (offset, job_id))

    def restore(
        self, job_id: str, entries: list[dict[str, Any]], offset: int, *, begun: int = 0
    ) -> None:
        """Takes a whole journal into a new ledger, with the decisions that stand in it.

        Args:
            begun: the last attempt that is known to have begun, from elsewhere.
        """
        with self.transaction():
            for entry in entries:
                ingest.restore(self._db, job_id, entry)
            self._changed.add(job_id)
            self._db.execute("UPDATE jobs SET journal_offset = ? WHERE id = ?", (offset, job_id))
            job = self.job(job_id)
            if job is not None and begun > job.attempts:
                self.begin_attempt(job_id, begun, time.time())
                self._db.execute(
                    "UPDATE jobs SET state = ?, reason = ? WHERE id = ?",
                    (JobState.RUNNING, f"Attempt {begun} had begun.", job_id),
                )
            self._db.execute(
                "UPDATE attempts SET outcome = 'lost', cause = 'lost' WHERE job = ? AND outcome IS"
                " NULL AND n < (SELECT attempts FROM jobs WHERE id = ?)",
                (job_id, job_id),
            )

    def epochs(self, job_id: str) -> list[EpochRow]:
        where = "FROM epochs WHERE job = ? ORDER BY stage, epoch"
        return list(self._rows(EpochRow, where, (job_id,)))

    def checkpoints(self, job_id: str) -> list[CheckpointRow]:
        return list(
            self._rows(
                CheckpointRow,
                "FROM checkpoints WHERE job = ? ORDER BY stage, step, epoch, name",
                (job_id,),
            )
        )

    # events

    def add_event(
        self,
        kind: str,
        *,
        job: str | None = None,
        attempt: int | None = None,
        data: dict[str, Any] | None = None,
        at: float | None = None,
    ) -> None:
        with self.transaction():
            self._db.execute(
                "INSERT INTO events (at, job, attempt, kind, data) VALUES (?, ?, ?, ?, ?)",
                (time.time() if at is None else at, job, attempt, kind, json.dumps(data or {})),
            )

    def events(
        self, job: str | None = None, *, kind: str | None = None, newest: int | None = None
    ) -> list[EventRow]:
        """Events in the order in which they were noted; of these the ``newest`` so many."""
        wanted = {"job": job, "kind": kind}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(f"{name} = ?" for name in given) or "1"
        found = self._rows(
            EventRow,
            f"FROM events WHERE {where} ORDER BY id DESC LIMIT ?",
            (*given.values(), -1 if newest is None else newest),
        )
        return list(found)[::-1]

    def check(self) -> list[str]:
        """All faults that SQLite's full integrity check finds; empty for a sound ledger."""
        try:
            found = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check")]
            found += [
                f"a row of {row[0]} belongs to no job"
                for row in self._db.execute("PRAGMA foreign_key_check")
            ]
        except sqlite3.DatabaseError as error:
            return [str(error)]
        return [line for line in found if line != "ok"]

    def _write_ahead(self, job_id: str, kind: str, **fields: Any) -> None:
        """Writes a decision into the journal of the run, before it is committed here."""
        try:
            journal.append(Home(self._path.parent).run(job_id).journal, kind, **fields)
        except FileNotFoundError:
            return  # without a run directory nothing could be built from it; `verify` says so
        except OSError as error:
            # a full disk must not keep a person from stopping a job
            self.add_event(
                "decision_not_journaled", job=job_id, data={"kind": kind, "error": str(error)}
            )

    def _rows(self, kind: type[Row], query: str, values: Collection[Any]) -> Iterator[Row]:
        names = list(kind.__dataclass_fields__)
        if self._older:
            # opened for reading, as an older rekindle made it: what it lacks reads as None
            table = query.split()[1]
            known = {row["name"] for row in self._db.execute(f"PRAGMA table_info({table})")}
            names = [name if name in known else f"NULL AS {name}" for name in names]
        columns = ", ".join(names)
        try:
            for row in self._db.execute(f"SELECT {columns} {query}", tuple(values)):
                yield kind.of(row)
        except sqlite3.DatabaseError as error:
            raise _explain(error, self._path) from error


def _run_names(path: Path) -> list[str]:
    try:
        return sorted(
            run.name for run in Home(path.parent).runs.iterdir() if not run.name.startswith(".")
        )
    except FileNotFoundError:
        return []


class _Connection(sqlite3.Connection):
    """A connection whose statements share one limit for waiting for other clients."""

    _left: float | None = None

    def allow_wait(self, seconds: float) -> None:
        self._left = seconds
        super().execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def execute(self, sql: str, /, *parameters: Any) -> sqlite3.Cursor:
        if self._left is None or self.in_transaction:
            return super().execute(sql, *parameters)  # who is in a transaction waits for nobody
        began = time.monotonic()
        try:
            return super().execute(sql, *parameters)
        finally:
            took = time.monotonic() - began
            if took > _NOTICED_S:
                self.allow_wait(max(self._left - took, 0.0))


def _connect(path: Path, *, readonly: bool) -> _Connection:
    if readonly:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=10, factory=_Connection
        )
        try:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except sqlite3.OperationalError as error:
            # a folder that this user cannot write has no room for the -shm file; while no
            # daemon has the ledger open there is nothing in a -wal file to be missed
            connection.close()
            if error.sqlite_errorcode & 0xFF in _NO_ROOM and _has_wal(path):
                return _copied(path)
            if (
                "unable to open" not in str(error)
                and "readonly" not in str(error)
                and error.sqlite_errorcode & 0xFF not in _NO_ROOM
            ):
                raise
            connection = sqlite3.connect(
                f"{uri}&immutable=1", uri=True, isolation_level=None, factory=_Connection
            )
    else:
        connection = sqlite3.connect(path, isolation_level=None, timeout=10, factory=_Connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    connection.row_factory = sqlite3.Row
    return connection


def _has_wal(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False


def _copied(path: Path) -> _Connection:
    """A ledger on a full disk whose daemon was killed, read from a copy: what is committed may
    stand in the -wal file alone, and reading that needs space beside it."""
    memory = "/dev/shm"  # noqa: S108 - a disk that is hardly ever full
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", os.path.join(folder, f"ledger.db{suffix}"))
        connection = sqlite3.connect(
            os.path.join(folder, "ledger.db"), isolation_level=None, factory=_Connection
        )
        # the copy stays open without its name
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    connection.row_factory = sqlite3.Row
    return connection


def _refuse_to_begin_anew(path: Path) -> None:
    """An empty ledger over run directories would start all of them again."""
    if path == Home(path.parent).ledger and (runs := _run_names(path)):
        raise LedgerCorrupt(
            f"The ledger is gone, but there are run directories ({', '.join(runs[:3])}"
            f"{', ...' if len(runs) > 3 else ''}).",
            where=path,
            hint=_REBUILD,
        )


def _none_yet(path: Path) -> NotFound:
    return NotFound(
        "There is no ledger in this home yet.",
        where=path,
        hint="Name the home with --home, or start the daemon: `rekindle run`.",
    )


def _check(connection: sqlite3.Connection, path: Path, *, thorough: bool) -> int:
    """The schema's version, of a ledger that can be used."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > schema.VERSION:
        raise LedgerTooNew(
            f"The ledger is of version {version}; this rekindle knows up to {schema.VERSION}.",
            where=path,
            hint="Install the newer rekindle that wrote it.",
        )
    if thorough:
        result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if result != "ok":
            raise LedgerCorrupt(f"The ledger is damaged: {result}.", where=path, hint=_REBUILD)
    return version


def _explain(error: sqlite3.DatabaseError, path: Path) -> HomeUnusable:
    if isinstance(error, sqlite3.OperationalError):
        return HomeUnusable(
            f"The ledger cannot be opened: {error}.",
            where=path,
            hint="Check the rights, the space on the disk, and who else uses it.",
        )
    return LedgerCorrupt(f"The ledger is damaged: {error}.", where=path, hint=_REBUILD)


def _among(column: str, values: Collection[str] | None) -> tuple[str, tuple[str, ...]]:
    if values is None:
        return "", ()
    return f"WHERE {column} IN ({', '.join('?' * len(values))})", tuple(values)
