"""Write and read the heartbeat file: the position of a trainer, readable at any time.

A small file mapped into memory: a beat is a store without a system call, cheap enough for every
step, and the last one survives a SIGKILL (the page cache keeps it). Two slots are written
alternately, each with a checksum, so that a torn one is never used. No fsync: a reboot ends the
trainer anyway.
"""

import math
import mmap
import os
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rekindle.state.run import reading
from rekindle.state.run.entries import MOST_ATTEMPTS, MOST_STEPS

_SLOT: Final = struct.Struct("<4sIdI12sqq")
_SUM: Final = struct.Struct("<I")
_STRIDE: Final = 64
_MAGIC: Final = b"rkh1"
_EMPTY: Final = bytes(_STRIDE)
ENDED: Final = "ended"
"""Section of a script that has ended; exit handlers and threads may still run."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Content of a heartbeat file.

    Attributes:
        at: unix time of the beat, seconds.
        attempt: 1-based number of the attempt.
        section: start, script, seek, compile, step, validation, save or ended.
        epoch: 0-based current epoch.
        step: batches trained in the whole run.
        count: beats of this attempt so far, modulo 2**32.
    """

    at: float
    attempt: int
    section: str
    epoch: int
    step: int
    count: int = 0


class Heartbeat:
    """Write beats into ``path``.

    Raises:
        OSError: the file cannot be allocated at full size (on a disk that fills up later, a
            mapped file without its space would kill the process).
    """

    def __init__(self, path: Path, attempt: int) -> None:
        fd = reading.open_regular(path, os.O_RDWR | os.O_CREAT)
        try:
            os.posix_fallocate(fd, 0, 2 * _STRIDE)
            self._map = mmap.mmap(fd, 2 * _STRIDE)
        finally:
            os.close(fd)
        self._attempt = attempt
        self._count = 0

    def beat(self, section: str, epoch: int = 0, step: int = 0) -> None:
        """Record the position of the trainer; takes about a microsecond."""
        self._count += 1
        body = _SLOT.pack(
            _MAGIC,
            self._count & 0xFFFFFFFF,
            time.time(),
            self._attempt,
            section.encode()[:12],
            epoch,
            step,
        )
        start = (self._count & 1) * _STRIDE
        self._map[start : start + _SLOT.size + 4] = body + _SUM.pack(zlib.crc32(body))


def read(path: Path) -> Beat | None:
    """Read the last intact beat; None if the file has none."""
    try:
        data = reading.read_bytes(path)
    except OSError:
        return None
    newest: Beat | None = None
    for start in (0, _STRIDE):
        slot = data[start : start + _STRIDE].ljust(_STRIDE, b"\0")
        body = slot[: _SLOT.size]
        if slot == _EMPTY or _SUM.unpack_from(slot, _SLOT.size)[0] != zlib.crc32(body):
            continue
        _, count, at, attempt, section, epoch, step = _SLOT.unpack(body)
        if not (
            math.isfinite(at)
            and 1 <= attempt <= MOST_ATTEMPTS
            and 0 <= epoch <= MOST_STEPS
            and 0 <= step <= MOST_STEPS
        ):
            continue  # written by a script
        # not compared by time: a clock that was set back must not hide progress
        found = Beat(
            at, attempt, section.rstrip(b"\0").decode(errors="replace"), epoch, step, count
        )
        if newest is None or (found.attempt, found.count) > (newest.attempt, newest.count):
            newest = found
    return newest
