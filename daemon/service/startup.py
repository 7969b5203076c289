"""Carry out the steps of a start; meanwhile the daemon serves what it can."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import structlog

from rekindle.daemon.attempts import preflight
from rekindle.daemon.isolation import Isolation
from rekindle.daemon.service import sd_notify
from rekindle.daemon.service.part import Part
from rekindle.state.errors import HomeUnusable, LedgerCorrupt, LedgerTooNew
from rekindle.state.paths import Home

T = TypeVar("T")


class Step(NamedTuple):
    """Describe a step of the start; a failed step is repeated as a whole."""

    name: str
    work: Callable[[], object]


class Startup(Part):
    """Carry out steps in order; a failed step is repeated at the next tick."""

    name = "startup"
    serves = False
    fatal = (LedgerCorrupt, LedgerTooNew)

    def __init__(self, steps: Iterable[Step], isolation: Isolation) -> None:
        self._remaining = [*steps]
        self._isolation = isolation

    @property
    def done(self) -> bool:
        return not self._remaining

    def is_due(self, now: float) -> bool:
        return not self.done

    def tick(self, now: float) -> None:
        """Carry out the remaining steps.

        Raises:
            LedgerCorrupt, LedgerTooNew: no later tick can succeed.
        """
        while self._remaining:
            step = self._remaining[0]
            try:
                step.work()
            except self.fatal:
                raise
            except Exception as error:
                self._isolation.report(step.name, error)
                return
            self._isolation.clear(step.name)
            del self._remaining[0]


def when_there_is_room(home: Home, step: Callable[[], T]) -> T:
    """Carry out a step of the start; on a full disk report readiness and wait for space.

    An exit would be final: systemd does not restart a daemon that cannot use its home. SIGTERM
    ends the wait, since there is nothing to save yet.

    Raises:
        HomeUnusable, OSError: the step failed and the disk is not full.
    """
    lifeline = sd_notify.Lifeline()
    reported = second = False
    while True:
        try:
            return step()
        except (OSError, HomeUnusable):
            if not preflight.is_full(home.root):
                if second:
                    raise
                second = True  # space may have come back since the step failed
                continue
        second = False
        if not reported:
            reported = True
            structlog.get_logger().warning(
                "start_waits_for_space",
                home=str(home.root),
                hint="`rekindle prune --yes` removes checkpoints that are not needed.",
            )
            sd_notify.notify("READY=1")
        lifeline.tick_was_good(time.monotonic(), "Waiting for space on the disk of the home")
        time.sleep(1.0)
