"""Parse the beginning of a period as people write it."""

import datetime as dt
from typing import Final

from rekindle.jobs import quantities
from rekindle.state.errors import UsageError

EVENING: Final = "18:00"
"""The default: the latest evening, after which people leave a host alone."""


def parse(text: str, now: float) -> float:
    """Return the unix time that a text means: ``18:00``, ``2026-11-26 18:00``, ``12h``.

    A time of day is the latest one that has passed.

    Raises:
        UsageError: it is none of these, or not in the past.
    """
    found = _parse(text.strip(), dt.datetime.fromtimestamp(now))
    if found is None:
        raise UsageError(
            f"--since is no time: {text!r}.",
            hint='Write a time of day (18:00), a date ("2026-11-26" or "2026-11-26 18:00") or a '
            'duration ("12h", "3 days").',
        )
    if found > now:
        raise UsageError(f"--since is not in the past: {text!r}.", hint="Write an earlier time.")
    return found


def _parse(text: str, now: dt.datetime) -> float | None:
    try:
        return (now - dt.timedelta(seconds=quantities.seconds(text))).timestamp()
    except (ValueError, OverflowError):
        pass
    try:
        moment = dt.time.fromisoformat(text) if ":" in text else None
    except ValueError:
        moment = None
    try:
        if moment is not None:
            found = dt.datetime.combine(now.date(), moment)
            if found.timestamp() > now.timestamp():
                found = dt.datetime.combine(now.date() - dt.timedelta(days=1), moment)
            return found.timestamp()
        return dt.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
