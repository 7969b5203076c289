"""Share what every operation on attempts needs, and find the live processes of an attempt."""

from dataclasses import dataclass, field
from typing import Any

import structlog

from rekindle.daemon.attempts import orphans
from rekindle.daemon.attempts.escalation import Escalation
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.background import Background
from rekindle.jobs import process
from rekindle.jobs.job import Job, Limits
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.paths import Home, Run


class Witnessed:
    """Remember what this daemon saw of running attempts and no record holds."""

    def __init__(self) -> None:
        self._spawned: set[tuple[str, int]] = set()
        self._interrupted: set[tuple[str, int]] = set()

    def spawn(self, job_id: str, attempt: int) -> None:
        """Note that this daemon spawned the keeper, whose log is then of this attempt."""
        self._spawned.add((job_id, attempt))

    def interrupt(self, job_id: str, attempt: int) -> None:
        """Note that the attempt was killed together with the previous daemon."""
        self._interrupted.add((job_id, attempt))

    def was_spawned(self, job_id: str, attempt: int) -> bool:
        return (job_id, attempt) in self._spawned

    def was_interrupted(self, job_id: str, attempt: int) -> bool:
        return (job_id, attempt) in self._interrupted

    def forget(self, job_id: str, attempt: int) -> None:
        """Forget an attempt that has ended."""
        self._spawned.discard((job_id, attempt))
        self._interrupted.discard((job_id, attempt))


@dataclass(frozen=True, slots=True)
class Context:
    """Hold the objects that the operations share.

    Attributes:
        background: runs work that may block on a disk.
        escalation: the attempts that were asked to end.
        leftovers: processes that outlived their keeper.
    """

    home: Home
    ledger: Ledger
    launcher: Launcher
    background: Background
    escalation: Escalation
    leftovers: orphans.Leftovers
    witnessed: Witnessed = field(default_factory=Witnessed)
    log: Any = field(default_factory=structlog.get_logger)

    def keeper(self, job: JobRow) -> process.Identity | None:
        """Return the keeper of the latest attempt as recorded in the ledger."""
        row = self.ledger.attempt(job.id, job.attempts)
        if row is None:
            return None
        return process.Identity.recorded(row.keeper_pid, row.keeper_start, row.boot_id)

    def keeper_lives(self, job: JobRow, run: Run) -> bool:
        """Return whether the keeper of the latest attempt is alive."""
        keeper = self.keeper(job)
        # in a copy of a home the records name the keepers of the original
        return keeper is not None and keeper.alive() and process.works_in(keeper.pid, run.root)

    def lives(self, job: JobRow, run: Run) -> bool:
        """Return whether the attempt's lock is held or its keeper is alive."""
        try:
            if self.launcher.alive(run):
                return True
        except OSError:
            pass  # the lock cannot be probed: the keeper's process decides
        return self.keeper_lives(job, run)

    def has_recorded_end(self, job: JobRow) -> bool:
        """Return whether the keeper recorded the end, which it does after all processes ended."""
        row = self.ledger.attempt(job.id, job.attempts)
        return row is not None and row.seconds is not None

    def has_processes(self, job: JobRow) -> bool:
        """Return whether any process of the attempt is alive."""
        run = self.home.run(job.id)
        return self.lives(job, run) or bool(not self.has_recorded_end(job) and orphans.marked(run))

    def grace(self, run: Run) -> float:
        """Return the grace period of the accepted spec: seconds that a trainer has for saving."""
        try:
            return Job.read(run.job_file).limits.stop_grace
        except (OSError, SpecError):
            return Limits().stop_grace
