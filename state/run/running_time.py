"""Publish how long an attempt has run, so that its time is known however it ends.

The keeper adds up the time between its looks, each bounded: a suspended or frozen host, and a
keeper that was itself stopped, do not run. The file survives the keeper; it is not fsynced, since
after a power cut an older value is still a true lower bound.
"""

import math
import os
import zlib
from pathlib import Path
from typing import Final

from rekindle.state.run import reading

LONGEST_LOOK_S: Final = 10.0
"""Longest time between two looks that counts in full: a slow disk is no suspended host."""
_BYTES: Final = 64


class RunningTime:
    """Add up the time of one attempt.

    Attributes:
        began: monotonic seconds.
        seconds: time that it has run so far.
    """

    def __init__(self, attempt: int, now: float) -> None:
        self.began = now
        self.seconds = 0.0
        self._attempt = attempt
        self._at = now

    def look(self, now: float) -> None:
        """Add the time since the last look; ``now`` is monotonic."""
        self.seconds += min(max(now - self._at, 0.0), LONGEST_LOOK_S)
        self._at = now

    def publish(self, path: Path) -> None:
        """Write the time.

        Raises:
            OSError: the file cannot be written.
        """
        body = b"%d %.3f" % (self._attempt, self.seconds)
        line = b"%s %08x" % (body, zlib.crc32(body))
        fd = reading.open_regular(path, os.O_WRONLY | os.O_CREAT)
        try:
            os.pwrite(fd, line.ljust(_BYTES - 1) + b"\n", 0)
        finally:
            os.close(fd)


def read(path: Path, attempt: int) -> float | None:
    """Read how long an attempt has run; None if its keeper did not publish it."""
    try:
        body, _, checksum = reading.read_bytes(path, 2 * _BYTES).strip().rpartition(b" ")
        number, seconds = body.split()
        found = float(seconds)
        if checksum != b"%08x" % zlib.crc32(body) or int(number) != attempt:
            return None
    except (OSError, ValueError):
        return None
    return found if math.isfinite(found) and found >= 0 else None
