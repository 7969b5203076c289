"""Record when an attempt's log grew: `rekindle logs` prints times, and finds a time in a log.

The trainer writes directly into the log, which has no times of its own. The keeper writes a line
into a file beside it when it sees that the log has grown: ``T <unix time> <size>``, and
``C <start> <length>`` where bytes were cut out. After an hour of output the lines become rarer,
so that a week of output takes two megabytes.
"""

import os
import time
from typing import Final

_EACH_S: Final = 0.9  # the keeper looks once a second, not quite regularly
_FULL: Final = 3600
"""Lines after which the distance between two grows."""


class LogTimes:
    """Write the times of one log; a failure costs times only.

    Args:
        log: path of the log.
        path: path of the file with its times; a file of an earlier keeper is continued.
    """

    def __init__(self, log: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
        self._log = log
        self._path = path
        self._size = 0
        self._lines = 0
        self._next = 0.0

    def look(self, *, last: bool = False) -> None:
        """Record the size of the log if it has grown.

        Args:
            last: the trainer has ended: do not wait for the next line to be due.

        Raises:
            OSError: the log or its times cannot be read or written.
        """
        now = time.time()
        # a clock that was set back must not stop the record
        if not last and 0 < self._next - now <= self._pause():
            return
        size = os.stat(self._log).st_size
        if size != self._size:
            self._add(f"T {now:.1f} {size}")
            self._size = size
            self._next = now + self._pause()

    def cut(self, start: int, length: int) -> None:
        """Record that bytes were cut out of the log.

        Raises:
            OSError: it cannot be written.
        """
        self._add(f"C {start} {length}")
        self._size = max(self._size - length, start)

    def _pause(self) -> float:
        return _EACH_S * max(1.0, self._lines / _FULL)

    def _add(self, line: str) -> None:
        fd = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640
        )
        try:
            os.write(fd, f"{line}\n".encode())
        finally:
            os.close(fd)
        self._lines += 1
