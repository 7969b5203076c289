"""Looking at a whole home: is the ledger sound, and does it agree with what lies on disk.

Changes nothing, and may run beside a daemon: what it is just at work on is no finding.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rekindle.daemon import daemon_status
from rekindle.jobs.job import Job
from rekindle.jobs.keeper import command
from rekindle.state import access, source_tree
from rekindle.state.errors import HomeClosed, HomeUnusable, NotFound, SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import TERMINAL
from rekindle.state.paths import Home, Run
from rekindle.state.run import checkpoints, entries, journal

_GONE: Final = {entries.checkpoint_pruned.name, entries.checkpoint_refused.name}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        severity: ``"error"`` where something is damaged or missing, ``"warning"`` where the
            next start of the daemon or the next attempt mends it.
        where: the file or job concerned.
        what: a sentence.
        hint: what to do about it.
        job: the job concerned, if one is.
    """

    severity: str
    where: str
    what: str
    hint: str
    job: str | None = None


def verify(home: Home) -> list[Finding]:
    """Everything in a home that is damaged, missing or left over; empty for a sound one.

    Reads every checkpoint whole, so that its time is that of reading the disk.
    """
    served = daemon_status.find(home) is not None
    try:
        ledger = Ledger.open(home.ledger, readonly=True)
    except HomeClosed:
        raise  # of somebody who may not look this says nothing about the home
    except (HomeUnusable, NotFound) as error:
        return [
            Finding("error", str(home.ledger), error.what, error.hint),
            *_checkpoints(home, None),
            *([] if served else _leftovers(home)),
        ]
    try:
        faults = ledger.check()
        if faults:
            return [
                *(
                    Finding(
                        "error",
                        str(home.ledger),
                        f"The ledger is damaged: {fault}.",
                        "Stop the daemon, then `rekindle verify --rebuild`.",
                    )
                    for fault in faults
                ),
                *_checkpoints(home, None),
                *([] if served else _leftovers(home)),
            ]
        return [
            *_jobs(home, ledger),
            *_strangers(home, ledger),
            *_checkpoints(home, ledger),
            *([] if served else _leftovers(home)),
        ]
    finally:
        ledger.close()


def _jobs(home: Home, ledger: Ledger) -> Iterator[Finding]:
    """Each job of the ledger against its run directory."""
    snapshots: dict[str, str | None] = {}
    for row in ledger.jobs():
        run = home.run(row.id)
        if not run.root.is_dir():
            yield Finding(
                "error",
                str(run.root),
                "The run directory of the job is gone.",
                "Restore it from a backup, or submit the spec again.",
                row.id,
            )
            continue
        try:
            job = Job.read(run.job_file)
        except PermissionError as error:
            raise access.closed(error, run.job_file, home.root) from error
        except (OSError, ValueError, SpecError) as error:
            what = error.what if isinstance(error, SpecError) else f"{error}."
            yield Finding(
                "error",
                str(run.job_file),
                f"The accepted job cannot be read: {what}",
                "Restore it from a backup, or submit the spec again.",
                row.id,
            )
            continue
        if job.id != row.id:
            yield Finding(
                "error",
                str(run.job_file),
                f"It is the job of another run directory ({job.id}).",
                "Restore it from a backup.",
                row.id,
            )
        yield from _journal(run, row)
        if job.source is not None and row.state not in TERMINAL:
            digest = job.source.digest
            if digest not in snapshots:
                snapshots[digest] = source_tree.damage(Path(os.path.realpath(run.source)), digest)
            if snapshots[digest] is not None:
                yield Finding(
                    "error",
                    str(run.source),
                    f"The snapshot of the job's code is damaged: {snapshots[digest]}.",
                    "Restore it from a backup, or submit the job again.",
                    row.id,
                )


def _journal(run: Run, row: JobRow) -> Iterator[Finding]:
    try:
        whole = journal.replay(run.journal)
    except OSError as error:
        yield Finding(
            "error",
            str(run.journal),
            f"It cannot be read: {error.strerror}.",
            "Check the disk and the rights.",
            row.id,
        )
        return
    if whole.torn:
        yield Finding(
            "warning",
            str(run.journal),
            f"{whole.torn} lines are damaged and passed over.",
            "A process that was killed while it wrote leaves one; more of them point to the disk.",
            row.id,
        )
    size = run.journal.stat().st_size if run.journal.exists() else 0
    if row.journal_offset > size:
        yield Finding(
            "error",
            str(run.journal),
            f"It has {size} bytes, and the ledger has read {row.journal_offset}.",
            "Something cut it off; the ledger still knows what it held.",
            row.id,
        )
    begun = max(
        (
            e["attempt"]
            for e in entries.attempt_started.among(whole.entries)
            if isinstance(e.get("attempt"), int)
        ),
        default=0,
    )
    if begun > row.attempts and row.journal_offset >= whole.offset:
        yield Finding(
            "error",
            str(run.journal),
            f"It tells of attempt {begun}, the ledger of {row.attempts}.",
            "Stop the daemon, then `rekindle verify --rebuild`.",
            row.id,
        )


def _strangers(home: Home, ledger: Ledger) -> Iterator[Finding]:
    """Run directories that the ledger does not know."""
    for run in _runs(home):
        if ledger.job(run.id) is None:
            yield Finding(
                "warning",
                str(run.root),
                "The ledger does not know this run directory.",
                "The daemon takes it in at its next start, if it holds an accepted job.",
                run.id,
            )


def _checkpoints(home: Home, ledger: Ledger | None) -> Iterator[Finding]:
    for run in _runs(home):
        there = set()
        check = command.verify if _runs_a_command(run) else checkpoints.verify
        for checkpoint in checkpoints.scan(run.checkpoints):
            there.add(checkpoint.name)
            reason = check(checkpoint)
            if reason is not None and checkpoint.path.exists():
                yield Finding(
                    "error",
                    str(checkpoint.path),
                    f"This checkpoint is bad: {reason}.",
                    "The next attempt sets it aside and goes on from an older one.",
                    run.id,
                )
        for row in [] if ledger is None else ledger.checkpoints(run.id):
            if row.good and row.name not in there and not (run.checkpoints / row.name).exists():
                told = {
                    e.get("name") for e in journal.replay(run.journal).entries if e["kind"] in _GONE
                }
                if row.name not in told:
                    yield Finding(
                        "error",
                        str(run.checkpoints / row.name),
                        "This checkpoint is in the ledger and not on the disk.",
                        "The next attempt goes on from the newest that is there.",
                        run.id,
                    )


def _runs_a_command(run: Run) -> bool:
    try:
        return Job.read(run.job_file).command is not None
    except (OSError, ValueError, SpecError):
        return False


def _leftovers(home: Home) -> Iterator[Finding]:
    """What an interrupted daemon had begun; only while none runs."""
    for path in sorted(_entries(home.claimed)):
        yield Finding(
            "warning",
            str(path),
            "This spec was taken from the inbox and not finished.",
            "The daemon finishes it at its next start.",
        )
    for path in sorted(_entries(home.runs)):
        if path.name.startswith(".new-"):
            yield Finding(
                "warning",
                str(path),
                "This run directory was not finished.",
                "The daemon makes it anew at its next start.",
            )
    for path in sorted(_entries(home.imports)):
        yield Finding(
            "warning",
            str(path),
            "This run came from another box and is no job yet.",
            "The daemon makes it one where `import-run` had asked for it; else remove "
            "the folder, and import the archive again.",
        )


def _runs(home: Home) -> list[Run]:
    return [
        home.run(path.name)
        for path in sorted(_entries(home.runs))
        if path.is_dir() and not path.name.startswith(".")
    ]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
