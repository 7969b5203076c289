"""Ask one attempt, or all, to save and end."""

import time

from rekindle.daemon.attempts import escalation
from rekindle.daemon.attempts.context import Context
from rekindle.state import crash_points
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE, JobState
from rekindle.state.paths import Run


class Stop:
    """End attempts on request, and all of them if the daemon stops or the host is preempted."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._daemon_stopping = False
        self._host_preempted = False

    def stop(self, job: JobRow, stop_reason: str, message: str, asked_by: str = "") -> None:
        """Ask the job's attempt to end.

        Args:
            stop_reason: one of `decision.STOP_REASONS`.
            asked_by: the name of the user who asked for it.
        """
        ledger = self._context.ledger
        if (job.asked_by or "") != asked_by:
            ledger.set_asked_by(job.id, asked_by or None)
        if job.state != JobState.STOPPING:
            now = time.time()
            ledger.set_state(job.id, JobState.STOPPING, message, now=now, wish=stop_reason)
        elif job.wish != stop_reason:
            ledger.set_wish(job.id, stop_reason, message)
        crash_points.reached("wish_noted")
        self.ask(job, self._context.home.run(job.id))

    def ask(self, job: JobRow, run: Run) -> None:
        """Ask an attempt to end; on later calls carry out the step that is due."""
        context = self._context
        context.escalation.pursue(job, run, lambda: context.grace(run), time.monotonic())

    def stop_all(self) -> None:
        """Ask every attempt to end: this daemon ends after them."""
        self._daemon_stopping = True

    def set_preempted(self, preempted: bool) -> None:
        """Ask every attempt to end while a notice says that the host is preempted."""
        self._host_preempted = preempted

    @property
    def daemon_stopping(self) -> bool:
        return self._daemon_stopping

    def is_wanted(self, job: JobRow) -> bool:
        """Return whether the job's attempt is to end."""
        return job.state == JobState.STOPPING or self._daemon_stopping or self._host_preempted

    def all_ended(self) -> bool:
        """Return whether no process is alive that could still be ended, settled or not."""
        context = self._context
        return not any(
            context.has_processes(job) and not context.escalation.given_up(job)
            for job in context.ledger.jobs(states=ACTIVE)
        )

    def longest_end(self) -> float:
        """Return the seconds after which every attempt has ended or is given up."""
        context = self._context
        jobs = context.ledger.jobs(states=ACTIVE)
        graces = [context.grace(context.home.run(job.id)) for job in jobs]
        return max(graces, default=0.0) + escalation.LONGEST_S

    def live_jobs(self) -> list[str]:
        """List the jobs that have processes now."""
        context = self._context
        return [j.id for j in context.ledger.jobs(states=ACTIVE) if context.has_processes(j)]
