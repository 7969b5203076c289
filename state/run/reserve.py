"""Record the end of an attempt also on a full disk, in a file allocated at its start.

The keeper allocates it before anything is spawned. Entries that cannot be appended to the journal
at the end are written there; the daemon, or the next keeper, moves them into the journal once
there is space, and until then judges the attempt by them. If not all fit, the oldest are left out.
"""

import os
from pathlib import Path
from typing import Any, Final

from rekindle.state.run import journal, reading

BYTES: Final = 16 * 1024
_RECENT_BYTES: Final = 2**20
"""End of a journal in which entries that were moved before are looked for."""


def prepare(path: Path) -> None:
    """Allocate an empty reserve.

    Raises:
        OSError: there is no space for it.
    """
    fd = reading.open_regular(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.posix_fallocate(fd, 0, BYTES)
        os.pwrite(fd, bytes(BYTES), 0)
        os.fdatasync(fd)
    finally:
        os.close(fd)


def write(path: Path, entries: list[dict[str, Any]]) -> None:
    """Record entries that cannot be appended to the journal.

    Raises:
        OSError: the reserve does not exist, or its disk fails.
    """
    lines: list[bytes] = []
    for entry in reversed(entries):
        line = journal.encode({"v": journal.VERSION, **entry})
        if sum(map(len, lines)) + len(line) > BYTES:
            break
        lines.insert(0, line)
    fd = reading.open_regular(path, os.O_WRONLY)
    try:
        os.pwrite(fd, b"".join(lines).ljust(BYTES, b"\n"), 0)
        os.fdatasync(fd)
    finally:
        os.close(fd)


def read(path: Path) -> list[dict[str, Any]]:
    """Read the entries of a reserve; none if it does not exist."""
    try:
        data = reading.read_bytes(path, BYTES)
    except OSError:
        return []
    return journal.decode(data.replace(b"\0", b""))[0]


def take_over(path: Path, into: Path) -> list[dict[str, Any]]:
    """Move the entries of the reserve into the journal, each once.

    Call it only while no attempt is alive. Returns the entries that could not be moved.
    """
    waiting = read(path)
    if not waiting:
        return []
    try:
        # an earlier try appended them last, and nothing writes while no attempt is alive
        start = max(into.stat().st_size - _RECENT_BYTES, 0) if into.exists() else 0
        recent = journal.replay(into, start).entries
        known = [(e["kind"], e["t"], e.get("attempt")) for e in recent]
        for entry in waiting:
            if (entry["kind"], entry["t"], entry.get("attempt")) not in known:
                journal.append(into, **{k: v for k, v in entry.items() if k != "v"})
        path.unlink()
    except OSError:
        return waiting
    return []
