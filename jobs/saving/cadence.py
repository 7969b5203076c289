"""Cadence of ``every = "auto"``: how long to train between two checkpoints.

The longer the interval, the more a failure costs; the shorter, the more the saves cost. The
optimum is that of J. T. Daly, "A higher order estimate of the optimum checkpoint interval for
restart dumps", Future Generation Computer Systems 22 (2006), equation 37.
"""

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

PRIOR: Final = 6 * 3600.0
"""Seconds of training with one failure that are assumed before any is seen."""
MOST: Final = 600.0
"""Longest interval in seconds, however rare failures are."""
FIRST: Final = 60.0
"""Longest interval in seconds before the first save of a process has shown what it costs."""
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


@dataclass(frozen=True, slots=True)
class Save:
    """Hold what the journal says of a save of an earlier attempt.

    Attributes:
        attempt: its attempt.
        seconds: until it was on disk.
        size: bytes of the checkpoint.
        delay: of the training by a save, as measured until then; None if it was not.
    """

    attempt: int
    seconds: float
    size: int
    delay: float | None = None


@dataclass(slots=True)
class Costs:
    """Measure what saves cost the training: the stall, and the slower steps during the write.

    Attributes:
        write: seconds that the last write took.
        size: bytes of the last checkpoint.
        delay: median of the seconds by which the last saves delayed the training; before the
            first one is measured, that of earlier attempts, else the duration of the write.
        measured: the delay, where this process or an earlier one has measured it.
        carried: nothing was measured by this process: the costs are those of earlier attempts.
    """

    write: float = 0.0
    size: int = 0
    delay: float = 0.0
    measured: float | None = None
    carried: bool = False
    _delays: deque[float] = field(default_factory=lambda: deque(maxlen=5))
    _steps: deque[float] = field(default_factory=lambda: deque(maxlen=31))

    @classmethod
    def of(cls, saves: Sequence[Save]) -> "Costs":
        """Begin with the costs that the last attempt with saves has seen.

        Args:
            saves: of one stage, oldest first.
        """
        if not saves:
            return cls()
        last = [save for save in saves if save.attempt == saves[-1].attempt]
        # a write while the host was frozen is no reason to save rarely
        write = statistics.median(save.seconds for save in last)
        measured = next((s.delay for s in reversed(last) if s.delay is not None), None)
        delay = write if measured is None else measured
        return cls(write, last[-1].size, delay, measured, carried=True)

    def wrote(self, seconds: float, size: int) -> None:
        """Record how long the last write took, and how many bytes it had."""
        self.write, self.size, self.carried = seconds, size, False
        if self.measured is None:
            self.delay = seconds

    def stalled(self, seconds: float) -> None:
        """Record how long the training waited for a save."""
        self.carried = False
        self._delays.append(seconds)
        self._measure()

    def stepped(self, seconds: float, *, writing: bool) -> None:
        """Record the duration of a step, and whether a checkpoint was being written meanwhile."""
        if not writing:
            self._steps.append(seconds)
        elif self._delays and self._steps:
            self._delays[-1] += max(seconds - statistics.median(self._steps), 0.0)
            self._measure()

    def _measure(self) -> None:
        self.delay = self.measured = statistics.median(self._delays)

    def least(self) -> float:
        """Return the shortest interval in seconds that processor and disk can take.

        What earlier attempts have measured puts off no save: this may be another machine.
        """
        return 0.0 if self.carried else self._least()

    def _least(self) -> float:
        return max(SHARE * max(self.write, self.delay), self.size / RATE)

    def interval(self, between: float) -> float:
        """Return the seconds between two saves.

        Args:
            between: mean time between two failures, in seconds.
        """
        if not self.delay:
            return FIRST
        best = max(min(optimum(self.delay, between), MOST), self._least())
        return min(best, FIRST) if self.carried else best
