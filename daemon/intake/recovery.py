"""Find the steps between a file and its job that a daemon's end, or a full disk, interrupted."""

import contextlib
import json
import os
import shutil
from pathlib import Path

from rekindle.daemon import errors
from rekindle.daemon.intake.accept import LIST, Accept, Decided
from rekindle.daemon.intake.claims import Claim, Claims
from rekindle.daemon.intake.late_writes import LateWrites
from rekindle.daemon.isolation import LogOnce
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.daemon.transfer import transfer
from rekindle.jobs.job import Job
from rekindle.state import durable
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import NEW_FORK, NEW_RUN, Home


class Recovery:
    """Finish interrupted steps of one home."""

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        snapshots: Snapshots,
        claims: Claims,
        accept: Accept,
        late: LateWrites,
        log_once: LogOnce,
    ) -> None:
        self._home = home
        self._ledger = ledger
        self._snapshots = snapshots
        self._claims = claims
        self._accept = accept
        self._late = late
        self._log_once = log_once
        self._swept = False

    def run(self) -> None:
        """Enter accepted runs into the ledger, and decide about claims without a run.

        Raises:
            Exception: the home cannot be used now; everything is found again.
        """
        if not self._swept:
            self._snapshots.sweep()
            for path in self._home.runs.glob(f"{NEW_FORK}*"):
                # its request is still there, and is carried out again
                shutil.rmtree(path, ignore_errors=True)
            self._swept = True
        self._finish_grids()
        for run in sorted(self._home.runs.iterdir()):
            if run.name.startswith(NEW_RUN):
                # one that cannot be removed does no harm: the job gets another number
                shutil.rmtree(run, ignore_errors=True)
            elif not run.name.startswith(".") and self._ledger.job(run.name) is None:
                self._enter_isolated(run)
        waiting, accepted = self._claims.unfinished(self._ledger)
        for claim, job in accepted:
            self._watch(claim, job)
        self._accept.decide(waiting, Decided())

    def _finish_grids(self) -> None:
        """Name the run directories of grids whose acceptance was interrupted after its decision.

        Raises:
            OSError, sqlite3.Error: the home cannot be used now.
        """
        runs = self._home.runs
        for path in runs.glob(f".{LIST}*"):
            path.unlink()  # a list that was not finished decides nothing
        for path in sorted(runs.glob(f"{LIST}*")):
            ids = [str(job) for job in json.loads(path.read_bytes())]
            for job in ids:
                if os.path.lexists(runs / f"{NEW_RUN}{job}"):
                    os.rename(runs / f"{NEW_RUN}{job}", runs / job)
            durable.fsync_folder(runs)
            with self._ledger.transaction():
                for job in ids:
                    # a damaged one is reported with the other run directories
                    with contextlib.suppress(FileNotFoundError, SpecError):
                        if self._ledger.job(job) is None:
                            self._accept.enter(Job.read(runs / job / "job.json"), runs / job)
            path.unlink()

    def _watch(self, claim: Claim, job: str) -> None:
        """Watch the file of an accepted job again; without its run there is nothing to compare."""
        kept = self._home.run(job).spec_copy(claim.path.suffix)
        try:
            data = kept.read_bytes()
        except FileNotFoundError:
            claim.path.unlink(missing_ok=True)
            return
        row = self._ledger.job(job)
        grid = [] if row is None or row.grid is None else self._ledger.jobs(grid=row.grid)
        self._late.watch(claim, tuple(one.id for one in grid) or (job,), data)

    def _enter_isolated(self, run: Path) -> None:
        """Enter a run into the ledger; one that cannot be entered delays no other."""
        try:
            self._enter(run)
        except Exception as error:
            if errors.is_transient(error):
                raise
            self._log_once.error(
                run.name,
                f"The run directory {run.name} cannot be entered into the "
                f"ledger: {type(error).__name__}: {error}",
            )

    def _enter(self, run: Path) -> None:
        try:
            job = Job.read(run / "job.json")
        except (OSError, SpecError) as error:
            message = f"The run directory {run.name} has no valid job.json: {error}"
            self._log_once.error(run.name, message)
            return
        if (run / "journal.jsonl").exists():
            # imported from another host, and the daemon was killed before the ledger entry
            transfer.enter(self._home, self._ledger, job)
            return
        self._accept.enter(job, run)
