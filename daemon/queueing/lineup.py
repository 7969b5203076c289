"""Follow the ledger, and sort each job that changed: active, blocked, held or in a lane."""

import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from rekindle.daemon import errors
from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.config import PerUser
from rekindle.daemon.gpus.pool import Pool
from rekindle.daemon.queueing import user_limits
from rekindle.daemon.queueing.dependency_index import DependencyIndex
from rekindle.daemon.queueing.scheduler import Candidate, Lane, Scheduler
from rekindle.daemon.queueing.wants import Wants, WantsReader, is_used_up
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE, WAITS, JobState

_BUDGET_S: Final = 0.015
"""Time for sorting; several times in a tick."""
_BATCH: Final = 50
"""Jobs that are sorted in one transaction."""


@dataclass(frozen=True, slots=True)
class Active:
    """Describe a job that has an attempt.

    Attributes:
        before: seconds that earlier attempts ran.
    """

    row: JobRow
    wants: Wants
    gpus: tuple[str, ...]
    before: float


class Lineup:
    """Keep the scheduler and the sets of active and blocked jobs up to date with the ledger."""

    def __init__(
        self, ledger: Ledger, attempts: Attempts, pool: Pool, scheduler: Scheduler, limits: PerUser
    ) -> None:
        self._limits = limits
        self._ledger = ledger
        self._attempts = attempts
        self._pool = pool
        self._scheduler = scheduler
        self._wants = WantsReader(ledger)
        self._dependencies = DependencyIndex(ledger, self._wants)
        self._active: dict[str, Active] = {}
        self._blocked: set[str] = set()
        self._dirty: set[str] = set()
        self._again: set[str] = set()
        self._log = structlog.get_logger()

    @property
    def active(self) -> list[Active]:
        """The jobs that have an attempt."""
        return [*self._active.values()]

    def wait_reason(self, lane: Lane) -> str:
        """Say why the jobs of a lane have to wait for jobs of their user; empty if not."""
        if lane.user is None:
            return ""
        active = ((one.row.user, len(one.gpus)) for one in self._active.values())
        return user_limits.wait_reason(self._limits, lane, user_limits.usage(active))

    def hold_reason(self, lane: Lane) -> str:
        """Say why the jobs of a lane can never start under their user's limits; empty if not."""
        return user_limits.hold_reason(self._limits, lane)

    @property
    def busy(self) -> bool:
        """Return whether any job is active, blocked, in a lane, or not sorted yet."""
        return bool(self._active or self._blocked or len(self._scheduler) or self.is_behind)

    @property
    def is_behind(self) -> bool:
        """Return whether jobs are left that the last call of `follow` had no time to sort."""
        return bool(self._dirty or self._again)

    def load(self) -> None:
        """Sort the active jobs, and note the waiting ones for the next ticks."""
        for job in self._ledger.jobs(states=ACTIVE):
            self._look_at_isolated(job.id)
        self._dirty |= self._ledger.ids(WAITS)

    def follow(self) -> None:
        """Sort the jobs that have changed since the last call, as far as a tick has time."""
        self._dirty |= self._ledger.take_changed()
        until = time.monotonic() + _BUDGET_S
        while self.is_behind:
            if self._dirty:
                self._sort_some(self._dirty, self._look_at_isolated)
            else:
                self._sort_some(self._again, self._place_again)
            self._dirty |= self._ledger.take_changed()
            if time.monotonic() > until:
                break

    def look_again(self) -> None:
        """Sort every job in a lane again, since the GPUs of the host have changed."""
        self._dirty.update(self._scheduler)
        self.follow()

    def _sort_some(self, waiting: set[str], sort: Callable[[str], None]) -> None:
        """Sort a few jobs, and commit what is decided about them together: one fsync, not many."""
        batch = sorted(itertools.islice(waiting, _BATCH))
        until = time.monotonic() + _BUDGET_S
        # a single one needs no lock, which another client may hold
        together = self._ledger.transaction() if len(batch) > 1 else contextlib.nullcontext()
        sorted_now = []
        with together:
            for job_id in batch:
                sort(job_id)
                sorted_now.append(job_id)
                if time.monotonic() > until:
                    break
        # discarded last: after an error (a full disk) the next tick repeats it
        waiting.difference_update(sorted_now)

    def hold(self, job_id: str, reason: str, hint: str) -> None:
        """Hold a job."""
        self._ledger.set_state(job_id, JobState.HELD, reason, hint=hint, now=time.time())
        self._log.warning("job_held", job=job_id, reason=reason)

    def _look_at_isolated(self, job_id: str) -> None:
        """Sort a job; one with an unusable spec is held and does not block the others."""
        try:
            self._look_at(job_id)
        except Exception as error:
            if errors.is_transient(error):
                raise
            self._hold_not_understood(job_id, error)

    def _hold_not_understood(self, job_id: str, error: Exception) -> None:
        job = self._ledger.job(job_id)
        if job is None or job.state not in WAITS:
            # a running attempt is settled at its end
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
        was = self._active.pop(job_id, None)
        self._scheduler.remove(job_id)
        self._blocked.discard(job_id)
        if was is not None and (job is None or job.state not in ACTIVE):
            self._pool.give_back(was.gpus)
        if job is None:
            return
        self._wants.forget(job_id)
        self._dependencies.unregister(job_id)
        if job.attempts:
            self._dependencies.drop(job_id)
        if job.state in ACTIVE:
            self._active[job_id] = self._make_active(job)
        elif job.state in WAITS:
            self._place(job)
        self._again.update(self._dependencies.affected(job))

    def _make_active(self, job: JobRow) -> Active:
        try:
            wants = self._wants.of(job)
        except SpecError:
            # it keeps running whatever its spec says now; its end is evaluated by `job.json`
            wants = Wants()
        before = self._ledger.runtime(job.id) if wants.max_runtime is not None else 0.0
        return Active(job, wants, self.gpus_before(job), before)

    def _place_again(self, job_id: str) -> None:
        if job_id in self._blocked or job_id in self._scheduler:
            job = self._ledger.job(job_id)
            if job is not None and job.state in WAITS:
                self._place(job)

    def _place(self, job: JobRow) -> None:
        """Block or hold a job that is queued or waiting, or put it into its lane."""
        wants = self._wants.of(job)
        self._scheduler.remove(job.id)
        self._blocked.discard(job.id)
        if wants.max_runtime is not None and is_used_up(
            wants.max_runtime, self._ledger.runtime(job.id)
        ):
            self.hold(
                job.id,
                f"It has reached its `max_runtime`; {self._attempts.saved(job).kept}.",
                f"`rekindle release {job.id} --max-runtime 12h` resumes it with a new limit.",
            )
            return
        # the needs of a job that has begun were met before its first attempt
        if wants.after and job.attempts == 0 and not self._needs_are_met(job, wants):
            return
        self._scheduler.put(
            Candidate(
                job.id,
                job.priority,
                (job.submitted_at, job.rowid),
                self._gpus_for(job, wants),
                wants.window,
                _not_before(job),
                # with limits each user has lanes of their own
                job.user if self._limits != PerUser() else None,
            )
        )

    def gpus_before(self, job: JobRow) -> tuple[str, ...]:
        """Return the UUIDs of the GPUs that the job's last attempt had."""
        row = self._ledger.attempt(job.id, job.attempts) if job.attempts else None
        return tuple((row.gpus if row else None) or ())

    def _gpus_for(self, job: JobRow, wants: Wants) -> int:
        """Return how many GPUs the job needs.

        A training that has begun on GPUs does not continue without them, even if the host has none
        now: a CPU would take weeks, and gives other numbers.
        """
        needed = self._pool.gpus_for(wants.gpus)
        return needed if needed or wants.gpus is not None else len(self.gpus_before(job))

    def _needs_are_met(self, job: JobRow, wants: Wants) -> bool:
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
    """Return the end of a wait on the monotonic clock, which cannot be set."""
    return None if job.next_at is None else time.monotonic() + job.next_at - time.time()
