"""Rebuild a damaged or missing ledger from the run directories.

A run's `job.json` and journal are the truth: the accepted spec, every attempt with its end,
every epoch and checkpoint, and every decision about the job. The damaged file is kept beside
the new one. No attempt is started, and no run is changed.
"""

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from rekindle.daemon import daemon_status
from rekindle.jobs.job import Job
from rekindle.state import durable
from rekindle.state.errors import HomeUnusable, SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home, Run
from rekindle.state.run import journal


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The result of a rebuild.

    Attributes:
        jobs: number of jobs in the new ledger.
        attempts: number of attempts of all jobs.
        kept_damaged: new path of the old ledger, None if there was none.
        problems: a sentence for each thing that could not be restored.
    """

    jobs: int
    attempts: int
    kept_damaged: Path | None
    problems: list[str]


def rebuild(home: Home) -> Rebuilt:
    """Build a ledger from ``runs/*/job.json`` and the journals, and move it into place.

    Live trainings continue meanwhile; the next daemon adopts them. A job whose last attempt
    has ended without a verdict stays running: the next daemon decides, as it would have
    done without the damage.

    Raises:
        LockHeld: a daemon serves this home.
        HomeUnusable: the home cannot be read or written.
    """
    try:
        with daemon_status.lock(home, "Stop the daemon first; the trainings continue without it."):
            return _rebuild(home)
    except OSError as error:
        raise HomeUnusable(
            f"Cannot rebuild the ledger: {error.strerror or error}.",
            where=error.filename or home.root,
            hint="Run as the user that owns the home, and check the space on its disk.",
        ) from error


def _rebuild(home: Home) -> Rebuilt:
    new = home.ledger.with_name(f".{home.ledger.name}.rebuilding")
    for suffix in _PARTS:
        new.with_name(new.name + suffix).unlink(missing_ok=True)
    problems: list[str] = []
    found: list[tuple[Run, Job]] = []
    for run in _runs(home):
        try:
            found.append((run, Job.read(run.job_file)))
        except (OSError, ValueError, SpecError) as error:
            what = error.what if isinstance(error, SpecError) else str(error)
            problems.append(f"{run.id}: its job.json cannot be read: {what}")
    attempts = 0
    ledger = Ledger.open(new)
    try:
        with ledger.transaction():
            for run, job in sorted(found, key=lambda pair: _submitted_at(*pair)):
                problems += enter(ledger, run, job)
                attempts += len(ledger.attempts(run.id))
            ledger.add_event("ledger_rebuilt", data={"jobs": ledger.count(), "problems": problems})
        jobs = ledger.count()
        faults = ledger.check()
    finally:
        ledger.close()
    if faults:
        raise HomeUnusable(
            f"The rebuilt ledger is damaged: {faults[0]}.",
            where=new,
            hint="Check the disk for errors; the old ledger is unchanged.",
        )
    durable.fsync_file(new)
    return Rebuilt(jobs, attempts, _put_in_place(home, new), problems)


_PARTS = ("", "-wal", "-shm")


def enter(ledger: Ledger, run: Run, job: Job) -> list[str]:
    """Enter one run into the ledger; return a sentence for each damage."""
    name, _, number = run.id.rpartition("-")
    if job.id != run.id or not number.isdecimal():
        return [f"{run.id}: its job.json is that of another run directory ({job.id})."]
    ledger.insert_job(
        job.id,
        name=name,
        number=int(number),
        run_dir=str(run.root),
        priority=job.priority,
        spec=job.to_json(secrets=False),
        claim=job.claim or None,
        submitted_at=_submitted_at(run, job),
        uid=job.uid,
        user=job.user,
        grid=None if job.grid is None else job.grid.grid,
        point=None if job.grid is None else json.dumps(job.grid.values),
    )
    replay = journal.replay(run.journal)
    ledger.restore(run.id, replay.entries, replay.offset, begun=_latest_log(run))
    if replay.torn:
        return [f"{run.id}: {replay.torn} damaged lines of its journal were skipped."]
    return []


def _submitted_at(run: Run, job: Job) -> float:
    return job.submitted_at or run.job_file.stat().st_mtime


def _latest_log(run: Run) -> int:
    """Find the last attempt with a log: its keeper began, so its number is taken."""
    numbers = (log.stem.rpartition("-")[2] for log in run.logs.glob("attempt-*.log"))
    return max((int(n) for n in numbers if n.isdecimal()), default=0)


def _put_in_place(home: Home, new: Path) -> Path | None:
    """Rename the old ledger before the new one gets its name.

    In this order, since no daemon starts without `ledger.db` if there are run directories, and
    SQLite would replay a `-wal` of the old ledger into the new one.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    kept = home.ledger.with_name(f"{home.ledger.name}.damaged-{stamp}")
    n = 1
    while kept.exists():
        n += 1
        kept = home.ledger.with_name(f"{home.ledger.name}.damaged-{stamp}-{n}")
    found = False
    for suffix in _PARTS:
        old = home.ledger.with_name(home.ledger.name + suffix)
        with contextlib.suppress(FileNotFoundError):
            os.rename(old, kept.with_name(kept.name + suffix))
            found = True
    durable.fsync_folder(home.root)
    os.rename(new, home.ledger)
    durable.fsync_folder(home.root)
    return kept if found else None


def _runs(home: Home) -> list[Run]:
    """List all run directories, in the order of their names."""
    try:
        names = [
            entry.name
            for entry in os.scandir(home.runs)
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        ]
    except FileNotFoundError:
        return []
    return [home.run(name) for name in sorted(names)]
