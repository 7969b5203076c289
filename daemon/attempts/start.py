"""Start the next attempt of a job; a job that cannot start waits or is held.

The ledger records a start before anything is spawned.
"""

import re
import time
from collections.abc import Sequence
from typing import Final

from rekindle.daemon import errors
from rekindle.daemon.attempts import orphans, preflight, warm_start
from rekindle.daemon.attempts.context import Context
from rekindle.daemon.attempts.warm_start import Obstacle
from rekindle.daemon.source import replacement
from rekindle.jobs.job import Job
from rekindle.state import crash_points
from rekindle.state.errors import LockHeld, SpecError
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Run

_RETRY_S: Final = 10.0
_RETRY_LATER_S: Final = 30.0
"""Wait while the reason is the same as at the last try."""


class Start:
    """Start attempts of jobs that are queued, or whose wait is over."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._fetching: set[str] = set()

    def start(self, job: JobRow, gpus: Sequence[str] | None = None) -> bool:
        """Start an attempt.

        Args:
            gpus: UUIDs of the GPUs it gets; None on a host without GPUs.

        Returns:
            False if no attempt was started: the job then waits or is held, with the reason.
        """
        run = self._context.home.run(job.id)
        now = time.time()
        try:
            if self._is_kept_from_starting(job, run, now):
                return False
        except Exception as error:
            if errors.is_of_ledger(error):
                raise  # no fault of this job
            self._give_up(job, run, error, now)
            return False
        attempt = job.attempts + 1
        ledger = self._context.ledger
        with ledger.transaction():
            ledger.begin_attempt(job.id, attempt, now, gpus)
            ledger.set_state(job.id, JobState.STARTING, f"Attempt {attempt} is starting.", now=now)
        crash_points.reached("attempt_begun")
        try:
            keeper = self._context.launcher.start(run, attempt, gpus)
        except (OSError, LockHeld) as error:
            ledger.update_attempt(
                job.id, attempt, outcome="not started", ended_at=now, cause="unknown"
            )
            if isinstance(error, OSError) and str(error.filename).startswith(f"{run.root}/"):
                self._give_up(job, run, error, now)
                return False
            why = error.what if isinstance(error, LockHeld) else f"{error.strerror}."
            self._postpone(job, f"The attempt could not be started: {why}", now)
            return False
        crash_points.reached("keeper_spawned")
        self._context.witnessed.spawn(job.id, attempt)
        if keeper is not None:
            ledger.update_attempt(
                job.id,
                attempt,
                keeper_pid=keeper.pid,
                keeper_start=keeper.start,
                boot_id=keeper.boot_id,
            )
        self._context.log.info("attempt_started", job=job.id, attempt=attempt)
        return True

    def wake_fetched(self) -> None:
        """End the wait of jobs whose weights have been copied."""
        background, ledger = self._context.background, self._context.ledger
        for job_id in [*self._fetching]:
            if background.has_ended(("warm_start", job_id)):
                job = ledger.job(job_id)
                if job is not None and job.state == JobState.WAITING:
                    ledger.put_off(job_id, time.time())
                elif job is None or job.state != JobState.QUEUED:
                    background.forget(("warm_start", job_id))
                self._fetching.discard(job_id)

    def _is_kept_from_starting(self, job: JobRow, run: Run, now: float) -> bool:
        """Return whether something prevents a start; the job then waits or is held."""
        context = self._context
        # processes are not found by the keeper's cgroup or session: a script can leave both
        if (
            context.launcher.alive(run)
            or context.keeper_lives(job, run)
            or context.leftovers.end(job, orphans.marked(run))
        ):
            self._postpone(job, "A process of an earlier attempt is still alive.", now)
            return True
        obstacle = self._fetch_weights(job, run)
        if obstacle is not None:
            if obstacle.wait:
                self._postpone(job, obstacle.reason, now)
            else:
                self._hold(job, obstacle.reason, obstacle.hint, now)
            return True
        memory = self._memory_to_wait_for(job, run)
        if memory is not None and (never := preflight.more_than_the_host_has(memory)):
            self._hold(
                job,
                never,
                f"Reduce `resources.memory` in {run.job_file}, then `rekindle release {job.id}`.",
                now,
            )
            return True
        lacking = preflight.lacking(run, memory)
        if lacking is not None:
            self._postpone(job, lacking, now)
        return lacking is not None

    def _fetch_weights(self, job: JobRow, run: Run) -> Obstacle | None:
        """Fetch what ``warm_start`` names; None once it is there, or where nothing is named."""
        context = self._context
        accepted = Job.read(run.job_file)
        replacement.relink(context.home, accepted)
        wanted = warm_start.wanted(context.home, context.ledger, accepted)
        if not isinstance(wanted, warm_start.Fetch):
            return wanted
        self._fetching.add(job.id)
        fetched = context.background.ask(("warm_start", job.id), wanted.carry_out)
        if fetched is None:
            reason = f"It waits while the weights of {wanted.source} are copied."
            return Obstacle(reason, "", wait=True)
        self._fetching.discard(job.id)
        obstacle: Obstacle | None = fetched.get()
        return obstacle

    def _memory_to_wait_for(self, job: JobRow, run: Run) -> int | None:
        """Return the bytes to wait for after an attempt ran out of memory, else None."""
        last = self._context.ledger.attempt(job.id, job.attempts)
        if last is None or last.cause != "host_oom":
            return None
        try:
            return Job.read(run.job_file).resources.memory
        except (OSError, SpecError):
            return None

    def _give_up(self, job: JobRow, run: Run, error: Exception, now: float) -> None:
        """Postpone or hold a job for an error, so that the jobs behind it can start."""
        what, _ = errors.describe(error)
        if errors.is_transient(error):
            self._postpone(job, f"The attempt could not be started: {what}", now)
        elif isinstance(error, OSError | ValueError | SpecError):
            self._hold(
                job,
                f"Its run directory cannot be used: {what}",
                "Correct what it names (the daemon's user must own all of the run "
                f"directory {run.root}), then `rekindle release {job.id}`.",
                now,
                logged=what,
            )
        else:
            self._context.log.error("start_failed", job=job.id, exc_info=error)
            self._postpone(job, f"The attempt could not be started: {what}", now)

    def _hold(
        self, job: JobRow, reason: str, hint: str, now: float, logged: str | None = None
    ) -> None:
        self._context.ledger.set_state(job.id, JobState.HELD, reason, now=now, hint=hint)
        self._context.log.warning("job_held", job=job.id, reason=logged or reason)

    def _postpone(self, job: JobRow, reason: str, now: float) -> None:
        """Let a job wait a few seconds; a reason that repeats is not logged again."""
        ledger = self._context.ledger
        current = ledger.job(job.id)
        # digits say how much is free: they change at every try
        same = current is not None and _without_digits(current.reason) == _without_digits(reason)
        if current is not None and current.state == JobState.WAITING and same:
            ledger.put_off(job.id, now + _RETRY_LATER_S)
            return
        ledger.set_state(job.id, JobState.WAITING, reason, now=now, next_at=now + _RETRY_S)
        self._context.log.warning("start_postponed", job=job.id, reason=reason)


def _without_digits(text: str) -> str:
    return re.sub(r"\d+", "", text)
