"""Append to and read ``journal.jsonl``, the entries of a run, one fsynced line each.

A line is ``{"v": 1, "t": unix seconds, "kind": ..., ..., "crc": crc32 of the rest, hex}``.
Each line is one ``write`` to a file opened for appending, so that lines of two processes
do not mix. A process that is killed while writing leaves a torn line: readers skip and count
it, and the next append starts a new line.
"""

import json
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rekindle.state.run import entries as records
from rekindle.state.run import reading

VERSION = 1


@dataclass(frozen=True, slots=True)
class Replay:
    """Content of a journal from an offset on.

    Attributes:
        entries: the valid entries, oldest first, without ``crc``; each with the types that
            `entries` declares, or of the kind ``entry_not_understood``.
        offset: start of the next replay in bytes, after the last complete line.
        torn: number of damaged lines that were skipped.
    """

    entries: list[dict[str, Any]]
    offset: int
    torn: int


def append(path: Path, kind: str, **fields: Any) -> dict[str, Any]:
    """Append one entry durably and return it.

    Raises:
        OSError: the disk is full or failing, or the journal is not a regular file; the entry was
            not written.
    """
    entry = {"v": VERSION, "t": time.time(), "kind": kind, **fields}
    line = encode(entry)
    fd = reading.open_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            line = b"\n" + line  # after the torn line of a killed process
        written = os.write(fd, line)
        if written != len(line):
            raise OSError(28, "No space left on device for a whole journal line", str(path))
        os.fdatasync(fd)
    finally:
        os.close(fd)
    return entry


def replay(path: Path, offset: int = 0, *, most: int = -1) -> Replay:
    """Read complete lines from ``offset`` (bytes) on; a missing file has none.

    Args:
        most: bytes to read; -1 for all. A longer line is read completely.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    try:
        with os.fdopen(reading.open_regular(path), "rb") as file:
            file.seek(offset)
            data = file.read(most)
            if most >= 0 and len(data) == most and not data.endswith(b"\n"):
                data += file.readline()
    except FileNotFoundError:
        return Replay([], 0, 0)
    end = data.rfind(b"\n") + 1
    found, torn = decode(data[:end])
    return Replay(found, offset + end, torn)


def encode(entry: dict[str, Any]) -> bytes:
    """Encode an entry as a line, with checksum and newline."""
    body = json.dumps(entry, separators=(",", ":"), allow_nan=True, default=str).encode()
    return body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)


def decode(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Decode the entries of some lines, and count the damaged lines."""
    found: list[dict[str, Any]] = []
    torn = 0
    for line in data.split(b"\n"):
        if not line:
            continue
        entry = _decode(line)
        if entry is None:
            torn += 1
        else:
            found.append(records.checked(entry))
    return found, torn


def _decode(line: bytes) -> dict[str, Any] | None:
    body, mark, tail = line.rpartition(b',"crc":"')
    if not mark or len(tail) != 10 or tail[8:] != b'"}':
        return None
    body += b"}"
    if b"%08x" % zlib.crc32(body) != tail[:8]:
        return None
    try:
        entry = reading.parse_json(body)
    except ValueError:
        return None
    # the user's script may have written anything with a valid checksum
    return entry if isinstance(entry, dict) and isinstance(entry.get("kind"), str) else None
