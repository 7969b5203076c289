"""``journal.jsonl``: what the keeper and the trainer of a run append, one fsynced line each.

A line is ``{"v": 1, "t": unix seconds, "kind": ..., ..., "crc": crc32 of the rest, hex}``.
Each line is one ``write`` to a file opened for appending, so that lines of two processes
do not mix. A process that dies in the middle leaves a torn line: readers skip and count
it, and the next append starts on a line of its own.
"""

import json
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1


@dataclass(frozen=True, slots=True)
class Replay:
    """What a journal held from an offset on.

    Attributes:
        entries: the good entries, oldest first, without their ``crc``.
        offset: where the next replay continues, in bytes; after the last complete line.
        torn: how many complete lines were damaged and skipped.
    """

    entries: list[dict[str, Any]]
    offset: int
    torn: int


def append(path: Path, kind: str, **fields: Any) -> dict[str, Any]:
    """Appends one entry durably and returns it.

    Raises:
        OSError: the disk is full or failing; the entry is then not in the journal.
    """
    entry = {"v": VERSION, "t": time.time(), "kind": kind, **fields}
    body = _encode(entry)
    line = body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            line = b"\n" + line  # a torn line of a dead process must not swallow this one
        written = os.write(fd, line)
        if written != len(line):
            raise OSError(28, "No space left on device for a whole journal line", str(path))
        os.fdatasync(fd)
    finally:
        os.close(fd)
    return entry


def replay(path: Path, offset: int = 0) -> Replay:
    """Reads all complete lines from ``offset`` (bytes) on; a missing file is an empty one."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return Replay([], 0, 0)
    end = data.rfind(b"\n") + 1
    entries: list[dict[str, Any]] = []
    torn = 0
    for line in data[:end].splitlines():
        if not line:
            continue
        entry = _decode(line)
        if entry is None:
            torn += 1
        else:
            entries.append(entry)
    return Replay(entries, offset + end, torn)


def _encode(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":"), allow_nan=True, default=str).encode()


def _decode(line: bytes) -> dict[str, Any] | None:
    body, mark, tail = line.rpartition(b',"crc":"')
    if not mark or len(tail) != 10 or tail[8:] != b'"}':
        return None
    body += b"}"
    if b"%08x" % zlib.crc32(body) != tail[:8]:
        return None
    try:
        entry = json.loads(body)
    except (ValueError, RecursionError):
        return None
    # what a script of a user's wrote with a good sum need not be an entry
    return entry if isinstance(entry, dict) and isinstance(entry.get("kind"), str) else None
