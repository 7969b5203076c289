"""Write journal entries and log lines of one process of an attempt.

Entries that cannot be written, e.g. on a full disk, stay in memory and are written later, in
the same order and with their original time. The training continues meanwhile.
"""

import contextlib
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Any, Final

from rekindle.jobs.process import OwnDescriptor
from rekindle.state.run import journal

_MOST: Final = 10_000
"""Further entries are dropped: a night with a full disk must not fill the memory."""


class Record:
    """The journal of a run, written by one process of one attempt."""

    def __init__(self, path: Path, attempt: int) -> None:
        self._path = path
        self._attempt = attempt
        self._waiting: list[tuple[str, dict[str, Any]]] = []
        self._reported = False
        self._owner = os.getpid()
        # a watching thread of the trainer writes as well
        self._lock = threading.RLock()
        self.trouble: OSError | None = None
        """The error for which entries wait; None if none wait."""

    def add(self, kind: str, **fields: Any) -> None:
        """Append an entry now, or as soon as it can be written; never raise OSError."""
        entry = {"attempt": self._attempt, "t": time.time(), **fields}
        if os.getpid() != self._owner:
            # a forked child: the waiting entries belong to its parent, which may hold the lock
            with contextlib.suppress(OSError):
                journal.append(self._path, kind, **entry)
            return
        with self._lock:
            if len(self._waiting) < _MOST:
                self._waiting.append((kind, entry))
            self.write()

    def write(self) -> bool:
        """Write the waiting entries; return True if none is left."""
        with self._lock:
            while self._waiting:
                kind, fields = self._waiting[0]
                try:
                    journal.append(self._path, kind, **fields)
                except OSError as error:
                    if not self._reported:
                        print_line(f"the journal cannot be written: {error}; retrying.")
                    self._reported = True
                    self.trouble = error
                    return False
                del self._waiting[0]
            self._reported = False
            self.trouble = None
            return True

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """Entries that are not written yet, oldest first."""
        return [{"kind": kind, **fields} for kind, fields in self._waiting]


_log: OwnDescriptor | None = None


def keep_log(fd: int) -> None:
    """Let :func:`log_line` write into a copy of ``fd``, which the script does not know of."""
    global _log
    _log = OwnDescriptor.of(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100))


def log_line(text: str) -> None:
    """Write a line into the attempt's log, even if the script has replaced ``sys.stdout``.

    Without :func:`keep_log` (a script run by hand) the line goes to the script's output.
    """
    if _log is None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print(f"rekindle: {text}", flush=True)
        return
    with contextlib.suppress(OSError):
        if _log.is_open():
            os.write(_log.fd, f"rekindle: {text}\n".encode(errors="replace"))


def print_line(text: str) -> None:
    """Write a line to standard output without Python's buffers; its disk may be full."""
    with contextlib.suppress(OSError):
        os.write(1, f"rekindle: {text}\n".encode())
