"""Decide whether the times of day in which a job may run include now, in local time.

A window opens and closes at the instants at which the wall clock first shows its times. If the
clock is set forward over one of them (summer time begins), that is the instant of the jump; if
an hour occurs twice (summer time ends), the first counts, so that a window never opens twice in
a night.
"""

import datetime as dt
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """State whether a window is open, and until when that is valid (unix time, seconds)."""

    open: bool
    until: float


class Windows:
    """Cache the state of each window until it can change."""

    def __init__(self) -> None:
        self._looks: dict[str, tuple[float, Look]] = {}

    def is_open(self, window: str) -> bool:
        """Return whether a window is open now."""
        now = time.time()
        known = self._looks.get(window)
        # a clock that was set back invalidates the cache
        if known is None or not known[0] <= now < known[1].until:
            known = self._looks[window] = (now, look(window, now))
        return known[1].open


def look(window: str, now: float, tz: dt.tzinfo | None = None) -> Look:
    """Determine the state of a window.

    Args:
        window: as :func:`rekindle.jobs.quantities.window` returns it, ``"22:00-07:00"``.
        now: unix time, seconds.
        tz: the time zone, None for that of this host.
    """
    start, end = (dt.time.fromisoformat(part) for part in window.split("-"))
    overnight = dt.timedelta(days=int(end <= start))
    today = dt.datetime.fromtimestamp(now, tz).date()
    opens_at = []
    # several days: on a day on which the clock jumps over the whole window it does not open
    for offset in range(-2, 8):
        day = today + dt.timedelta(days=offset)
        opens, closes = _instant(day, start, tz), _instant(day + overnight, end, tz)
        if opens <= now < closes:
            return Look(open=True, until=closes)
        if now < opens < closes:
            opens_at.append(opens)
    return Look(open=False, until=min(opens_at))


def _instant(day: dt.date, at: dt.time, tz: dt.tzinfo | None) -> float:
    """Find the instant at which the wall clock first shows ``at`` or more on ``day``."""
    wall = dt.datetime.combine(day, at)
    first = wall.replace(tzinfo=tz).timestamp()
    if dt.datetime.fromtimestamp(first, tz).replace(tzinfo=None) == wall:
        return first
    # the clock jumps over it: the jump lies between the readings with both offsets (PEP 495)
    low, high = wall.replace(tzinfo=tz, fold=1).timestamp(), first
    while high - low > 1:
        middle = (low + high) // 2
        if dt.datetime.fromtimestamp(middle, tz).replace(tzinfo=None) < wall:
            low = middle
        else:
            high = middle
    return high
