"""Watch the time of day, which may jump, against the monotonic clock.

Everything that must last a while is measured monotonically. What is written down as a time
of day, the end of a wait, is moved along when the clock is set back: a job that waits ten
seconds must not wait for a day.
"""

import time
from dataclasses import dataclass
from typing import Final

import structlog

from rekindle.daemon.isolation import Isolation
from rekindle.daemon.service.part import Part
from rekindle.state.ledger.ledger import Ledger

TOLERANCE_S: Final = 5.0
"""Below this it is a clock being kept in step, or a tick that took long."""


@dataclass(slots=True)
class Clock:
    """Keep the two clocks of the last look; ``wall`` in unix seconds."""

    wall: float
    monotonic: float

    def jump(self, wall: float, monotonic: float) -> float:
        """Give the seconds by which the time of day was set since the last look; 0 for none.

        A machine that slept wakes with a later time of day and the same monotonic clock: that
        is a jump as well, and waits that ended meanwhile have ended.
        """
        off = (wall - self.wall) - (monotonic - self.monotonic)
        self.wall, self.monotonic = wall, monotonic
        return off if abs(off) > TOLERANCE_S else 0.0


class ClockWatch(Part):
    """Move the waits of the ledger along when the time of day is set back."""

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
            # the start does not hang on it
            self._isolation.run(self.name, lambda: self._note(time.time() - latest))

    def _note(self, jump: float) -> None:
        self._log.warning("clock_jumped", seconds=round(jump, 1))
        if jump < 0:
            self._ledger.set_clock_back(-jump)
        self._ledger.add_event("clock_jumped", data={"seconds": round(jump, 1)})
