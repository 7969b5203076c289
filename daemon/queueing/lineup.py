"""Follow the ledger: where each job stands, be it active, blocked, held or in the order.

Only jobs that have changed are looked at.
"""

import os
import time
from dataclasses import dataclass
from typing import Final

import structlog

from rekindle.daemon import errors
from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.queueing.dependency_index import DependencyIndex
from rekindle.daemon.queueing.pool import Pool
from rekindle.daemon.queueing.scheduler import Candidate, Scheduler
from rekindle.daemon.queueing.wants import Wants, WantsReader
from rekindle.jobs import process
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE, JobState

_WAITS: Final = frozenset({JobState.QUEUED, JobState.WAITING})
_NOT_WORTH_A_START_S: Final = 2.0
"""An attempt that may run no longer than this would only just have imported its libraries."""
_TICKS_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Active:
    """Describe a job that has an attempt.

    Attributes:
        began: start of the attempt on the clock that no one can set, seconds since boot.
        before: seconds that earlier attempts ran.
    """

    row: JobRow
    wants: Wants
    gpus: tuple[str, ...]
    began: float
    before: float

    def has_run(self, boot: float) -> float:
        """Give the seconds that the job has run, ``boot`` seconds after the boot."""
        return self.before + boot - self.began


class Lineup:
    """Keep the scheduler, and what is active or blocked, in step with the ledger."""

    def __init__(
        self, ledger: Ledger, attempts: Attempts, pool: Pool, scheduler: Scheduler
    ) -> None:
        self._ledger = ledger
        self._attempts = attempts
        self._pool = pool
        self._scheduler = scheduler
        self._wants = WantsReader(ledger)
        self._dependencies = DependencyIndex(ledger, self._wants)
        self._active: dict[str, Active] = {}
        self._blocked: set[str] = set()
        self._dirty: set[str] = set()
        self._log = structlog.get_logger()

    @property
    def active(self) -> list[Active]:
        """List the jobs that have an attempt."""
        return [*self._active.values()]

    @property
    def busy(self) -> bool:
        """Tell whether there is any job that a tick must look after."""
        return bool(self._active or self._blocked or len(self._scheduler))

    def load(self) -> None:
        """Take in every job that has not ended."""
        for job in self._ledger.jobs(states={*_WAITS, *ACTIVE}):
            self._look_at_isolated(job.id)

    def follow(self) -> None:
        """Take in what has changed since the last call."""
        self._dirty |= self._ledger.take_changed()
        while self._dirty:
            for job_id in sorted(self._dirty):
                self._look_at_isolated(job_id)
                # only now: what fails here (a full disk) is done again at the next tick
                self._dirty.discard(job_id)
            self._dirty |= self._ledger.take_changed()

    def look_again(self) -> None:
        """Ask again what each job in the order needs: the host has other GPUs than before."""
        for job_id in [*self._scheduler]:
            self._look_at_isolated(job_id)

    def hold(self, job_id: str, reason: str, hint: str) -> None:
        """Hold a job."""
        self._ledger.set_state(job_id, JobState.HELD, reason, hint=hint, now=time.time())
        self._log.warning("job_held", job=job_id, reason=reason)

    def _look_at_isolated(self, job_id: str) -> None:
        """Look at a job; one that cannot be understood is held, and the others have their turn."""
        try:
            self._look_at(job_id)
        except Exception as error:
            if errors.is_transient(error):
                raise
            self._hold_not_understood(job_id, error)

    def _hold_not_understood(self, job_id: str, error: Exception) -> None:
        job = self._ledger.job(job_id)
        if job is None or job.state not in _WAITS:
            # an attempt that runs is settled at its end
            self._log.error("job_not_understood", job=job_id, exc_info=error)
            return
        what, hint = errors.describe(error)
        file = self._attempts.job_file(job_id)
        self.hold(
            job_id,
            f"Its {file.name} cannot be used: {what}",
            f"{file}: {hint} Then `rekindle release {job_id}`.",
        )

    def _look_at(self, job_id: str) -> None:
        job = self._ledger.job(job_id)
        left = self._active.pop(job_id, None)
        self._scheduler.remove(job_id)
        self._blocked.discard(job_id)
        if left is not None and (job is None or job.state not in ACTIVE):
            self._pool.give_back(left.gpus)
        if job is None:
            return
        self._wants.forget(job_id)
        self._dependencies.unregister(job_id)
        if job.attempts:
            self._dependencies.drop(job_id)
        if job.state in ACTIVE:
            self._active[job_id] = self._make_active(job, left)
        elif job.state in _WAITS:
            self._place(job)
        for named in (job.id, job.name):
            for other in self._dependencies.dependents(named):
                self._place_again(other)

    def _make_active(self, job: JobRow, known: Active | None) -> Active:
        try:
            wants = self._wants.of(job)
        except SpecError:
            # it runs, whatever its spec says now; its end is judged by `job.json`
            wants = Wants()
        row = self._ledger.attempt(job.id, job.attempts)
        began = time.clock_gettime(time.CLOCK_BOOTTIME)
        if known is not None and known.row.attempts == job.attempts:
            began = known.began
        if row is not None and row.keeper_start is not None and row.boot_id == process.boot_id():
            began = row.keeper_start / _TICKS_S
        before = self._ledger.runtime(job.id) if wants.max_runtime is not None else 0.0
        return Active(job, wants, tuple((row.gpus if row else None) or ()), began, before)

    def _place_again(self, job_id: str) -> None:
        if job_id in self._blocked or job_id in self._scheduler:
            job = self._ledger.job(job_id)
            if job is not None and job.state in _WAITS:
                self._place(job)

    def _place(self, job: JobRow) -> None:
        """Put a job that wants to run where it stands: blocked, held, or into the order."""
        wants = self._wants.of(job)
        self._scheduler.remove(job.id)
        self._blocked.discard(job.id)
        if (
            wants.max_runtime is not None
            and self._ledger.runtime(job.id) >= wants.max_runtime - _NOT_WORTH_A_START_S
        ):
            self.hold(
                job.id,
                "It has run as long as its `max_runtime` allows; "
                f"{self._attempts.saved(job).kept}.",
                f"`rekindle release {job.id} --max-runtime 12h` gives it more.",
            )
            return
        # what has begun has had what it waited for
        if wants.after and job.attempts == 0 and not self._has_what_it_waits_for(job, wants):
            return
        self._scheduler.put(
            Candidate(
                job.id,
                job.priority,
                (job.submitted_at, job.rowid),
                self._pool.gpus_for(wants.gpus),
                wants.window,
                _not_before(job),
            )
        )

    def _has_what_it_waits_for(self, job: JobRow, wants: Wants) -> bool:
        answer = self._dependencies.judge(job, wants.after)
        if not answer.reason:
            return True
        if answer.broken:
            self.hold(job.id, answer.reason, answer.hint)
            return False
        self._blocked.add(job.id)
        self._ledger.set_waiting([job.id], answer.reason, hint=answer.hint, now=time.time())
        return False


def _not_before(job: JobRow) -> float | None:
    """Give the end of a wait on the clock that nobody can set."""
    return None if job.next_at is None else time.monotonic() + job.next_at - time.time()
