"""Cadence of ``every = "auto"``: how long to train between two checkpoints.

The longer the interval, the more a failure costs; the shorter, the more the saves cost. The
optimum is that of J. T. Daly, "A higher order estimate of the optimum checkpoint interval for
restart dumps", Future Generation Computer Systems 22 (2006), equation 37.
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Final

PRIOR: Final = 6 * 3600.0
"""Seconds of training with one failure that are assumed before any is seen."""
MOST: Final = 600.0
"""Longest interval in seconds, however rare failures are."""
FIRST: Final = 60.0
"""Interval in seconds before the first save of a process has shown what it costs."""
SHARE: Final = 10.0
"""Shortest interval in durations of a save, so that saving takes at most a tenth of the time."""
RATE: Final = 16 * 2**20
"""Bytes per second that are written on average at most: a disk wears out."""


def optimum(cost: float, between: float) -> float:
    """Return the seconds of training between two saves for which a run is shortest.

    Args:
        cost: seconds by which one save delays the training.
        between: mean time between two failures, in seconds.
    """
    half = cost / (2 * between)
    if half >= 1:
        return between
    return math.sqrt(2 * cost * between) * (1 + math.sqrt(half) / 3 + half / 9) - cost


def time_between(failures: int, seconds: float) -> float:
    """Estimate the mean time between failures from those seen in so many seconds of training."""
    return (PRIOR + seconds) / (1 + failures)


@dataclass(slots=True)
class Costs:
    """Measure what saves cost the training: the stall, and the slower steps during the write.

    Attributes:
        write: seconds that the last write took.
        size: bytes of the last checkpoint.
        delay: median of the seconds by which the last saves delayed the training; before the
            first one is measured, the duration of the write.
    """

    write: float = 0.0
    size: int = 0
    delay: float = 0.0
    _delays: deque[float] = field(default_factory=lambda: deque(maxlen=5))
    _steps: deque[float] = field(default_factory=lambda: deque(maxlen=31))

    def wrote(self, seconds: float, size: int) -> None:
        """Record how long the last write took, and how many bytes it had."""
        self.write, self.size = seconds, size
        if not self._delays:
            self.delay = seconds

    def stalled(self, seconds: float) -> None:
        """Record how long the training waited for a save."""
        self._delays.append(seconds)
        self.delay = statistics.median(self._delays)

    def stepped(self, seconds: float, *, writing: bool) -> None:
        """Record the duration of a step, and whether a checkpoint was being written meanwhile."""
        if not writing:
            self._steps.append(seconds)
        elif self._delays and self._steps:
            self._delays[-1] += max(seconds - statistics.median(self._steps), 0.0)
            self.delay = statistics.median(self._delays)

    def least(self) -> float:
        """Return the shortest interval in seconds that processor and disk can take."""
        return max(SHARE * max(self.write, self.delay), self.size / RATE)

    def interval(self, between: float) -> float:
        """Return the seconds between two saves.

        Args:
            between: mean time between two failures, in seconds.
        """
        if not self.delay:
            return FIRST
        return max(min(optimum(self.delay, between), MOST), self.least())
