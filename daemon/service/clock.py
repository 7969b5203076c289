"""The time of day, which may jump; and how far it did, seen against the monotonic clock.

Everything that must last a while is measured monotonically. What is written down as a time
of day, the end of a wait, is moved along when the clock is set back: a job that waits ten
seconds must not wait for a day.
"""

from dataclasses import dataclass
from typing import Final

TOLERANCE_S: Final = 5.0
"""Below this it is a clock being kept in step, or a tick that took long."""


@dataclass(slots=True)
class Clock:
    """The two clocks at the last look; ``wall`` in unix seconds."""

    wall: float
    monotonic: float

    def jump(self, wall: float, monotonic: float) -> float:
        """Seconds by which the time of day was set since the last look; 0 for none.

        A machine that slept wakes with a later time of day and the same monotonic clock: that
        is a jump as well, and waits that ended meanwhile have ended.
        """
        off = (wall - self.wall) - (monotonic - self.monotonic)
        self.wall, self.monotonic = wall, monotonic
        return off if abs(off) > TOLERANCE_S else 0.0
