"""Building the ledger anew from the run directories, where it was damaged or lost.

What a run's `job.json` and journal tell is the truth: the accepted spec, every attempt with
its end, every epoch and checkpoint, and every decision about the job. The damaged file is
kept beside the new one. Nothing is started, and nothing of a run is changed.
"""

import contextlib
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
    """What a rebuild made.

    Attributes:
        jobs: how many jobs the new ledger has.
        attempts: how many attempts, of all jobs.
        kept_damaged: where the old ledger lies now, None where there was none.
        problems: a sentence for each thing that could not be restored.
    """

    jobs: int
    attempts: int
    kept_damaged: Path | None
    problems: list[str]


def rebuild(home: Home) -> Rebuilt:
    """Builds a ledger from ``runs/*/job.json`` and the journals, and puts it in place.

    Trainings that are alive go on meanwhile; the next daemon adopts them. A job whose last
    attempt has ended without a decision is left as running: the next daemon decides, as it
    would have done without the damage.

    Raises:
        LockHeld: a daemon serves this home.
        HomeUnusable: the home cannot be read or written.
    """
    try:
        with daemon_status.lock(home, "Stop it first; the trainings go on without it."):
            return _rebuild(home)
    except OSError as error:
        raise HomeUnusable(
            f"The ledger cannot be built anew: {error.strerror or error}.",
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
            problems.append(f"{run.id} holds no job that can be read: {what}")
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
            f"The new ledger is not sound: {faults[0]}.",
            where=new,
            hint="Check the disk; the old ledger was left as it was.",
        )
    durable.fsync_file(new)
    return Rebuilt(jobs, attempts, _put_in_place(home, new), problems)


_PARTS = ("", "-wal", "-shm")


def enter(ledger: Ledger, run: Run, job: Job) -> list[str]:
    """Takes one run in; sentences about what is not whole."""
    name, _, number = run.id.rpartition("-")
    if job.id != run.id or not number.isdecimal():
        return [f"{run.id} holds the job of another run directory ({job.id})."]
    ledger.insert_job(
        job.id,
        name=name,
        number=int(number),
        run_dir=str(run.root),
        priority=job.priority,
        spec=job.to_json(secrets=False),
        claim=job.claim or None,
        submitted_at=_submitted_at(run, job),
    )
    replay = journal.replay(run.journal)
    ledger.restore(run.id, replay.entries, replay.offset, begun=_latest_log(run))
    if replay.torn:
        return [f"{run.id}: {replay.torn} damaged lines of its journal were passed over."]
    return []


def _submitted_at(run: Run, job: Job) -> float:
    return job.submitted_at or run.job_file.stat().st_mtime


def _latest_log(run: Run) -> int:
    """The number of the last attempt that has a log: its keeper had begun at least."""
    numbers = (log.stem.rpartition("-")[2] for log in run.logs.glob("attempt-*.log"))
    return max((int(n) for n in numbers if n.isdecimal()), default=0)


def _put_in_place(home: Home, new: Path) -> Path | None:
    """Sets the old ledger aside before the new one gets its name.

    In this order: without `ledger.db` no daemon starts over run directories, and a `-wal`
    left by the old one would be taken for one of the new.
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
    """All run directories, in the order in which their jobs were accepted as far as names tell."""
    try:
        names = [
            entry.name
            for entry in os.scandir(home.runs)
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        ]
    except FileNotFoundError:
        return []
    return [home.run(name) for name in sorted(names)]
