"""Decide whether a file in the inbox is complete.

A file that was renamed in is complete. One that is written in place is complete when its writer has
closed it and it has not changed for two seconds. Changes are observed with a monotonic clock; what
a file's mtime says does not matter, since a copying tool may set it to any time.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from rekindle.daemon.intake import writers
from rekindle.daemon.intake.watch import Change, Event, FolderEvents

SETTLE_S: Final = 2.0
"""Time without change after which a file that is written in place is complete."""
_LONG_S: Final = 60.0
"""Time without change after which a file that is still open for writing is reported."""
_MARK: Final = "user.rekindle.sha256"
"""Extended attribute with the digest of the whole content, which `rekindle submit` sets."""
_MARKED_MOST: Final = 1 << 20


class Arrival(StrEnum):
    """Name the ways in which a file came into the inbox, as far as events say."""

    UNKNOWN = "unknown"
    CREATED = "created"
    RENAMED = "renamed"
    OPEN = "open"
    """Written to, and not closed since."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Look:
    """Hold what distinguishes one content of a file from the next."""

    inode: tuple[int, int]
    size: int
    changed: tuple[int, int]

    @classmethod
    def of(cls, info: os.stat_result) -> "Look":
        return cls((info.st_dev, info.st_ino), info.st_size, (info.st_mtime_ns, info.st_ctime_ns))


@dataclass(frozen=True, slots=True)
class _Sighting:
    """Hold the first of equal looks; ``since`` is monotonic, seconds."""

    look: Look
    since: float


def after(arrival: Arrival, change: Change) -> Arrival | None:
    """Return what an event makes of an arrival; None if the name is gone."""
    match change:
        case Change.MOVED_IN:
            return Arrival.RENAMED
        case Change.CREATED:
            return Arrival.CREATED
        case Change.WRITTEN:
            return Arrival.OPEN
        case Change.CLOSED:
            # a file that was only opened for writing after its rename is the same
            return Arrival.RENAMED if arrival is Arrival.RENAMED else Arrival.CLOSED
    return None


def complete(arrival: Arrival, *, still: float, written: bool | None, empty: bool) -> bool:
    """Return whether a file is complete.

    Args:
        still: seconds without change.
        written: whether it is open for writing; None if no writer is visible, although there may
            be one of another user.
    """
    if written:
        return False
    if arrival is Arrival.RENAMED:
        return True
    if still < SETTLE_S:
        return False
    if arrival is Arrival.OPEN or (arrival is Arrival.CREATED and empty):
        return written is False  # a hidden writer's close would have been an event
    return True


def mark(path: Path, data: bytes) -> None:
    """Mark a file as complete, for a daemon that does not see how it arrives."""
    with contextlib.suppress(OSError):  # not every file system has extended attributes
        os.setxattr(path, _MARK, hashlib.sha256(data).hexdigest().encode())


class Settling:
    """Follow the files of an inbox from scan to scan."""

    def __init__(self, folder: Path) -> None:
        self._events = FolderEvents(folder)
        self._arrivals: dict[str, Arrival] = {}
        self._sightings: dict[str, _Sighting] = {}

    def close(self) -> None:
        """Stop to watch the folder."""
        self._events.close()

    def begin(self) -> None:
        """Begin a scan: take note of what has happened since the last one."""
        self._follow()

    def keep(self, names: Collection[str]) -> None:
        """Forget files that have left the inbox."""
        for name in [name for name in self._sightings if name not in names]:
            del self._sightings[name]

    def is_complete(self, path: Path, info: os.stat_result, now: float) -> bool:
        """Return whether a file is complete.

        Args:
            now: monotonic, seconds.

        Raises:
            FileNotFoundError: it was removed.
        """
        name, look = path.name, Look.of(info)
        sighting = self._sightings.get(name)
        if sighting is None or sighting.look != look:
            sighting = self._sightings[name] = _Sighting(look, now)
        regular = stat.S_ISREG(info.st_mode)
        arrival = self._arrivals.get(name, Arrival.UNKNOWN)
        if arrival is Arrival.UNKNOWN and regular and _is_marked(path, info.st_size):
            arrival = Arrival.RENAMED
        still = now - sighting.since
        if arrival is not Arrival.RENAMED and still < SETTLE_S:
            return False
        written = writers.is_open_for_writing(path) if regular else False
        if not complete(arrival, still=still, written=written, empty=info.st_size == 0):
            return False
        # the name may have been given to another file since the events were read
        return name not in self._follow()

    def wait(self, name: str, now: float) -> float:
        """Return the seconds after which an incomplete file is worth another look."""
        left = SETTLE_S - self._still(name, now)
        return left if left > 0 else SETTLE_S

    def obstacle(self, path: Path, now: float) -> str | None:
        """Describe what has kept a file from being complete for long; None if nothing has."""
        if self._still(path.name, now) < _LONG_S:
            return None
        holder = writers.holder(path)
        if holder is None:
            return "its writer has not closed it"
        return f"{holder} has it open for writing"

    def _still(self, name: str, now: float) -> float:
        sighting = self._sightings.get(name)
        return 0.0 if sighting is None else now - sighting.since

    def _follow(self) -> set[str]:
        """Apply new events; return the names they are about."""
        events = self._events.read()
        if events is None:  # some were lost: nothing is known of any file
            names = {*self._arrivals}
            self._arrivals.clear()
            return names
        for event in events:
            self._apply(event)
        return {event.name for event in events}

    def _apply(self, event: Event) -> None:
        arrival = after(self._arrivals.get(event.name, Arrival.UNKNOWN), event.change)
        if arrival is None:
            self._arrivals.pop(event.name, None)
        else:
            self._arrivals[event.name] = arrival


def _is_marked(path: Path, size: int) -> bool:
    """Return whether a file has the content that its mark names."""
    if size > _MARKED_MOST:
        return False
    try:
        digest = os.getxattr(path, _MARK, follow_symlinks=False)
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest().encode() == digest
    except FileNotFoundError:
        raise
    except OSError:
        return False
