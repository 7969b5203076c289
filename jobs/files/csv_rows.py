"""Rows of a CSVLogger after a checkpoint: cut those that this job wrote, keep those of others.

Several jobs may append to one file. A row is this job's own if the journal has an epoch with its
number and its values.
"""

import csv
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rekindle.state.run import entries, journal

_TAIL_BYTES: Final = 4 * 2**20
_LONGEST_HEADER: Final = 65_536


@dataclass(frozen=True, slots=True)
class Cut:
    """State what was done with the rows after a checkpoint.

    Attributes:
        kept: rows that were left because they are not this job's.
        unclear: rows among them that may be this job's.
    """

    kept: int = 0
    unclear: int = 0


def is_log(file: Path) -> bool:
    """Return whether a file begins as CSVLogger writes it."""
    try:
        with file.open("rb") as stream:
            head = stream.readline(_LONGEST_HEADER)
    except OSError:
        return False
    return head.startswith(b"epoch") and len(head) > 6 and not head[5:6].isalnum()


def epochs(path: Path) -> list[dict[str, Any]]:
    """Read the epochs at the end of a journal.

    Raises:
        OSError: it cannot be read.
    """
    start = max(0, path.stat().st_size - _TAIL_BYTES)
    return [*entries.epoch_ended.among(journal.replay(path, start).entries)]


def cut(file: Path, size: int, known: Iterable[dict[str, Any]], *, change: bool = True) -> Cut:
    """Cut this job's own rows after the first ``size`` bytes.

    Args:
        change: False to look only.

    Raises:
        OSError: the file cannot be read or written.
    """
    with file.open("r+b") as stream:
        header = stream.readline(_LONGEST_HEADER)
        stream.seek(size)
        tail = stream.read()
        lines = tail.splitlines(keepends=True)
        # of a file that was empty at the checkpoint the header is no row of another job
        rows = [_Row.of(line, header) for line in lines if size or line != header]
        epochs_known = list(known)
        foreign = [row for row in rows if not row.is_of(epochs_known)]
        following = max((e["epoch"] for e in epochs_known), default=-1) + 1
        # the job was killed between a row and the entry of its epoch, or within the row
        unclear = [row for row in foreign if row.is_torn or row.epoch == following]
        if len(unclear) == len(foreign) <= 1:
            foreign = unclear = []
        rest = b"".join([header if foreign and not size else b"", *(row.line for row in foreign)])
        if change and rest != tail and os.fstat(stream.fileno()).st_size == size + len(tail):
            stream.seek(size)
            stream.write(rest)
            stream.truncate()
            stream.flush()
            os.fsync(stream.fileno())
    return Cut(len(foreign), len(unclear))


@dataclass(frozen=True, slots=True)
class _Row:
    line: bytes
    values: dict[str, str]

    @classmethod
    def of(cls, line: bytes, header: bytes) -> "_Row":
        separator = header[5:6].decode("latin-1")
        names, cells = (
            next(csv.reader([text.decode("utf-8", "replace")], delimiter=separator), [])
            for text in (header, line)
        )
        return cls(line, dict(zip(names, cells, strict=False)))

    @property
    def is_torn(self) -> bool:
        return not self.line.endswith(b"\n")

    @property
    def epoch(self) -> int | None:
        text = self.values.get("epoch", "")
        return int(text) if text.isdecimal() else None

    def is_of(self, known: list[dict[str, Any]]) -> bool:
        """Return whether this job has written the row: all values are those of one epoch."""
        return any(
            entry["epoch"] == self.epoch and self._has(entry.get("logs") or {}) for entry in known
        )

    def _has(self, logs: dict[str, Any]) -> bool:
        same = [_equal(text, logs[name]) for name, text in self.values.items() if name in logs]
        return bool(same) and all(same)


def _equal(text: str, value: Any) -> bool:
    try:
        # a log may be a float32, of which the file has fewer digits
        ours, theirs = float(text), float(value)
    except (TypeError, ValueError):
        return text == str(value)
    return math.isclose(ours, theirs, rel_tol=1e-6) or (math.isnan(ours) and math.isnan(theirs))
