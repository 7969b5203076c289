"""Find the steps between a file and its job that a daemon's end, or a full disk, interrupted."""

import shutil
from pathlib import Path

from rekindle.daemon import errors
from rekindle.daemon.intake.accept import Accept, Decided
from rekindle.daemon.intake.claims import Claims
from rekindle.daemon.isolation import LogOnce
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.daemon.transfer import transfer
from rekindle.jobs.job import Job
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home


class Recovery:
    """Finish interrupted steps of one home."""

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        snapshots: Snapshots,
        claims: Claims,
        accept: Accept,
        log_once: LogOnce,
    ) -> None:
        self._home = home
        self._ledger = ledger
        self._snapshots = snapshots
        self._claims = claims
        self._accept = accept
        self._log_once = log_once
        self._swept = False

    def run(self) -> None:
        """Enter accepted runs into the ledger, and decide about claims without a run.

        Raises:
            Exception: the home cannot be used now; everything is found again.
        """
        if not self._swept:
            self._snapshots.sweep()
            self._swept = True
        for run in sorted(self._home.runs.iterdir()):
            if run.name.startswith(".new-"):
                # one that cannot be removed does no harm: the job gets another number
                shutil.rmtree(run, ignore_errors=True)
            elif self._ledger.job(run.name) is None:
                self._enter_isolated(run)
        self._accept.decide(self._claims.unfinished(self._ledger), Decided())

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
