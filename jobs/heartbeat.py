"""The heartbeat: where a trainer is, readable by the daemon without asking it.

A small file mapped into memory: a beat is a store without a system call, so there can be
one for every step, and the last one is there after a SIGKILL (the page cache keeps it).
Two slots are written in turn, each with a checksum, so that a torn one is never believed.
No fsync: a reboot ends the trainer anyway.
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
"""Section of a script that came to its end; exit handlers and threads may still run."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What was read from a heartbeat file.

    Attributes:
        at: unix time of the beat, seconds.
        attempt: 1-based number of the attempt.
        section: start, script, seek, compile, step, validation, save or ended.
        epoch: 0-based epoch in work.
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
    """Writes beats into ``path``.

    Raises:
        OSError: the file cannot be made at its full size (a mapped file that meets a full
            disk later would kill the process).
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
        """Notes where the trainer is; about a microsecond."""
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
    """The last whole beat, or None where there is none."""
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
            continue  # a script wrote it
        # never by time: a clock that was set back must not hide progress
        found = Beat(
            at, attempt, section.rstrip(b"\0").decode(errors="replace"), epoch, step, count
        )
        if newest is None or (found.attempt, found.count) > (newest.attempt, newest.count):
            newest = found
    return newest
