"""Detect a training that hangs: learn how long each section may go without a heartbeat.

The keeper watches, not the daemon: a hang must be found while no daemon runs, and only one
process may signal the trainer. It reads the heartbeat file every second and measures silences
with its own monotonic clock, independent of the time of day. A keeper that was itself suspended
counts at most two looks: a suspended host is not a hang.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from rekindle.state.run import entries
from rekindle.state.run.entries import Entry

LOOK_S: Final = 1.0

_HOUR: Final = 3600.0
UNSEEN_S: Final = {
    "start": 2 * _HOUR,
    "script": 12 * _HOUR,
    "compile": 2 * _HOUR,
    "seek": 2 * _HOUR,
    "step": _HOUR,
    "validation": _HOUR,
    "save": _HOUR,
    "ended": 12 * _HOUR,
}
"""Limits for a section that never ended before. Code around ``fit`` may load data for hours."""
SEEN_S: Final = {
    "start": 1200.0,
    "script": 12 * _HOUR,
    "compile": 1200.0,
    "seek": 1200.0,
    "step": 300.0,
    "validation": 300.0,
    "save": 600.0,
    "ended": 12 * _HOUR,
}
"""Lower bounds of learned limits; high for ``script``, which is never the same code twice."""
TIMES_LONGEST: Final = 20.0
"""A learned limit is this multiple of the longest silence that was followed by a beat."""
TIMES_COMPILE: Final = 3.0
"""A later epoch may fill its shuffle buffer again, which the first one did in ``compile``."""


def limit(section: str, longest: Mapping[str, float], *, timeout: float | None) -> float:
    """Compute the seconds without a heartbeat after which ``section`` counts as hung.

    Args:
        longest: the longest silence by section that was followed by a beat, seconds.
        timeout: the spec's ``limits.hang_timeout``, which overrides everything; None for auto.
    """
    if timeout is not None:
        return timeout
    seen = longest.get(section)
    if seen is None:
        return UNSEEN_S.get(section, _HOUR)
    learned = max(SEEN_S.get(section, 600.0), TIMES_LONGEST * seen)
    if section in ("seek", "step", "validation"):
        learned = max(learned, TIMES_COMPILE * longest.get("compile", 0.0))
    return learned


@dataclass(slots=True)
class HangDetector:
    """Measure the silences of one attempt.

    Attributes:
        timeout: the spec's ``hang_timeout``, None for learned limits.
        speaks: False for a command without a beat so far; without a ``timeout`` it never counts
            as hung, since beats are optional for commands.
        longest: by section; begins with the values of earlier attempts.
        section: current section of the trainer.
        silent: seconds since the last beat.
    """

    timeout: float | None
    speaks: bool = True
    longest: dict[str, float] = field(default_factory=dict)
    section: str = "start"
    silent: float = 0.0
    _last: object = None
    _at: float | None = None

    def look(self, mark: object, section: str | None, now: float) -> bool:
        """Check the heartbeat; return True if the trainer has been silent for too long.

        Args:
            mark: any value that differs after each beat.
            section: the section of the last beat, None if unknown.
            now: monotonic seconds.
        """
        if self._at is None:
            # the file may hold a beat of an earlier attempt
            self._last, self._at = mark, now
            return False
        passed, self._at = min(now - self._at, 2 * LOOK_S), now
        self.silent += max(passed, 0.0)
        if mark != self._last:
            # the beat was less than one look ago: that time counts for the next section
            self.longest[self.section] = max(self.longest.get(self.section, 0.0), self.silent)
            self._last, self.silent, self.speaks = mark, 0.0, True
            self.section = section or self.section
            return False
        return (self.speaks or self.timeout is not None) and self.silent > self.limit()

    def limit(self) -> float:
        """Compute the seconds of silence after which the current section counts as hung."""
        return limit(self.section, self.longest, timeout=self.timeout)


def seen_before(before: Iterable[Entry]) -> dict[str, float]:
    """Find the longest silences of earlier attempts that were followed by a beat."""
    longest: dict[str, float] = {}
    for entry in entries.attempt_ended.among(before):
        seen = entry.get("longest")
        for section, seconds in seen.items() if isinstance(seen, dict) else ():
            if isinstance(seconds, int | float):
                longest[section] = max(longest.get(section, 0.0), float(seconds))
    return longest
