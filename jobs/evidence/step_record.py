"""Record evidence of each step in a file mapped into memory, which survives a SIGKILL.

A ring of entries by step, and one by epoch, with a checksum each: a torn entry, or a file of
another version or run, is no record. The file is not fsynced; after a power cut old pages may be
left of it, whose entries are still true. What is written costs about a microsecond.
"""

import dataclasses
import math
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rekindle.state.run import reading

_MAGIC: Final = b"rkp1"
_HEADER: Final = struct.Struct("<4sII32s")
_ENTRY: Final = struct.Struct("<4sIIIQdIIIIII")
_SUM: Final = struct.Struct("<I")
_BODY: Final = _ENTRY.size
_AGREED: Final = struct.Struct("<4sI8xQ8xI16xII").unpack_from
"""Magic, stage, step, CRC of the logs, flags and checksum of an entry."""
_STRIDE: Final = 64
_NUMBER: Final = re.compile(r"_\d+$")
STEPS: Final = 4096
EPOCHS: Final = 512
PROTECTED: Final = 64
"""Steps after the newest checkpoint whose entries are not overwritten by later steps."""
_SIZE: Final = _STRIDE * (1 + STEPS + EPOCHS)
_STEP: Final = b"step"
_EPOCH: Final = b"epoc"
_HAS_LOSS: Final = 1
_HAS_LOGS: Final = 2
_HAS_LOSS_AND_LOGS: Final = 3
_KIND_SHIFT: Final = 2
MOST_KINDS: Final = 2**30 - 1
"""Highest kind of a digest that an entry can hold."""
_U32: Final = 0xFFFFFFFF

Sums = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Digest:
    """Hold digests of model, optimizer, metrics and seeds, 32 bits each.

    Attributes:
        kind: how it was computed; only digests of one kind are comparable. 0 is no digest.
    """

    kind: int
    sums: Sums


@dataclass(frozen=True, slots=True)
class Evidence:
    """Hold what is known of a step or an epoch.

    Attributes:
        step: batches trained in the whole run after it.
        epoch: 0-based.
        loss: None if the logs have none.
        logs: CRC of all logs; None without logs.
    """

    stage: int
    epoch: int
    step: int
    attempt: int
    loss: float | None
    logs: int | None
    digest: Digest | None = None

    def with_digest(self, digest: Digest | None) -> "Evidence":
        """Return the same evidence with a digest."""
        return dataclasses.replace(self, digest=digest)


class StepRecord:
    """Write and read the record of a run.

    Args:
        path: the file; made if it is missing, emptied if it has another key.
        key: identifies what entries are comparable with, at most 32 bytes.

    Attributes:
        emptied: the file held something that is not of this key or version.

    Raises:
        OSError: the file cannot be allocated at full size.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        header = _header(key)
        fd = reading.open_regular(path, os.O_RDWR | os.O_CREAT)
        try:
            size = os.fstat(fd).st_size
            os.posix_fallocate(fd, 0, _SIZE)
            if size > _SIZE:
                os.ftruncate(fd, _SIZE)
            self._map = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)
        self.emptied = size > 0 and self._map[: len(header)] != header
        if size == 0 or self.emptied:
            self.clear()
            self._map[: len(header)] = header
        self._protected = -1

    def clear(self) -> None:
        """Remove all entries."""
        self._map[_STRIDE:] = bytes(_SIZE - _STRIDE)

    def forget(self, stage: int, after: int = -1) -> None:
        """Remove the entries of a stage after a step, and those of later stages."""
        for start in range(_STRIDE, _SIZE, _STRIDE):
            if not self._map[start]:
                continue
            found = self._get(start, _STEP) or self._get(start, _EPOCH)
            if (
                found is None
                or found.stage > stage
                or (found.stage == stage and found.step > after)
            ):
                self._map[start : start + _STRIDE] = bytes(_STRIDE)

    def protect(self, step: int) -> None:
        """Keep the entries of the steps that follow a checkpoint, however long it stays newest."""
        self._protected = step

    def write(self, found: Evidence) -> None:
        """Write the entry of a step."""
        digest = found.digest
        self.write_step(
            found.stage,
            found.epoch,
            found.step,
            found.attempt,
            found.loss,
            found.logs,
            0 if digest is None else digest.kind,
            (0, 0, 0, 0) if digest is None else digest.sums,
        )

    def write_step(
        self,
        stage: int,
        epoch: int,
        step: int,
        attempt: int,
        loss: float | None,
        logs: int | None,
        kind: int = 0,
        sums: Sums = (0, 0, 0, 0),
    ) -> None:
        """Write the entry of a step from its parts; see :class:`Evidence`."""
        protected = self._protected
        if protected >= 0 and (step - protected - 1) % STEPS < PROTECTED < step - protected:
            return
        start = _STRIDE * (1 + step % STEPS)
        self._put(start, _STEP, stage, epoch, step, attempt, loss, logs, kind, sums)

    def write_epoch(self, found: Evidence) -> None:
        """Write the entry of an epoch."""
        start = _epoch_place(found.stage, found.epoch)
        self._put(
            start,
            _EPOCH,
            found.stage,
            found.epoch,
            found.step,
            found.attempt,
            found.loss,
            found.logs,
            0,
            (0, 0, 0, 0),
        )

    def _put(
        self,
        start: int,
        magic: bytes,
        stage: int,
        epoch: int,
        step: int,
        attempt: int,
        loss: float | None,
        logs: int | None,
        kind: int,
        sums: Sums,
    ) -> None:
        flags = kind << _KIND_SHIFT
        if loss is None:
            loss = 0.0
        else:
            flags |= _HAS_LOSS
        if logs is None:
            logs = 0
        else:
            flags |= _HAS_LOGS
        body = _ENTRY.pack(magic, stage, epoch & _U32, attempt, step, loss, logs, *sums, flags)
        self._map[start : start + _ENTRY.size + 4] = body + _SUM.pack(zlib.crc32(body))

    def step(self, stage: int, step: int) -> Evidence | None:
        """Read the entry of a step; None if it has none, or a torn one."""
        found = self._get(_STRIDE * (1 + step % STEPS), _STEP)
        return found if found is not None and (found.stage, found.step) == (stage, step) else None

    def agrees(self, stage: int, step: int, logs: int | None) -> bool:
        """Return whether a step has an entry with these logs and no digest."""
        start = _STRIDE * (1 + step % STEPS)
        body = self._map[start : start + _BODY]
        found: tuple[bytes, int, int, int, int, int] = _AGREED(self._map, start)
        magic, was_of, at, was, flags, checksum = found
        return (
            was == logs
            and at == step
            and was_of == stage
            and magic == _STEP
            and flags == _HAS_LOSS_AND_LOGS
            and checksum == zlib.crc32(body)
        )

    def epoch(self, stage: int, epoch: int) -> Evidence | None:
        """Read the entry of an epoch; None if it has none, or a torn one."""
        found = self._get(_epoch_place(stage, epoch), _EPOCH)
        return found if found is not None and (found.stage, found.epoch) == (stage, epoch) else None

    def furthest(self, stage: int) -> int:
        """Find the last recorded step of a stage; -1 if there is none."""
        return max((one.step for one in self._steps(stage)), default=-1)

    def evidence(self, stage: int) -> list[Evidence]:
        """Read the entries of all steps of a stage, by step."""
        return sorted(self._steps(stage), key=lambda one: one.step)

    def _steps(self, stage: int) -> Iterator[Evidence]:
        places = range(_STRIDE, _STRIDE * (1 + STEPS), _STRIDE)
        found = (self._get(start, _STEP) for start in places if self._map[start])
        return (one for one in found if one is not None and one.stage == stage)

    def _get(self, start: int, magic: bytes) -> Evidence | None:
        body = self._map[start : start + _ENTRY.size]
        (checksum,) = _SUM.unpack_from(self._map, start + _ENTRY.size)
        if checksum != zlib.crc32(body):
            return None
        was, stage, epoch, attempt, step, loss, logs, *sums, flags = _ENTRY.unpack(body)
        if was != magic:
            return None
        kind = flags >> _KIND_SHIFT
        return Evidence(
            stage,
            epoch,
            step,
            attempt,
            loss if flags & _HAS_LOSS else None,
            logs if flags & _HAS_LOGS else None,
            Digest(kind, (sums[0], sums[1], sums[2], sums[3])) if kind else None,
        )


def _header(key: bytes) -> bytes:
    body = _HEADER.pack(_MAGIC, STEPS, EPOCHS, key)
    return body + _SUM.pack(zlib.crc32(body))


def _epoch_place(stage: int, epoch: int) -> int:
    return _STRIDE * (1 + STEPS + (epoch + 61 * stage) % EPOCHS)


class LogDigest:
    """Compute loss and CRC of the logs of a step; caches what stays the same from step to step."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._start = 0
        self._pack = struct.Struct("").pack

    def of(self, logs: Mapping[str, Any]) -> tuple[float | None, int | None]:
        """Return the loss, and a CRC over names and values.

        A number that ends a name is left out: ``auc_3`` may be ``auc_1`` in a relaunch that skips
        what it finds on disk.
        """
        if not logs:
            return None, None
        names = tuple(logs)
        if names != self._names:
            plain = "\0".join(_NUMBER.sub("", str(name)) for name in names)
            self._start = zlib.crc32(plain.encode(errors="replace"))
            self._pack = struct.Struct(f"<{len(names)}d").pack
            self._names = names
        try:
            packed = self._pack(*logs.values())
            total = sum(logs.values())
        except (struct.error, TypeError, ValueError, OverflowError):
            return _slow(logs, self._start)
        loss = logs.get("loss")
        if math.isnan(total):  # one is not finite, and NaN has many bit patterns
            return _slow(logs, self._start)
        return None if loss is None else float(loss), zlib.crc32(packed, self._start)


def _slow(logs: Mapping[str, Any], start: int) -> tuple[float | None, int | None]:
    crc, loss = start, None
    for name, value in logs.items():
        number = _number(value)
        if number is not None:
            crc = zlib.crc32(struct.pack("<d", number), crc)
            if name == "loss":
                loss = number
        elif isinstance(value, str | bytes | bool | type(None)):
            crc = zlib.crc32(repr(value).encode(errors="replace"), crc)
        elif hasattr(type(value), "__array__"):
            crc = zlib.crc32(_bytes(value), crc)
        # the text of any other object may hold its address
    return loss, crc


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return math.nan if math.isnan(number) else number


def _bytes(value: Any) -> bytes:
    import numpy as np

    try:
        array = np.asarray(value)
        if array.dtype.kind in "fc":
            array = np.where(np.isnan(array), np.nan, array).astype(array.dtype)
        return b"" if array.dtype.kind == "O" else array.tobytes()
    except (TypeError, ValueError):
        return b""
