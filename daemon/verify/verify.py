"""Check a whole home: the ledger is sound, and it matches the files on disk.

Nothing is changed. A daemon may run meanwhile: files that it is processing are no finding.
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
from rekindle.state.paths import NEW_RUN, Home, Run
from rekindle.state.run import checkpoints, entries, journal, kept_files

_GONE: Final = {entries.checkpoint_pruned.name, entries.checkpoint_refused.name}


@dataclass(frozen=True, slots=True)
class Finding:
    """A damaged, missing or leftover file.

    Attributes:
        severity: ``"error"`` if something is damaged or missing, ``"warning"`` if the next
            start of the daemon or the next attempt repairs it.
        where: the file or job concerned.
        what: a sentence.
        hint: what to do.
        job: the job concerned, None if the finding is about the home.
    """

    severity: str
    where: str
    what: str
    hint: str
    job: str | None = None


def verify(home: Home) -> list[Finding]:
    """Find everything in a home that is damaged, missing or left over.

    It reads every checkpoint completely, which takes the time of reading the disk.
    """
    served = daemon_status.find(home) is not None
    try:
        ledger = Ledger.open(home.ledger, readonly=True)
    except HomeClosed:
        raise  # lack of permission says nothing about the state of the home
    except (HomeUnusable, NotFound) as error:
        return [
            Finding("error", str(home.ledger), error.what, error.hint),
            *_checkpoints(home, None),
            *([] if served else _leftovers(home, None)),
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
                *([] if served else _leftovers(home, None)),
            ]
        return [
            *_jobs(home, ledger),
            *_strangers(home, ledger),
            *_checkpoints(home, ledger),
            *([] if served else _leftovers(home, ledger)),
        ]
    finally:
        ledger.close()


def _jobs(home: Home, ledger: Ledger) -> Iterator[Finding]:
    """Compare each job of the ledger with its run directory."""
    snapshots: dict[str, str | None] = {}
    for row in ledger.jobs():
        run = home.run(row.id)
        if not run.root.is_dir():
            yield Finding(
                "error",
                str(run.root),
                "The run directory of the job does not exist.",
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
                f"The job.json is that of another run directory ({job.id}).",
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
            f"The journal cannot be read: {error.strerror}.",
            "Check the file's permissions and the disk.",
            row.id,
        )
        return
    if whole.torn:
        yield Finding(
            "warning",
            str(run.journal),
            f"{whole.torn} damaged lines are skipped.",
            "One line may be of a killed process; if there are more, check the disk for errors.",
            row.id,
        )
    size = run.journal.stat().st_size if run.journal.exists() else 0
    if row.journal_offset > size:
        yield Finding(
            "error",
            str(run.journal),
            f"The journal has {size} bytes, but the ledger has read {row.journal_offset}.",
            "It was truncated: check the disk. Its former content is still in the ledger.",
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
            f"The journal has attempt {begun}, the ledger only {row.attempts}.",
            "Stop the daemon, then `rekindle verify --rebuild`.",
            row.id,
        )


def _strangers(home: Home, ledger: Ledger) -> Iterator[Finding]:
    """Find run directories that are not in the ledger."""
    for run in _runs(home):
        if ledger.job(run.id) is None:
            yield Finding(
                "warning",
                str(run.root),
                "This run directory is not in the ledger.",
                "Restart the daemon: it enters a run directory that has an accepted job.",
                run.id,
            )


def _checkpoints(home: Home, ledger: Ledger | None) -> Iterator[Finding]:
    """Verify each checkpoint, and find those that only the ledger has."""
    for run in _runs(home):
        found = set()
        check = command.verify if _runs_a_command(run) else checkpoints.verify
        for checkpoint in checkpoints.scan(run.checkpoints):
            found.add(checkpoint.name)
            reason = check(checkpoint)
            if reason is not None and checkpoint.path.exists():
                yield Finding(
                    "error",
                    str(checkpoint.path),
                    f"This checkpoint is damaged: {reason}.",
                    "The next attempt moves it to quarantine and resumes from an older one.",
                    run.id,
                )
        for name, reason in kept_files.damaged(run.kept_files, checkpoints.scan(run.checkpoints)):
            yield Finding(
                "warning",
                str(run.kept_files / name),
                f"This copy of a file of the script is damaged: {reason}.",
                "A relaunch leaves the script's own file as it is, and names it if it is another.",
                run.id,
            )
        for row in [] if ledger is None else ledger.checkpoints(run.id):
            if row.good and row.name not in found and not (run.checkpoints / row.name).exists():
                removed = {
                    e.get("name") for e in journal.replay(run.journal).entries if e["kind"] in _GONE
                }
                if row.name not in removed:
                    yield Finding(
                        "error",
                        str(run.checkpoints / row.name),
                        "This checkpoint is in the ledger, but not on disk.",
                        "The next attempt resumes from the newest checkpoint on disk.",
                        run.id,
                    )


def _runs_a_command(run: Run) -> bool:
    try:
        return Job.read(run.job_file).command is not None
    except (OSError, ValueError, SpecError):
        return False


def _leftovers(home: Home, ledger: Ledger | None) -> Iterator[Finding]:
    """Find the leftovers of an interrupted daemon; call only if no daemon runs."""
    for path in sorted(_entries(home.claimed)):
        if ledger is not None and ledger.find_claim(path.name.partition("--")[0]) is not None:
            continue  # accepted; the next daemon looks whether it was written to afterwards
        yield Finding(
            "warning",
            str(path),
            "This spec is claimed, not accepted.",
            "Start the daemon (`rekindle run`): it accepts the spec.",
        )
    for path in sorted(_entries(home.runs)):
        if path.name.startswith(NEW_RUN):
            yield Finding(
                "warning",
                str(path),
                "This run directory is incomplete.",
                "Start the daemon (`rekindle run`): it creates the directory again.",
            )
    for path in sorted(_entries(home.imports)):
        yield Finding(
            "warning",
            str(path),
            "This run of another host is not imported yet.",
            "Start the daemon (`rekindle run`); if that does not import it, remove the folder and "
            "import the archive again.",
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
