"""Find what an earlier daemon, or a full disk, had interrupted between a file and its job."""

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
        troubles: LogOnce,
    ) -> None:
        self._home = home
        self._ledger = ledger
        self._snapshots = snapshots
        self._claims = claims
        self._accept = accept
        self._troubles = troubles
        self._swept = False

    def run(self) -> None:
        """Make runs known that are accepted, and decide about claims that are not.

        Raises:
            Exception: the home is in trouble; all of it is found again.
        """
        if not self._swept:
            self._snapshots.sweep()
            self._swept = True
        for run in sorted(self._home.runs.iterdir()):
            if run.name.startswith(".new-"):
                # one that cannot be removed is in nobody's way: another number is taken
                shutil.rmtree(run, ignore_errors=True)
            elif self._ledger.job(run.name) is None:
                self._enter_isolated(run)
        self._accept.decide(self._claims.unfinished(self._ledger), Decided())

    def _enter_isolated(self, run: Path) -> None:
        """Make a run known; one that cannot be made known holds up no other."""
        try:
            self._enter(run)
        except Exception as error:
            if errors.is_transient(error):
                raise
            self._troubles.error(
                run.name,
                f"The run directory {run.name} cannot be made known to the "
                f"ledger: {type(error).__name__}: {error}",
            )

    def _enter(self, run: Path) -> None:
        try:
            job = Job.read(run / "job.json")
        except (OSError, SpecError) as error:
            message = f"The run directory {run.name} holds no accepted job: {error}"
            self._troubles.error(run.name, message)
            return
        if (run / "journal.jsonl").exists():
            # it came from another host, and a crash was faster than the ledger
            transfer.enter(self._home, self._ledger, job)
            return
        self._accept.enter(job, run)
