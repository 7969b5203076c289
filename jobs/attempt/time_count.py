"""Count where the time of an attempt goes: useful, repeated, or lost; see docs/ettr.md."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from typing import Final

from rekindle.jobs import environment
from rekindle.jobs.heartbeat import Times

_OF_SECTION: Final = {"save": "save", "seek": "seek", "script": "", "ended": ""}
"""Classes of sections of the heartbeat; empty for time that no class counts."""


class TimeCount:
    """Add up seconds by class, from the start of the attempt on.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self._seconds = {field.name: 0.0 for field in dataclasses.fields(Times)}
        self._at = _began(now)
        self._section = "start"
        self._inner: list[str] = []
        self._opened = False
        self._step = self._until = 0

    def repeats(self, until: int) -> None:
        """Set the step up to which earlier attempts had trained."""
        self._until = until

    def look(self, section: str, step: int, now: float, *, trained: bool) -> Times:
        """Count the time up to now; ``section`` begins.

        Args:
            step: batches trained in the whole run.
            trained: this attempt has trained a batch.
        """
        self._step = step
        self._count(now)
        # the first batch, in which the model is traced, is still part of the start
        self._opened = self._opened or trained
        self._section = section
        return Times(**self._seconds)

    @contextlib.contextmanager
    def spending(self, name: str) -> Iterator[None]:
        """Count the time within as that of one class, whatever sections begin in it."""
        self._count(time.monotonic())
        section = self._section
        self._inner.append(name)
        try:
            yield
        finally:
            self._count(time.monotonic())
            self._inner.pop()
            self._section = section

    def _count(self, now: float) -> None:
        seconds, self._at = max(now - self._at, 0.0), now
        if self._inner:
            name = self._inner[-1]
        elif not self._opened and self._section not in ("save", "seek"):
            name = "init"
        else:
            trains = "repeat" if self._step <= self._until else "useful"
            name = _OF_SECTION.get(self._section, trains)
        if name:
            self._seconds[name] += seconds


def _began(now: float) -> float:
    """Return when the attempt began, in monotonic seconds: the keeper says it."""
    try:
        began = float(os.environ[environment.BEGAN])
    except (KeyError, ValueError):
        return now  # a script that is run by hand
    return began if 0 <= began <= now else now
