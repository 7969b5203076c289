"""Divide the time that a job held, or waited for, its resources: useful, and losses by class.

docs/ettr.md defines the classes. Pure: it computes from rows of the ledger and the time now.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rekindle.state.ledger.rows import AttemptRow, EventRow, JobRow
from rekindle.state.lifecycle import ACTIVE, WAITS
from rekindle.state.run.entries import LEFT_ON_REQUEST
from rekindle.state.run.running_time import LONGEST_LOOK_S

LOSSES: Final = ("queue", "init", "seek", "restore", "repeat", "save", "other")
_OF_TRAINER: Final = ("init", "seek", "restore", "repeat", "save")
_DROPPED: Final = "events_dropped"


@dataclass(frozen=True, slots=True)
class HeldTime:
    """Hold the seconds of a job by class; they add up to ``held``.

    Attributes:
        held: from the first start to the last end, or to now, without ``person`` and ``suspended``.
        losses: by class; of the attempts that are known.
        unknown: time that no record divides: attempts of a command or of an older version, and
            waits whose events were dropped.
        person: time in which only a person could let the job run.
        suspended: time in which the host was suspended during an attempt.
        attempts: how many there were, and how many of them are among the unknown.
    """

    held: float
    useful: float
    losses: dict[str, float]
    unknown: float
    person: float
    suspended: float
    attempts: tuple[int, int]

    @property
    def is_known(self) -> bool:
        """True if the time of some attempt is known."""
        return self.attempts[1] < self.attempts[0]

    @property
    def ettr(self) -> float | None:
        """Useful time by held time; None while some of it is unknown, or nothing was held."""
        return None if self.unknown or not self.held else self.useful / self.held

    def as_json(self) -> dict[str, Any]:
        """Return the shape that docs/json.md describes."""
        known = self.is_known
        losses = {
            name: round(self.losses[name], 3) if known or name == "queue" else None
            for name in LOSSES
        }
        return {
            "ettr": None if self.ettr is None else round(self.ettr, 6),
            "held": round(self.held, 3),
            "useful": round(self.useful, 3) if known else None,
            "losses": losses,
            "unknown": round(self.unknown, 3),
            "person": round(self.person, 3),
            "suspended": round(self.suspended, 3),
        }


@dataclass(frozen=True, slots=True)
class Sign:
    """Hold the last sign of life of the attempt that runs.

    Attributes:
        at: unix time.
        times: seconds by class so far.
    """

    at: float
    times: dict[str, float] | None


def of(
    job: JobRow,
    attempts: Sequence[AttemptRow],
    events: Iterable[EventRow],
    pauses: Iterable[EventRow],
    now: float,
    sign: Sign | None,
) -> HeldTime | None:
    """Divide the time of a job; None before its first attempt.

    Args:
        attempts, events: all of the job, oldest first.
        pauses: events of the home, oldest first.
        sign: of the latest attempt, None where it gave none.
    """
    if not attempts:
        return None
    away = _Away.of([*events], [*pauses], now)
    total = _Total()
    for row, later in zip(attempts, [*attempts[1:], None], strict=True):
        ended = total.attempt(row, now, sign if later is None else None, active=job.state in ACTIVE)
        if later is not None:
            total.wait(ended, later.started_at, away)
        elif job.state in WAITS:
            total.wait(ended, now, away)
    return total.result()


@dataclass(slots=True)
class _Total:
    """Add up attempts and the waits between them."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LOSSES, 0.0))
    useful: float = 0.0
    unknown: float = 0.0
    person: float = 0.0
    suspended: float = 0.0
    attempts: int = 0
    unknown_attempts: int = 0

    def attempt(self, row: AttemptRow, now: float, sign: Sign | None, *, active: bool) -> float:
        """Add an attempt; return the unix time of its end."""
        self.attempts += 1
        times, ended = row.times, row.ended_at
        if ended is None:
            times = sign.times if sign is not None else times
            ended = (sign.at if sign is not None else now) if active else row.started_at
        wall = max(ended - row.started_at, 0.0)
        took = wall if row.seconds is None else min(row.seconds, wall)
        apart = wall - took
        if apart > LONGEST_LOOK_S:
            self.suspended += apart
        else:
            # the daemon starts the keeper, and looks at its end
            self.seconds["queue"] += apart
        if row.outcome is not None and row.trainer_pid is None:
            self.seconds["init"] += took  # nothing was started
        elif times is None:
            self.unknown += took
            self.unknown_attempts += 1
        else:
            self._divide(times, took)
        return max(ended, row.started_at)

    def _divide(self, times: dict[str, float], took: float) -> None:
        counted = sum(times.values())
        # two clocks that disagree, as after the trainer alone was frozen, divide all the same
        share = took / counted if counted > took else 1.0
        for name in _OF_TRAINER:
            self.seconds[name] += share * times.get(name, 0.0)
        self.useful += share * times.get("useful", 0.0)
        self.seconds["other"] += max(took - counted, 0.0)

    def wait(self, since: float, until: float, away: "_Away") -> None:
        """Add the time between two attempts."""
        waited = max(until - since, 0.0)
        person = away.within(since, until)
        if person is None:
            self.unknown += waited
            return
        self.person += person
        self.seconds["queue"] += waited - person

    def result(self) -> HeldTime:
        held = self.useful + sum(self.seconds.values()) + self.unknown
        parts = (self.useful, self.seconds, self.unknown, self.person, self.suspended)
        return HeldTime(held, *parts, (self.attempts, self.unknown_attempts))


@dataclass(frozen=True, slots=True)
class _Away:
    """Hold when only a person could let a job run: intervals that do not overlap.

    Attributes:
        since: what was before is not known, since events were dropped.
    """

    since: float
    intervals: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, events: list[EventRow], pauses: list[EventRow], now: float) -> "_Away":
        since = max((one.at for one in (*events, *pauses) if one.kind == _DROPPED), default=0.0)
        states = [one for one in events if one.kind.startswith("job_")]
        spans = [
            *_spans([(one.at, one.kind[4:] in LEFT_ON_REQUEST) for one in states], now),
            *_spans(
                [
                    (one.at, one.kind == "queue_paused")
                    for one in pauses
                    if one.kind in ("queue_paused", "queue_resumed")
                ],
                now,
            ),
        ]
        merged: list[tuple[float, float]] = []
        for begin, end in sorted(spans):
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return cls(since, tuple(merged))

    def within(self, since: float, until: float) -> float | None:
        """Return how much of an interval it is; None where that is not known."""
        if since < self.since:
            return None
        return sum(max(min(end, until) - max(begin, since), 0.0) for begin, end in self.intervals)


def _spans(changes: list[tuple[float, bool]], now: float) -> list[tuple[float, float]]:
    """List the intervals in which the last change was True."""
    ends = [at for at, _ in changes[1:]] + [now]
    return [(at, end) for (at, on), end in zip(changes, ends, strict=True) if on] if changes else []
