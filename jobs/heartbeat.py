"""Write and read the heartbeat file: the position of a trainer, readable at any time.

A small file mapped into memory: a beat is a store without a system call, cheap enough for every
step, and the last one survives a SIGKILL (the page cache keeps it). Two slots are written
alternately, each with a checksum, so that a torn one is never used. No fsync: a reboot ends the
trainer anyway. Beats of an older rekindle, whose trainer may still run, lack times, or plan and
pace as well.
"""

import math
import mmap
import os
import struct
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rekindle.state.run import reading
from rekindle.state.run.entries import MOST_ATTEMPTS, MOST_STEPS

_SLOT: Final = struct.Struct("<4sIdI12sqqqqqqd6d")
_SLOT_2: Final = struct.Struct("<4sIdI12sqqqqqqd")
_SLOT_1: Final = struct.Struct("<4sIdI12sqq")
_SUM: Final = struct.Struct("<I")
_STRIDE: Final = 256
_MAGIC: Final = b"rkh3"
_MAGIC_2: Final = b"rkh2"
_MAGIC_1: Final = b"rkh1"
_PLACES: Final = (
    (0, _MAGIC, _SLOT),
    (_STRIDE, _MAGIC, _SLOT),
    (0, _MAGIC_2, _SLOT_2),
    (128, _MAGIC_2, _SLOT_2),
    (0, _MAGIC_1, _SLOT_1),
    (64, _MAGIC_1, _SLOT_1),
)
ENDED: Final = "ended"
"""Section of a script that has ended; exit handlers and threads may still run."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Describe how long a training will be, as far as the trainer knows; None where it does not.

    Attributes:
        epochs: of the whole `fit` or loop.
        steps_per_epoch: batches of an epoch; of a loop without epochs, of the whole loop.
    """

    epochs: int | None = None
    steps_per_epoch: int | None = None


UNKNOWN: Final = Plan()


@dataclass(frozen=True, slots=True)
class Times:
    """Hold the seconds of an attempt so far by class, as docs/ettr.md defines them."""

    useful: float = 0.0
    repeat: float = 0.0
    init: float = 0.0
    seek: float = 0.0
    restore: float = 0.0
    save: float = 0.0


_NO_TIMES: Final = Times()


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
        stage: 0-based number of the `fit` or loop; None in a beat of an older rekindle.
        epoch_step: batches trained in the current epoch.
        plan: how long the training will be.
        pace: median seconds of the latest steps; None before two were trained.
        times: None in a beat of an older rekindle.
    """

    at: float
    attempt: int
    section: str
    epoch: int
    step: int
    count: int = 0
    stage: int | None = None
    epoch_step: int = 0
    plan: Plan = UNKNOWN
    pace: float | None = None
    times: Times | None = None


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

    def beat(
        self,
        section: str,
        epoch: int = 0,
        step: int = 0,
        *,
        stage: int = 0,
        epoch_step: int = 0,
        plan: Plan = UNKNOWN,
        pace: float | None = None,
        times: Times = _NO_TIMES,
    ) -> None:
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
            stage,
            epoch_step,
            _number(plan.epochs),
            _number(plan.steps_per_epoch),
            pace or 0.0,
            times.useful,
            times.repeat,
            times.init,
            times.seek,
            times.restore,
            times.save,
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
    for start, magic, layout in _PLACES:
        slot = data[start : start + layout.size + _SUM.size]
        body = slot[: layout.size]
        if (
            len(slot) < layout.size + _SUM.size
            or body[:4] != magic
            or _SUM.unpack_from(slot, layout.size)[0] != zlib.crc32(body)
        ):
            continue
        found = _parse(*layout.unpack(body)[1:])
        if found is None:
            continue  # written by a script
        # not compared by time: a clock that was set back must not hide progress
        if newest is None or (found.attempt, found.count) > (newest.attempt, newest.count):
            newest = found
    return newest


def times_of(beat: Beat | None) -> dict[str, float] | None:
    """Return the times of a beat as a journal entry holds them; None where it has none."""
    if beat is None or beat.times is None:
        return None
    return {name: round(seconds, 3) for name, seconds in asdict(beat.times).items()}


def _parse(
    count: int,
    at: float,
    attempt: int,
    section: bytes,
    epoch: int,
    step: int,
    stage: int | None = None,
    epoch_step: int = 0,
    epochs: int = 0,
    steps: int = 0,
    pace: float = 0.0,
    *times: float,
) -> Beat | None:
    """Make a beat of the fields of a slot; None if one of them is impossible."""
    if not (
        math.isfinite(at)
        and 1 <= attempt <= MOST_ATTEMPTS
        and all(
            0 <= one <= MOST_STEPS for one in (epoch, step, stage or 0, epoch_step, epochs, steps)
        )
        and all(0.0 <= one < math.inf for one in (pace, *times))
    ):
        return None
    return Beat(
        at,
        attempt,
        section.rstrip(b"\0").decode(errors="replace"),
        epoch,
        step,
        count,
        stage,
        epoch_step,
        Plan(epochs or None, steps or None),
        pace or None,
        Times(*times) if times else None,
    )


def _number(value: int | None) -> int:
    # 0 for unknown; a number that no reader accepts would hide the whole beat
    return value if value is not None and 0 < value <= MOST_STEPS else 0
