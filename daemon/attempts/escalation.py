"""Ask an attempt to end and escalate in steps, so that every wait for a process is bounded.

A keeper gives its trainer ``stop_grace`` and then kills it. The steps here are for a keeper that
does not react: stopped, hung, or killed while processes of its attempt are alive.
"""

import enum
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from rekindle.daemon.attempts import orphans
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.verdict.outcome import Ending
from rekindle.jobs import process
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.paths import Run


class Step(enum.IntEnum):
    """Name the steps for ending an attempt, in their order."""

    ASK = 0
    ASK_AGAIN = 1
    KILL_TRAINER = 2
    KILL_ALL = 3
    GIVE_UP = 4


BEYOND_GRACE_S: Final = {
    # a keeper takes up to 10 s to end the processes that its trainer started
    Step.ASK_AGAIN: 12.0,
    Step.KILL_TRAINER: 17.0,
    Step.KILL_ALL: 22.0,
    Step.GIVE_UP: 32.0,
}
"""Seconds after ``stop_grace`` at which each step is due."""
_MESSAGES: Final = {
    Step.ASK_AGAIN: "The attempt did not end within its grace period; its keeper is asked again.",
    Step.KILL_TRAINER: "The keeper does not react; the daemon killed the training.",
    Step.KILL_ALL: "The keeper does not react; the daemon killed it.",
    Step.GIVE_UP: "Processes of the attempt cannot be killed; no attempt starts until they end.",
}
_BLOCKED_HINT: Final = (
    "A process that is blocked in a driver or on a network disk ends when that answers, or with a "
    "reboot of the host."
)
LONGEST_S: Final = BEYOND_GRACE_S[Step.GIVE_UP]
_KILL_AGAIN_S: Final = 10.0


def due(waited: float, grace: float) -> Step:
    """Return the step that is due ``waited`` seconds after the attempt was first asked to end."""
    return max(
        (step for step, after in BEYOND_GRACE_S.items() if waited >= grace + after),
        default=Step.ASK,
    )


@dataclass(frozen=True, slots=True)
class Request:
    """Describe an attempt that was asked to end.

    Attributes:
        since: when it was first asked; monotonic, seconds.
        grace: seconds that its trainer has for saving.
        asked: the signal was sent to its keeper.
        step: the last step that was carried out.
        acted: when it was carried out; monotonic, seconds.
    """

    attempt: int
    since: float
    grace: float
    asked: bool = False
    step: Step = Step.ASK
    acted: float = 0.0


class Escalation:
    """Track the attempts that were asked to end, and the step that each has reached."""

    def __init__(self, ledger: Ledger, launcher: Launcher) -> None:
        self._ledger = ledger
        self._launcher = launcher
        self._requests: dict[str, Request] = {}
        self._log = structlog.get_logger()

    def pursue(self, job: JobRow, run: Run, grace: Callable[[], float], now: float) -> None:
        """Ask the attempt to end; on later calls carry out the step that is due.

        Args:
            grace: returns the seconds that its trainer has for saving.
            now: monotonic time, seconds.
        """
        request = self._request(job) or Request(job.attempts, now, grace())
        # recorded before it is carried out: a step that fails must not block the next one
        self._requests[job.id] = request
        step = due(now - request.since, request.grace)
        if step > request.step:
            self._requests[job.id] = replace(request, step=step, acted=now)
            self._escalate(job, run, step, now - request.since)
        elif step == Step.GIVE_UP and now - request.acted >= _KILL_AGAIN_S:
            self._requests[job.id] = replace(request, acted=now)
            orphans.kill(orphans.of(run))
        elif not request.asked and self._ask(job):
            self._requests[job.id] = replace(request, asked=True)
            self._log.info("attempt_signalled", job=job.id, attempt=job.attempts)

    def correct(self, job: JobRow, facts: Ending) -> Ending:
        """Correct the cause of an ended attempt by what the daemon did to end it."""
        request = self._request(job)
        if request is None or facts.cause == "done":
            return facts
        if request.step >= Step.KILL_TRAINER:
            return replace(facts, cause="preempted", killed_after_grace=True)
        # the signal came before the keeper could handle it, so it recorded no end
        return (
            replace(facts, cause="preempted")
            if (request.asked and facts.cause == "lost")
            else facts
        )

    def given_up(self, job: JobRow) -> bool:
        """Return whether its processes cannot be killed."""
        request = self._request(job)
        return request is not None and request.step == Step.GIVE_UP

    def report(self, job: JobRow) -> str:
        """Describe in a sentence what was killed; empty if nothing was."""
        request = self._request(job)
        if request is None or request.step < Step.KILL_TRAINER:
            return ""
        after = request.grace + BEYOND_GRACE_S[Step.KILL_TRAINER]
        return f"Its keeper did not end the training within {after:.0f} s; the daemon killed it."

    def forget(self, job: JobRow) -> None:
        """Forget an attempt that has ended."""
        self._requests.pop(job.id, None)

    def _request(self, job: JobRow) -> Request | None:
        request = self._requests.get(job.id)
        return request if request is not None and request.attempt == job.attempts else None

    def _ask(self, job: JobRow) -> bool:
        """Signal the keeper; False if it is not known yet or has ended."""
        keeper, _ = self._processes(job)
        return keeper is not None and self._launcher.terminate(keeper)

    def _escalate(self, job: JobRow, run: Run, step: Step, waited: float) -> None:
        keeper, trainer = self._processes(job)
        killed: list[int] = []
        if step == Step.ASK_AGAIN:
            self._ask(job)
        elif step == Step.KILL_TRAINER:
            if trainer is not None and trainer.send(signal.SIGKILL, group=True):
                killed.append(trainer.pid)
            killed += orphans.kill(orphans.of(run, without=keeper))
        else:
            killed = orphans.kill([*([keeper] if keeper else []), *orphans.of(run)])
        about: dict[str, Any] = {
            "step": step.name.lower(),
            "waited": round(waited, 1),
            "killed": killed,
            "message": _MESSAGES[step],
        }
        if step == Step.GIVE_UP:
            reason = f"{job.reason} {_MESSAGES[step]}"
            self._ledger.explain_stop(job.id, reason, _BLOCKED_HINT)
        self._log.warning("attempt_does_not_end", job=job.id, attempt=job.attempts, **about)
        self._ledger.add_event("attempt_does_not_end", job=job.id, attempt=job.attempts, data=about)

    def _processes(self, job: JobRow) -> tuple[process.Identity | None, process.Identity | None]:
        """Return keeper and trainer, each None if it is not known."""
        row = self._ledger.attempt(job.id, job.attempts)
        if row is None:
            return None, None
        return (
            process.Identity.recorded(row.keeper_pid, row.keeper_start, row.boot_id),
            process.Identity.recorded(row.trainer_pid, row.trainer_start, row.boot_id),
        )
