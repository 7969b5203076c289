"""What a process of an attempt tells the journal; nothing of it is lost on a full disk.

What cannot be written now is kept in memory and written later, in the same order and with
the time at which it happened. The training goes on meanwhile.
"""

import contextlib
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Any, Final

from rekindle.state.run import journal

_MOST: Final = 10_000
"""More than that is not kept: a night of a full disk must not become a full memory."""


class Record:
    """The journal of a run, written by one process of one attempt."""

    def __init__(self, path: Path, attempt: int) -> None:
        self._path = path
        self._attempt = attempt
        self._waiting: list[tuple[str, dict[str, Any]]] = []
        self._told = False
        self._owner = os.getpid()
        # a watching thread of the trainer reports, too
        self._lock = threading.RLock()
        self.trouble: OSError | None = None
        """Why entries wait; None where none do."""

    def add(self, kind: str, **fields: Any) -> None:
        """Appends an entry now, or as soon as it can be written; never raises OSError."""
        entry = {"attempt": self._attempt, "t": time.time(), **fields}
        if os.getpid() != self._owner:
            # a forked child: what waits here is its parent's, and so may be the lock
            with contextlib.suppress(OSError):
                journal.append(self._path, kind, **entry)
            return
        with self._lock:
            if len(self._waiting) < _MOST:
                self._waiting.append((kind, entry))
            self.write()

    def write(self) -> bool:
        """Writes what waits; True where nothing is left."""
        with self._lock:
            while self._waiting:
                kind, fields = self._waiting[0]
                try:
                    journal.append(self._path, kind, **fields)
                except OSError as error:
                    if not self._told:
                        say(f"the journal cannot be written: {error}; it is tried again.")
                    self._told = True
                    self.trouble = error
                    return False
                del self._waiting[0]
            self._told = False
            self.trouble = None
            return True

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """Entries that could not be written yet, oldest first."""
        return [{"kind": kind, **fields} for kind, fields in self._waiting]


_log: tuple[int, tuple[int, int]] | None = None


def keep_log(fd: int) -> None:
    """Make :func:`tell` write into a copy of ``fd``, which the script cannot close by mistake."""
    global _log
    kept = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)
    _log = kept, _identity(kept)


def tell(text: str) -> None:
    """Write a line into the attempt's log, whatever the script made of ``sys.stdout``.

    Without a log of ours (a script that runs by hand) it goes where the script's output goes.
    """
    if _log is None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print(f"rekindle: {text}", flush=True)
        return
    with contextlib.suppress(OSError):
        fd, identity = _log
        # a script that closed all descriptors may have opened a file of its own under this one
        if _identity(fd) == identity:
            os.write(fd, f"rekindle: {text}\n".encode(errors="replace"))


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def say(text: str) -> None:
    """Into the attempt's log, past Python's buffers; its disk may be full."""
    with contextlib.suppress(OSError):
        os.write(1, f"rekindle: {text}\n".encode())
