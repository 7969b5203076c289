"""Compare the time of day, which may jump, with the monotonic clock.

Durations are measured on the monotonic clock. The end of a wait is recorded as a time of day and
is moved when the clock is set back: a job that waits ten seconds must not wait for a day.
"""

import time
from dataclasses import dataclass
from typing import Final

import structlog

from rekindle.daemon.isolation import Isolation
from rekindle.daemon.service.part import Part
from rekindle.state.ledger.ledger import Ledger

TOLERANCE_S: Final = 5.0
"""A smaller difference comes from clock synchronization or from a slow tick."""


@dataclass(slots=True)
class Clock:
    """Hold the readings of both clocks at the last comparison; ``wall`` in unix seconds."""

    wall: float
    monotonic: float

    def jump(self, wall: float, monotonic: float) -> float:
        """Return the seconds by which the time of day was set since the last call; 0 for none.

        A host that was suspended wakes with a later time of day and the same monotonic clock:
        that is a jump as well, and waits whose end has passed are over.
        """
        off = (wall - self.wall) - (monotonic - self.monotonic)
        self.wall, self.monotonic = wall, monotonic
        return off if abs(off) > TOLERANCE_S else 0.0


class ClockWatch(Part):
    """Move the waits in the ledger when the time of day is set back."""

    name = "clock"

    def __init__(self, ledger: Ledger, isolation: Isolation) -> None:
        self._ledger = ledger
        self._isolation = isolation
        self._clock = Clock(time.time(), time.monotonic())
        self._log = structlog.get_logger()

    def tick(self, now: float) -> None:
        jump = self._clock.jump(time.time(), now)
        if jump:
            self._note(jump)

    def compare_with_ledger(self) -> None:
        """Find a ledger from the future: the clock was set back while no daemon ran."""
        latest = self._ledger.latest_change()
        if latest is not None and latest - time.time() > TOLERANCE_S:
            # isolated: an error here must not prevent the start
            self._isolation.run(self.name, lambda: self._note(time.time() - latest))

    def _note(self, jump: float) -> None:
        self._log.warning("clock_jumped", seconds=round(jump, 1))
        if jump < 0:
            self._ledger.set_clock_back(-jump)
        self._ledger.add_event("clock_jumped", data={"seconds": round(jump, 1)})
