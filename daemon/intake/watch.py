"""Watch the inbox: an event wakes the loop, which then scans, and says how a file arrived.

A lost event delays a job but never loses it: the loop also scans at an interval, and judges a file
without events by other signs.
"""

import contextlib
import ctypes
import os
import struct
import threading
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

_QUIET = {"opened", "closed_no_write"}
_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ONLYDIR: Final = 0x01000000
_EXCL_UNLINK: Final = 0x04000000
_HEAD: Final = struct.Struct("iIII")
_BUFFER: Final = 64 * 1024


class Change(Enum):
    """Name what happened to a name in a folder. Source of the values: inotify(7)."""

    WRITTEN = 0x2
    CLOSED = 0x8
    MOVED_OUT = 0x40
    MOVED_IN = 0x80
    CREATED = 0x100
    DELETED = 0x200


class Event(NamedTuple):
    """Describe one change."""

    name: str
    change: Change


_ALL: Final = sum(change.value for change in Change)


class FolderEvents:
    """Read what happened to the names in a folder, in order and in the calling thread.

    watchdog's thread may be behind: an event about the file that had a name before would then count
    for the file that has it now.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1
        self._inode: tuple[int, int] | None = None

    def read(self) -> list[Event] | None:
        """Return the events since the last call; None if there may have been others."""
        found = self._read() if self._is_watched() else None
        if found is None:
            self._watch()
        return found

    def _read(self) -> list[Event] | None:
        found: list[Event] = []
        try:
            while data := os.read(self._fd, _BUFFER):
                for mask, name in _parse(data):
                    if mask & (_OVERFLOW | _IGNORED):
                        return None
                    found += [Event(name, change) for change in Change if mask & change.value]
        except BlockingIOError:
            return found
        except OSError:
            return None
        return None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._inode = -1, None

    def __del__(self) -> None:
        # a user has 128 inotify instances in all
        self.close()

    def _is_watched(self) -> bool:
        try:
            info = self._folder.stat()
        except OSError:
            return False
        return self._inode == (info.st_dev, info.st_ino)

    def _watch(self) -> None:
        """Watch the folder; without a watch, e.g. at a limit of the system, nothing is known."""
        self.close()
        library = ctypes.CDLL(None)
        self._fd = library.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        mask = _ALL | _ONLYDIR | _EXCL_UNLINK
        if (
            self._fd < 0
            or library.inotify_add_watch(self._fd, os.fsencode(self._folder), ctypes.c_uint32(mask))
            < 0
        ):
            self.close()
            return
        with contextlib.suppress(OSError):
            info = self._folder.stat()
            self._inode = (info.st_dev, info.st_ino)


def _parse(data: bytes) -> list[tuple[int, str]]:
    found = []
    at = 0
    while at < len(data):
        _, mask, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        found.append((mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
        at += length
    return found


class Watcher(FileSystemEventHandler):
    """Set ``wake`` when ``folder`` changes."""

    def __init__(self, folder: Path, wake: threading.Event) -> None:
        self._folder = folder
        self._wake = wake
        self._observer: BaseObserver | None = None
        self._inode: tuple[int, int] | None = None
        self._log = structlog.get_logger()
        self._reported = False

    def start(self) -> None:
        """Start to watch; if that fails, log it once and leave the inbox to the periodic scan."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            info = self._folder.stat()
            observer = Observer()
            observer.schedule(self, str(self._folder))
            observer.start()
        except OSError as error:
            if not self._reported:
                self._log.warning(
                    "inbox_not_watched",
                    error=str(error),
                    hint="The inbox is scanned every few seconds instead; raise "
                    "fs.inotify.max_user_watches and fs.inotify.max_user_instances (sysctl).",
                )
            self._reported = True
            return
        self._reported = False
        self._observer, self._inode = observer, (info.st_dev, info.st_ino)

    def ensure(self) -> None:
        """Watch again if the folder was replaced or the observer has ended."""
        try:
            info = self._folder.stat()
            same = self._inode == (info.st_dev, info.st_ino)
        except OSError:
            same = False
        alive = (
            self._observer is not None
            and self._observer.is_alive()
            and all(emitter.is_alive() for emitter in self._observer.emitters)
        )
        if same and alive:
            return
        if self._observer is not None:
            self._log.warning("inbox_watched_again", folder=str(self._folder))
        self.stop()
        self.start()

    def stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(1)
            self._observer = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in _QUIET:
            self._wake.set()
