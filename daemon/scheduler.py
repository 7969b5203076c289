"""Who runs next: pure, from plain data and ``now``."""

from collections.abc import Iterable
from dataclasses import dataclass

MIN_BETWEEN_STARTS_S = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that wants to run.

    Attributes:
        order: rank of arrival; the smaller came first.
        not_before: unix time of the earliest start, None for at once.
    """

    id: str
    priority: int
    order: float
    not_before: float | None = None


def choose(
    candidates: Iterable[Candidate],
    *,
    running: int,
    slots: int,
    now: float,
    last_start: float | None,
) -> Candidate | None:
    """The next job to start, or None while there is none or no room.

    The highest priority first, then the earliest arrival. ``now`` and ``last_start`` are of
    one monotonic clock only in their difference: no two starts within a second.
    """
    if running >= slots:
        return None
    if last_start is not None and now - last_start < MIN_BETWEEN_STARTS_S:
        return None
    ready = [c for c in candidates if c.not_before is None or c.not_before <= now]
    return min(ready, key=lambda c: (-c.priority, c.order), default=None)
