"""Windows: the times of day in which a job may run, in local time. Pure.

A window opens and closes at the instants at which the wall clock first shows its times.
Where the clock is set forward over one of them (summer time begins), that is the instant of
the jump; where an hour comes twice (it ends), the first of the two counts, so that a window
neither opens twice nor flaps in a night.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from datetime import time as clock


@dataclass(frozen=True, slots=True)
class Look:
    """Whether a window is open, and until when that holds (unix time, seconds)."""

    open: bool
    until: float


def look(window: str, now: float, tz: tzinfo | None = None) -> Look:
    """
    Args:
        window: as :func:`rekindle.jobs.quantities.window` gives it, ``"22:00-07:00"``.
        now: unix time, seconds.
        tz: the time zone, None for that of this machine.
    """
    start, end = (clock.fromisoformat(part) for part in window.split("-"))
    overnight = timedelta(days=int(end <= start))
    today = datetime.fromtimestamp(now, tz).date()
    opens_at = []
    # a week: a day on which the clock jumps over the whole window has none
    for offset in range(-2, 8):
        day = today + timedelta(days=offset)
        opens, closes = _instant(day, start, tz), _instant(day + overnight, end, tz)
        if opens <= now < closes:
            return Look(open=True, until=closes)
        if now < opens < closes:
            opens_at.append(opens)
    return Look(open=False, until=min(opens_at))


def _instant(day: date, at: clock, tz: tzinfo | None) -> float:
    """The instant at which the wall clock first shows ``at`` or more on ``day``."""
    wall = datetime.combine(day, at)
    first = wall.replace(tzinfo=tz).timestamp()
    if datetime.fromtimestamp(first, tz).replace(tzinfo=None) == wall:
        return first
    # the clock jumps over it: the jump lies between the readings with both offsets (PEP 495)
    low, high = wall.replace(tzinfo=tz, fold=1).timestamp(), first
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, tz).replace(tzinfo=None) < wall:
            low = middle
        else:
            high = middle
    return high
