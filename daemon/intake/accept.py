"""Accept claimed specs in batches that share fsyncs, after their code was copied."""

import functools
import json
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from rekindle.daemon import errors
from rekindle.daemon.background import Background, at_once
from rekindle.daemon.intake.claims import Claim, Claims, Parsed
from rekindle.daemon.intake.late_writes import LateWrites
from rekindle.daemon.intake.refuse import Refuse
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.jobs.job import Job
from rekindle.state import durable
from rekindle.state.errors import HomeUnusable, SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import NEW_RUN, Home

BATCH: Final = 64
"""Number of jobs that share their fsyncs; a kill in between accepts none of them twice."""
LIST: Final = ".grid-"
"""Begins the name of a list of the jobs of a grid: once it is there, all of them are accepted."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Collect the results of claims.

    Attributes:
        accepted: ids of the new jobs.
        rejected: names of the refused files.
    """

    accepted: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Made:
    """Hold the jobs of a claimed file, whose run directories have temporary names."""

    claim: Claim
    jobs: tuple[Job, ...]
    data: bytes


class Accept:
    """Turn claimed specs into jobs.

    Args:
        background: takes snapshots; without it they are taken in the calling thread.
        max_waiting: jobs of one user that may wait; None for no limit.
    """

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        snapshots: Snapshots,
        claims: Claims,
        refuse: Refuse,
        late: LateWrites,
        *,
        background: Background | None,
        max_waiting: int | None = None,
        crash_point: Callable[[str], None],
    ) -> None:
        self._max_waiting = max_waiting
        self._home = home
        self._ledger = ledger
        self._snapshots = snapshots
        self._claims = claims
        self._refuse = refuse
        self._late = late
        self._background = background
        self._crash_point = crash_point
        self._copying: dict[str, Parsed] = {}
        self._log = structlog.get_logger()

    @property
    def is_copying(self) -> bool:
        """Return whether specs wait for the copy of their code."""
        return bool(self._copying)

    def begin_batch(self) -> None:
        """Take new snapshots from now on, unless specs that were dropped together still wait."""
        if not self.is_copying:
            self._snapshots.forget()

    def has_copied(self) -> bool:
        """Return whether the code of a waiting spec has been copied."""
        background = self._background
        return background is not None and any(
            background.has_ended(("snapshot", token)) for token in self._copying
        )

    def decide(self, claims: list[Claim], decided: Decided) -> None:
        """Accept or refuse claimed files, and those whose code has been copied meanwhile.

        Raises:
            Exception: the home cannot be used now; the claims are found again.
        """
        ready = [*self._parse(claims, decided), *self._copied(decided)]
        made: list[_Made] = []
        waiting: dict[int, int] = {}
        for parsed in ready:
            if sum(len(one.jobs) for one in made) >= BATCH:
                self._commit(made, decided)
                made = []
            try:
                self._refuse_beyond_limit(parsed, waiting)
                made.append(self._make_runs(parsed))
                if parsed.job.uid in waiting:
                    waiting[parsed.job.uid] += len(parsed.jobs)
            except (OSError, MemoryError, sqlite3.Error, HomeUnusable):
                raise
            except Exception as error:
                self._reject(parsed.claim, error, decided)
        if made:
            self._commit(made, decided)

    def enter(self, job: Job, run: Path) -> None:
        """Enter an accepted run into the ledger."""
        self._ledger.insert_job(
            job.id,
            name=job.name,
            number=int(job.id.rpartition("-")[2]),
            run_dir=str(run),
            priority=job.priority,
            spec=job.to_json(secrets=False),
            claim=job.claim,
            submitted_at=job.submitted_at or (run / "job.json").stat().st_mtime,
            uid=job.uid,
            user=job.user,
            grid=None if job.grid is None else job.grid.grid,
            point=None if job.grid is None else json.dumps(job.grid.values),
        )

    def _parse(self, claims: list[Claim], decided: Decided) -> list[Parsed]:
        """Read claimed files; those whose code must be copied wait."""
        ready: list[Parsed] = []
        for claim in claims:
            if claim.token in self._copying:
                continue
            try:
                parsed = self._claims.parse(claim)
                needed = self._snapshots.needed(parsed.job)
            except (OSError, MemoryError):
                raise  # a fault of the home, not of this spec
            except Exception as error:
                self._reject(claim, error, decided)
                continue
            if needed:
                self._copying[claim.token] = parsed
            else:
                ready.append(parsed)
        return ready

    def _copied(self, decided: Decided) -> list[Parsed]:
        """Collect the specs whose code has been copied; start copying that of the others."""
        ready: list[Parsed] = []
        for token, parsed in [*self._copying.items()]:
            if sum(len(one.jobs) for one in ready) >= BATCH:
                break
            work = functools.partial(self._snapshots.take, parsed.job, parsed.claim.dropped)
            outcome = (
                at_once(work)
                if self._background is None
                else self._background.ask(
                    ("snapshot", token), work, self._snapshots.lane(parsed.job)
                )
            )
            if outcome is None:
                continue
            del self._copying[token]
            try:
                ready.append(parsed.replaced(source=outcome.get()))
            except (OSError, MemoryError):
                raise  # the spec stays claimed
            except Exception as error:
                self._reject(parsed.claim, error, decided)
        return ready

    def _refuse_beyond_limit(self, parsed: Parsed, waiting: dict[int, int]) -> None:
        """Check that the user of a spec may have its jobs beside those that wait.

        Args:
            waiting: jobs of each user that wait, with those of this batch; filled as needed.

        Raises:
            SpecError: no; nothing is lost, the file is kept with the reason.
        """
        most, job = self._max_waiting, parsed.job
        if most is None or job.uid is None:
            return
        if job.uid not in waiting:
            waiting[job.uid] = self._ledger.count_waiting(job.uid)
        count = len(parsed.jobs)
        if waiting[job.uid] + count > most:
            more = f", and this grid has {count} points" if count > 1 else ""
            raise SpecError(
                f"{job.user} has {waiting[job.uid]} of {most} jobs that may wait{more}.",
                where=job.name,
                hint="Submit it again when some of them have started, or ask the administrator "
                "for a larger `max_waiting` in rekindle.toml.",
            )

    def _make_runs(self, parsed: Parsed) -> _Made:
        """Create the run directories of a spec under temporary names, without fsync."""
        claim, name = parsed.claim, parsed.job.name
        number = self._ledger.highest_number(name)
        jobs: list[Job] = []
        for job in parsed.jobs:
            number = self._home.free_number(name, number)
            made = job.replace(
                id=f"{name}-{number}", claim=_claim_of(claim, job), submitted_at=time.time()
            )
            if job.grid is not None:
                made = made.replace(grid=replace(job.grid, grid=claim.token))
            self._make_run(made, claim, parsed.data)
            jobs.append(made)
        return _Made(claim, tuple(jobs), parsed.data)

    def _make_run(self, job: Job, claim: Claim, data: bytes) -> None:
        new = self._home.runs / f"{NEW_RUN}{job.id}"
        new.mkdir(mode=0o750)
        durable.write_new(new / f"spec{Path(claim.name).suffix}", data, 0o600)
        durable.write_new(new / "job.json", job.to_json().encode(), 0o600)
        if job.source is not None:
            os.symlink(self._snapshots.place(job.source), new / "source")

    def _commit(self, made: list[_Made], decided: Decided) -> None:
        """Rename run directories to their ids and enter them into the ledger in one transaction."""
        runs = self._home.runs
        jobs = [job for one in made for job in one.jobs]
        new = [runs / f"{NEW_RUN}{job.id}" for job in jobs]
        durable.fsync_all([path for one in new for path in (*_files(one), one)])
        self._crash_point("before_accept")
        # one rename decides about one job, and one list about all jobs of a grid
        lists = [_list(runs, one) for one in made if len(one.jobs) > 1]
        self._crash_point("grids_decided")
        for path, job in zip(new, jobs, strict=True):
            os.rename(path, runs / job.id)
            self._crash_point("run_named")
        durable.fsync_folder(runs)
        self._crash_point("accepted")
        with self._ledger.transaction():
            for job in jobs:
                self.enter(job, runs / job.id)
        self._crash_point("known")
        for path in lists:
            path.unlink()
        for one in made:
            self._late.watch(one.claim, tuple(job.id for job in one.jobs), one.data)
            for job in one.jobs:
                decided.accepted.append(job.id)
                self._log.info("job_accepted", job=job.id, file=one.claim.name)
        self._crash_point("finished")

    def _reject(self, claim: Claim, error: Exception, decided: Decided) -> None:
        """Refuse a claim; one that cannot be moved delays no other.

        Raises:
            Exception: the home cannot be used now.
        """
        try:
            self._refuse.claim(claim, error)
        except Exception as problem:
            if errors.is_transient(problem):
                raise
            self._log.exception("spec_not_rejected", file=claim.name, error=str(error))
            return
        decided.rejected.append(claim.name)


def _claim_of(claim: Claim, job: Job) -> str:
    """Name the claim of a job: that of its file, with the number of each further point."""
    number = 1 if job.grid is None else job.grid.number
    return claim.token if number == 1 else f"{claim.token}+{number}"


def _list(runs: Path, made: _Made) -> Path:
    """Write durably which jobs a grid becomes."""
    path = runs / f"{LIST}{made.claim.token}"
    durable.write_bytes(path, json.dumps([job.id for job in made.jobs]).encode(), 0o600)
    return path


def _files(folder: Path) -> list[Path]:
    return [
        Path(entry.path) for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)
    ]
